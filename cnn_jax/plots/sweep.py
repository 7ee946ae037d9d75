"""What became of each learning rate and seed."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from cnn_jax.plots.style import BLUE, INK, ORANGE, PlainLogFormatter, new_figure, styled


@styled
def sweep(members: Sequence[Mapping[str, Any]]) -> Figure:
    """Draw the members of a sweep: their accuracy by learning rate, and their loss by epoch.

    Each member has a `learning_rate`, a `seed` and a `history`, as `sweep.json` of a sweep's folder
    holds them. Where a loss is None or not finite the training diverged, and its numbers are left
    out.

    Raises `ValueError` where there are no members, or one has no history.

    >>> history = [{"epoch": 1, "validation_accuracy": 0.9, "validation_loss": 0.4}]
    >>> figure = sweep([{"learning_rate": 0.1, "seed": 0, "history": history}])
    >>> [axes.get_xlabel() for axes in figure.axes[:2]]
    ['learning rate (log scale)', 'epoch']
    """
    if not members or not all(member["history"] for member in members):
        raise ValueError("sweep: members must be at least one, each with a history")
    rates = np.array([member["learning_rate"] for member in members], float)
    ends = [member["history"][-1] for member in members]
    last = np.array([record.get("validation_accuracy") for record in ends], float)
    last[~np.isfinite(np.array([record.get("validation_loss") for record in ends], float))] = np.nan
    figure = new_figure(11.0, 4.4, f"Sweep: {len(members)} trainings")
    left, right = figure.subplots(1, 2)
    left.plot(rates, 100 * last, "o", color=BLUE, markersize=5, alpha=0.7, label="one training")
    levels = np.unique(rates)
    groups = [last[rates == rate] for rate in levels]
    means = [
        100 * group[np.isfinite(group)].mean() if np.isfinite(group).any() else np.nan
        for group in groups
    ]
    left.plot(levels, means, color=ORANGE, linewidth=1.5, label="mean over the seeds")
    left.set_xscale("log")
    left.set_xticks(levels, [f"{rate:g}" for rate in levels], rotation=45 if len(levels) > 6 else 0)
    left.minorticks_off()
    left.set_xlabel("learning rate (log scale)")
    left.set_ylabel("accuracy held out (%)")
    left.set_title("After the last epoch")
    left.grid(True, axis="y")
    left.legend(loc="best")
    norm = LogNorm(levels[0], levels[-1]) if len(levels) > 1 else None
    colours = mpl.colormaps["viridis"]
    for member, rate in zip(members, rates, strict=True):
        history = member["history"]
        losses = np.array([record.get("validation_loss") for record in history], float)
        colour = colours(0.9 * float(norm(rate))) if norm is not None else INK
        right.plot(
            [record["epoch"] for record in history],
            np.where(losses > 0, losses, np.nan),
            color=colour,
            linewidth=1.2,
            marker="o" if len(history) == 1 else "",
        )
    for rate in levels:
        colour = colours(0.9 * float(norm(rate))) if norm is not None else INK
        right.plot([], [], color=colour, label=f"{rate:g}")
    right.set_yscale("log")
    right.yaxis.set_major_formatter(PlainLogFormatter())
    right.yaxis.set_minor_formatter(PlainLogFormatter(labelOnlyBase=False))
    right.xaxis.set_major_locator(MaxNLocator(integer=True))
    right.set_xlabel("epoch")
    right.set_ylabel("loss held out (log scale)")
    right.set_title("On the way")
    right.grid(True, axis="y")
    if len(levels) <= 12:
        right.legend(title="learning rate", loc="best", ncols=1 if len(levels) <= 6 else 2)
    return figure
