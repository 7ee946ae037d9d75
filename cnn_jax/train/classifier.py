"""The function from pictures to logits that is trained: the model and what comes before it."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from cnn_jax.data import Normalisation, normalise
from cnn_jax.layers import Layer, mixed_precision
from cnn_jax.layers.layer import Apply, Parameters
from cnn_jax.layers.wrap import wrap
from cnn_jax.train.batch import as_input


def classifier(
    model: Layer, normalisation: Normalisation | None = None, dtype: DTypeLike = jnp.float32
) -> Layer:
    """Return `model` with what it was trained behind inside: it takes pictures as they are.

    Pictures are uint8, or floats in 0 to 1. They are scaled to 0 to 1 if they are uint8, then
    normalised by `normalisation` unless it is None; the model computes in `dtype`, and its outputs
    are float32. The parameters, and the names of the layers, are those of `model`.

    Raises `TypeError` for a `dtype` that is not a floating-point one.

    >>> import cnn_jax as cnn, numpy as np
    >>> data = cnn.data.digits()
    >>> network = cnn.serial(cnn.flatten, cnn.dense(10))
    >>> model = classifier(network, cnn.data.learn_normalisation(data))
    >>> params = model.init(jax.random.key(0), data.shape)
    >>> bytes_ = (data.images[:2] * 255).astype(np.uint8)
    >>> model.apply(params, bytes_).shape
    (2, 10)
    """
    computing = model if jnp.dtype(dtype) == jnp.float32 else mixed_precision(model, dtype)

    def around(apply: Apply) -> Apply:
        def from_pictures(
            params: Parameters, x: Any, /, *, rng: jax.Array | None = None
        ) -> jax.Array:
            x = as_input(jnp.asarray(x))
            if normalisation is not None:
                x = normalise(normalisation, x)
            return apply(params, x, rng=rng)

        return from_pictures

    return wrap(computing, around)
