"""Which classes are taken for which."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from cnn_jax.plots.style import INK, new_figure, styled


@styled
def confusion_matrix(labels: ArrayLike, predicted: ArrayLike, class_names: Sequence[str]) -> Figure:
    """Draw how many examples of each true class (row) were given each class (column).

    `labels: int[n]`, `predicted: int[n]`. The colour of a cell is its share of its row; the number
    in it counts examples. With more than 30 classes the numbers are left out.

    Raises `ValueError` for arrays that are empty, of different lengths, or outside the classes.

    >>> figure = confusion_matrix([0, 1, 1, 1], [0, 1, 1, 0], ["cat", "dog"])
    >>> [text.get_text() for text in figure.axes[0].texts]
    ['1', '1', '2']
    """
    labels, predicted = np.asarray(labels), np.asarray(predicted)
    classes = len(class_names)
    if labels.ndim != 1 or labels.shape != predicted.shape or not labels.size:
        raise ValueError(
            "confusion_matrix: labels and predicted must have one shape [n] with n at least 1, "
            f"not {list(labels.shape)} and {list(predicted.shape)}"
        )
    if min(labels.min(), predicted.min()) < 0 or max(labels.max(), predicted.max()) >= classes:
        raise ValueError(
            f"confusion_matrix: labels and predicted must lie in 0..{classes - 1} "
            f"for {classes} classes"
        )
    counts = np.zeros((classes, classes), int)
    np.add.at(counts, (labels, predicted), 1)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    right = int(np.trace(counts))
    side = float(np.clip(2.4 + 0.42 * classes, 4.5, 14))
    figure = new_figure(
        side + 1.0,
        side,
        f"Confusion matrix: {right} of {labels.size} right ({right / labels.size:.2%})",
    )
    axes = figure.subplots()
    # The square root lets the few mistakes be seen beside the many right answers.
    image = axes.imshow(np.sqrt(shares), cmap="Blues", vmin=0, vmax=1)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    every = -(-classes // 40)
    longest = max(len(name) for name in class_names)
    for axis, rotation in ((axes.xaxis, 45 if longest > 3 else 0), (axes.yaxis, 0)):
        axis.set_ticks(range(0, classes, every), list(class_names)[::every])
        axis.set_tick_params(length=0, labelrotation=rotation)
    axes.set_xticks(np.arange(classes + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(classes + 1) - 0.5, minor=True)
    axes.grid(True, which="minor", color="white", linewidth=1.2 if classes <= 30 else 0.3)
    axes.tick_params(which="minor", length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    if classes <= 30:
        for row, column in zip(*np.nonzero(counts), strict=True):
            axes.text(
                column,
                row,
                str(counts[row, column]),
                ha="center",
                va="center",
                fontsize=9,
                color="white" if shares[row, column] > 0.4 else INK,
            )
    bar = figure.colorbar(image, ax=axes, shrink=0.8)
    ticks = [0, 0.01, 0.05, 0.2, 0.5, 1.0]
    bar.set_ticks([tick**0.5 for tick in ticks], labels=[f"{tick:.0%}" for tick in ticks])
    bar.set_label("share of the true class")
    bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]
    return figure
