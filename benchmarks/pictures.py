"""The look that all the benchmarks' pictures share."""

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks import machine
from benchmarks.report import Report
from cnn_jax.plots.style import BLUE, FAINT, GREEN, GRID, INK, ORANGE, RED, new_figure

PURPLE, BROWN, TEAL = "#7d5ba6", "#8a6d3b", "#2a9d9d"

# A family has a hue: what is installed is blue, JAX's own is orange, torch is green.
COLOURS = (ORANGE, BLUE, GREEN, PURPLE, RED, TEAL, BROWN, FAINT, INK)
MARKERS = ("o", "D", "s", "^", "v", "P", "X", "<", ">")


def sheet(report: Report, title: str, width: float, height: float) -> Figure:
    """A figure with a title and, at its foot, the machine and versions."""
    figure = new_figure(width, height, title)
    foot = machine.summary(report.machine)
    commit = report.machine.get("commit")
    figure.supxlabel(
        foot + (f"; cnn_jax {commit}" if commit else ""),
        fontsize=7,
        color=FAINT,
        x=0.99,
        ha="right",
    )
    return figure


def grid(axes: Axes, which: Any = "major") -> None:
    """Faint lines behind the data."""
    axes.grid(True, which=which, color=GRID, linewidth=0.7)
    axes.set_axisbelow(True)


def log_ticks(axes: Axes, values: Sequence[float], labels: Sequence[str], axis: str = "x") -> None:
    """Put labels where they are wanted on a logarithmic axis, and no others."""
    chosen = axes.xaxis if axis == "x" else axes.yaxis
    chosen.set_ticks(list(values), list(labels))
    chosen.set_ticks([], minor=True)


def plain_number(value: float) -> str:
    """A short label: 0.01, 0.5, 1, 20, 3000."""
    return f"{value:g}"
