"""Pictures of a fixed size in binary files, read a few at a time."""

import itertools
import math
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Rows:
    """Where the rows `[count, *shape]` of `dtype` lie in a file, from `offset` bytes on.

    Nothing is kept open: a read opens the file, so that threads and processes can share this, and
    memory is not filled with mapped pages.
    """

    path: str
    offset: int
    dtype: np.dtype
    shape: tuple[int, ...]
    count: int

    def read(self, indices: np.ndarray) -> np.ndarray:
        """Return the rows at `indices`, in that order, as `[len(indices), *shape]`."""
        rows = np.empty((len(indices), *self.shape), self.dtype)
        size = math.prod(self.shape) * self.dtype.itemsize
        if not rows.size:
            return rows
        flat = rows.reshape(-1).view(np.uint8).data
        places = (self.offset + np.asarray(indices, np.int64) * size).tolist()
        # One system call for each stretch, and little else: a batch is read as a step runs.
        with _by_turns(), open(self.path, "rb", buffering=0) as file:
            number = file.fileno()
            for start, stop in _runs(indices):
                wanted, place = flat[start * size : stop * size], places[start]
                got = _read_at(number, wanted, place)
                while got < len(wanted):
                    if not got:
                        raise ValueError(
                            f"{self.path}: the file is shorter than it was; "
                            f"expected {self.offset + self.count * size} bytes"
                        )
                    wanted, place = wanted[got:], place + got
                    got = _read_at(number, wanted, place)
        return rows


class RowSource:
    """A `Source` of the rows of one file, or of several in turn.

    `picture(rows)` makes pictures `[n, *shape]` of rows `[n, ...]`; without it rows are pictures.
    It must be a function of a module, so that it can be pickled.
    """

    def __init__(
        self,
        files: Sequence[Rows],
        labels: np.ndarray,
        class_names: tuple[str, ...],
        shape: tuple[int, ...],
        picture: Callable[[Any], np.ndarray] | None = None,
        dtype: np.dtype | None = None,
    ) -> None:
        self.files = tuple(files)
        self.labels = labels
        self.class_names = class_names
        self.shape = shape
        self.dtype = files[0].dtype if dtype is None else dtype
        self.picture = picture
        self.starts = np.cumsum([0, *(file.count for file in files)])

    def read(self, indices: np.ndarray) -> np.ndarray:
        """Return the pictures at `indices`."""
        indices = np.asarray(indices)
        which = np.searchsorted(self.starts, indices, side="right") - 1
        if len(self.files) == 1:
            pictures = self._pictures(0, indices)
        else:
            pictures = np.empty((len(indices), *self.shape), self.dtype)
            for number in np.unique(which):
                here = which == number
                pictures[here] = self._pictures(number, indices[here] - self.starts[number])
        if self.dtype.kind == "f" and not np.isfinite(pictures).all():
            wrong = ~np.isfinite(pictures).reshape(len(indices), -1).all(axis=1)
            first = int(np.argmax(wrong))
            raise ValueError(
                f"{self.files[which[first]].path}: example {indices[first]} holds NaN or infinity; "
                "pictures must be finite"
            )
        return pictures

    def _pictures(self, number: int, rows: np.ndarray) -> np.ndarray:
        found = self.files[number].read(rows)
        made = found if self.picture is None else self.picture(found)
        return made.reshape(-1, *self.shape).astype(self.dtype, copy=False)


def _read_at(file: int, buffer: memoryview, place: int) -> int:
    return os.preadv(file, (buffer,), place)


def _seek_and_read(file: int, buffer: memoryview, place: int) -> int:
    os.lseek(file, place, os.SEEK_SET)
    data = os.read(file, len(buffer))
    buffer[: len(data)] = data
    return len(data)


if not hasattr(os, "preadv"):
    _read_at = _seek_and_read

_TURN = threading.Lock()
_PATIENCE = 0.005
"""The seconds after which a reader waits no longer for its turn."""


@contextmanager
def _by_turns() -> Iterator[None]:
    """Let one thread read at a time, unless it takes long.

    Threads that read at once hand Python's lock to each other at each call, which takes longer than
    the reading. Where a turn takes long the disk is slow, and two wait for it better than one.
    """
    in_turn = _TURN.acquire(timeout=_PATIENCE)
    try:
        yield
    finally:
        if in_turn:
            _TURN.release()


def whole_file(path: str | os.PathLike[str], size: int) -> int:
    """Return the number of records of `size` bytes in a file that must hold whole ones alone."""
    length = os.path.getsize(path)
    if length == 0 or length % size:
        raise ValueError(
            f"{os.fspath(path)}: expected records of {size} bytes each, "
            f"but the file has {length} bytes ({length / size:.6g} records)"
        )
    return length // size


def _runs(indices: np.ndarray) -> list[tuple[int, int]]:
    """Return `(start, stop)` of each stretch of consecutive indices: each takes one read."""
    if not len(indices):
        return []
    breaks = np.flatnonzero(np.diff(indices) != 1) + 1
    edges = [0, *breaks.tolist(), len(indices)]
    return list(itertools.pairwise(edges))
