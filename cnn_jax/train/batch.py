"""Examples as the training functions take them, and how a data set falls into equal batches."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike


class Batch(NamedTuple):
    """Examples to learn from in one step; a plain tuple `(images, labels)` serves as well.

    `images: [b, *spatial, channels]`, `labels: int[b]`, `weights: [b]` or None. Losses and measures
    are averaged by weight, so an example of weight 0 leaves no trace.
    """

    images: ArrayLike
    labels: ArrayLike
    weights: ArrayLike | None = None


class Plan(NamedTuple):
    """The examples of each batch and their weights, `[batches, batch_size]` both.

    The last batch is filled up with examples that come again with weight 0. They are true
    examples, since invented ones (all zeros, say) may be out of a network's domain and turn into
    NaN, which no weight takes away.
    """

    indices: jax.Array
    weights: jax.Array


def plan(order: jax.Array, batch_size: int) -> Plan:
    """Cut `order: int[n]` into batches of `batch_size`.

    >>> plan(jnp.array([3, 0, 2, 1, 4]), 2)
    Plan(indices=Array([[3, 0],
           [2, 1],
           [4, 3]], dtype=int32), weights=Array([[1., 1.],
           [1., 1.],
           [1., 0.]], dtype=float32))
    """
    size = len(order)
    batches = -(-size // batch_size)
    indices = jnp.resize(order, (batches, batch_size))
    weights = (np.arange(batches * batch_size) < size).astype(np.float32)
    return Plan(indices, jnp.asarray(weights.reshape(batches, batch_size)))


def as_input(images: jax.Array) -> jax.Array:
    """Scale uint8 pictures to 0 to 1 in float32; leave floats as they are."""
    if images.dtype == jnp.uint8:
        return images.astype(jnp.float32) / 255.0
    return images


def check_batch(name: str, images: jax.Array, labels: jax.Array) -> None:
    """Raise unless there are examples, and as many labels as images."""
    if images.ndim < 2 or labels.ndim < 1 or len(images) != len(labels) or not len(images):
        raise ValueError(
            f"{name}: images must have shape [n, *spatial, channels] and labels [n] with n at "
            f"least 1, not {list(images.shape)} and {list(labels.shape)}"
        )


def check_batch_size(name: str, batch_size: int) -> None:
    """Raise unless `batch_size` is a positive whole number."""
    if isinstance(batch_size, bool) or not isinstance(batch_size, int | np.integer):
        raise TypeError(f"{name}: batch_size must be an int, not {batch_size!r}")
    if batch_size < 1:
        raise ValueError(f"{name}: batch_size must be at least 1, not {batch_size}")
