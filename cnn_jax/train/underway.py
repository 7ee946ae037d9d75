"""A training between two steps, wherever in an epoch."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jax.typing import ArrayLike

from cnn_jax.train.batch import Batch
from cnn_jax.train.state import State
from cnn_jax.train.step import Metrics

Update = Callable[[State, Batch], tuple[State, Metrics]]
"""A step that returns sums over the batch, as `make_update` makes it."""


@struct.dataclass
class Underway:
    """All that a training is, after any of its steps.

    `sums` hold the sums of the loss and of the measures, and the number of examples, since the
    epoch began. From here a training goes on exactly as if it had never been cut off.
    """

    state: State
    sums: Metrics


def begin(state: State, sums: Metrics) -> Underway:
    """Return the training before an epoch's first step; `sums` are shapes and dtypes."""
    return Underway(state, {name: jnp.zeros(leaf.shape, leaf.dtype) for name, leaf in sums.items()})


def shapes_of_sums(update: Update, state: State, batch: Batch) -> Metrics:
    """Return what `update` sums, as shapes and dtypes; those of its arguments are enough."""
    _, sums = jax.eval_shape(update, state, batch)
    return sums


def advance(update: Update, underway: Underway, batch: Batch) -> Underway:
    """Take one step."""
    state, sums = update(underway.state, batch)
    return Underway(state, jax.tree.map(jnp.add, underway.sums, sums))


def example_batch(images: Any, labels: Any, size: int) -> Batch:
    """Return what a batch of `size` looks like, as shapes and dtypes."""

    def like(array: Any, dtype: Any = None) -> Any:
        return jax.ShapeDtypeStruct((size, *array.shape[1:]), dtype or array.dtype)

    weights: ArrayLike = like(labels, jnp.float32)
    return Batch(like(images), like(labels), weights)
