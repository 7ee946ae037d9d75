"""Pictures of a fixed size in binary files, read a few at a time."""

import itertools
import math
import os
from collections.abc import Callable, Sequence
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
        flat = rows.reshape(-1).view(np.uint8).reshape(len(indices), size)
        with open(self.path, "rb", buffering=0) as file:
            for start, stop in _runs(indices):
                file.seek(self.offset + int(indices[start]) * size)
                wanted = flat[start:stop].reshape(-1).data
                while len(wanted):
                    got = file.readinto(wanted)
                    if not got:
                        raise ValueError(
                            f"{self.path}: the file is shorter than it was; "
                            f"expected {self.offset + self.count * size} bytes"
                        )
                    wanted = wanted[got:]
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
        pictures = np.empty((len(indices), *self.shape), self.dtype)
        which = np.searchsorted(self.starts, indices, side="right") - 1
        for number in np.unique(which):
            here = which == number
            rows = self.files[number].read(indices[here] - self.starts[number])
            made = rows if self.picture is None else self.picture(rows)
            pictures[here] = made.reshape(-1, *self.shape)
        if self.dtype.kind == "f" and not np.isfinite(pictures).all():
            wrong = ~np.isfinite(pictures).reshape(len(indices), -1).all(axis=1)
            first = int(np.argmax(wrong))
            raise ValueError(
                f"{self.files[which[first]].path}: example {indices[first]} holds NaN or infinity; "
                "pictures must be finite"
            )
        return pictures


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
