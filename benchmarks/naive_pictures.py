"""The picture of the naive benchmark: time against size on log-log axes."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from benchmarks import naive, pictures
from benchmarks.harness import Row
from benchmarks.pictures import BLUE, BROWN, FAINT, INK, ORANGE, PURPLE, TEAL
from benchmarks.report import Report
from benchmarks.statistics import growth

_COLOURS = {
    "Python loops": PURPLE,
    "jitted loops over positions and taps": BROWN,
    "jitted loop over taps": TEAL,
    "one operation": ORANGE,
    "one operation, cpu installed": BLUE,
}


@pictures.styled
def figures(report: Report) -> dict[str, Figure]:
    """A row of panels for the forward pass and one for the gradient."""
    found = naive.series(report.rows)
    kinds = list(dict.fromkeys(key[:2] for key in found))
    passes = list(dict.fromkeys(key[2] for key in found))
    width, height = max(6.5, 3.9 * len(kinds)), 1.6 + 3.4 * len(passes)
    figure = pictures.sheet(report, width, height)
    panels = figure.subplots(len(passes), len(kinds), squeeze=False, sharey=True, sharex="col")
    ends = {}
    for row, which in zip(panels, passes, strict=True):
        for axes, (operation, rank) in zip(row, kinds, strict=True):
            lines = found.get((operation, rank, which), {})
            ends[axes] = [_draw(axes, contender, line) for contender, line in lines.items()]
            name = "correlation" if operation == "correlate" else "max-pooling"
            axes.set_title(f"{name} {rank}-D, {which}", loc="left")
            axes.set(xscale="log", yscale="log")
            pictures.grid(axes)
        row[0].set_ylabel("milliseconds")
    for axes in panels[-1]:
        axes.set_xlabel("numbers in the input")
    for axes, texts in ends.items():
        pictures.label_ends(axes, [text for text in texts if text is not None])
    contenders = {row.contender for row in report.rows if row.timed}
    marks = [
        panels[0][0].plot([], [], color=colour, marker="o", markersize=4, label=name)[0]
        for name, colour in _COLOURS.items()
        if name in contenders
    ]
    marks += panels[0][0].plot([], [], color=FAINT, linestyle=":", label="compile time of each")
    columns = len(marks) if len(kinds) > 3 else 2
    pictures.legend(figure, "Naive loops and vectorised kernels", marks, columns)
    return {"naive": figure}


def _draw(axes: Any, contender: str, line: list[Row]) -> tuple[float, float, str, str] | None:
    """Draw times with quartiles, and compile times; return the exponent for the line's end."""
    colour = _COLOURS.get(contender, INK)
    sizes = np.array([naive.numbers(row) for row in line], float)
    spreads = [row.spread for row in line]
    times = np.array([spread.median for spread in spreads])
    axes.plot(sizes, 1e3 * times, color=colour, marker="o", markersize=4)
    axes.fill_between(
        sizes,
        [1e3 * spread.low for spread in spreads],
        [1e3 * spread.high for spread in spreads],
        color=colour,
        alpha=0.2,
        linewidth=0,
    )
    compiled = [row.facts.get("compile_seconds") for row in line]
    if all(seconds is not None for seconds in compiled):
        compile_times = 1e3 * np.array(compiled, float)
        axes.plot(sizes, compile_times, color=colour, linestyle=":", linewidth=1, alpha=0.7)
    fit = growth(sizes, times)
    if fit is None:
        return None
    return float(sizes[-1]), float(1e3 * times[-1]), f"$n^{{{fit.exponent:.1f}}}$", colour
