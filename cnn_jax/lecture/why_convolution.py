"""Part 8: translation invariance and spatial locality, measured.

Networks that are equally good on centred digits meet digits that are not centred; then they learn
anew from pictures whose pixels have all changed places.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
from jax.typing import ArrayLike
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

import cnn_jax as cnn
from cnn_jax.data import Dataset
from cnn_jax.lecture.board import paragraph, table
from cnn_jax.lecture.figures import panels, style
from cnn_jax.plots.style import BLUE, FAINT, GREEN, INK, ORANGE, bare, styled

CANVAS = 14
MARGIN = (CANVAS - 8) // 2  # so far a digit of 8x8 can move without being cut
SHIFTS = tuple(range(MARGIN + 1))
DIRECTIONS = ((0, 1), (1, 0), (0, -1), (-1, 0))
SHAPE = (CANVAS, CANVAS, 1)

# Digits to train on, to decide when to stop, and to test on.
SIZES = (1024, 256, 517)
SEEDS = (0, 1, 2)
BATCH_SIZE = 32
# Training stops after the first epoch that leaves this share of the validation digits right.
GOOD_ENOUGH = 0.96
MAX_EPOCHS = 20
FEW, FEW_EPOCHS = 256, 20

FULLY_CONNECTED = "fully connected"
CONVOLUTIONAL = "convolutional"
IN_STEPS = "convolutional, pooled in steps of 2"

MODELS = {
    FULLY_CONNECTED: cnn.serial(cnn.flatten, cnn.dense(128), cnn.relu, cnn.dense(10)),
    # Two filters in a row see 9x9 pixels, a whole digit; then one maximum over all places.
    CONVOLUTIONAL: cnn.serial(
        *(cnn.conv(8, 5, padding="SAME"), cnn.relu),
        *(cnn.conv(32, 5, padding="SAME"), cnn.relu),
        *(cnn.global_max_pool(), cnn.dense(10)),
    ),
    # As in part 6: the same filters, but the fully connected layer still sees where things are.
    IN_STEPS: cnn.serial(
        *(cnn.conv(8, 5, padding="SAME"), cnn.relu, cnn.max_pool(2)),
        *(cnn.conv(32, 5, padding="SAME"), cnn.relu, cnn.max_pool(2)),
        *(cnn.flatten, cnn.dense(10)),
    ),
}
PERMUTED_MODELS = (FULLY_CONNECTED, CONVOLUTIONAL)
OPTIMIZER = optax.adam(2e-3)
ORDER = np.random.RandomState(0).permutation(CANVAS * CANVAS)


class Result(NamedTuple):
    """Accuracies, as shares of 1, of every network and seed."""

    weights: dict[str, int]
    epochs: dict[str, list[int]]
    """For each seed, how long training took to be good enough."""
    by_shift: dict[str, np.ndarray]
    """`[seeds, shifts]`: on test digits shifted by 0, 1, 2 ... pixels, mean of four directions."""
    permuted: dict[str, np.ndarray]
    """`[seeds]`: on centred test digits, trained and tested with permuted pixels."""
    permuted_epochs: dict[str, list[int]]
    """How long that took; `MAX_EPOCHS` where it was never good enough."""
    few: dict[str, np.ndarray]
    """`[seeds, epochs]`: on centred test digits after each epoch, trained on only `FEW` digits."""
    few_permuted: dict[str, np.ndarray]
    """The same with permuted pixels."""


def compute(seeds: Sequence[int] = SEEDS) -> Result:
    """Trains every network once per seed for each question; the seeds make it repeatable."""
    digits = cnn.data.digits()
    train, validation, test = cnn.data.split(digits, [size / digits.size for size in SIZES])
    few = train.take(np.arange(FEW))
    result = Result({}, {}, {}, {}, {}, {}, {})
    for name, model in MODELS.items():
        result.weights[name] = cnn.summary(model, SHAPE).parameters
        epochs = _epochs(model)
        runs = [
            _until_good(model, epochs(centred(train), seed), centred(validation)) for seed in seeds
        ]
        result.epochs[name] = [length for _, length in runs]
        result.by_shift[name] = np.array(
            [[_shifted(model, params, test, shift) for shift in SHIFTS] for params, _ in runs]
        )
        if name not in PERMUTED_MODELS:
            continue
        runs = [
            _until_good(model, epochs(permuted(train), seed), permuted(validation))
            for seed in seeds
        ]
        result.permuted_epochs[name] = [length for _, length in runs]
        result.permuted[name] = np.array(
            [_accuracy(model, params, permuted(test)) for params, _ in runs]
        )
        result.few[name] = np.array(
            [_curve(model, epochs(centred(few), seed), centred(test)) for seed in seeds]
        )
        result.few_permuted[name] = np.array(
            [_curve(model, epochs(permuted(few), seed), permuted(test)) for seed in seeds]
        )
    return result


def place(images: ArrayLike, down: int = 0, right: int = 0) -> np.ndarray:
    """Puts pictures `[n, 8, 8, 1]` on black canvases `[n, 14, 14, 1]`, off the centre if need be.

    >>> place(np.ones((1, 8, 8, 1), np.float32), down=3)[0, :, 7, 0].astype(int).tolist()
    [0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1]
    """
    digits = np.asarray(images)
    canvas = np.zeros((len(digits), *SHAPE), digits.dtype)
    top, left = MARGIN + down, MARGIN + right
    canvas[:, top : top + 8, left : left + 8] = digits
    return canvas


def centred(digits: Dataset) -> Dataset:
    """The digits in the middle of their canvases."""
    return digits._replace(images=place(digits.images))


def permuted(digits: Dataset) -> Dataset:
    """The same with their pixels in another order, one order for all of them."""
    pictures = place(digits.images)
    pixels = pictures.reshape(len(pictures), -1)[:, ORDER]
    return digits._replace(images=pixels.reshape(pictures.shape))


def _epochs(model: cnn.Layer) -> Callable[[Dataset, int], Iterator[Any]]:
    """Returns a function `(train, seed)` that yields the parameters after each epoch, for ever."""
    step = cnn.train.make_step(model, OPTIMIZER)
    create = jax.jit(lambda key: cnn.train.create(model, OPTIMIZER, key, SHAPE))

    def epochs(train: Dataset, seed: int) -> Iterator[Any]:
        state, shuffles = create(jax.random.key(seed)), np.random.RandomState(seed)
        while True:
            for batch in cnn.data.batches(train, BATCH_SIZE, seed=int(shuffles.randint(2**31))):
                state, _ = step(state, batch)
            yield state.params

    return epochs


def _until_good(model: cnn.Layer, epochs: Iterator[Any], validation: Dataset) -> tuple[Any, int]:
    """The parameters after the first epoch that is good enough, or the last, and its number."""
    for number in range(1, MAX_EPOCHS):
        params = next(epochs)
        if _accuracy(model, params, validation) >= GOOD_ENOUGH:
            return params, number
    return next(epochs), MAX_EPOCHS


def _curve(model: cnn.Layer, epochs: Iterator[Any], test: Dataset) -> list[float]:
    return [_accuracy(model, next(epochs), test) for _ in range(FEW_EPOCHS)]


def _accuracy(model: cnn.Layer, params: Any, digits: Dataset) -> float:
    metrics = cnn.train.evaluate(model, params, digits, batch_size=digits.size)
    return float(metrics["accuracy"])


def _shifted(model: cnn.Layer, params: Any, test: Dataset, shift: int) -> float:
    shifts = {(down * shift, right * shift) for down, right in DIRECTIONS}
    pictures = [test._replace(images=place(test.images, *by)) for by in sorted(shifts)]
    return float(np.mean([_accuracy(model, params, picture) for picture in pictures]))


def board(result: Result) -> str:
    """Both measurements as tables, and what they show."""
    dense, convolutional, in_steps = (result.by_shift[name].mean(0) for name in MODELS)
    curves = result.few[CONVOLUTIONAL], result.few_permuted[CONVOLUTIONAL]
    fall = curves[0][:, -1].mean() - curves[1][:, -1].mean()
    seeds = len(result.epochs[CONVOLUTIONAL])
    return "\n\n".join(
        [
            paragraph(
                "A picture's neighbours belong together (spatial locality), and a thing is the",
                "same thing elsewhere (translation invariance). A filter assumes both; a fully",
                "connected layer assumes neither. What is that worth?",
            ),
            paragraph(
                f"Digits of 8x8 on canvases of {CANVAS}x{CANVAS}. All networks learn from",
                f"{SIZES[0]} centred digits and stop when {GOOD_ENOUGH:.0%} of {SIZES[1]} others",
                f"are right. Then come {SIZES[2]} new digits, shifted (accuracy in %, mean over",
                f"four directions and {seeds} seeds, ± half the range of the seeds):",
            ),
            table(
                ["shift", *(f"{shift} px" for shift in SHIFTS), "weights", "epochs"],
                [
                    [
                        name,
                        *(_percent(accuracies[:, shift]) for shift in SHIFTS),
                        str(result.weights[name]),
                        _list(result.epochs[name]),
                    ]
                    for name, accuracies in result.by_shift.items()
                ],
            ),
            paragraph(
                f"Equally good on centred digits ({dense[0]:.1%} and {convolutional[0]:.1%}). But",
                f"a shift of 2 pixels takes the fully connected network to {dense[2]:.1%}, and the",
                "convolutional one, with the same filters everywhere and one maximum over all",
                f"places, to {convolutional[2]:.1%}. Filters alone are not enough: pooled in steps",
                "and then fully connected, as in part 6, the network still learns where things",
                f"were, and falls to {in_steps[2]:.1%}.",
            ),
            paragraph(
                "Now the pixels change places, in every picture in the same way. Nothing is lost,",
                "but neighbours are no longer neighbours. Centred digits:",
            ),
            table(
                ["", "in order", "permuted", "epochs in order", "permuted"],
                [
                    *(_permuted_row(result, name) for name in PERMUTED_MODELS),
                    *(_few_row(result, name) for name in PERMUTED_MODELS),
                ],
            ),
            paragraph(
                "To the fully connected network it is all one. The convolutional one has lost its",
                f"head start: with {FEW} digits it falls by {100 * fall:.1f} points. With",
                f"{SIZES[0]} it learns even this puzzle, but takes longer (all training ends after",
                f"{MAX_EPOCHS} epochs at the latest).",
            ),
        ]
    )


def _permuted_row(result: Result, name: str) -> list[str]:
    return [
        f"{name}, {SIZES[0]} digits",
        _percent(result.by_shift[name][:, 0]),
        _percent(result.permuted[name]),
        _list(result.epochs[name]),
        _list(result.permuted_epochs[name]),
    ]


def _few_row(result: Result, name: str) -> list[str]:
    return [
        f"{name}, {FEW} digits",
        _percent(result.few[name][:, -1]),
        _percent(result.few_permuted[name][:, -1]),
        str(FEW_EPOCHS),
        str(FEW_EPOCHS),
    ]


def figures(result: Result) -> dict[str, Figure]:
    """Accuracy against shift, and the learning curves in order and permuted."""
    return {"shifted": _shifted_figure(result), "permuted": _permuted_figure(result)}


@styled
def _shifted_figure(result: Result) -> Figure:
    figure, (axes,) = panels("Trained on centred digits, tested on shifted ones", width=8.0)
    style(axes, "", "shift of the test digits, pixels", "accuracy, %")
    looks = {
        FULLY_CONNECTED: (ORANGE, "s", "--"),
        CONVOLUTIONAL: (BLUE, "o", "-"),
        IN_STEPS: (GREEN, "^", ":"),
    }
    for name, (colour, marker, line) in looks.items():
        _draw_curve(axes, SHIFTS, result.by_shift[name], name, colour, line, marker)
    axes.axhline(10, color=FAINT, linewidth=1)
    axes.annotate("guessing", (0, 10), (0, 4), textcoords="offset points", size=9.5, color=FAINT)
    axes.set(ylim=(0, 103), xticks=SHIFTS, xlim=(-0.25, SHIFTS[-1] + 0.25))
    axes.legend(fontsize=10.5, loc="center right", bbox_to_anchor=(1.0, 0.66), frameon=False)
    figure.set_size_inches(8.0, 6.2)
    # Room below for the pictures' lower edge.
    room = (0.0, 0.03, 1.0, 0.97)
    figure.set_layout_engine(ConstrainedLayoutEngine(w_pad=0.15, h_pad=0.12, rect=room))
    example = cnn.data.digits().images[3:4]
    span = SHIFTS[-1] + 0.5
    for shift in SHIFTS:
        inset = axes.inset_axes(((shift + 0.25) / span - 0.075, -0.41, 0.15, 0.23))
        _picture(inset, place(example, right=shift)[0], "")
    return figure


@styled
def _permuted_figure(result: Result) -> Figure:
    figure = Figure(
        figsize=(10.4, 4.6),
        layout=ConstrainedLayoutEngine(w_pad=0.15, h_pad=0.12),
        facecolor="white",
    )
    figure.suptitle("The same pixels in another order", size=14, weight="bold", color=INK)
    places = figure.subplot_mosaic(
        [["order", "curves"], ["permuted", "curves"]], width_ratios=[1, 3]
    )
    digits = cnn.data.digits().take(np.array([3]))
    _picture(places["order"], centred(digits).images[0], "in order")
    _picture(places["permuted"], permuted(digits).images[0], "permuted")
    axes = places["curves"]
    style(axes, f"Learning from {FEW} digits", "epoch", "accuracy on test digits, %")
    epochs = range(1, FEW_EPOCHS + 1)
    for name, colour in ((FULLY_CONNECTED, ORANGE), (CONVOLUTIONAL, BLUE)):
        _draw_curve(axes, epochs, result.few[name], f"{name}, in order", colour, "-")
        _draw_curve(axes, epochs, result.few_permuted[name], f"{name}, permuted", colour, "--")
    axes.set(ylim=(0, 100), xlim=(0.5, FEW_EPOCHS + 0.5), xticks=[1, 5, 10, 15, 20])
    axes.legend(fontsize=10.5, loc="lower right", frameon=False)
    return figure


def _draw_curve(
    axes: Axes,
    x: Sequence[int],
    accuracies: np.ndarray,
    label: str,
    colour: str,
    line: str,
    marker: str = "",
) -> None:
    """Draws the mean over seeds, with a band from the worst to the best."""
    percent = 100 * accuracies
    axes.fill_between(x, percent.min(0), percent.max(0), color=colour, alpha=0.15, linewidth=0)
    axes.plot(
        x,
        percent.mean(0),
        line,
        color=colour,
        marker=marker,
        markersize=7,
        linewidth=2,
        label=label,
    )


def _picture(axes: Axes, picture: ArrayLike, title: str) -> None:
    bare(axes)
    axes.imshow(np.asarray(picture)[..., 0], cmap="gray", vmin=0, vmax=1)
    axes.set_title(title, size=11, color=INK)


def _percent(accuracies: np.ndarray) -> str:
    spread = 100 * float(accuracies.max() - accuracies.min()) / 2
    return f"{100 * accuracies.mean():.1f} ± {spread:.1f}"


def _list(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))
