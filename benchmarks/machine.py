"""Where the figures were taken: processor, threads, versions, load, and the state of the code."""

import datetime
import importlib.metadata
import os
import platform
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.process import ROOT

PACKAGES = (
    "cnn-jax",
    "jax",
    "jaxlib",
    "numpy",
    "optax",
    "onednn-cpu-gomp",
    "flax",
    "equinox",
    "dm-haiku",
    "torch",
)

# Whether a processor multiplies sixteen-bit floats in hardware decides what to expect of bfloat16.
_NOTABLE = ("avx2", "fma", "avx512f", "avx512_bf16", "amx_bf16", "asimd", "bf16", "sve")


def available_cpus() -> list[int]:
    """The CPUs that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def choose_cpus(threads: int | None) -> list[int]:
    """The first `threads` of the available CPUs; all by default.

    Raises:
        ValueError: fewer than one, or more than there are.
    """
    cpus = available_cpus()
    if threads is None:
        return cpus
    if not 1 <= threads <= len(cpus):
        raise ValueError(f"--threads is {threads}; this process may use 1 to {len(cpus)}")
    return cpus[:threads]


def describe(cpus: Sequence[int]) -> dict[str, Any]:
    """Everything that a reader needs to judge the figures, as plain values."""
    model, flags = _processor()
    return {
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "processor": model,
        "instructions": [flag for flag in _NOTABLE if flag in flags],
        "cpus": os.cpu_count(),
        "threads": len(cpus),
        "memory_bytes": _memory_bytes(),
        "system": f"{platform.system()} {platform.machine()}",
        "libc": " ".join(platform.libc_ver()),
        "load": load(),
        "python": platform.python_version(),
        "versions": {name: version for name in PACKAGES if (version := _version(name))},
        "commit": _commit(),
    }


def load() -> float | None:
    """The average number of runnable processes over the last minute."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def summary(machine: dict[str, Any]) -> str:
    """One line for the foot of a table or picture."""
    versions = machine["versions"]
    names = ("jax", "torch", "flax", "equinox", "dm-haiku")
    libraries = ", ".join(f"{name} {versions[name]}" for name in names if name in versions)
    return f"{machine['processor']}, {machine['threads']} threads; {libraries}"


def _processor() -> tuple[str, list[str]]:
    path = Path("/proc/cpuinfo")
    model, flags = platform.processor() or platform.machine(), []
    if path.exists():
        for line in path.read_text().splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                model = value.strip()
            elif name.strip() in ("flags", "Features"):
                flags = value.split()
                break
    return model, flags


def _memory_bytes() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return None


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _commit() -> str | None:
    """The commit of the clone, marked where files differ from it."""
    try:
        name = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return name.stdout.strip() or None
