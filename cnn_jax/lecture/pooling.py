"""Part 5: max-pooling asks of each window whether the filter found anything there."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

import cnn_jax as cnn
from cnn_jax import ops
from cnn_jax.lecture.board import beside, matrix, number, titled
from cnn_jax.lecture.figures import Grid, side_by_side

SIZE = 3
# The window in the upper right corner, which both strides visit.
WINDOW = np.s_[0:3, 3:6]


class Result(NamedTuple):
    """`picture` `[6, 6]` pooled with stride 1 to `[4, 4]`, with 3 to `[2, 2]`; the weights."""

    picture: jax.Array
    stride_1: jax.Array
    stride_3: jax.Array
    weights: int


def compute() -> Result:
    """Pools a picture with two ones, at (row 2, column 5) and (row 4, column 2).

    >>> compute().stride_1.astype(int).tolist()
    [[0, 0, 1, 1], [1, 1, 1, 1], [1, 1, 0, 0], [1, 1, 0, 0]]
    """
    picture = jnp.zeros((6, 6)).at[2 - 1, 5 - 1].set(1).at[4 - 1, 2 - 1].set(1)
    stride_1 = ops.max_pool(picture[..., None], SIZE, stride=1)[..., 0]
    stride_3 = ops.max_pool(picture[..., None], SIZE, stride=3)[..., 0]
    params = cnn.max_pool(SIZE).init(jax.random.key(0), (6, 6, 1))
    return Result(picture, stride_1, stride_3, sum(map(jnp.size, jax.tree.leaves(params))))


def board(result: Result) -> str:
    """The picture with a window framed, beside what each stride makes of it."""
    values = ", ".join(map(number, np.ravel(result.picture[WINDOW])))
    return "\n".join(
        [
            "A filter and ReLU have left two ones. Max-pooling of size 3 keeps the largest value",
            "of each 3x3 window: it tells that something was found, and roughly where.",
            "",
            beside(
                titled("picture", matrix(result.picture, WINDOW)),
                "→",
                titled("stride 1", matrix(result.stride_1, np.s_[0:1, 3:4])),
                "or",
                titled("stride 3", matrix(result.stride_3, np.s_[0:1, 1:2])),
            ),
            "",
            f"The framed window gives max({values}) = {number(result.stride_1[0, 3])}.",
            "Stride 1 moves the window by one pixel: (6 - 3)/1 + 1 = 4 places a side.",
            "Stride 3 moves it by three: (6 - 3)/3 + 1 = 2 places a side.",
            f"Weights to learn: {result.weights}.",
        ]
    )


def figures(result: Result) -> dict[str, Figure]:
    """The picture and both results, the same window framed."""
    return {
        "pooling": side_by_side(
            [
                Grid(result.picture, "after filter and ReLU", window=WINDOW),
                "→",
                Grid(result.stride_1, "size 3, stride 1", window=np.s_[0:1, 3:4]),
                "or",
                Grid(result.stride_3, "size 3, stride 3", window=np.s_[0:1, 1:2]),
            ],
            title="Max-pooling: the largest value in each window",
        )
    }
