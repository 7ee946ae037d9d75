"""A training as a series of moments: between its epochs, and within them as often as is asked."""

import time
from collections.abc import Generator, Mapping
from contextlib import ExitStack
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from cnn_jax.data import Augment, Dataset, Source, check
from cnn_jax.layers import Layer
from cnn_jax.train.batch import check_batch_size
from cnn_jax.train.feed import Feed, Resident, Streamed
from cnn_jax.train.held_out import HeldOut
from cnn_jax.train.measures import CLASSIFICATION, Measure, cross_entropy
from cnn_jax.train.state import State, check_key, create
from cnn_jax.train.step import make_update, means
from cnn_jax.train.underway import Underway, begin, shapes_of_sums

Record = dict[str, float]
"""The numbers of one epoch: `epoch`, `seconds`, `train_loss`, `validation_loss`, and so on."""


class Moment(NamedTuple):
    """A training at rest between two steps.

    - `epoch`: the number, from 1, of the epoch that is under way or, with a `record`, has ended.
    - `underway`: all that is needed to go on from here (see `Loop.run`). It is live: the next step
      reuses its memory, so copy what is to be kept.
    - `seconds`: what the epoch has taken so far.
    - `record`: the epoch's numbers where it has ended, else None.
    """

    epoch: int
    underway: Underway
    seconds: float
    record: Record | None


class Loop:
    """A training that is ready to run; the arguments are those of `cnn.train.fit`.

    `data` and `validation` may also be sources, which are streamed from disk; `workers` processes
    read and decode them then (see `cnn.data.stream`). All arguments are checked here.
    """

    def __init__(
        self,
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
        workers: int = 0,
    ) -> None:
        _check_data(data, validation)
        if epochs < 1:
            raise ValueError(f"fit: epochs must be at least 1, not {epochs}")
        check_batch_size("fit", batch_size)
        check_key("fit", key)
        self.model, self.optimizer = model, optimizer
        self.data, self.validation = data, validation
        self.epochs, self.batch_size, self.workers = epochs, batch_size, workers
        self.key = key
        self._loss, self._measures = loss, measures
        self._update = make_update(model, optimizer, loss, measures=measures, augment=augment)

    @property
    def steps(self) -> int:
        """How many steps an epoch has."""
        return -(-len(self.data.labels) // self.batch_size)

    def first(self) -> State:
        """Return the state before the first step."""
        return create(self.model, self.optimizer, self.key, self.data.shape)

    def shapes(self) -> Underway:
        """Return what the training is made of at every moment, as shapes and dtypes."""
        state = jax.eval_shape(
            lambda key: create(self.model, self.optimizer, key, self.data.shape), self.key
        )
        return Underway(state, shapes_of_sums(self._update, state, self._feed(0).batch))

    def run(
        self,
        start: State | Underway | None = None,
        *,
        first: int | None = None,
        elapsed: float = 0.0,
        pause: float | None = None,
    ) -> Generator[Moment, None, None]:
        """Train, and yield a `Moment` after each epoch and about every `pause` seconds.

        - `start`: the state before an epoch, or the `underway` of any moment, to go on from. It
          need not be copied before, and must not be used afterwards.
        - `first`: the number of the step at which the first epoch began: by default that of
          `start`. A training that goes on within an epoch gives that of the whole training, 0.
        - `elapsed`: the seconds that the epoch under way has taken before.

        Whatever the pauses and wherever it starts, the numbers are the same, bit for bit.
        """
        if start is None:
            start = self.first()
        underway = start if isinstance(start, Underway) else None
        state = start.state if isinstance(start, Underway) else start
        now = int(state.step)
        first = now if first is None else first
        number, within = divmod(now - first, self.steps)
        with ExitStack() as opened:
            feed = opened.enter_context(self._feed(first))
            sums = shapes_of_sums(self._update, state, feed.batch)
            if underway is None or not within:
                underway = begin(state, sums)
            held_out = self._held_out(self.epochs - number)
            if held_out is not None:
                opened.enter_context(held_out)
            for epoch in range(number, self.epochs):
                clock = time.perf_counter() - elapsed
                elapsed = 0.0
                began = first + epoch * self.steps
                while True:
                    underway, now = feed.advance(underway, began, pause)
                    if now == began + self.steps:
                        break
                    yield Moment(epoch + 1, underway, time.perf_counter() - clock, None)
                numbers = {f"train_{name}": x for name, x in means(underway.sums).items()}
                if held_out is not None:
                    measured = held_out.measure(underway.state.params)
                    numbers |= {f"validation_{name}": x for name, x in measured.items()}
                record = {name: float(x) for name, x in jax.device_get(numbers).items()}
                seconds = time.perf_counter() - clock
                record = {"epoch": epoch + 1, "seconds": seconds, **record}
                underway = begin(underway.state, sums)
                yield Moment(epoch + 1, underway, seconds, record)

    def _feed(self, first: int) -> Feed:
        if isinstance(self.data, Dataset):
            return Resident(self.data, self._update, self.batch_size)
        return Streamed(
            self.data,
            self._update,
            self.batch_size,
            first=first,
            epochs=self.epochs,
            workers=self.workers,
        )

    def _held_out(self, times: int) -> HeldOut | None:
        if self.validation is None:
            return None
        return HeldOut(
            self.validation,
            self.model,
            batch_size=self.batch_size,
            loss=self._loss,
            measures=self._measures,
            times=times,
            workers=self.workers,
        )


def copy_of(state: State) -> State:
    """Return a copy that outlives the next step."""
    return jax.tree.map(jnp.copy, state)


def _check_data(data: Dataset | Source, validation: Dataset | Source | None) -> None:
    for part in (data, validation):
        if isinstance(part, Dataset):
            check(part)
    if validation is None:
        return
    if validation.shape != data.shape or validation.class_names != data.class_names:
        raise ValueError(
            f"fit: validation has images of shape {list(validation.shape)} and "
            f"{len(validation.class_names)} classes, data {list(data.shape)} and "
            f"{len(data.class_names)}; they must have the same shape and classes"
        )
