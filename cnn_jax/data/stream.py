"""Batches from data that is larger than memory, read ahead of the training step.

Reading and decoding is done by grain's threads or worker processes, which fill bounded queues; the
consumer keeps a few batches ahead on the device. Worker processes are spawned, never forked: a fork
of a process that runs JAX's threads can deadlock.

What batch comes when depends on the seed and on the batch's number alone, not on the number of
threads or workers, so a number is all that is needed to go on where a run was cut off.
"""

import operator
import sys
import warnings
import weakref
from collections import deque
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

from cnn_jax.data.closing import Closing
from cnn_jax.data.source import Source


class StreamBatch(NamedTuple):
    """A batch of a stream; `cnn.train.make_step` takes it as it is.

    `images: [b, *spatial, channels]`, `labels: int32[b]`, `weights: float32[b]`. All batches have
    the same size: the last of an epoch is filled up with examples of weight 0.
    """

    images: Any
    labels: Any
    weights: Any


class Stream(Closing, Iterator[StreamBatch]):
    """The batches of `epochs` epochs over a source, one after another; `stream` makes one.

    Close it, or use it in a `with` block, to stop its threads and processes early. An error in
    reading is raised by `next` and closes the stream.
    """

    def __init__(
        self,
        batches: "_Batches",
        start: int,
        *,
        workers: int,
        threads: int,
        ahead: int,
        device: Any,
    ) -> None:
        self._batches = batches
        self._position = start
        source = _read_ahead(batches, start, workers=workers, threads=threads, ahead=ahead)
        # Held in a list, so that closing lets go of it. It is closed at the end of the program too:
        # grain's threads may hang in what the interpreter does at its end.
        self._source = [source]
        self._stop = weakref.finalize(self, _close, self._source)
        self._batches_at_hand: deque[StreamBatch] = deque()
        self._ahead = 0 if device is None else ahead
        self._device = device
        self._left = len(batches) - start

    @property
    def position(self) -> int:
        """The number of the batch that comes next, counted from the start of the first epoch.

        Pass it as `start` to `stream` to go on from here.
        """
        return self._position

    @property
    def batches_per_epoch(self) -> int:
        """How many batches make an epoch."""
        return self._batches.per_epoch

    def __len__(self) -> int:
        """Return how many batches are still to come."""
        return len(self._batches) - self._position

    def __next__(self) -> StreamBatch:
        if not self._stop.alive or self._position == len(self._batches):
            self.close()
            raise StopIteration
        # Transfers run while the device computes: `device_put` does not wait for them.
        while self._left and len(self._batches_at_hand) <= self._ahead:
            self._batches_at_hand.append(self._fetch())
        self._position += 1
        return self._batches_at_hand.popleft()

    def _fetch(self) -> StreamBatch:
        try:
            batch = next(self._source[0])
        except RuntimeError as error:
            self.close()
            if "terminated unexpectedly" not in str(error):
                raise
            raise RuntimeError(
                "stream: a worker process ended before its time. A script that uses workers must "
                "do its work below `if __name__ == '__main__':`; workers=0 reads in threads. "
                f"({error})"
            ) from None
        except BaseException as error:
            self.close()
            notes = getattr(error, "__notes__", [])
            notes[:] = [note for note in notes if "Grain has removed" not in note]
            raise
        self._left -= 1
        return batch if self._device is None else jax.device_put(batch, self._device)

    def close(self) -> None:
        """Stop reading; batches that were read ahead are dropped."""
        self._stop()
        self._left = 0
        self._batches_at_hand.clear()


def stream(
    source: Source,
    batch_size: int,
    *,
    seed: int | None = 0,
    epochs: int = 1,
    start: int = 0,
    workers: int = 0,
    threads: int = 2,
    ahead: int = 2,
    device: Any = None,
) -> Stream:
    """Return the batches of `source`, read from disk ahead of their use.

    - `seed`: shuffles all examples anew in each epoch; the same seed gives the same order on every
      machine. With None they come in the source's order.
    - `epochs`: how often every example comes. The last batch of an epoch is filled up with examples
      of weight 0, so that all batches have one shape.
    - `start`: the number of the first batch; a stream's `position` says what to pass here.
    - `workers`: how many processes read and decode; 0 reads in `threads` threads of this process,
      which is best where nothing has to be decoded. Each worker imports this package, which takes
      seconds once and some hundred MB of memory, and a script must guard its work by
      `if __name__ == "__main__":`.
    - `ahead`: how many batches each worker, or all threads together, keep ready; the queues are
      bounded by it. With a `device` as many again wait there.
    - `device`: a `jax.Device` or `Sharding` to move batches to, before they are asked for; with
      None batches are NumPy arrays.

    Memory holds batches, and for each example its label and its place in the order: 8 bytes.

    Raises `ValueError` and `TypeError` for numbers that are out of range.

    >>> import cnn_jax as cnn
    >>> source = cnn.data.InMemory(cnn.data.digits())
    >>> with stream(source, 500, epochs=2) as batches:
    ...     [int(batch.weights.sum()) for batch in batches]
    [500, 500, 500, 297, 500, 500, 500, 297]
    """
    batch_size = _count("batch_size", batch_size, 1)
    workers, threads = _count("workers", workers, 0), _count("threads", threads, 1)
    ahead, epochs = _count("ahead", ahead, 1), _count("epochs", epochs, 1)
    seed = None if seed is None else _count("seed", seed, 0)
    if seed is not None and seed >= 2**32:
        raise ValueError(f"stream: seed must be below 2**32, not {seed}")
    if not len(source.labels):
        raise ValueError("stream: the source has no examples")
    batches = _Batches(source, min(batch_size, len(source.labels)), seed, epochs)
    start = _count("start", start, 0)
    if start > len(batches):
        raise ValueError(
            f"stream: start must be at most {len(batches)}, the number of batches in {epochs} "
            f"epochs, not {start}"
        )
    return Stream(batches, start, workers=workers, threads=threads, ahead=ahead, device=device)


class _Batches:
    """All batches of a run, by number."""

    def __init__(self, source: Source, batch_size: int, seed: int | None, epochs: int) -> None:
        self.source = source
        self.batch_size = batch_size
        self.seed = seed
        self.epochs = epochs
        self.size = len(source.labels)
        self.per_epoch = -(-self.size // batch_size)
        self._orders: dict[int, np.ndarray] = {}

    def __len__(self) -> int:
        return self.epochs * self.per_epoch

    def __getitem__(self, index: int) -> StreamBatch:
        epoch, place = divmod(int(index), self.per_epoch)
        start = place * self.batch_size
        chosen = self._order(epoch)[start : start + self.batch_size]
        images, labels = self.source.read(chosen), self.source.labels[chosen]
        weights = (np.arange(self.batch_size) < len(chosen)).astype(np.float32)
        if len(chosen) < self.batch_size:
            # True examples fill up: invented ones could turn into NaN, which no weight takes away.
            images = np.resize(images, (self.batch_size, *images.shape[1:]))
            labels = np.resize(labels, self.batch_size)
        return StreamBatch(images, labels, weights)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_orders": {}}

    def _order(self, epoch: int) -> np.ndarray:
        if self.seed is None:
            epoch = 0
        order = self._orders.get(epoch)
        if order is None:
            order = np.arange(self.size, dtype=np.int32 if self.size < 2**31 else np.int64)
            if self.seed is not None:
                # RandomState is the generator whose stream NumPy promises never to change.
                np.random.RandomState([self.seed, epoch]).shuffle(order)
            # Threads may be at the end of one epoch and the start of the next at once.
            self._orders = {k: v for k, v in self._orders.items() if k == epoch - 1}
            self._orders[epoch] = order
        return order


def _read_ahead(batches: _Batches, start: int, *, workers: int, threads: int, ahead: int) -> Any:
    import grain  # takes a second, so only where it is wanted

    if start == len(batches):
        return iter(())
    left: Any = grain.MapDataset.source(batches)[start:]
    if not workers:
        options = grain.ReadOptions(num_threads=min(threads, ahead), prefetch_buffer_size=ahead)
        return iter(left.to_iter_dataset(options))
    _let_grain_read_its_flags()
    # Within a worker nothing is read ahead besides its queue.
    read = left.to_iter_dataset(grain.ReadOptions(num_threads=0, prefetch_buffer_size=0))
    # Batches go through pipes: shared memory is often too small (64 MB in a container), and writing
    # past its end kills the process.
    plain = grain.experimental.DatasetOptions(min_shm_size=sys.maxsize)
    read = grain.experimental.WithOptionsIterDataset(read, options=plain)
    processes = grain.MultiprocessingOptions(num_workers=workers, per_worker_buffer_size=ahead)
    return iter(read.mp_prefetch(processes, worker_init_fn=_prepare_worker))


def _close(sources: list[Any]) -> None:
    source = sources.pop()
    if hasattr(source, "close"):
        source.close()


def _prepare_worker(index: int, count: int) -> None:
    # A worker decodes with NumPy alone; should anything in it use JAX, then not the accelerator.
    jax.config.update("jax_platforms", "cpu")
    # Pictures of a size that pillow warns of are refused with an error of our own.
    warnings.filterwarnings("ignore", message="Image size .* exceeds limit")


def _let_grain_read_its_flags() -> None:
    """Let grain's options have their defaults where the program does not parse absl's flags."""
    from absl import flags

    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()


def _count(name: str, value: int, least: int) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"stream: {name} must be an int, not {value!r}") from None
    if isinstance(value, bool):
        raise TypeError(f"stream: {name} must be an int, not {value!r}")
    if number < least:
        raise ValueError(f"stream: {name} must be at least {least}, not {number}")
    return number
