"""`cnn-jax report`: the page of a run again, for one that ended before it could write it."""

import typer

from cnn_jax.commands.errors import UserError, asked_for
from cnn_jax.commands.options import CpuKernels, RunFolder


def report(run: RunFolder, cpu_kernels: CpuKernels = True) -> None:
    """Write report.html in a run folder anew.

    A training writes it at its end; this does it for one that is going on, was killed or diverged.
    """
    from cnn_jax.commands.kernels import install_kernels

    install_kernels(cpu_kernels)

    from cnn_jax.commands.opened import open_run, settings_of
    from cnn_jax.commands.page import kernel_rows
    from cnn_jax.report import write_report

    try:
        opened = open_run(run)
    except UserError:  # without parameters there is still a page, and its files are checked below
        rows = []
    else:
        batch_size = settings_of(opened).batch_size
        rows = kernel_rows(opened.classifier, opened.params, opened.shape, batch_size)
    with asked_for(status=1):
        path = write_report(run, kernels=rows)
    typer.echo(f"wrote {path}")
