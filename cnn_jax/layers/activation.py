"""Layers that act on each number alone, and dropout."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from cnn_jax import ops
from cnn_jax.layers.layer import Layer, Parameters, check_parameters, check_shape


def activation(function: Callable[[jax.Array], jax.Array], name: str | None = None) -> Layer:
    """Make a layer of any function of arrays that treats every batch entry alike.

    Its `kind`, and so its name in `serial`, is `name` or else the function's own.

    >>> import jax, jax.numpy as jnp, cnn_jax as cnn
    >>> square = cnn.activation(jnp.square)
    >>> square.kind
    'square'
    >>> square.apply({}, jnp.array([-2.0, 3.0]))
    Array([4., 9.], dtype=float32)
    """
    if not callable(function):
        raise TypeError(f"activation: function must be callable, got {function!r}")
    kind = name if name is not None else getattr(function, "__name__", "activation").strip("<>")

    def init(key: jax.Array, shape: Sequence[int], /) -> dict[str, Any]:
        del key
        check_shape(kind, shape)
        return {}

    def apply(params: Parameters, x: jax.Array, /, *, rng: jax.Array | None = None) -> jax.Array:
        del rng
        check_parameters(kind, params, {})
        return function(x)

    return Layer(init, apply, kind)


def dropout(rate: float) -> Layer:
    r"""Set each number to 0 with probability `rate` and divide the rest by `1 - rate`.

    So the expected output is the input. It acts only where `apply` is given an `rng`: without one,
    as in evaluation, the layer returns its input. `serial` gives each of its children an `rng` of
    its own. Source: Srivastava et al., 'Dropout', JMLR 15 (2014).

    Raises:
        ValueError: `rate` is not in [0, 1).
        TypeError: `x` is not floating and `rng` is given.

    >>> import jax, jax.numpy as jnp, cnn_jax as cnn
    >>> half = cnn.dropout(0.5)
    >>> half.apply({}, jnp.ones(4))
    Array([1., 1., 1., 1.], dtype=float32)
    >>> sorted(set(half.apply({}, jnp.ones(100), rng=jax.random.key(0)).tolist()))
    [0.0, 2.0]
    """
    if isinstance(rate, bool) or not isinstance(rate, (int, float)):
        raise TypeError(f"dropout: rate must be a number, got {rate!r}")
    if math.isnan(rate) or not 0 <= rate < 1:
        raise ValueError(f"dropout: rate must be at least 0 and less than 1, got {rate!r}")
    keep = 1 - rate

    def init(key: jax.Array, shape: Sequence[int], /) -> dict[str, Any]:
        del key
        check_shape("dropout", shape)
        return {}

    def apply(params: Parameters, x: jax.Array, /, *, rng: jax.Array | None = None) -> jax.Array:
        check_parameters("dropout", params, {})
        if rng is None or rate == 0:
            return x
        if not jnp.issubdtype(x.dtype, jnp.inexact):
            raise TypeError(f"dropout: x must be floating, got {x.dtype}{list(x.shape)}")
        kept = jax.random.bernoulli(rng, keep, x.shape)
        return jnp.where(kept, x / keep, jnp.zeros_like(x))

    return Layer(init, apply, "dropout")


relu = activation(ops.relu, "relu")
"""max(x, 0), as a layer."""

gelu = activation(jax.nn.gelu, "gelu")
"""x times the normal distribution function, in the tanh approximation, as a layer."""

silu = activation(jax.nn.silu, "silu")
"""x times sigmoid(x), also called swish, as a layer."""

sigmoid = activation(jax.nn.sigmoid, "sigmoid")
"""1 / (1 + exp(-x)), as a layer."""

tanh = activation(jnp.tanh, "tanh")
"""The hyperbolic tangent, as a layer."""
