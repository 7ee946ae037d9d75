"""What a batch is judged by: losses and measures with one value for each example."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import jax
import jax.numpy as jnp
import optax

Measure = Callable[[jax.Array, jax.Array], jax.Array]
"""`(outputs[b, ...], labels[b, ...]) -> values[b]`, as optax's losses are."""


def cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Return the negative log-probability of each true class, in nats.

    `log(sum_k exp(logits[k])) - logits[label]` with `logits: [*batch, classes]` and
    `labels: int[*batch]`, computed in at least float32. The default loss.

    >>> cross_entropy(jnp.zeros((1, 10)), jnp.array([3])).round(4)
    Array([2.3026], dtype=float32)
    """
    if jnp.finfo(logits.dtype).bits < 32:
        logits = logits.astype(jnp.float32)
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels)


def accuracy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Return 1 for each example whose largest logit is its label's, else 0: `float32[*batch]`.

    >>> accuracy(jnp.array([[0.1, 0.9], [0.8, 0.2]]), jnp.array([1, 1]))
    Array([1., 0.], dtype=float32)
    """
    return (jnp.argmax(logits, axis=-1).astype(labels.dtype) == labels).astype(jnp.float32)


CLASSIFICATION: Mapping[str, Measure] = MappingProxyType({"accuracy": accuracy})
"""The measures reported beside the loss unless others are asked for."""


def measure(
    measures: Mapping[str, Measure], outputs: jax.Array, labels: jax.Array
) -> dict[str, jax.Array]:
    """Apply each measure to a batch and check that it gave one value for each example."""
    values = {name: function(outputs, labels) for name, function in measures.items()}
    for name, value in values.items():
        if value.shape != outputs.shape[:1]:
            raise ValueError(
                f"{name}: it must return one value for each example, shape "
                f"{list(outputs.shape[:1])}, but it returned shape {list(value.shape)}"
            )
    return values


def weighted_sum(values: jax.Array, weights: jax.Array | None) -> jax.Array:
    """Sum `values[b]`, each times its weight where there are weights."""
    return jnp.sum(values if weights is None else values * weights.astype(values.dtype))
