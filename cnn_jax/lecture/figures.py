"""Figures as a teacher draws them: picture, filter and result side by side, numbers in cells.

The colours stay apart for colour-blind readers: blue below zero, orange above, magenta for the
window that is being looked at.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_rgb
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Rectangle
from numpy.typing import ArrayLike

from cnn_jax.lecture.board import Window, number
from cnn_jax.plots.style import FAINT, GRID, INK, styled

MAGENTA = "#c2185b"
PADDING = "#c9ccd1"

SIGNED = LinearSegmentedColormap.from_list("signed", ["#2f86c1", "#ffffff", "#f0a830"])

# What full red, green and blue are drawn as; together they are white.
_PAINTS = np.array([[0.84, 0.19, 0.17], [0.16, 0.62, 0.24], [0.18, 0.42, 0.80]])
_CENTRED: Any = {"ha": "center", "va": "center"}
_CELL = 0.46  # inches
_GAP = 0.55  # cells between two things in a row
_LINE = 0.52  # cells from one line of a caption to the next
_LETTER = 0.165  # cells that one letter of a caption takes


@dataclass(frozen=True)
class Grid:
    """A matrix drawn as cells with its numbers in them.

    `values` is `[rows, columns]`, or `[rows, columns, 3]` for a colour picture (0..1). A vector is
    drawn as one row. `texts` stands in the cells in place of the numbers. The cells in `window` get
    a frame; the outermost `padding` cells (an int, or one for rows and one for columns) are grey.
    """

    values: ArrayLike
    title: str = ""
    note: str = ""
    colours: Literal["picture", "signed", "plain"] = "signed"
    texts: Any = None
    window: Window | None = None
    padding: int | tuple[int, int] = 0
    strongest: float | None = None

    @property
    def cells(self) -> np.ndarray:
        values = np.asarray(self.values)
        return values[None] if values.ndim == 1 else values

    @property
    def rows(self) -> int:
        return self.cells.shape[0]

    @property
    def columns(self) -> int:
        return self.cells.shape[1]


@styled
def side_by_side(*rows: Sequence[Grid | str], title: str = "") -> Figure:
    """Rows of grids with signs such as `"="` between them; all cells have one size.

    Rows of equally many items stand in columns; others are centred.
    """
    widths = [[_width(item) for item in row] for row in rows]
    if len({len(row) for row in rows}) == 1:
        widths = [[max(column) for column in zip(*widths, strict=True)]] * len(rows)
    row_widths = [sum(row) + _GAP * (len(row) - 1) for row in widths]
    heights = [_above(row) + _below(row) for row in rows]
    width = max([*row_widths, len(title) * _LETTER * 1.45]) + 1.0
    height = sum(heights) + 0.7 * (len(rows) - 1) + (1.4 if title else 0.0) + 0.6
    figure = Figure(figsize=(width * _CELL, height * _CELL), facecolor="white")
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.set_axis_off()
    y = 0.3
    if title:
        axes.text(width / 2, y + 0.5, title, size=14, weight="bold", color=INK, **_CENTRED)
        y += 1.4
    for row, item_widths, row_width, row_height in zip(
        rows, widths, row_widths, heights, strict=True
    ):
        _draw_row(axes, row, item_widths, (width - row_width) / 2, y + _above(row))
        y += row_height + 0.7
    return figure


def painted(picture: ArrayLike, sheet: int | None = None) -> np.ndarray:
    """Colours `[h, w, 3]` to draw a picture `[3, h, w]` with, or one of its three sheets.

    Softer than a screen's pure red, green and blue, and with the same order of brightness.
    """
    shares = np.moveaxis(np.asarray(picture, float), 0, -1)
    shares = shares / max(1.0, float(shares.max()))
    if sheet is not None:
        shares = shares * np.eye(3)[sheet]
    return np.clip(shares @ _PAINTS, 0, 1)


def panels(title: str, count: int = 1, width: float = 5.2) -> tuple[Figure, list[Axes]]:
    """A figure with empty charts side by side, each `width` inches wide; call it `styled`."""
    figure = Figure(
        figsize=(width * count, 4.4),
        layout=ConstrainedLayoutEngine(w_pad=0.15, h_pad=0.12),
        facecolor="white",
    )
    figure.suptitle(title, size=14, weight="bold", color=INK)
    return figure, list(figure.subplots(1, count, squeeze=False)[0])


def style(axes: Axes, title: str, x_label: str, y_label: str) -> None:
    """Gives axes the lecture's look: a title to the left, faint grid, no box."""
    axes.set_title(title, loc="left", size=11.5, color=INK, pad=10)
    axes.set_xlabel(x_label, size=11, color=INK)
    axes.set_ylabel(y_label, size=11, color=INK)
    axes.tick_params(labelsize=10, colors=INK, length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(FAINT)
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)


def _lines(text: str) -> list[str]:
    return text.split("\n") if text else []


def _width(item: Grid | str) -> float:
    if isinstance(item, str):
        return max(0.5, len(item) * 0.26)
    captions = [*_lines(item.title), *_lines(item.note)]
    return max([item.columns, *(len(line) * _LETTER for line in captions)])


def _above(row: Sequence[Grid | str]) -> float:
    return max(_caption(item.title) + item.rows / 2 for item in row if isinstance(item, Grid))


def _below(row: Sequence[Grid | str]) -> float:
    return max(_caption(item.note) + item.rows / 2 for item in row if isinstance(item, Grid))


def _caption(text: str) -> float:
    return _LINE * len(_lines(text)) + 0.2 if text else 0.0


def _draw_row(
    axes: Axes, row: Sequence[Grid | str], widths: Sequence[float], x: float, middle: float
) -> None:
    # The grids' middles share one line, whatever captions they have.
    for item, width in zip(row, widths, strict=True):
        if isinstance(item, str):
            axes.text(x + width / 2, middle, item, size=18, color=INK, **_CENTRED)
        else:
            _draw_grid(axes, item, x + (width - item.columns) / 2, middle - item.rows / 2)
        x += width + _GAP


def _draw_grid(axes: Axes, grid: Grid, x: float, y: float) -> None:
    colours = _cell_colours(grid)
    texts = _cell_texts(grid)
    for row in range(grid.rows):
        for column in range(grid.columns):
            colour = colours[row, column]
            axes.add_patch(
                Rectangle(
                    (x + column, y + row), 1, 1, facecolor=colour, edgecolor="#9a9a9a", lw=0.8
                )
            )
            text = texts[row][column]
            axes.text(
                x + column + 0.5,
                y + row + 0.5,
                text,
                **_CENTRED,
                size=_text_size(text),
                color="white" if _luminance(colour) < 0.53 else INK,
            )
    frame = {"fill": False, "lw": 1.4, "edgecolor": INK}
    axes.add_patch(Rectangle((x, y), grid.columns, grid.rows, **frame))
    if grid.window is not None:
        rows, columns = (
            grid.window if isinstance(grid.window, tuple) else (slice(None), grid.window)
        )
        top, bottom, _ = rows.indices(grid.rows)
        left, right, _ = columns.indices(grid.columns)
        frame = {"fill": False, "lw": 3.2, "edgecolor": MAGENTA, "joinstyle": "round"}
        axes.add_patch(Rectangle((x + left, y + top), right - left, bottom - top, **frame))
    centre = x + grid.columns / 2
    for index, line in enumerate(reversed(_lines(grid.title))):
        _caption_line(axes, centre, y - 0.35 - _LINE * index, line)
    for index, line in enumerate(_lines(grid.note)):
        _caption_line(axes, centre, y + grid.rows + 0.7 + _LINE * index, line)


def _caption_line(axes: Axes, x: float, y: float, line: str) -> None:
    axes.text(x, y, line, ha="center", va="baseline", size=11, color=INK)


def _cell_colours(grid: Grid) -> np.ndarray:
    cells = grid.cells
    if cells.ndim == 3:
        colours = cells.astype(float)
    elif grid.colours == "plain":
        colours = np.ones((grid.rows, grid.columns, 3))
    elif grid.colours == "picture":
        highest = grid.strongest or max(1.0, float(cells.max()))
        colours = np.repeat((cells / highest)[..., None], 3, axis=-1).astype(float)
    else:
        highest = grid.strongest or max(1.0, float(np.abs(cells).max()))
        colours = SIGNED(cells / highest / 2 + 0.5)[..., :3]
    colours = np.array(colours)
    rows, columns = (
        grid.padding if isinstance(grid.padding, tuple) else (grid.padding, grid.padding)
    )
    inside = np.zeros(cells.shape[:2], bool)
    inside[rows : grid.rows - rows, columns : grid.columns - columns] = True
    colours[~inside] = to_rgb(PADDING)
    return colours


def _cell_texts(grid: Grid) -> list[list[str]]:
    if grid.texts is not None:
        texts = np.atleast_2d(np.asarray(grid.texts))
        return [[str(text) for text in row] for row in texts]
    if grid.cells.ndim == 3:
        return [[""] * grid.columns for _ in range(grid.rows)]
    return [[number(value, digits=2) for value in row] for row in grid.cells]


def _text_size(text: str) -> float:
    three = 12 if text.startswith("-") else 11
    return {0: 12, 1: 12, 2: 12, 3: three, 4: 10}.get(len(text), 8.5)


def _luminance(colour: ArrayLike) -> float:
    return float(np.asarray(colour) @ np.array([0.299, 0.587, 0.114]))
