"""Layers as `(init, apply)` pairs: pure functions that bind `ops` to dicts of parameters.

Sizes that cannot be seen in an array are given, never guessed: a window has the rank of the layer's
input, `flatten` and the global pools are 2-D unless told otherwise, and whatever dimensions come
before are batch.
"""

from cnn_jax.layers.activation import activation, dropout, gelu, relu, sigmoid, silu, tanh
from cnn_jax.layers.compose import residual, serial
from cnn_jax.layers.layer import Apply, Init, Initializer, Layer, Parameters
from cnn_jax.layers.linear import conv, conv_transpose, dense, depthwise_conv, separable_conv
from cnn_jax.layers.normalise import group_norm, layer_norm
from cnn_jax.layers.pool import (
    avg_pool,
    flatten,
    flatten_nd,
    global_avg_pool,
    global_max_pool,
    max_pool,
    min_pool,
)
from cnn_jax.layers.precision import mixed_precision
from cnn_jax.layers.wrap import wrap

__all__ = [
    "Apply",
    "Init",
    "Initializer",
    "Layer",
    "Parameters",
    "activation",
    "avg_pool",
    "conv",
    "conv_transpose",
    "dense",
    "depthwise_conv",
    "dropout",
    "flatten",
    "flatten_nd",
    "gelu",
    "global_avg_pool",
    "global_max_pool",
    "group_norm",
    "layer_norm",
    "max_pool",
    "min_pool",
    "mixed_precision",
    "relu",
    "residual",
    "separable_conv",
    "serial",
    "sigmoid",
    "silu",
    "tanh",
    "wrap",
]
