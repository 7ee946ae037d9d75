"""One number for each channel, over a whole array."""

import jax.numpy as jnp
from jax import Array

from cnn_jax.ops.check import Shape


def add_bias(y: Array, bias: Array | None) -> Array:
    """`y + bias` along the last axis."""
    return y if bias is None else y + across(bias, y.shape)


def across(row: Array, shape: Shape) -> Array:
    """A row `[features]` broadcast along the last axis of `shape`.

    Its gradient is a sum, which XLA would round to half precision after every addition: so half
    precision is broadcast, and summed, in float32.
    """
    wide = row.astype("float32") if row.dtype.name in ("bfloat16", "float16") else row
    return jnp.broadcast_to(wide, shape).astype(row.dtype)
