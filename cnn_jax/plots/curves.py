"""Loss and accuracy over the epochs."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from cnn_jax.plots.style import BLUE, FAINT, ORANGE, PlainLogFormatter, new_figure, styled

_LINES = (("train", "training, as it learns", BLUE), ("validation", "held out", ORANGE))


@styled
def learning_curves(history: Sequence[Mapping[str, float]]) -> Figure:
    """Draw the loss and the other measures over the epochs, one panel for each.

    `history` is that of `cnn.train.fit` or of a loaded run: one record for each epoch with
    `epoch`, `train_loss`, `train_accuracy` and, where there was held-out data, `validation_...`.

    Raises `ValueError` for an empty history.

    >>> figure = learning_curves([{"epoch": 1, "train_loss": 2.3}, {"epoch": 2, "train_loss": 1.1}])
    >>> [axes.get_title() for axes in figure.axes]
    ['Loss']
    """
    if not history:
        raise ValueError("learning_curves: history holds no epoch")
    names = [name.removeprefix("train_") for name in history[0] if name.startswith("train_")]
    names.sort(key=lambda name: name != "loss")  # the loss first, then the rest in their order
    figure = new_figure(5.2 * len(names), 4.0, "Learning curves")
    epochs = np.array([record["epoch"] for record in history])
    for axes, name in zip(np.ravel(figure.subplots(1, len(names))), names, strict=True):
        as_percent = name == "accuracy"
        for prefix, label, colour in _LINES:
            key = f"{prefix}_{name}"
            if key in history[0]:
                # A diverged epoch is None in a run folder's file: a gap in the line.
                values = np.array([record.get(key) for record in history], float)
                values *= 100 if as_percent else 1
                marker = "o" if len(epochs) <= 40 else ""
                axes.plot(epochs, values, color=colour, marker=marker, markersize=3.5, label=label)
        axes.set_title(_title(name, history[-1]))
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(True, axis="y")
        axes.set_axisbelow(True)
        if name == "loss":
            _label_loss(axes)
        elif as_percent:
            axes.set_ylabel("accuracy (%)")
            axes.axhline(100, color=FAINT, linewidth=0.8, linestyle=":")
        else:
            axes.set_ylabel(name)
        axes.legend(loc="best")
    return figure


def _title(name: str, last: Mapping[str, float]) -> str:
    value = last.get(f"validation_{name}")
    if value is None:
        return name.capitalize()
    number = f"{100 * value:.2f} %" if name == "accuracy" else f"{value:.4f}"
    return f"{name.capitalize()}: {number} held out, at the end"


def _label_loss(axes: Axes) -> None:
    axes.set_ylabel("loss (log scale)")
    values = np.concatenate([np.asarray(line.get_ydata(), float) for line in axes.get_lines()])
    if np.all(values[np.isfinite(values)] > 0) and np.isfinite(values).any():
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(PlainLogFormatter())
        axes.yaxis.set_minor_formatter(PlainLogFormatter(labelOnlyBase=False))
    else:
        axes.set_ylabel("loss")
