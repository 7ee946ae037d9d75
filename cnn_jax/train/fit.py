"""Training over many epochs, with a look at held-out data after each."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from cnn_jax.data import Augment, Dataset, check
from cnn_jax.layers import Layer
from cnn_jax.train.batch import check_batch_size
from cnn_jax.train.epoch import make_epoch
from cnn_jax.train.evaluate import evaluate
from cnn_jax.train.measures import CLASSIFICATION, Measure, cross_entropy
from cnn_jax.train.state import State, check_key, create

Record = dict[str, float]
"""The numbers of one epoch: `epoch`, `seconds`, `train_loss`, `validation_loss`, and so on."""


class Progress(NamedTuple):
    """What is known after an epoch.

    `epoch` counts from 1; `record` holds the epoch's numbers as Python floats. `state` is the live
    state: the next epoch reuses its memory, so copy what is to be kept.
    """

    epoch: int
    epochs: int
    state: State
    record: Record


class Fit(NamedTuple):
    """The end of a training: the last state, and one record for each epoch."""

    state: State
    history: list[Record]


def fit(
    model: Layer,
    optimizer: optax.GradientTransformation,
    data: Dataset,
    validation: Dataset | None = None,
    *,
    epochs: int,
    batch_size: int,
    key: jax.Array,
    loss: Measure = cross_entropy,
    measures: Mapping[str, Measure] = CLASSIFICATION,
    augment: Augment | None = None,
    state: State | None = None,
    callbacks: Sequence[Callable[[Progress], object]] = (),
) -> Fit:
    """Train `model` on `data` and return the last state and the history.

    - `validation`: held-out data, measured after every epoch.
    - `key`: the run's randomness. The same key and data give the same result, bit for bit, on the
      same machine and versions.
    - `state`: where to go on from; a new one is made from `key` by default. It is copied, and stays
      valid.
    - `callbacks`: called after each epoch with a `Progress`, in their order; an exception from one
      ends the training. `iterate` gives the same as a loop, which `break` ends.
    - the rest as in `make_epoch`.

    Nothing is compiled after the first epoch.

    Raises `ValueError` and `TypeError` for a malformed data set, and for numbers out of range.

    >>> import cnn_jax as cnn, jax, optax
    >>> train, test = cnn.data.split(cnn.data.digits())
    >>> model = cnn.serial(cnn.flatten, cnn.dense(10))
    >>> state, history = fit(
    ...     model, optax.sgd(0.1, momentum=0.9), train, test,
    ...     epochs=3, batch_size=64, key=jax.random.key(0),
    ... )
    >>> [record["epoch"] for record in history], history[-1]["validation_accuracy"] > 0.9
    ([1, 2, 3], True)
    """
    history = []
    for progress in iterate(
        model,
        optimizer,
        data,
        validation,
        epochs=epochs,
        batch_size=batch_size,
        key=key,
        loss=loss,
        measures=measures,
        augment=augment,
        state=state,
    ):
        state = progress.state
        history.append(progress.record)
        for callback in callbacks:
            callback(progress)
    assert state is not None  # epochs is at least 1
    return Fit(state, history)


def iterate(
    model: Layer,
    optimizer: optax.GradientTransformation,
    data: Dataset,
    validation: Dataset | None = None,
    *,
    epochs: int,
    batch_size: int,
    key: jax.Array,
    loss: Measure = cross_entropy,
    measures: Mapping[str, Measure] = CLASSIFICATION,
    augment: Augment | None = None,
    state: State | None = None,
) -> Iterator[Progress]:
    """Train as `fit` does, and yield a `Progress` after each epoch.

    The arguments are checked, and the data is moved to the device, before the first epoch begins.

    >>> import cnn_jax as cnn, jax, optax
    >>> model = cnn.serial(cnn.flatten, cnn.dense(10))
    >>> for progress in iterate(
    ...     model, optax.sgd(0.5), cnn.data.digits(),
    ...     epochs=100, batch_size=64, key=jax.random.key(0),
    ... ):
    ...     if progress.record["train_loss"] < 0.5:
    ...         break
    >>> progress.epoch < 10
    True
    """
    check(data)
    if validation is not None:
        check(validation)
        if validation.shape != data.shape or validation.class_names != data.class_names:
            raise ValueError(
                f"fit: validation has images of shape {list(validation.shape)} and "
                f"{len(validation.class_names)} classes, data {list(data.shape)} and "
                f"{len(data.class_names)}; they must have the same shape and classes"
            )
    if epochs < 1:
        raise ValueError(f"fit: epochs must be at least 1, not {epochs}")
    check_batch_size("fit", batch_size)
    check_key("fit", key)
    if state is None:
        first = create(model, optimizer, key, data.shape)
    else:
        first = jax.tree.map(jnp.copy, state)
    epoch = make_epoch(
        model, optimizer, loss, batch_size=batch_size, measures=measures, augment=augment
    )
    on_device = jax.device_put(data[:2])
    held_out = None if validation is None else jax.device_put(validation[:2])

    def run(state: State) -> Iterator[Progress]:
        for number in range(1, epochs + 1):
            start = time.perf_counter()
            state, trained = epoch(state, on_device)
            record = {f"train_{name}": value for name, value in trained.items()}
            if held_out is not None:
                validated = evaluate(
                    model,
                    state.params,
                    held_out,
                    batch_size=batch_size,
                    loss=loss,
                    measures=measures,
                )
                record |= {f"validation_{name}": value for name, value in validated.items()}
            numbers = {name: float(value) for name, value in jax.device_get(record).items()}
            seconds = time.perf_counter() - start
            yield Progress(number, epochs, state, {"epoch": number, "seconds": seconds, **numbers})

    return run(first)
