"""The examples that a classifier gets most wrong."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from cnn_jax.plots.style import BLUE, FAINT, GREEN, GRID, RED, new_figure, show_picture, styled


@styled
def worst_mistakes(
    images: ArrayLike,
    labels: ArrayLike,
    probabilities: ArrayLike,
    class_names: Sequence[str],
    *,
    count: int = 12,
) -> Figure:
    """Draw the `count` examples whose true class got the least probability, the worst first.

    `images: [n, h, w, channels]`, `labels: int[n]`, `probabilities: [n, classes]`. Under each
    picture stand the three likeliest classes; the true one is green, a wrong first one red. Where
    there are fewer mistakes than `count`, right answers that were the least sure follow.

    Raises `ValueError` where the arrays do not belong together.

    >>> images, probabilities = np.ones((2, 8, 8, 1)), [[0.9, 0.1], [0.6, 0.4]]
    >>> print(worst_mistakes(images, [0, 1], probabilities, ["cat", "dog"]).get_suptitle())
    Worst mistakes: 1 of 2 examples wrong
    then the right answers that were the least sure
    """
    images, labels = np.asarray(images), np.asarray(labels)
    probabilities = np.asarray(probabilities, np.float32)
    if probabilities.shape != (len(images), len(class_names)) or labels.shape != (len(images),):
        raise ValueError(
            "worst_mistakes: images [n, h, w, channels], labels [n] and probabilities "
            f"[n, {len(class_names)}] must belong together, not {list(images.shape)}, "
            f"{list(labels.shape)} and {list(probabilities.shape)}"
        )
    certainty = probabilities[np.arange(len(labels)), labels]
    predicted = probabilities.argmax(axis=1)
    wrong = predicted != labels
    # Mistakes before right answers, then by the probability of the true class.
    order = np.lexsort((certainty, ~wrong))[:count]
    columns = min(6, len(order))
    title = f"Worst mistakes: {np.sum(wrong)} of {len(labels)} examples wrong"
    if not wrong[order].all():
        title += "\nthen the right answers that were the least sure"
    rows = -(-len(order) // columns)
    figure = new_figure(
        max(5.6, 1.75 * columns),
        0.6 + 0.25 * title.count("\n") + 2.75 * rows,
        title,
    )
    grid = figure.subplots(2 * rows, columns, squeeze=False, height_ratios=[1.7, 1.0] * rows)
    for axes in grid.flat:
        axes.axis("off")
    for place, example in enumerate(order):
        row, column = divmod(place, columns)
        picture, bars = grid[2 * row, column], grid[2 * row + 1, column]
        picture.axis("on")
        show_picture(picture, images[example])
        true, taken_for = class_names[int(labels[example])], class_names[int(predicted[example])]
        picture.set_title(
            f"{true} taken for {taken_for}" if wrong[example] else f"{true} (right)",
            fontsize=10,
            color=RED if wrong[example] else GREEN,
        )
        bars.axis("on")
        first = np.argsort(-probabilities[example], kind="stable")[:3]
        colours = [
            GREEN if k == labels[example] else RED if k == predicted[example] else BLUE
            for k in first
        ]
        bars.barh(range(len(first)), probabilities[example, first], color=colours, height=0.7)
        bars.set_yticks(range(len(first)), [class_names[k] for k in first], fontsize=8)
        bars.invert_yaxis()
        bars.set_xlim(0, 1)
        bars.set_xticks([0, 0.5, 1], ["0", "50 %", "100 %"], fontsize=7, color=FAINT)
        bars.tick_params(length=0)
        bars.grid(True, axis="x", color=GRID)
        bars.set_axisbelow(True)
        for spine in bars.spines.values():
            spine.set_visible(False)
    return figure
