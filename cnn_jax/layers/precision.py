"""Computing in a short floating-point format, with the parameters in float32."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from cnn_jax.layers.layer import Apply, Layer, Parameters
from cnn_jax.layers.wrap import wrap


def mixed_precision(model: Layer, dtype: DTypeLike = jnp.bfloat16) -> Layer:
    """Return `model` computing in `dtype`, with its parameters and its outputs in float32.

    Parameters and inputs are rounded to `dtype` on their way in, and the outputs come back as
    float32, so that the loss, the gradients and the optimiser's sums are in float32. Gradients
    reach the parameters through the rounding as if it were not there. bfloat16 has the range of
    float32, so the loss needs no scaling. (P. Micikevicius et al., 'Mixed Precision Training',
    2018; D. Kalamkar et al., 'A Study of BFLOAT16 for Deep Learning Training', 2019.)

    Raises `TypeError` for a `dtype` that is not a floating-point one.

    >>> import cnn_jax as cnn, jax
    >>> model = cnn.mixed_precision(cnn.serial(cnn.flatten, cnn.dense(10)))
    >>> params = model.init(jax.random.key(0), (8, 8, 1))
    >>> params["dense_0"]["kernel"].dtype, model.apply(params, jnp.ones((8, 8, 1))).dtype
    (dtype('float32'), dtype('float32'))
    """
    try:
        short = jnp.dtype(dtype)
    except TypeError:
        short = None
    if short is None or not jnp.issubdtype(short, jnp.floating):
        raise TypeError(
            f"mixed_precision: dtype must be a floating-point dtype such as bfloat16, not {dtype!r}"
        )

    def around(apply: Apply) -> Apply:
        def rounded(params: Parameters, x: Any, /, *, rng: jax.Array | None = None) -> jax.Array:
            params = jax.tree.map(lambda leaf: _cast(leaf, short), params)
            return _cast(apply(params, _cast(x, short), rng=rng), jnp.dtype(jnp.float32))

        return rounded

    return wrap(model, around)


def _cast(value: Any, dtype: jnp.dtype) -> jax.Array:
    value = jnp.asarray(value)
    return value.astype(dtype) if jnp.issubdtype(value.dtype, jnp.floating) else value
