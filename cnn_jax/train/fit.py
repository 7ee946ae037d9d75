"""Training over many epochs, with a look at held-out data after each."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import jax
import optax

from cnn_jax.data import Augment, Dataset, Source
from cnn_jax.layers import Layer
from cnn_jax.train.loop import Loop, Record, copy_of
from cnn_jax.train.measures import CLASSIFICATION, Measure, cross_entropy
from cnn_jax.train.state import State


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
    data: Dataset | Source,
    validation: Dataset | Source | None = None,
    *,
    epochs: int,
    batch_size: int,
    key: jax.Array,
    loss: Measure = cross_entropy,
    measures: Mapping[str, Measure] = CLASSIFICATION,
    augment: Augment | None = None,
    state: State | None = None,
    workers: int = 0,
    callbacks: Sequence[Callable[[Progress], object]] = (),
) -> Fit:
    """Train `model` on `data` and return the last state and the history.

    - `data`: pictures in memory, which are moved to the device, where an epoch is one program; or
      a source of pictures larger than memory, which is streamed from disk in batches.
    - `validation`: held-out data, measured after every epoch; in memory or a source as well.
    - `key`: the run's randomness. The same key and data give the same result, bit for bit, on the
      same machine and versions.
    - `state`: where to go on from; a new one is made from `key` by default. It is copied, and stays
      valid.
    - `workers`: how many processes read and decode a source; 0 does it in threads.
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
        workers=workers,
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
    data: Dataset | Source,
    validation: Dataset | Source | None = None,
    *,
    epochs: int,
    batch_size: int,
    key: jax.Array,
    loss: Measure = cross_entropy,
    measures: Mapping[str, Measure] = CLASSIFICATION,
    augment: Augment | None = None,
    state: State | None = None,
    workers: int = 0,
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
    loop = Loop(
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
        workers=workers,
    )
    first = loop.first() if state is None else copy_of(state)
    return _progress(loop, first)


def _progress(loop: Loop, first: State) -> Iterator[Progress]:
    for moment in loop.run(first):
        if moment.record is not None:
            yield Progress(moment.epoch, loop.epochs, moment.underway.state, moment.record)
