"""What a lecturer writes on a board, as text: aligned matrices, and the window being multiplied."""

import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

# A window: the index that cuts it out of a vector or matrix, such as ``np.s_[0:3, 2:5]``.
Window = slice | tuple[slice, slice]

_ASCII = str.maketrans(
    {
        **dict.fromkeys("⎡⎢⎣│", "|"),
        **dict.fromkeys("⎤⎥⎦", "|"),
        **dict.fromkeys("┌┐└┘", "+"),
        "─": "-",
        "·": "*",
        "×": "x",
        "∂": "d",
        "→": ">",
        "≥": ">",
        "±": "~",
        "²": "2",
    }
)


def number(value: Any, digits: int = 3) -> str:
    """One number as it stands on a board: whole numbers bare, others to `digits` places.

    >>> number(3.0), number(-0.0), number(0.12345)
    ('3', '0', '0.123')
    """
    if isinstance(value, str):
        return value
    rounded = round(float(value), digits) + 0.0  # adding 0 turns -0.0 into 0.0
    return f"{rounded:.0f}" if rounded == int(rounded) else f"{rounded:.{digits}f}"


def matrix(values: ArrayLike, window: Window | None = None, digits: int = 3) -> str:
    """A matrix in brackets, its columns aligned; the cells in `window` stand in a frame.

    `values` is a vector (written as one row) or a matrix, of numbers or of strings.

    >>> print(matrix([[1, -4], [0, 2]]))
    ⎡ 1  -4 ⎤
    ⎣ 0   2 ⎦
    >>> print(matrix([0, 0, 1, 1], np.s_[1:4]))
        ┌─────────┐
    [ 0 │ 0  1  1 │ ]
        └─────────┘
    """
    cells = np.atleast_2d(np.asarray(values))
    texts = [[number(value, digits) for value in row] for row in cells]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    aligned = [
        [text.rjust(width) for text, width in zip(row, widths, strict=True)] for row in texts
    ]
    if window is None:
        return _bracketed("  ".join(row) for row in aligned)
    rows, columns = window if isinstance(window, tuple) else (slice(None), window)
    top, bottom, _ = rows.indices(len(aligned))
    left, right, _ = columns.indices(len(widths))
    lines = [
        _framed(row, left, right, "│" if top <= index < bottom else " ")
        for index, row in enumerate(aligned)
    ]
    start, stop = lines[top].index("│"), lines[top].rindex("│")
    before, inside, after = " " * start, "─" * (stop - start - 1), " " * len(lines[top][stop + 1 :])
    upper, lower = f"{before}┌{inside}┐{after}", f"{before}└{inside}┘{after}"
    if len(lines) == 1:
        return f"  {upper}\n{_bracketed(lines)}\n  {lower}"
    return _bracketed([*lines[:top], upper, *lines[top:bottom], lower, *lines[bottom:]])


def titled(title: str, block: str) -> str:
    """A block of text with its title centred above it.

    >>> print(titled("W", matrix([[1], [2]])))
      W
    ⎡ 1 ⎤
    ⎣ 2 ⎦
    """
    lines = block.split("\n")
    width = max(len(title), *map(len, lines))
    return "\n".join(line.center(width).rstrip() for line in [title, *lines])


def beside(*blocks: str, gap: int = 2) -> str:
    """Blocks of text side by side, their middles on one line.

    >>> print(beside(matrix([[1], [2]]), "+", matrix([[3], [4]])))
    ⎡ 1 ⎤     ⎡ 3 ⎤
    ⎣ 2 ⎦  +  ⎣ 4 ⎦
    """
    columns = [block.split("\n") for block in blocks]
    height = max(map(len, columns))
    padded = []
    for column in columns:
        above = (height - len(column) + 1) // 2
        width = max(map(len, column))
        lines = [""] * above + column + [""] * (height - len(column) - above)
        padded.append([line.ljust(width) for line in lines])
    return "\n".join((" " * gap).join(lines).rstrip() for lines in zip(*padded, strict=True))


def paragraph(*sentences: str) -> str:
    """Running text, broken into lines.

    >>> print(paragraph("A filter sees one window.", "It sees every window in turn."))
    A filter sees one window. It sees every window in turn.
    """
    return textwrap.fill(" ".join(sentences), 88, break_on_hyphens=False)


def products(values: ArrayLike, weights: ArrayLike, bias: float | None = None) -> str:
    """A sum of products, written out.

    >>> products([0, 0, 1], [-1, 1, -1])
    '0·(-1) + 0·1 + 1·(-1) = -1'
    >>> products([0, 0, 1], [-1, 1, -1], bias=1)
    '0·(-1) + 0·1 + 1·(-1) + 1 = 0'
    """
    values, weights = np.ravel(values), np.ravel(weights)
    terms = [
        f"{_factor(value)}·{_factor(weight)}" for value, weight in zip(values, weights, strict=True)
    ]
    total = float(values @ weights)
    if bias is not None:
        terms.append(_factor(bias))
        total += bias
    return f"{' + '.join(terms)} = {number(total)}"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Columns of text under a header: the first column to the left, the others to the right.

    >>> print(table(["layer", "weights"], [["conv", "4"], ["dense", "110"]]))
    layer  weights
    conv         4
    dense      110
    """
    lines = [list(header), *map(list, rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            text.rjust(width) if column else text.ljust(width)
            for column, (text, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def plain(text: str) -> str:
    """The same board in ASCII, for terminals that have nothing else.

    >>> print(plain(matrix([[1, 0], [0, 1]])))
    | 1  0 |
    | 0  1 |
    """
    return text.translate(_ASCII).encode("ascii", "replace").decode()


def _bracketed(lines: Iterable[str]) -> str:
    lines = list(lines)
    if len(lines) == 1:
        return f"[ {lines[0]} ]"
    sides = ["⎡⎤", *["⎢⎥"] * (len(lines) - 2), "⎣⎦"]
    return "\n".join(
        f"{left} {line} {right}" for (left, right), line in zip(sides, lines, strict=True)
    )


def _framed(row: Sequence[str], left: int, right: int, side: str) -> str:
    groups = ["  ".join(part) for part in (row[:left], row[left:right], row[right:])]
    before, inside, after = groups
    return f"{before}{' ' * bool(before)}{side} {inside} {side}{' ' * bool(after)}{after}"


def _factor(value: Any) -> str:
    text = number(value)
    return f"({text})" if text.startswith("-") else text
