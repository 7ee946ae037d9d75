"""A whole epoch as one program on the device."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import lax

from cnn_jax.data import Augment, Dataset
from cnn_jax.layers import Layer
from cnn_jax.train.batch import Batch, check_batch, check_batch_size, plan
from cnn_jax.train.measures import CLASSIFICATION, Measure, cross_entropy
from cnn_jax.train.state import State
from cnn_jax.train.step import Metrics, make_update, means, shuffle_key

Examples = Dataset | tuple[Any, Any]


def make_epoch(
    model: Layer,
    optimizer: optax.GradientTransformation,
    loss: Measure = cross_entropy,
    *,
    batch_size: int,
    shuffle: bool = True,
    measures: Mapping[str, Measure] = CLASSIFICATION,
    augment: Augment | None = None,
) -> Callable[[State, Examples], tuple[State, Metrics]]:
    """Return the jitted function `epoch(state, data) -> (state, metrics)`.

    One call takes `ceil(n / batch_size)` steps over all `n` examples in one `lax.scan`: one
    dispatch, with the data staying on the device. The order is drawn from the state's key, anew
    for each epoch. Where `batch_size` does not divide `n` the last batch is filled up with
    examples of weight 0: its gradient is the mean over the true ones, and `metrics` are exact
    means over the `n` examples, each measured just before the step that learns from it.

    On a CPU install `cnn_jax.cpu` for this: XLA's own gradients of convolutions are several times
    slower inside a loop of its own than in single steps.

    The model must treat the examples of a batch independently, as every layer of `cnn_jax` does.
    `epoch` donates its state, not the data. The other arguments are those of `make_step`.

    >>> import cnn_jax as cnn, jax, optax
    >>> model, optimizer = cnn.serial(cnn.flatten, cnn.dense(10)), optax.sgd(0.5)
    >>> state = cnn.train.create(model, optimizer, jax.random.key(0), (8, 8, 1))
    >>> epoch = make_epoch(model, optimizer, batch_size=64)
    >>> data = jax.device_put(cnn.data.digits()[:2])
    >>> state, metrics = epoch(state, data)
    >>> int(state.step), bool(metrics["accuracy"] > 0.5)
    (29, True)
    """
    check_batch_size("make_epoch", batch_size)
    update = make_update(model, optimizer, loss, measures=measures, augment=augment)

    @partial(jax.jit, donate_argnums=0)
    def run(state: State, images: jax.Array, labels: jax.Array) -> tuple[State, Metrics]:
        check_batch("epoch", images, labels)
        order = jnp.arange(len(images), dtype=jnp.int32)
        if shuffle:
            order = jax.random.permutation(shuffle_key(state), order)

        def step(state: State, chosen: Any) -> tuple[State, Metrics]:
            indices, weights = chosen
            return update(state, Batch(images[indices], labels[indices], weights))

        state, sums = lax.scan(step, state, plan(order, min(batch_size, len(images))))
        return state, means({name: jnp.sum(values) for name, values in sums.items()})

    def epoch(state: State, data: Examples) -> tuple[State, Metrics]:
        return run(state, jnp.asarray(data[0]), jnp.asarray(data[1]))

    return epoch
