"""The steps of an epoch, taken a stretch at a time: from memory or from a stream."""

import time
from collections import deque
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from cnn_jax.data import Dataset, Source, Stream, StreamBatch, stream
from cnn_jax.train.batch import Batch, plan
from cnn_jax.train.state import State
from cnn_jax.train.step import shuffle_key
from cnn_jax.train.underway import Underway, Update, advance, example_batch

FIRST_STRETCH = 8
"""The steps of the first stretch, when it is not known yet how long a step takes."""


class Feed(Protocol):
    """The examples that a training learns from, epoch after epoch.

    It is used in a `with` block, at whose end it stops reading.
    """

    steps: int
    """How many steps an epoch has."""

    batch: Batch
    """What its batches look like: shapes and dtypes."""

    def advance(self, underway: Underway, first: int, pause: float | None) -> tuple[Underway, int]:
        """Take steps to the end of the epoch, or until about `pause` seconds have passed.

        `first` is the number of the epoch's first step. Returns when the steps are done, with the
        number of the next.
        """
        ...

    def __enter__(self) -> "Feed": ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...


class Resident:
    """Examples on the device: a stretch of steps is one program, the same for every stretch."""

    def __init__(self, data: Dataset, update: Update, batch_size: int) -> None:
        self._images, self._labels = jax.device_put((data.images, data.labels))
        self.batch = example_batch(self._images, self._labels, min(batch_size, data.size))
        self.steps = -(-data.size // batch_size)
        self._stretch = FIRST_STRETCH
        self._compiled = False
        self._run = _stretch_of(update, min(batch_size, data.size))

    def advance(self, underway: Underway, first: int, pause: float | None) -> tuple[Underway, int]:
        """Take steps to the end of the epoch, or for about `pause` seconds."""
        now, end = int(underway.state.step), first + self.steps
        stop = end if pause is None else min(end, now + self._stretch)
        start = time.perf_counter()
        where = jnp.asarray(first, jnp.int32), jnp.asarray(stop, jnp.int32)
        underway = self._run(underway, self._images, self._labels, *where)
        jax.block_until_ready(underway)
        if pause is not None and self._compiled:
            fitting = pause * (stop - now) / max(time.perf_counter() - start, 1e-6)
            self._stretch = round(np.clip(fitting, 1, 8 * self._stretch))
        self._compiled = True
        return underway, stop

    def __enter__(self) -> "Resident":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        return None


def _stretch_of(update: Update, batch_size: int) -> Any:
    @partial(jax.jit, donate_argnums=0)
    def stretch(
        underway: Underway, images: jax.Array, labels: jax.Array, first: jax.Array, stop: jax.Array
    ) -> Underway:
        """Take the steps up to `stop` of the epoch whose steps are counted from `first`."""
        order = jax.random.permutation(
            shuffle_key(replace(underway.state, step=first)),
            jnp.arange(len(images), dtype=jnp.int32),
        )
        indices, weights = plan(order, batch_size)

        def step(underway: Underway) -> Underway:
            place = underway.state.step - first
            chosen = indices[place]
            return advance(update, underway, Batch(images[chosen], labels[chosen], weights[place]))

        return lax.while_loop(lambda underway: underway.state.step < stop, step, underway)

    return stretch


def batches_device() -> Any:
    """Return where batches are moved to before they are asked for; None leaves it to the step.

    On a CPU there is nothing to move, and moving takes as long as a short step.
    """
    device = jax.local_devices()[0]
    return None if device.platform == "cpu" else device


class Streamed:
    """Examples from disk, read ahead: each step is a call, with the next batches on their way."""

    def __init__(
        self,
        source: Source,
        update: Update,
        batch_size: int,
        *,
        first: int,
        epochs: int,
        workers: int,
    ) -> None:
        size = min(batch_size, len(source.labels))
        self.batch = example_batch(
            jax.ShapeDtypeStruct((1, *source.shape), source.dtype),
            jax.ShapeDtypeStruct((1,), np.int32),
            size,
        )
        self.steps = -(-len(source.labels) // size)
        # Every epoch's order depends on its number, so those before the first are counted too.
        self._before = first // self.steps
        self._first = first
        self._options = {"epochs": self._before + epochs, "workers": workers}
        self._source, self._size = source, size
        self._stream: Stream | None = None

        @partial(jax.jit, donate_argnums=0)
        def step(underway: Underway, batch: StreamBatch) -> tuple[Underway, jax.Array]:
            # The second is there to be waited for: the next step takes the memory of the first.
            return advance(update, underway, Batch(*batch)), jnp.sum(batch.weights)

        self._step = step

    def advance(self, underway: Underway, first: int, pause: float | None) -> tuple[Underway, int]:
        """Take steps to the end of the epoch, or for about `pause` seconds."""
        now, end = int(underway.state.step), first + self.steps
        batches = self._open(underway.state, now)
        start = time.perf_counter()
        # The device works on one step while the next is made ready, and no more than that: steps
        # that wait hold their batches.
        pending: deque[jax.Array] = deque()
        for batch in batches:
            underway, done = self._step(underway, batch)
            now += 1
            pending.append(done)
            if len(pending) > 1:
                pending.popleft().block_until_ready()
            late = pause is not None and time.perf_counter() - start > pause
            if now == end or late:
                break
        jax.block_until_ready(underway)
        return underway, now

    def _open(self, state: State, now: int) -> Stream:
        if self._stream is None:
            place = self._before * self.steps + now - self._first
            self._stream = stream(
                self._source,
                self._size,
                seed=int(jax.random.bits(jax.random.split(state.key)[1], dtype=jnp.uint32)),
                start=place,
                device=batches_device(),
                **self._options,
            )
        return self._stream

    def __enter__(self) -> "Streamed":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._stream is not None:
            self._stream.close()
