"""One step of training: the gradient on a batch and the optimiser's answer to it."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import optax

from cnn_jax.data import Augment
from cnn_jax.layers import Layer
from cnn_jax.train.batch import Batch, as_input, check_batch
from cnn_jax.train.measures import CLASSIFICATION, Measure, cross_entropy, measure, weighted_sum
from cnn_jax.train.state import State, optax_promotion

Metrics = dict[str, jax.Array]


def make_step(
    model: Layer,
    optimizer: optax.GradientTransformation,
    loss: Measure = cross_entropy,
    *,
    measures: Mapping[str, Measure] = CLASSIFICATION,
    augment: Augment | None = None,
) -> Callable[[State, Any], tuple[State, Metrics]]:
    """Return the jitted function `step(state, batch) -> (state, metrics)`.

    The step minimises the batch's mean `sum_i w_i loss_i / sum_i w_i`. `loss(outputs, labels)` and
    each of `measures` return one value for each example, like optax's losses. `batch` is
    `(images, labels)` or a `Batch` with weights; `metrics` holds the means of the loss and of the
    measures over the batch, taken before the update.

    `step` donates its state: the state that was passed in is gone afterwards, its memory reused.

    Raises `ValueError` for a loss that does not return one value for each example, and for a
    batch whose images and labels do not belong together.

    >>> import cnn_jax as cnn, jax, optax
    >>> model, optimizer = cnn.serial(cnn.flatten, cnn.dense(10)), optax.sgd(0.1)
    >>> state = cnn.train.create(model, optimizer, jax.random.key(0), (8, 8, 1))
    >>> step = make_step(model, optimizer)
    >>> data = cnn.data.digits()
    >>> for batch in cnn.data.batches(data, 64, seed=0):
    ...     state, metrics = step(state, batch)
    >>> int(state.step), sorted(metrics)
    (29, ['accuracy', 'loss'])
    """
    update = make_update(model, optimizer, loss, measures=measures, augment=augment)

    def step(state: State, batch: Any) -> tuple[State, Metrics]:
        images, labels, weights = Batch(*batch)
        state, sums = update(state, Batch(jnp.asarray(images), jnp.asarray(labels), weights))
        return state, means(sums)

    return jax.jit(step, donate_argnums=0)


def make_update(
    model: Layer,
    optimizer: optax.GradientTransformation,
    loss: Measure,
    *,
    measures: Mapping[str, Measure],
    augment: Augment | None,
) -> Callable[[State, Batch], tuple[State, Metrics]]:
    """Return the step before it is jitted, with sums for metrics, so that an epoch can add them."""
    measures = check_measures("make_step", loss, measures)
    optimizer = optax.with_extra_args_support(optimizer)

    def update(state: State, batch: Batch) -> tuple[State, Metrics]:
        images, labels, weights = batch
        images, labels = as_input(jnp.asarray(images)), jnp.asarray(labels)
        check_batch("step", images, labels)
        if weights is None:
            weights = jnp.ones(len(images), jnp.float32)
        weights = jnp.asarray(weights)
        for_augmentation, for_model = jax.random.split(step_key(state))
        if augment is not None:
            images = augment(for_augmentation, images)

        def objective(params: Any) -> tuple[jax.Array, Metrics]:
            outputs = model.apply(params, images, rng=for_model)
            values = measure({"loss": loss, **measures}, outputs, labels)
            sums = {name: weighted_sum(value, weights) for name, value in values.items()}
            return sums["loss"] / jnp.sum(weights).astype(sums["loss"].dtype), sums

        (mean, sums), gradient = jax.value_and_grad(objective, has_aux=True)(state.params)
        # Optimisers that react to the loss itself read it from `value`; the others ignore it.
        with optax_promotion():
            changes, optimizer_state = optimizer.update(
                gradient, state.optimizer_state, state.params, value=mean
            )
        state = replace(
            state,
            step=state.step + 1,
            params=optax.apply_updates(state.params, changes),
            optimizer_state=optimizer_state,
        )
        return state, {**sums, "examples": jnp.sum(weights)}

    return update


def means(sums: Metrics) -> Metrics:
    """Turn sums over examples into means, and drop the number of examples."""
    sums = dict(sums)
    examples = sums.pop("examples")
    return {name: total / examples.astype(total.dtype) for name, total in sums.items()}


def step_key(state: State) -> jax.Array:
    """Return the key for the randomness of the step to come (dropout, augmentation)."""
    return jax.random.fold_in(jax.random.split(state.key)[0], state.step)


def shuffle_key(state: State) -> jax.Array:
    """Return the key for the order of the epoch that begins at this step."""
    return jax.random.fold_in(jax.random.split(state.key)[1], state.step)


def check_measures(
    name: str, loss: Measure, measures: Mapping[str, Measure]
) -> Mapping[str, Measure]:
    """Raise unless the loss and the measures can be called and have names of their own."""
    for label, function in {"loss": loss, **measures}.items():
        if not callable(function):
            raise TypeError(f"{name}: {label} must be a function, not {function!r}")
    reserved = sorted({"loss", "examples"} & set(measures))
    if reserved:
        raise ValueError(f"{name}: measures may not be called {' or '.join(reserved)}")
    return measures
