"""Part 2: one filter slides along a signal and finds its lonely pixels."""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

import cnn_jax as cnn
from cnn_jax import ops
from cnn_jax.lecture.board import beside, matrix, number, products, table, titled
from cnn_jax.lecture.figures import Grid, side_by_side

SIGNAL = (0, 0, 1, 1, 1, 0, 1, 0, 0, 0)
FILTER = (-1, 1, -1)
# The lecture's notes print the filter once with these signs, but give the results of FILTER.
MISPRINTED_FILTER = (1, -1, -1)
BIAS = 1


class Result(NamedTuple):
    """The signal `[10]`, its filter `[3]`, and what comes of them."""

    signal: jax.Array
    filter: jax.Array
    first_products: jax.Array
    """`[3]`, of the first complete window."""
    valid: jax.Array
    """`[8]`: the correlation without padding, m - n + 1 values."""
    same: jax.Array
    """`[10]`: with one 0 at either end."""
    biased: jax.Array
    """`[10]`: with padding and a bias of 1."""
    rectified: jax.Array
    """`[10]`: ReLU of `biased`."""
    lonely_one: float
    """The filter's answer to 0, 1, 0."""
    lonely_zero: float
    """The filter's answer to 1, 0, 1."""
    misprinted: tuple[float, float]
    """What (1, -1, -1) would have answered to those two."""
    lengths: dict[int, int]
    """The outputs without padding of a signal of 10, by the filter's length."""
    weights_convolutional: int
    weights_fully_connected: int


def correlate(
    signal: ArrayLike,
    weights: ArrayLike,
    bias: float | None = None,
    padding: Literal["VALID", "SAME"] = "VALID",
) -> jax.Array:
    """One signal `[m]`, one filter `[n]`: `ops.correlate` with one channel in and out.

    >>> correlate([0, 0, 1, 1], [-1, 1, -1]).tolist()
    [-1.0, 0.0]
    """
    x = jnp.asarray(signal, jnp.float32)[:, None]
    kernel = jnp.asarray(weights, jnp.float32)[:, None, None]
    biases = None if bias is None else jnp.array([bias], jnp.float32)
    return ops.correlate(x, kernel, biases, padding=padding)[:, 0]


def compute() -> Result:
    """Correlates the signal with the filter, without padding, with it, and with a bias and ReLU.

    >>> compute().same.astype(int).tolist()
    [0, -1, 0, -1, 0, -2, 1, -1, 0, 0]
    """
    signal, weights = jnp.array(SIGNAL, jnp.float32), jnp.array(FILTER, jnp.float32)
    biased = correlate(signal, weights, BIAS, padding="SAME")
    lonely = (0, 1, 0), (1, 0, 1)
    one, zero = (correlate(pixels, weights).item() for pixels in lonely)
    misprinted = tuple(correlate(pixels, MISPRINTED_FILTER).item() for pixels in lonely)
    length = len(SIGNAL)
    return Result(
        signal=signal,
        filter=weights,
        first_products=signal[:3] * weights,
        valid=correlate(signal, weights),
        same=correlate(signal, weights, padding="SAME"),
        biased=biased,
        rectified=ops.relu(biased),
        lonely_one=one,
        lonely_zero=zero,
        misprinted=(misprinted[0], misprinted[1]),
        lengths={n: correlate(signal, jnp.ones(n)).size for n in range(1, length + 1)},
        weights_convolutional=_weights(cnn.conv(1, (3,), padding="SAME"), (length, 1)),
        weights_fully_connected=_weights(cnn.dense(length), (length,)),
    )


def board(result: Result) -> str:
    """The first window's products, the ends with and without padding, and what it all costs."""
    signal, weights = np.asarray(result.signal), np.asarray(result.filter)
    padded = np.pad(signal, 1)
    first = slice(0, 3)
    m, n = len(signal), len(weights)
    return "\n".join(
        [
            "The first complete window, times the filter, summed:",
            "",
            beside(
                titled("signal", matrix(signal, first)),
                titled("filter", matrix(weights)),
                titled("products", matrix(result.first_products)),
            ),
            "",
            f"    {products(signal[first], weights)}",
            "",
            f"Without padding the filter fits in m - n + 1 = {m} - {n} + 1 = {m - n + 1} places;",
            "neither the first nor the last pixel is ever in the middle:",
            "",
            f"            {matrix(result.valid)}",
            "",
            f"With a 0 at either end there are {m} again, and the ends have their say:",
            "",
            beside(titled("padded signal", matrix(padded, first)), "→", matrix(result.same)),
            "",
            f"    {products(padded[first], weights)}",
            "",
            f"with bias {BIAS}   {matrix(result.biased)}",
            f"after ReLU    {matrix(result.rectified)}",
            "",
            "What does it detect? Pixels that differ from both neighbours:",
            "",
            f"    a lonely 1:  {products((0, 1, 0), weights)}",
            f"    a lonely 0:  {products((1, 0, 1), weights)}",
            "",
            f"The notes once print this filter as {_tuple(MISPRINTED_FILTER)}. That one would give"
            f" {number(result.misprinted[0])} and {number(result.misprinted[1])};",
            f"the notes' results are those of {_tuple(FILTER)}, which is used here.",
            "",
            f"Weights of a layer with {m} inputs and {m} outputs:",
            "",
            table(
                ["layer", "", "weights with biases"],
                [
                    ["one filter of 3", "3 + 1", str(result.weights_convolutional)],
                    ["fully connected", f"{m} x {m + 1}", str(result.weights_fully_connected)],
                ],
            ),
        ]
    )


def figures(result: Result) -> dict[str, Figure]:
    """The padded signal, and under it every step to the rectified output."""
    padded = np.pad(np.asarray(result.signal), 1)
    lonely = int(np.argmax(result.same))
    here = slice(lonely, lonely + 1)
    largest = float(np.abs(np.asarray(result.biased)).max())
    return {
        "correlation-1d": side_by_side(
            [Grid(result.filter, "filter")],
            [
                Grid(
                    padded,
                    "signal, padded with a 0 at either end",
                    colours="picture",
                    window=slice(lonely, lonely + 3),
                    padding=(0, 1),
                )
            ],
            [Grid(result.same, "correlation", window=here, strongest=largest)],
            [Grid(result.biased, f"with bias {BIAS}", window=here, strongest=largest)],
            [Grid(result.rectified, "after ReLU", window=here, strongest=largest)],
            title="Correlation in 1-D: a detector of lonely pixels",
        )
    }


def _weights(layer: cnn.Layer, shape: tuple[int, ...]) -> int:
    params = jax.eval_shape(lambda key: layer.init(key, shape), jax.random.key(0))
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def _tuple(values: tuple[int, ...]) -> str:
    return f"({', '.join(map(str, values))})"
