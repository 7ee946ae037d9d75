"""Pure functions on arrays: correlation, pooling and the dense layer.

Arrays are channels-last, `[*batch, *spatial, channels]`, with any number of batch dimensions;
kernels are `[*window, in_channels / groups, out_channels]`.
"""

from cnn_jax.ops.correlate import convolve, correlate, correlate_shape
from cnn_jax.ops.dense import dense, relu
from cnn_jax.ops.pool import (
    avg_pool,
    global_avg_pool,
    global_max_pool,
    max_pool,
    min_pool,
    pool_shape,
)
from cnn_jax.ops.transpose import correlate_transpose, correlate_transpose_shape

__all__ = [
    "avg_pool",
    "convolve",
    "correlate",
    "correlate_shape",
    "correlate_transpose",
    "correlate_transpose_shape",
    "dense",
    "global_avg_pool",
    "global_max_pool",
    "max_pool",
    "min_pool",
    "pool_shape",
    "relu",
]
