"""Layers that summarise windows or whole pictures, and flatten."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax

from cnn_jax import ops
from cnn_jax.layers.layer import (
    Layer,
    Parameters,
    check_features,
    check_int,
    check_parameters,
    check_shape,
    check_window,
)
from cnn_jax.ops.window import Padding


def max_pool(
    size: int | Sequence[int],
    *,
    stride: int | Sequence[int] | None = None,
    padding: Padding = "VALID",
    dilation: int | Sequence[int] = 1,
) -> Layer:
    """Take the largest number of each window: `ops.max_pool` as a layer.

    An int `size` is square and 2-D; a sequence gives the rank. `stride=None` is the size.

    >>> import jax.numpy as jnp, cnn_jax as cnn
    >>> cnn.max_pool(2).apply({}, jnp.arange(16.0).reshape(4, 4, 1))[..., 0]
    Array([[ 5.,  7.],
           [13., 15.]], dtype=float32)
    """
    sizes = check_window("max_pool", "size", size)
    return _without_parameters(
        "max_pool",
        len(sizes),
        lambda x: ops.max_pool(x, sizes, stride=stride, padding=padding, dilation=dilation),
    )


def min_pool(
    size: int | Sequence[int],
    *,
    stride: int | Sequence[int] | None = None,
    padding: Padding = "VALID",
    dilation: int | Sequence[int] = 1,
) -> Layer:
    """Take the smallest number of each window: `ops.min_pool` as a layer, like `max_pool`.

    >>> import jax.numpy as jnp, cnn_jax as cnn
    >>> cnn.min_pool((2,)).apply({}, jnp.arange(6.0).reshape(6, 1))[..., 0]
    Array([0., 2., 4.], dtype=float32)
    """
    sizes = check_window("min_pool", "size", size)
    return _without_parameters(
        "min_pool",
        len(sizes),
        lambda x: ops.min_pool(x, sizes, stride=stride, padding=padding, dilation=dilation),
    )


def avg_pool(
    size: int | Sequence[int],
    *,
    stride: int | Sequence[int] | None = None,
    padding: Padding = "VALID",
    dilation: int | Sequence[int] = 1,
    count_include_pad: bool = False,
) -> Layer:
    """Average each window: `ops.avg_pool` as a layer, like `max_pool`.

    >>> import jax.numpy as jnp, cnn_jax as cnn
    >>> cnn.avg_pool(2).apply({}, jnp.arange(4.0).reshape(2, 2, 1))[..., 0]
    Array([[1.5]], dtype=float32)
    """
    sizes = check_window("avg_pool", "size", size)
    return _without_parameters(
        "avg_pool",
        len(sizes),
        lambda x: ops.avg_pool(
            x,
            sizes,
            stride=stride,
            padding=padding,
            dilation=dilation,
            count_include_pad=count_include_pad,
        ),
    )


def global_max_pool(spatial: int = 2) -> Layer:
    """Take each channel's largest number over its last `spatial` dimensions before the channels.

    >>> import jax.numpy as jnp, cnn_jax as cnn
    >>> cnn.global_max_pool().apply({}, jnp.zeros((5, 4, 4, 3))).shape
    (5, 3)
    """
    spatial = check_int("global_max_pool", "spatial", spatial)
    return _without_parameters(
        "global_max_pool", spatial, lambda x: ops.global_max_pool(x, spatial=spatial)
    )


def global_avg_pool(spatial: int = 2) -> Layer:
    """Average each channel over its last `spatial` dimensions before the channels.

    Source: Lin et al., 'Network in network', ICLR 2014.

    >>> import jax.numpy as jnp, cnn_jax as cnn
    >>> cnn.global_avg_pool(spatial=1).apply({}, jnp.zeros((5, 100, 3))).shape
    (5, 3)
    """
    spatial = check_int("global_avg_pool", "spatial", spatial)
    return _without_parameters(
        "global_avg_pool", spatial, lambda x: ops.global_avg_pool(x, spatial=spatial)
    )


def flatten_nd(spatial: int) -> Layer:
    """Make one dimension of the last `spatial` dimensions and the channels, in reading order.

    Batch dimensions cannot be told from others by looking at an array, so the number is given:
    1 for signals `[w, c]`, 2 for pictures `[h, w, c]` (that is `flatten`), 3 for volumes.

    >>> import jax.numpy as jnp, cnn_jax as cnn
    >>> cnn.flatten.apply({}, jnp.zeros((5, 4, 4, 3))).shape
    (5, 48)
    >>> cnn.flatten_nd(3).apply({}, jnp.zeros((5, 4, 4, 3))).shape
    (240,)
    """
    spatial = check_int("flatten", "spatial", spatial, least=0)

    def flat(x: jax.Array) -> jax.Array:
        batch, features = x.shape[: -spatial - 1], x.shape[-spatial - 1 :]
        return x.reshape(*batch, math.prod(features))

    return _without_parameters("flatten", spatial, flat)


def _without_parameters(
    kind: str, spatial: int, function: Callable[[jax.Array], jax.Array]
) -> Layer:
    def init(key: jax.Array, shape: Sequence[int], /) -> dict[str, Any]:
        del key
        check_shape(kind, shape, spatial + 1)
        return {}

    def apply(params: Parameters, x: jax.Array, /, *, rng: jax.Array | None = None) -> jax.Array:
        del rng
        check_parameters(kind, params, {})
        check_features(kind, x, spatial + 1)
        return function(x)

    return Layer(init, apply, kind)


flatten = flatten_nd(2)
"""`[*batch, h, w, c]` to `[*batch, h * w * c]`, as a layer; see `flatten_nd` for other ranks."""
