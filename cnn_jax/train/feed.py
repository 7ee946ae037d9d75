"""The steps of an epoch, taken a stretch at a time: from memory or from a stream."""

import math
import time
from abc import ABC, abstractmethod
from collections import deque
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from cnn_jax.data import Dataset, Source, Stream, StreamBatch, stream
from cnn_jax.data.closing import Closing
from cnn_jax.train.batch import Batch, plan
from cnn_jax.train.state import State
from cnn_jax.train.step import shuffle_key
from cnn_jax.train.underway import Underway, Update, advance, example_batch

FIRST_STRETCH = 8
"""The steps of the first stretch, when it is not known yet how long a step takes."""

MOST_IN_BLOCK = 16
"""How many batches are read together at most."""

BLOCK_BYTES = 4 * 2**20
"""How many bytes the pictures of a block have at most, unless one batch has more."""


class Feed(Closing, ABC):
    """The examples that a training learns from, epoch after epoch.

    It is used in a `with` block, at whose end it stops reading.
    """

    steps: int
    """How many steps an epoch has."""

    batch: Batch
    """What its batches look like: shapes and dtypes."""

    @abstractmethod
    def advance(self, underway: Underway, first: int, pause: float | None) -> tuple[Underway, int]:
        """Take steps to the end of the epoch, or until about `pause` seconds have passed.

        `first` is the number of the epoch's first step. Returns when the steps are done, with the
        number of the next.
        """


class Resident(Feed):
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


class Streamed(Feed):
    """Examples from disk, read ahead, several batches at a time: a block of them is one program.

    Small batches cost more to hand over, one by one, than to read; and threads that wake up at
    every step slow down the step itself, where it runs on the same processors.
    """

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
        examples = len(source.labels)
        size = min(batch_size, examples)
        self.batch = example_batch(
            jax.ShapeDtypeStruct((1, *source.shape), source.dtype),
            jax.ShapeDtypeStruct((1,), np.int32),
            size,
        )
        self.steps = -(-examples // size)
        bytes_of_batch = max(1, size * math.prod(source.shape) * source.dtype.itemsize)
        self._block_steps = max(1, min(MOST_IN_BLOCK, BLOCK_BYTES // bytes_of_batch, self.steps))
        if self._block_steps * size > examples:
            self._block_steps = examples // size
        # Every epoch's order depends on its number, so those before the first are counted too.
        self._before = first // self.steps
        self._first = first
        self._options = {"epochs": self._before + epochs, "workers": workers}
        self._source, self._size = source, size
        self._stream: Stream | None = None
        self._block: StreamBatch | None = None
        self._stretch = FIRST_STRETCH
        self._run = _stretch_of_block(update, size)

    def advance(self, underway: Underway, first: int, pause: float | None) -> tuple[Underway, int]:
        """Take steps to the end of the epoch, or for about `pause` seconds."""
        now, end = int(underway.state.step), first + self.steps
        start = time.perf_counter()
        # The device works on one stretch while the next is made ready, and no more than that:
        # stretches that wait hold their blocks.
        pending: deque[tuple[jax.Array, int]] = deque()
        waited = None
        while True:
            within = (now - first) % self._block_steps
            block = self._block_at(underway.state, now, fresh=not within)
            left = min(self._block_steps - within, end - now)
            count = left if pause is None else min(left, self._stretch)
            underway, done = self._run(underway, block, *_int32(within, within + count))
            now += count
            pending.append((done, count))
            if len(pending) > 1:
                waited = self._wait(pending.popleft(), waited, pause)
            if now == end or (pause is not None and time.perf_counter() - start > pause):
                break
        while pending:
            waited = self._wait(pending.popleft(), waited, pause)
        jax.block_until_ready(underway)
        return underway, now

    def _wait(
        self, stretch: tuple[jax.Array, int], waited: float | None, pause: float | None
    ) -> float:
        """Wait for a stretch; where another was waited for just before, tell how long it took."""
        done, count = stretch
        done.block_until_ready()
        now = time.perf_counter()
        if pause is not None and waited is not None:
            fitting = pause / 2 * count / max(now - waited, 1e-6)
            self._stretch = round(np.clip(fitting, 1, 8 * self._stretch))
        return now

    def _block_at(self, state: State, now: int, *, fresh: bool) -> StreamBatch:
        """Return the block of the step `now`, the next of the stream where it is a `fresh` one."""
        if self._stream is None:
            epoch, within = divmod(now - self._first, self.steps)
            blocks = -(-self.steps // self._block_steps)
            self._stream = stream(
                self._source,
                self._size * self._block_steps,
                seed=int(jax.random.bits(jax.random.split(state.key)[1], dtype=jnp.uint32)),
                start=(self._before + epoch) * blocks + within // self._block_steps,
                device=batches_device(),
                **self._options,
            )
        if fresh or self._block is None:
            self._block = None  # before the next one is taken: memory holds one less
            self._block = next(self._stream)
        return self._block

    def close(self) -> None:
        """Stop reading."""
        if self._stream is not None:
            self._stream.close()


def _stretch_of_block(update: Update, batch_size: int) -> Any:
    @partial(jax.jit, donate_argnums=0)
    def stretch(
        underway: Underway, block: StreamBatch, start: jax.Array, stop: jax.Array
    ) -> tuple[Underway, jax.Array]:
        """Take the steps of the batches `start` to `stop` of a block."""

        def step(place: jax.Array, underway: Underway) -> Underway:
            batch = jax.tree.map(
                lambda leaf: lax.dynamic_slice_in_dim(leaf, place * batch_size, batch_size), block
            )
            return advance(update, underway, Batch(*batch))

        underway = lax.fori_loop(start, stop, step, underway)
        # The second is there to be waited for: the next stretch takes the memory of the first.
        return underway, stop - start

    return stretch


def _int32(*numbers: int) -> tuple[jax.Array, ...]:
    return tuple(jnp.asarray(number, jnp.int32) for number in numbers)
