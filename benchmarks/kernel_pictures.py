"""Pictures of single layers: a roofline for each dtype, and the ratios of a random sweep."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from benchmarks import kernels, pictures
from benchmarks.layer import Layer
from benchmarks.pictures import BLUE, FAINT, GREEN, INK, ORANGE, PURPLE, RED, TEAL
from benchmarks.report import Report
from benchmarks.statistics import paired_ratio

_COLOURS = {
    "stock": ORANGE,
    "cpu": BLUE,
    "cpu, tuned": PURPLE,
    "torch": GREEN,
    "cpu, memory returned": TEAL,
}
_MARKERS = {
    "forward": "o",
    "input gradient": "<",
    "kernel gradient": "s",
    "forward and gradient": "D",
}


@pictures.styled
def figures(report: Report) -> dict[str, Figure]:
    """The roofline, or for a random sweep the sorted ratios."""
    if report.benchmark == "kernels-random":
        return _sweep(report)
    rows = [row for row in report.rows if row.timed and "layer" in row.settings]
    dtypes = list(dict.fromkeys(row.settings["dtype"] for row in rows))
    if not dtypes:
        return {}
    figure = pictures.sheet(report, 6.5 * len(dtypes), 6.2)
    panels = figure.subplots(1, len(dtypes), squeeze=False, sharey=True)[0]
    for axes, dtype in zip(panels, dtypes, strict=True):
        _roofline(axes, report, dtype)
    _legend(figure, panels[0], {row.contender for row in rows}, {r.settings["pass"] for r in rows})
    return {report.benchmark: figure}


def _roofline(axes: Any, report: Report, dtype: str) -> None:
    best = kernels.rates(report.rows)
    itemsize = {"float32": 4, "bfloat16": 2}[dtype]
    low, high = np.inf, 0.0
    for row in report.rows:
        if not row.timed or row.settings.get("layer") is None or row.settings["dtype"] != dtype:
            continue
        layer, which = Layer.parse(row.settings["layer"]), row.settings["pass"]
        flops = layer.flops(which)
        intensity = flops / layer.bytes(which, itemsize)
        axes.plot(
            intensity,
            flops / row.spread.median / 1e9,
            marker=_MARKERS[which],
            color=_COLOURS.get(row.contender, INK),
            markersize=5.5,
            linestyle="",
            alpha=0.85,
        )
        low, high = min(low, intensity), max(high, intensity)
    x = np.geomspace(low / 2, high * 2, 200)
    if dtype in best:
        roof = np.full_like(x, best[dtype])
        if "memory" in best:
            roof = np.minimum(roof, best["memory"] * x)
        axes.plot(x, roof / 1e9, color=INK, linewidth=1.5, zorder=1)
        _note(
            axes, x[-1], best[dtype], f"matrix product: {best[dtype] / 1e9:,.0f} GFLOP/s", "right"
        )
    if "memory" in best:
        rate = f"memory: {best['memory'] / 1e9:,.0f} GB/s"
        _note(axes, x[0], best["memory"] * x[0], rate, "left")
    axes.set(xscale="log", yscale="log", xlabel="FLOP per byte of the layer's arrays")
    axes.set_ylabel("GFLOP/s")
    axes.margins(y=0.12)
    axes.set_title(dtype, loc="left")
    axes.tick_params(labelleft=True)
    pictures.grid(axes)


def _note(axes: Any, x: float, rate: float, text: str, side: str) -> None:
    """Write at the end of the roof, above it."""
    axes.annotate(
        text,
        (x, rate / 1e9),
        (0, 14),
        textcoords="offset points",
        ha=side,
        fontsize=8.5,
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1},
    )


def _legend(figure: Figure, axes: Any, contenders: set[str], passes: set[str]) -> None:
    marks = [
        axes.plot([], [], marker="o", linestyle="", color=_COLOURS.get(name, INK), label=name)[0]
        for name in sorted(contenders, key=list(_COLOURS).index)
    ]
    marks += [
        axes.plot([], [], marker=mark, linestyle="", color=FAINT, label=name)[0]
        for name, mark in _MARKERS.items()
        if name in passes
    ]
    columns = len(marks) if len(figure.axes) > 1 else 4
    pictures.legend(figure, "Single layers under the machine's roof", marks, columns)


def _sweep(report: Report) -> dict[str, Figure]:
    """Installed over stock for every drawn layer and pass, sorted."""
    figure = pictures.sheet(report, 8.5, 5.0)
    axes = figure.subplots()
    ratios: dict[str, list[float]] = {}
    for row in report.rows:
        stock = report.timed(row.case, kernels.STOCK)
        if row.contender == kernels.INSTALLED and row.timed and stock is not None:
            ratio = paired_ratio(row.samples, stock.samples)
            ratios.setdefault(row.settings["pass"], []).append(ratio.value)
    for (name, values), colour in zip(ratios.items(), (BLUE, TEAL, GREEN, INK), strict=False):
        place = np.linspace(0, 100, len(values))
        axes.plot(place, sorted(values), color=colour, label=name, linewidth=1.8)
    axes.axhline(1.05, color=RED, linewidth=1, linestyle="--", label="1.05")
    axes.axhline(1, color=FAINT, linewidth=1)
    axes.set(yscale="log", xlabel="% of the drawn layers", ylabel="time / JAX's own time")
    ticks = [t for t in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2) if t <= axes.get_ylim()[1]]
    pictures.log_ticks(axes, ticks, [f"{tick:g}" for tick in ticks], "y")
    pictures.grid(axes)
    title = "Drawn layers: installed kernels beside JAX's own"
    pictures.legend(figure, title, axes.get_legend_handles_labels()[0])
    return {report.benchmark: figure}
