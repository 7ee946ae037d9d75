"""Part 3: the same detector in two dimensions, on the picture of part 1."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from cnn_jax import ops
from cnn_jax.lecture.board import beside, matrix, number, titled
from cnn_jax.lecture.figures import Grid, side_by_side
from cnn_jax.lecture.pictures import PICTURE

FILTER = ((-1, -1, -1), (-1, 1, -1), (-1, -1, -1))


class Result(NamedTuple):
    """The picture `[5, 5]`, the filter `[3, 3]`, their correlation and its ReLU, both `[5, 5]`."""

    picture: jax.Array
    filter: jax.Array
    correlation: jax.Array
    rectified: jax.Array


def compute() -> Result:
    """Correlates the picture, padded with zeros, with the filter.

    >>> compute().correlation[1].astype(int).tolist()
    [-2, -7, -2, -4, 1]
    """
    picture, weights = jnp.array(PICTURE, jnp.float32), jnp.array(FILTER, jnp.float32)
    # Channels last: a picture is [height, width, channels], a kernel [height, width, in, out].
    correlation = ops.correlate(picture[..., None], weights[..., None, None], padding="SAME")
    return Result(picture, weights, correlation[..., 0], ops.relu(correlation[..., 0]))


def board(result: Result) -> str:
    """Two windows multiplied element by element, then the whole result."""
    padded = np.pad(np.asarray(result.picture), 1)
    weights = np.asarray(result.filter)
    lines = [
        "The window and the filter are multiplied element by element (it is no matrix product),",
        "and the nine products are summed.",
    ]
    for row, column in ((1, 1), (2, 5)):
        window = np.s_[row - 1 : row + 2, column - 1 : column + 2]
        terms = padded[window] * weights
        lines += [
            "",
            f"Row {row}, column {column}:",
            "",
            beside(
                titled("padded picture", matrix(padded, window)),
                titled("filter", matrix(weights)),
                titled("products", matrix(terms)),
                f"sum = {number(terms.sum())}",
            ),
        ]
    return "\n".join(
        [
            *lines,
            "",
            beside(
                titled("every window", matrix(result.correlation)),
                "→",
                titled("after ReLU", matrix(result.rectified)),
            ),
            "",
            "One pixel passes: the lonely 1 in row 2, column 5.",
        ]
    )


def figures(result: Result) -> dict[str, Figure]:
    """Padded picture, filter, correlation and ReLU side by side, the lonely pixel framed."""
    here = np.s_[1:2, 4:5]
    return {
        "correlation-2d": side_by_side(
            [
                Grid(
                    np.pad(np.asarray(result.picture), 1),
                    "picture, padded with 0",
                    colours="picture",
                    padding=1,
                    window=np.s_[1:4, 4:7],
                ),
                "∗",
                Grid(result.filter, "filter"),
                "=",
                Grid(result.correlation, "correlation", window=here),
                "→",
                Grid(result.rectified, "after ReLU", window=here),
            ],
            title="Correlation in 2-D: one lonely pixel",
        )
    }
