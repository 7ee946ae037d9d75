"""The picture of the scaling benchmark: time above, memory below, a column for each axis."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from benchmarks import pictures, scaling
from benchmarks.pictures import BLUE, FAINT, GREEN, INK, ORANGE, TEAL
from benchmarks.report import Report
from benchmarks.statistics import Growth

_COLOURS = {
    "cnn_jax": ORANGE,
    "cnn_jax+cpu": BLUE,
    "cnn_jax+cpu, memory returned": TEAL,
    "torch": GREEN,
}
_NAMES = {"batch": "batch", "size": "side of the picture", "channels": "channels", "depth": "depth"}


@pictures.styled
def figures(report: Report) -> dict[str, Figure]:
    """One picture; the dashed lines are the fits, and an open mark is off its line."""
    found = scaling.lines(report.rows)
    width = max(6.5, 3.7 * len(found))
    figure = pictures.sheet(report, width, 7.6)
    panels = figure.subplots(2, len(found), squeeze=False, sharex="col", sharey="row")
    ends = {}
    for (time_axes, memory_axes), (axis, by_contender) in zip(panels.T, found.items(), strict=True):
        values: set[int] = set()
        ends[time_axes], ends[memory_axes] = [], []
        for contender, line in by_contender.items():
            colour = _COLOURS.get(contender, INK)
            points = [(row.settings["value"], 1e3 * row.spread.median) for row in line]
            fit = scaling.time_growth(line)
            ends[time_axes] += _draw(time_axes, points, fit, 1e3, colour)
            points = [(value, size / 2**20) for value, size in scaling.working_bytes(line)]
            fit = scaling.memory_growth(line)
            ends[memory_axes] += _draw(memory_axes, points, fit, 2**-20, colour)
            values |= {row.settings["value"] for row in line}
        for axes in (time_axes, memory_axes):
            axes.set(xscale="log", yscale="log")
            pictures.grid(axes)
        pictures.log_ticks(memory_axes, sorted(values), [str(value) for value in sorted(values)])
        time_axes.set_title(_NAMES[axis], loc="left")
        memory_axes.set_xlabel(_NAMES[axis])
    panels[0][0].set_ylabel("milliseconds")
    panels[1][0].set_ylabel("MB at the peak")
    contenders = [name for name in report.contenders() if any(name in by for by in found.values())]
    marks = [
        panels[0][0].plot([], [], "o-", color=_COLOURS.get(name, INK), label=name)[0]
        for name in contenders
    ]
    marks += panels[0][0].plot(
        [], [], "--", color=FAINT, label="fit to the larger half; open marks are off it"
    )
    for axes, texts in ends.items():
        pictures.label_ends(axes, texts)
    pictures.legend(figure, "A training step as its sizes grow", marks)
    return {"scaling": figure}


def _draw(
    axes: Any, points: list[tuple[int, float]], fit: Growth | None, unit: float, colour: str
) -> list[tuple[float, float, str, str]]:
    """Draw a line with its fit; return the exponent for the line's end."""
    if not points:
        return []
    x, y = np.array(points, float).T
    axes.plot(x, y, color=colour, linewidth=1.5)
    straight = np.ones(len(x), bool) if fit is None else x >= fit.straight_from
    axes.plot(x[straight], y[straight], "o", color=colour, markersize=5)
    axes.plot(x[~straight], y[~straight], "o", color=colour, markersize=5, markerfacecolor="white")
    if fit is None:
        return []
    axes.plot(x, unit * fit.at(x), "--", color=colour, linewidth=0.8, alpha=0.7)
    return [(float(x[-1]), float(y[-1]), f"$n^{{{fit.exponent:.1f}}}$", colour)]
