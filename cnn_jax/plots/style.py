"""The look that all pictures share."""

import functools
from collections.abc import Callable
from typing import Any, ParamSpec

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter

INK = "#22303c"
FAINT = "#8896a4"
GRID = "#e3e8ed"
BLUE = "#2f6fb3"
ORANGE = "#d9722a"
RED = "#c0392b"
GREEN = "#2e8b57"

_STYLE: Any = {
    "figure.dpi": 150,
    "savefig.dpi": 150,
    "figure.facecolor": "white",
    "font.size": 10,
    "text.color": INK,
    # Names of classes are no formulas, whatever dollars they hold.
    "text.parse_math": False,
    "axes.labelcolor": INK,
    "axes.edgecolor": FAINT,
    # Sizes in points: relative ones would follow the user's own font size when a figure is drawn.
    "axes.titlesize": 11,
    "axes.labelsize": 10,
    "xtick.labelsize": 10,
    "ytick.labelsize": 10,
    "legend.fontsize": 10,
    "axes.titlecolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": False,
    "grid.color": GRID,
    "xtick.color": INK,
    "ytick.color": INK,
    "image.interpolation": "nearest",
    "legend.frameon": False,
}

Arguments = ParamSpec("Arguments")


class NothingToDrawError(ValueError):
    """The model has nothing of the kind that a picture shows."""


def styled(draw: Callable[Arguments, Figure]) -> Callable[Arguments, Figure]:
    """Run a drawing function under the common style, whatever the user's own settings are."""

    @functools.wraps(draw)
    def wrapped(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Figure:
        with mpl.rc_context():
            mpl.rcdefaults()
            mpl.rcParams.update(_STYLE)
            figure = draw(*args, **kwargs)
            figure.draw_without_rendering()  # ticks are made, and styled, when first drawn
            return figure

    return wrapped


def new_figure(width: float, height: float, title: str) -> Figure:
    """Return a figure of `width` x `height` inches that keeps its parts from overlapping."""
    figure = Figure(figsize=(width, height), layout="constrained")
    figure.suptitle(title, fontsize=13, fontweight="bold", color=INK)
    return figure


class PlainLogFormatter(LogFormatter):
    """Labels the ticks that `LogFormatter` labels, as 0.1 and not as 1e-01."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        """Return the label of one tick, or nothing."""
        return f"{x:g}" if super().__call__(x, pos) else ""


def bare(axes: Axes) -> None:
    """Take away ticks and frame, for axes that hold a picture."""
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)


def show_picture(axes: Axes, picture: np.ndarray) -> None:
    """Draw `[h, w, channels]`: one channel as ink on paper, three as colours, else the mean."""
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set(visible=True, color=GRID)
    picture = np.asarray(picture, np.float32)
    if picture.max(initial=0.0) > 1.0:
        picture = picture / 255.0
    if picture.shape[-1] == 3:
        axes.imshow(np.clip(picture, 0, 1))
    else:
        axes.imshow(picture.mean(axis=-1), cmap="gray_r", vmin=0, vmax=1)


def mosaic(tiles: np.ndarray, columns: int, gap: int = 1) -> np.ma.MaskedArray:
    """Lay `tiles: [n, h, w]` out in rows of `columns`, with masked gaps of `gap` pixels between."""
    count, height, width = tiles.shape
    rows = -(-count // columns)
    board = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap), np.nan)
    for i, tile in enumerate(tiles):
        top, left = (i // columns) * (height + gap), (i % columns) * (width + gap)
        board[top : top + height, left : left + width] = tile
    return np.ma.masked_invalid(board)
