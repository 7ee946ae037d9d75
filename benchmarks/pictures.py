"""The look that all the benchmarks' pictures share."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks import machine
from benchmarks.report import Report

INK, FAINT, GRID = "#22303c", "#8896a4", "#e3e8ed"
BLUE, ORANGE, GREEN, RED = "#2f6fb3", "#d9722a", "#2e8b57", "#c0392b"
PURPLE, BROWN, TEAL = "#7d5ba6", "#8a6d3b", "#2a9d9d"

_STYLE: Any = {
    "figure.dpi": 150,
    "savefig.dpi": 150,
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": FAINT,
    "axes.titlesize": 11,
    "axes.titlecolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
}

Draw = Callable[[Report], dict[str, Figure]]


def styled(draw: Draw) -> Draw:
    """Let a function draw in this style, whatever the user's own settings are."""

    @functools.wraps(draw)
    def wrapped(report: Report) -> dict[str, Figure]:
        with mpl.rc_context():
            mpl.rcdefaults()
            mpl.rcParams.update(_STYLE)
            drawn = draw(report)
            for figure in drawn.values():
                figure.draw_without_rendering()  # Ticks get their style when they are first drawn.
            return drawn

    return wrapped


def sheet(report: Report, width: float, height: float) -> Figure:
    """A figure in inches with, at its foot, the machine and versions."""
    figure = Figure(figsize=(width, height), layout="constrained")
    foot = machine.summary(report.machine)
    commit = report.machine.get("commit")
    if commit:
        foot += f"; cnn_jax {commit}"
    if width < 8:
        foot = foot.replace("; ", "\n", 1)
    figure.supxlabel(foot, fontsize=7, color=FAINT, x=0.99, ha="right")
    return figure


def legend(figure: Figure, title: str, marks: Sequence[Any], columns: int | None = None) -> None:
    """The title of the whole figure and, under it, what the marks mean."""
    legend = figure.legend(
        handles=list(marks),
        title=title,
        loc="outside upper center",
        ncols=columns or len(marks),
        fontsize=9,
        title_fontproperties={"size": 13, "weight": "bold"},
    )
    legend.get_title().set_color(INK)


def grid(axes: Axes) -> None:
    """Faint lines behind the data."""
    axes.grid(True, which="major", color=GRID, linewidth=0.7)
    axes.set_axisbelow(True)


def log_ticks(axes: Axes, values: Sequence[float], labels: Sequence[str], along: str = "x") -> None:
    """Put labels where they are wanted on a logarithmic axis, and no others."""
    axis = axes.xaxis if along == "x" else axes.yaxis
    axis.set_ticks(list(values), list(labels))
    axis.set_ticks([], minor=True)


def label_ends(axes: Axes, ends: Sequence[tuple[float, float, str, str]]) -> None:
    """Write beside the ends of lines, `(x, y, text, colour)`, without one text over another.

    Call it when the limits of the axes are final.
    """
    gap = 0.05
    heights: dict[float, float] = {}
    to_axes = axes.transData + axes.transAxes.inverted()
    for x, y, text, colour in sorted(ends, key=lambda end: end[1]):
        place, height = to_axes.transform((x, y))
        height = max(height, heights.get(x, -np.inf) + gap)
        heights[x] = height
        axes.annotate(
            text,
            (place, height),
            (5, 0),
            xycoords="axes fraction",
            textcoords="offset points",
            color=colour,
            fontsize=9,
            va="center",
            annotation_clip=False,
        )
