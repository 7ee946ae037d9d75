"""Part 4: a colour picture is a tensor, so are its filters, and each filter makes a channel."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from cnn_jax import ops
from cnn_jax.lecture.board import beside, matrix, number, table, titled
from cnn_jax.lecture.figures import Grid, painted, side_by_side

# W white, R red, G green, dots black.
PICTURE = ("W....", "W..R.", "W....", "W.GGG", "W....")
LETTERS = [list(row.replace(".", " ")) for row in PICTURE]
COLOURS = {".": (0, 0, 0), "R": (1, 0, 0), "G": (0, 1, 0), "W": (1, 1, 1)}

_NOTHING = ((0, 0, 0), (0, 0, 0), (0, 0, 0))
_LONELY = ((-1, -1, -1), (-1, 1, -1), (-1, -1, -1))
_ABSENT = ((0, 0, 0), (0, -1, 0), (0, 0, 0))
_UPRIGHT = ((-1, 1, -1), (-1, 1, -1), (-1, 1, -1))
_LEVEL = ((-1, -1, -1), (1, 1, 1), (-1, -1, -1))

# Each filter has one slice for each of red, green and blue.
FILTERS = {
    "lonely red pixel": (_LONELY, _ABSENT, _ABSENT),
    "upright white line": (_UPRIGHT, _UPRIGHT, _UPRIGHT),
    "level green line": (_NOTHING, _LEVEL, _NOTHING),
}


class Result(NamedTuple):
    """A colour picture, a bank of three filters, and the three channels they make."""

    picture: jax.Array
    """`[5, 5, 3]`: height, width, colours."""
    bank: jax.Array
    """`[3, 3, 3, 3]`: height, width, colours in, channels out."""
    single: jax.Array
    """`[5, 5]`: the picture correlated with the first filter alone."""
    by_colour: jax.Array
    """`[3, 5, 5]`: each colour correlated with its slice of the first filter."""
    channels: jax.Array
    """`[5, 5, 3]`: the picture correlated with the bank."""
    rectified: jax.Array
    """`[5, 5, 3]`: ReLU of `channels`."""


def compute() -> Result:
    """Correlates a colour picture with one 3-D filter, then with a bank of three.

    >>> result = compute()
    >>> result.channels.shape, result.rectified.max(axis=(0, 1)).tolist()
    ((5, 5, 3), [1.0, 9.0, 3.0])
    """
    picture = jnp.array([[COLOURS[letter] for letter in row] for row in PICTURE], jnp.float32)
    # Written [filter, colour, height, width] above; a kernel is [height, width, in, out].
    bank = jnp.array(list(FILTERS.values()), jnp.float32).transpose(2, 3, 1, 0)
    single = ops.correlate(picture, bank[..., :1], padding="SAME")[..., 0]
    by_colour = [
        ops.correlate(picture[..., [colour]], bank[:, :, [colour], :1], padding="SAME")[..., 0]
        for colour in range(3)
    ]
    channels = ops.correlate(picture, bank, padding="SAME")
    return Result(picture, bank, single, jnp.stack(by_colour), channels, ops.relu(channels))


def board(result: Result) -> str:
    """Shapes of tensors, one window of 27 products, and the three channels."""
    picture, bank = np.asarray(result.picture), np.asarray(result.bank)
    window = np.s_[0:3, 2:5]
    first = bank[..., 0]
    values = picture[window]
    sums = (values * first).sum((0, 1))
    lines = [
        "A tensor is an array of numbers with any number of dimensions.",
        "",
        table(
            ["tensor", "dimensions", "shape here"],
            [
                ["signal", "1 (vector)", "[10]"],
                ["black-and-white picture", "2 (matrix)", "[5, 5]"],
                ["colour picture", "3", _shape(result.picture)],
                ["filter bank", "4", _shape(result.bank)],
            ],
        ),
        "",
        "(The library keeps channels last: height x width x 3, where the notes write",
        "3 x height x width. The numbers are the same.)",
        "",
        "A filter for a colour picture has a slice for each colour. At the red pixel, row 2,",
        "column 4, the first filter sums 27 products:",
    ]
    for index, colour in enumerate(("red", "green", "blue")):
        lines += [
            "",
            beside(
                titled(f"{colour} of the picture", matrix(picture[..., index], window)),
                titled("filter", matrix(first[..., index])),
                titled("products", matrix((values * first)[..., index])),
                f"sum = {number(sums[index])}",
            ),
        ]
    lines += [
        "",
        f"    {' + '.join(map(number, sums))} = {number(sums.sum())}",
        "",
        f"Three filters make a bank {_shape(result.bank)}; each makes one channel of the result",
        f"{_shape(result.channels)}. After ReLU:",
        "",
        beside(
            *[
                titled(name, matrix(np.asarray(result.rectified)[..., index]))
                for index, name in enumerate(FILTERS)
            ],
            gap=4,
        ),
    ]
    return "\n".join(lines)


def figures(result: Result) -> dict[str, Figure]:
    """One filter taken apart by colour, and the whole bank with its channels."""
    picture, bank = np.asarray(result.picture), np.asarray(result.bank)
    window = np.s_[0:3, 2:5]
    shares = np.asarray(result.by_colour)
    strongest = float(np.abs(shares).max())
    sheets = picture.transpose(2, 0, 1)
    drawn = painted(sheets)
    here = np.s_[1:2, 3:4]
    rows = [
        [
            Grid(
                painted(sheets, index),
                f"the picture's {colour}",
                texts=[[number(value) for value in row] for row in sheets[index]],
                window=window,
            ),
            "∗",
            Grid(bank[..., index, 0], f"filter, {colour}"),
            "=",
            Grid(shares[index], f"share of {colour}", window=here, strongest=strongest),
        ]
        for index, colour in enumerate(("red", "green", "blue"))
    ]
    rows.append(
        [
            Grid(drawn, "the picture", texts=LETTERS, window=window),
            "→",
            Grid(result.single, "sum of the shares", window=here, strongest=strongest),
            "→",
            Grid(result.rectified[..., 0], "after ReLU", window=here),
        ]
    )
    bank_rows = [
        [
            Grid(drawn, "picture", texts=LETTERS),
            "∗",
            *_slices(bank[..., index]),
            "→",
            Grid(
                np.asarray(result.rectified)[..., index],
                f"channel {index + 1}: {name}",
            ),
        ]
        for index, name in enumerate(FILTERS)
    ]
    return {
        "one-filter": side_by_side(*rows, title="One filter on a colour picture: 27 products"),
        "filter-bank": side_by_side(*bank_rows, title="A bank of three filters: three channels"),
    }


def _slices(filter_3d: np.ndarray) -> list[Grid]:
    return [
        Grid(filter_3d[..., index], colour) for index, colour in enumerate(("red", "green", "blue"))
    ]


def _shape(array: jax.Array) -> str:
    return str(list(array.shape))
