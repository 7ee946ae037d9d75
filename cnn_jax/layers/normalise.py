"""Normalisations that keep no running state: each example is normalised by itself."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from cnn_jax.layers.layer import (
    Layer,
    Parameters,
    check_features,
    check_floating,
    check_int,
    check_parameters,
    check_shape,
)


def group_norm(
    groups: int, *, spatial: int = 2, epsilon: float = 1e-5, dtype: DTypeLike = jnp.float32
) -> Layer:
    """Normalise each example's channels in `groups` groups, over all positions.

        y = (x - mean) / sqrt(variance + epsilon) * scale + bias

    Mean and variance are taken, for each example, over the `spatial` dimensions and the channels of
    a group; `scale` and `bias` are `[channels]`. One group per channel is instance normalisation.
    Statistics are computed in float32 at least; the output has the input's dtype.
    Source: Wu and He, 'Group normalization', ECCV 2018.

    Raises:
        ValueError: `groups` does not divide the channels, or `epsilon` is not positive.

    >>> import jax, jax.numpy as jnp, cnn_jax as cnn
    >>> layer = cnn.group_norm(2)
    >>> params = layer.init(jax.random.key(0), (1, 2, 4))
    >>> layer.apply(params, jnp.array([[[1.0, 1.0, 0.0, 4.0], [3.0, 3.0, 4.0, 0.0]]])).round(3)
    Array([[[-1., -1., -1.,  1.],
            [ 1.,  1.,  1., -1.]]], dtype=float32)
    """
    kind = "group_norm"
    groups = check_int(kind, "groups", groups)
    spatial = check_int(kind, "spatial", spatial, least=0)

    def normalise(x: jax.Array, scale: jax.Array, bias: jax.Array) -> jax.Array:
        if x.shape[-1] % groups:
            raise ValueError(f"{kind}: {groups} groups do not divide {x.shape[-1]} channels")
        # Over space first, channel by channel: that runs along memory, which groups don't.
        axes = tuple(range(x.ndim - 1 - spatial, x.ndim - 1))

        def mean(wide: jax.Array) -> jax.Array:
            of_channels = wide.mean(axes, keepdims=True)
            shape = of_channels.shape
            grouped = of_channels.reshape(*shape[:-1], groups, shape[-1] // groups)
            of_groups = grouped.mean(-1, keepdims=True)
            return jnp.broadcast_to(of_groups, grouped.shape).reshape(shape)

        # Mean and variance are shifted by a constant, which changes neither the result nor any
        # derivative. As the constant is the mean, nothing cancels; and a gradient needs two sums
        # over the positions, from which those of the mean, scale and bias follow.
        wide = _wide(x)
        average = mean(wide)
        constant = jax.lax.stop_gradient(average)
        centred, rest = wide - constant, average - constant
        variance = mean(jnp.square(centred)) - jnp.square(rest)
        slope = jax.lax.rsqrt(variance + epsilon) * scale.astype(wide.dtype)
        return (centred * slope + (bias.astype(wide.dtype) - rest * slope)).astype(x.dtype)

    return _normalisation(kind, spatial + 1, normalise, epsilon, dtype, groups)


def layer_norm(*, epsilon: float = 1e-5, dtype: DTypeLike = jnp.float32) -> Layer:
    """Normalise the channels at each position.

        y = (x - mean) / sqrt(variance + epsilon) * scale + bias

    Mean and variance are taken over the last dimension; `scale` and `bias` are `[channels]`.
    Source: Ba et al., 'Layer normalization', 2016.

    >>> import jax, jax.numpy as jnp, cnn_jax as cnn
    >>> layer = cnn.layer_norm()
    >>> params = layer.init(jax.random.key(0), (2,))
    >>> layer.apply(params, jnp.array([[3.0, 5.0], [9.0, 1.0]])).round(3)
    Array([[-1.,  1.],
           [ 1., -1.]], dtype=float32)
    """

    def normalise(x: jax.Array, scale: jax.Array, bias: jax.Array) -> jax.Array:
        wide = _wide(x)
        centred = wide - wide.mean(-1, keepdims=True)
        variance = jnp.square(centred).mean(-1, keepdims=True)
        return (centred * jax.lax.rsqrt(variance + epsilon)).astype(x.dtype) * scale + bias

    return _normalisation("layer_norm", None, normalise, epsilon, dtype, 1)


def _wide(x: jax.Array) -> jax.Array:
    return x.astype(jnp.float64 if x.dtype == jnp.float64 else jnp.float32)


def _normalisation(
    kind: str,
    rank: int | None,
    normalise: Callable[[jax.Array, jax.Array, jax.Array], jax.Array],
    epsilon: float,
    dtype: DTypeLike,
    groups: int,
) -> Layer:
    if not (math.isfinite(epsilon) and epsilon > 0):
        raise ValueError(f"{kind}: epsilon must be positive and finite, got {epsilon!r}")
    check_floating(kind, dtype)

    def init(key: jax.Array, shape: Sequence[int], /) -> dict[str, Any]:
        del key
        sizes = check_shape(kind, shape, rank, least=1)
        if sizes[-1] % groups:
            raise ValueError(f"{kind}: {groups} groups do not divide the channels of {sizes}")
        return {"scale": jnp.ones(sizes[-1:], dtype), "bias": jnp.zeros(sizes[-1:], dtype)}

    def apply(params: Parameters, x: jax.Array, /, *, rng: jax.Array | None = None) -> jax.Array:
        del rng
        check_features(kind, x, rank or 1)
        check_parameters(kind, params, {"scale": x.shape[-1:], "bias": x.shape[-1:]}, x)
        if not jnp.issubdtype(x.dtype, jnp.floating) or x.dtype != params["scale"].dtype:
            raise TypeError(
                f"{kind}: x must be floating and of the parameters' dtype, "
                f"got x {x.dtype} and scale {params['scale'].dtype}"
            )
        # Not broadcast to all positions, so that what is computed of them alone stays small.
        per_channel = (*[1] * (x.ndim - 1), x.shape[-1])
        return normalise(
            x, params["scale"].reshape(per_channel), params["bias"].reshape(per_channel)
        )

    return Layer(init, apply, kind)
