"""`cnn-jax info`: versions, devices and kernels."""

import importlib.metadata
import os
import platform
from typing import Annotated

import typer

PACKAGES = ("cnn-jax", "jax", "jaxlib", "optax", "flax", "orbax-checkpoint", "numpy")


def info(
    cpu_kernels: Annotated[
        bool, typer.Option(help="Install the faster CPU kernels before reporting on them.")
    ] = True,
) -> None:
    """Show the versions, the devices and the kernels that a training would use."""
    from rich.console import Console
    from rich.table import Table

    from cnn_jax.commands.kernels import install_kernels

    kernels = install_kernels(cpu_kernels)  # before JAX starts its threads

    import jax

    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    table.add_row("Python", f"{platform.python_version()} on {platform.platform()}")
    for package, number in versions().items():
        table.add_row(package, number)
    for device in jax.devices():
        table.add_row("device", f"{device} ({device.device_kind})")
    table.add_row(
        "CPU cores", str(len(os.sched_getaffinity(0)) if _has_affinity() else os.cpu_count())
    )
    table.add_row("kernels", kernels)
    Console(highlight=False).print(table)


def versions() -> dict[str, str]:
    """Return the versions of what a result depends on."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def _has_affinity() -> bool:
    return hasattr(os, "sched_getaffinity")
