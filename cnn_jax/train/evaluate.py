"""A trained model on many examples: its outputs, and how good they are."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from cnn_jax.layers import Layer
from cnn_jax.train.batch import as_input, check_batch, check_batch_size, plan
from cnn_jax.train.epoch import Examples
from cnn_jax.train.measures import CLASSIFICATION, Measure, cross_entropy, measure, weighted_sum
from cnn_jax.train.step import Metrics, check_measures, means


def evaluate(
    model: Layer,
    params: Any,
    data: Examples,
    *,
    batch_size: int = 256,
    loss: Measure = cross_entropy,
    measures: Mapping[str, Measure] = CLASSIFICATION,
) -> Metrics:
    """Return the means of the loss and of the measures over all of `data`, without dropout.

    One dispatch, exact whether or not `batch_size` divides the number of examples. The compiled
    program is kept, so calling again with data of the same shape does not compile.

    >>> import cnn_jax as cnn, jax
    >>> model = cnn.serial(cnn.flatten, cnn.dense(10))
    >>> params = jax.tree.map(jnp.zeros_like, model.init(jax.random.key(0), (8, 8, 1)))
    >>> evaluate(model, params, cnn.data.digits())["loss"].round(4)
    Array(2.3026, dtype=float32)
    """
    check_batch_size("evaluate", batch_size)
    measures = check_measures("evaluate", loss, measures)
    images, labels = jnp.asarray(data[0]), jnp.asarray(data[1])
    check_batch("evaluate", images, labels)
    functions = tuple({"loss": loss, **measures}.items())
    return _evaluate(model, functions, min(batch_size, len(images)), params, images, labels)


@partial(jax.jit, static_argnums=(0, 1, 2))
def _evaluate(
    model: Layer,
    measures: tuple[tuple[str, Measure], ...],
    batch_size: int,
    params: Any,
    images: jax.Array,
    labels: jax.Array,
) -> Metrics:
    def batch(_: None, chosen: Any) -> tuple[None, Metrics]:
        indices, weights = chosen
        outputs = model.apply(params, as_input(images[indices]))
        values = measure(dict(measures), outputs, labels[indices])
        sums = {name: weighted_sum(value, weights) for name, value in values.items()}
        return None, {**sums, "examples": jnp.sum(weights)}

    chosen = plan(jnp.arange(len(images), dtype=jnp.int32), batch_size)
    _, sums = lax.scan(batch, None, chosen)
    return means({name: jnp.sum(values) for name, values in sums.items()})


def predict(model: Layer, params: Any, images: Any, *, batch_size: int = 256) -> jax.Array:
    """Return the model's outputs for `images: [n, *spatial, channels]`, without dropout.

    One dispatch, in batches, so that memory does not grow with `n` but for the outputs. For a
    classifier the outputs are logits `[n, classes]`; `jax.nn.softmax` makes probabilities of them.

    >>> import cnn_jax as cnn, jax
    >>> model = cnn.serial(cnn.flatten, cnn.dense(10))
    >>> params = model.init(jax.random.key(0), (8, 8, 1))
    >>> predict(model, params, cnn.data.digits().images).shape
    (1797, 10)
    """
    check_batch_size("predict", batch_size)
    images = jnp.asarray(images)
    if images.ndim < 2 or not len(images):
        raise ValueError(
            "predict: images must have shape [n, *spatial, channels] with n at least 1, "
            f"not {list(images.shape)}"
        )
    return _predict(model, min(batch_size, len(images)), params, images)


@partial(jax.jit, static_argnums=(0, 1))
def _predict(model: Layer, batch_size: int, params: Any, images: jax.Array) -> jax.Array:
    chosen = plan(jnp.arange(len(images), dtype=jnp.int32), batch_size)
    outputs = lax.map(
        lambda indices: model.apply(params, as_input(images[indices])), chosen.indices
    )
    return outputs.reshape(-1, *outputs.shape[2:])[: len(images)]
