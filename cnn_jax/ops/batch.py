"""Any number of batch dimensions as the one that XLA's windowed operations take."""

import math

from jax import Array

from cnn_jax.ops.check import Shape


def flatten_batch(x: Array, rank: int) -> tuple[Array, Shape]:
    """`x` as `[batch, *spatial, channels]`, and the batch dimensions that it had."""
    batch = x.shape[: x.ndim - rank - 1]
    # One batch dimension stays untouched, so that a sharded one never meets a reshape.
    if len(batch) == 1:
        return x, batch
    return x.reshape((math.prod(batch), *x.shape[len(batch) :])), batch


def restore_batch(y: Array, batch: Shape) -> Array:
    """The inverse of `flatten_batch` for its result."""
    return y if len(batch) == 1 else y.reshape((*batch, *y.shape[1:]))
