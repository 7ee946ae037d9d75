"""The pictures of the training benchmark: every contender's time beside torch's."""

import math
from typing import Any

from matplotlib.figure import Figure

from benchmarks import pictures
from benchmarks.pictures import BLUE, BROWN, FAINT, GREEN, INK, ORANGE, PURPLE, TEAL
from benchmarks.report import Report
from benchmarks.statistics import paired_ratio

_LOOKS: dict[str, dict[str, Any]] = {
    "cnn_jax": {"color": ORANGE, "marker": "o"},
    "flax": {"color": ORANGE, "marker": "^", "markerfacecolor": "white"},
    "equinox": {"color": ORANGE, "marker": "s", "markerfacecolor": "white"},
    "haiku": {"color": ORANGE, "marker": "v", "markerfacecolor": "white"},
    "cnn_jax+cpu": {"color": BLUE, "marker": "o", "markersize": 9},
    "cnn_jax+cpu, tuned": {"color": BLUE, "marker": "D"},
    "cnn_jax+cpu, memory returned": {"color": TEAL, "marker": "D"},
    "flax+cpu": {"color": BLUE, "marker": "^", "markerfacecolor": "white"},
    "equinox+cpu": {"color": BLUE, "marker": "s", "markerfacecolor": "white"},
    "haiku+cpu": {"color": BLUE, "marker": "v", "markerfacecolor": "white"},
    "torch": {"color": GREEN, "marker": "o"},
    "torch, memory kept": {"color": GREEN, "marker": "D", "markerfacecolor": "white"},
    "torch.compile": {"color": PURPLE, "marker": "P"},
}
_OTHER = {"color": BROWN, "marker": "X"}


@pictures.styled
def figures(report: Report) -> dict[str, Figure]:
    """One picture: a panel for each dtype and mode, a line of marks for each network."""
    panels = list(dict.fromkeys((r.settings["dtype"], r.settings["mode"]) for r in report.rows))
    panels = [panel for panel in panels if _points(report, *panel)]
    if not panels:
        return {}
    columns = min(2, len(panels))
    lines = max(len({name for name, *_ in _points(report, *panel)}) for panel in panels)
    rows = math.ceil(len(panels) / columns)
    height = 1.6 + rows * (1.0 + 0.42 * lines)
    figure = pictures.sheet(report, 6.6 * columns, height)
    axes = figure.subplots(rows, columns, squeeze=False, sharex=True).flatten()
    labelled: dict[str, Any] = {}
    for axis, panel in zip(axes, panels, strict=False):
        _panel(axis, report, *panel, labelled)
    for axis in axes[len(panels) :]:
        axis.set_visible(False)
    order = [name for name in _LOOKS if name in labelled]
    order += [name for name in labelled if name not in _LOOKS]
    marks = []
    for name in order:
        labelled[name].set_label(name)
        marks.append(labelled[name])
    base = "PyTorch's" if "torch" in report.contenders() else "that of JAX's own kernels"
    pictures.legend(
        figure, f"Time divided by {base}: less is better", marks, min(3 * columns, len(marks))
    )
    return {"training": figure}


def _panel(axes: Any, report: Report, dtype: str, mode: str, labelled: dict[str, Any]) -> None:
    points = _points(report, dtype, mode)
    networks = list(dict.fromkeys(name for name, *_ in points))
    for name, contender, ratio in points:
        look = _LOOKS.get(contender, _OTHER)
        line = networks.index(name)
        axes.plot([ratio.low, ratio.high], [line, line], color=look["color"], alpha=0.5, zorder=2)
        (mark,) = axes.plot([ratio.value], [line], linestyle="", zorder=3, **look)
        labelled.setdefault(contender, mark)
    axes.set_xscale("log")
    low = min(ratio.value for *_, ratio in points)
    high = max(ratio.value for *_, ratio in points)
    fine = (0.1, 0.2, 0.3, 0.5, 0.7, 1, 1.5, 2, 3, 5, 7, 10)
    coarse = (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50)
    ticks = [t for t in (coarse if high > 8 * low else fine) if low / 1.6 < t < high * 1.6]
    pictures.log_ticks(axes, ticks, [f"{tick:g}×" for tick in ticks])
    axes.set_yticks(range(len(networks)), networks)
    axes.set_ylim(len(networks) - 0.5, -0.5)
    axes.axvline(1, color=FAINT, linewidth=1, zorder=1)
    axes.tick_params(labelbottom=True, left=False)
    pictures.grid(axes)
    what = "training step" if mode == "train" else "inference"
    axes.set_title(f"{what}, {dtype}", color=INK, loc="left")


def _points(report: Report, dtype: str, mode: str) -> list[tuple[str, str, Any]]:
    """(network, contender, time divided by torch's, or by cnn_jax's own where there is none)."""
    rows = [
        row
        for row in report.rows
        if row.timed and (row.settings["dtype"], row.settings["mode"]) == (dtype, mode)
    ]
    points = []
    for row in rows:
        name = row.settings["network"]
        base = report.timed(row.case, "torch") or report.timed(row.case, "cnn_jax")
        if base is not None:
            points.append((name, row.contender, paired_ratio(row.samples, base.samples)))
    return points
