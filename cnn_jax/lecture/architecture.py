"""Part 6: the typical architecture, stage by stage, and the familiar pattern that trains it."""

from typing import Any, NamedTuple

import jax
import numpy as np
import optax
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

import cnn_jax as cnn
from cnn_jax.lecture.board import table
from cnn_jax.lecture.figures import SIGNED, panels, style
from cnn_jax.plots.style import BLUE, FAINT, INK, ORANGE, styled

STAGES = {
    "convolution": cnn.conv(8, 3, padding="SAME"),
    "ReLU": cnn.relu,
    "max-pooling": cnn.max_pool(2),
    "convolution 2": cnn.conv(16, 3, padding="SAME"),
    "ReLU 2": cnn.relu,
    "max-pooling 2": cnn.max_pool(2),
    "flatten": cnn.flatten,
    "fully connected": cnn.dense(10),
}
MODEL = cnn.serial(**STAGES)
INPUT_SHAPE = (8, 8, 1)
OPTIMIZER = optax.sgd(0.03, momentum=0.9)
BATCH_SIZE = 32
EPOCHS = 6
# Training, test: as many as make whole batches, and the rest.
SIZES = (1440, 357)


class Result(NamedTuple):
    """Shapes and weights of the stages, a training run, and what one digit becomes on its way."""

    shapes: dict[str, tuple[int, ...]]
    """After each stage, for one picture; the first is the picture's own."""
    weights: dict[str, int]
    """Weights and biases of each stage."""
    step_losses: np.ndarray
    """The training loss of every step, on its batch."""
    before: dict[str, float]
    """Before training: `loss` and `accuracy` on the training digits, `test_accuracy`."""
    after: dict[str, float]
    """The same after it."""
    values: dict[str, np.ndarray]
    """A test digit after each stage of the trained network."""
    label: int
    """What that digit is."""
    probabilities: np.ndarray
    """`[10]`: what the network takes it for."""


def compute() -> Result:
    """Finds the shape after every stage, then trains the network on handwritten digits.

    >>> [row.output_shape for row in cnn.summary(MODEL, INPUT_SHAPE).rows][-3:]
    [(2, 2, 16), (64,), (10,)]
    """
    summary = cnn.summary(MODEL, INPUT_SHAPE)
    digits = cnn.data.digits()
    train, test = cnn.data.split(digits, [size / digits.size for size in SIZES])

    state = cnn.train.create(MODEL, OPTIMIZER, jax.random.key(0), INPUT_SHAPE)
    step = cnn.train.make_step(MODEL, OPTIMIZER)
    before = _quality(state.params, train, test)
    losses = []
    for epoch in range(EPOCHS):
        for batch in cnn.data.batches(train, BATCH_SIZE, seed=epoch):
            state, metrics = step(state, batch)
            losses.append(metrics["loss"])

    value = test.images[0]
    values = {"picture": np.asarray(value)}
    for name, stage in STAGES.items():
        value = stage.apply(state.params.get(name, {}), value)
        values[name] = np.asarray(value)
    return Result(
        shapes={"picture": INPUT_SHAPE, **{row.name: row.output_shape for row in summary.rows}},
        weights={row.name: row.parameters for row in summary.rows},
        step_losses=np.array([float(loss) for loss in losses]),
        before=before,
        after=_quality(state.params, train, test),
        values=values,
        label=int(test.labels[0]),
        probabilities=np.asarray(jax.nn.softmax(value)),
    )


def board(result: Result) -> str:
    """The table of stages, then the three choices of the familiar pattern."""
    rows = [["picture", _shape(result.shapes["picture"]), ""]]
    rows += [
        [name, _shape(result.shapes[name]), str(weights) if weights else "-"]
        for name, weights in result.weights.items()
    ]
    before, after = result.before, result.after
    return "\n".join(
        [
            "Convolution, ReLU and max-pooling, a few times; then one fully connected layer:",
            "",
            table(["stage", "shape after it", "weights"], rows),
            "",
            f"{sum(result.weights.values())} weights in all. The maps shrink, their number grows.",
            "",
            "The familiar pattern:",
            "",
            "  1. Choose how to predict:  probabilities = softmax(network(picture))",
            "  2. Choose a loss:          -log(probability of the right digit)",
            "  3. Choose the weights by minimising the training loss, here with SGD:",
            "",
            table(
                ["", "before", f"after {EPOCHS} epochs"],
                [
                    ["training loss", f"{before['loss']:.3f}", f"{after['loss']:.3f}"],
                    [
                        f"accuracy on the {SIZES[0]} training digits",
                        f"{before['accuracy']:.1%}",
                        f"{after['accuracy']:.1%}",
                    ],
                    [
                        f"accuracy on {SIZES[1]} digits never seen",
                        f"{before['test_accuracy']:.1%}",
                        f"{after['test_accuracy']:.1%}",
                    ],
                ],
            ),
        ]
    )


def figures(result: Result) -> dict[str, Figure]:
    """The stages with a digit on its way through them, and the training loss."""
    return {"architecture": _drawing(result), "training": _training(result)}


@styled
def _training(result: Result) -> Figure:
    figure, (axes,) = panels("The familiar pattern: minimise the training loss", width=7.0)
    style(axes, "", "step of SGD", "loss of the batch")
    smooth = np.convolve(result.step_losses, np.ones(15) / 15, mode="valid")
    axes.plot(result.step_losses, color=BLUE, alpha=0.35, linewidth=1, label="each batch of 32")
    axes.plot(np.arange(7, 7 + len(smooth)), smooth, color=BLUE, linewidth=2, label="mean of 15")
    axes.set_ylim(bottom=0)
    axes.legend(fontsize=10)
    return figure


def _quality(params, train: cnn.data.Dataset, test: cnn.data.Dataset) -> dict[str, float]:
    on_train = cnn.train.evaluate(MODEL, params, train)
    on_test = cnn.train.evaluate(MODEL, params, test)
    return {
        "loss": float(on_train["loss"]),
        "accuracy": float(on_train["accuracy"]),
        "test_accuracy": float(on_test["accuracy"]),
    }


def _shape(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


@styled
def _drawing(result: Result) -> Figure:
    figure = Figure(facecolor="white")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    x = 0.6
    for name, shape in result.shapes.items():
        if name == "fully connected":
            width = _answers(axes, result.probabilities, x)
        elif len(shape) == 1:
            width = _strip(axes, result.values[name], x)
        else:
            width = _stack(axes, result.values[name], x)
        _caption(axes, x + width / 2, name.rstrip(" 2"), shape, result.weights.get(name, 0))
        if name != "fully connected":
            arrow = {"arrowstyle": "-|>", "color": FAINT, "lw": 1.4}
            axes.annotate("", (x + width + 1.5, 0), (x + width + 0.4, 0), arrowprops=arrow)
        x += width + 1.9
    right = x - 1.0
    axes.text(
        right / 2,
        7.0,
        "The typical architecture, and a digit on its way through it",
        **_CENTRED,
        size=15,
        weight="bold",
        color=INK,
    )
    bottom, top = -8.4, 8.4
    axes.set(xlim=(0, right), ylim=(bottom, top))
    figure.set_size_inches(14, 14 * (top - bottom) / right)
    return figure


_CENTRED: Any = {"ha": "center", "va": "center"}


def _caption(axes: Axes, x: float, title: str, shape: tuple[int, ...], weights: int) -> None:
    axes.text(x, -5.5, title, size=11.5, weight="bold", color=INK, **_CENTRED)
    axes.text(x, -6.5, _shape(shape), size=11.5, color=INK, **_CENTRED)
    if weights:
        axes.text(x, -7.45, f"{weights} weights", size=10, color=FAINT, **_CENTRED)


def _stack(axes: Axes, value: np.ndarray, left: float) -> float:
    """Draws the maps of `[h, w, c]` as sheets one behind another; returns the drawing's width."""
    side = 4.4 * (value.shape[0] / 8) ** 0.5
    channels = value.shape[-1]
    spread = 3.4 if channels > 1 else 0.0
    offsets = np.linspace(0, spread, channels)
    bottom = -(side + spread) / 2
    highest = float(np.abs(value).max()) or 1.0
    colours = (
        {"cmap": SIGNED, "vmin": -highest, "vmax": highest}
        if value.min() < 0
        else {"cmap": "gray", "vmin": 0, "vmax": highest}
    )
    for index, offset in enumerate(offsets):
        x, y = left + offset, bottom + offset
        extent = (x, x + side, y, y + side)
        axes.imshow(value[..., index], extent=extent, zorder=-2 * index - 1, **colours)
        frame = Rectangle((x, y), side, side, fill=False, edgecolor=FAINT, lw=0.8)
        axes.add_patch(frame).set_zorder(-2 * index)
    return side + spread


def _strip(axes: Axes, value: np.ndarray, left: float) -> float:
    """Draws the numbers of `[n]` one below the other; returns the drawing's width."""
    width, height = 0.7, 9.0
    x = left + 0.9  # the caption is wider than the strip
    extent = (x, x + width, -height / 2, height / 2)
    axes.imshow(value[:, None], extent=extent, aspect="auto", cmap="gray", vmin=0)
    axes.add_patch(Rectangle((x, -height / 2), width, height, fill=False, edgecolor=FAINT, lw=0.8))
    return width + 1.8


def _answers(axes: Axes, probabilities: np.ndarray, left: float) -> float:
    """Draws the ten probabilities as bars beside their digits; returns the drawing's width."""
    x, best = left + 1.2, int(np.argmax(probabilities))
    for digit, probability in enumerate(probabilities):
        y = 5.0 - digit
        axes.text(x, y, str(digit), size=11.5, color=INK, **_CENTRED)
        width = 0.06 + 3.0 * float(probability)
        colour = ORANGE if digit == best else FAINT
        axes.add_patch(Rectangle((x + 0.5, y - 0.35), width, 0.7, color=colour))
    return 5.6
