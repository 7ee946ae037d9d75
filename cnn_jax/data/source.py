"""Labelled pictures that stay on disk until they are asked for."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np

from cnn_jax import images
from cnn_jax.data.dataset import Dataset, check
from cnn_jax.data.split import split

BLOCK = 1024
"""How many pictures are read at once where all of them are wanted."""


@runtime_checkable
class Source(Protocol):
    """Labelled pictures, all of one shape, with random access by index.

    `labels: int32[n]` and `class_names` are as in `Dataset`; `shape` is that of one picture,
    `(*spatial, channels)`, and `dtype` uint8 or float32. `read(indices)` returns the pictures
    `[len(indices), *shape]` in that order; it may be called from several threads at once, and
    raises `OSError` and `ValueError`, naming the file, where one can't be read. Sources can be
    pickled, so that worker processes can read them.
    """

    labels: np.ndarray
    class_names: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: np.dtype

    def read(self, indices: np.ndarray) -> np.ndarray:
        """Return the pictures at `indices`, `[len(indices), *shape]`."""
        ...


class InMemory:
    """A `Dataset` as a `Source`; `name` is what messages call it.

    >>> import cnn_jax as cnn
    >>> InMemory(cnn.data.digits()).read(np.array([3, 1])).shape
    (2, 8, 8, 1)
    """

    def __init__(self, data: Dataset, name: str | os.PathLike[str] = "dataset") -> None:
        check(data, name=os.fspath(name))
        # NumPy views: indexing device arrays would compile and copy for every batch.
        self.images = np.asarray(data.images)
        self.labels = np.asarray(data.labels, np.int32)
        self.class_names = data.class_names
        self.shape = data.shape
        self.dtype = np.dtype(self.images.dtype)

    def read(self, indices: np.ndarray) -> np.ndarray:
        """Return the pictures at `indices`."""
        return self.images[indices]


class Subset:
    """Some examples of a source, in an order of their own; `split_source` makes them."""

    def __init__(self, source: Source, indices: np.ndarray | Sequence[int]) -> None:
        self.source = source
        self.indices = np.asarray(indices, np.int64)
        self.labels = source.labels[self.indices]
        self.class_names = source.class_names
        self.shape = source.shape
        self.dtype = source.dtype

    def read(self, indices: np.ndarray) -> np.ndarray:
        """Return the pictures at `indices` of the subset."""
        return self.source.read(self.indices[indices])


class Resized:
    """A source with every picture resized to `size`, `(height, width)`, as it is read."""

    def __init__(self, source: Source, size: int | tuple[int, int]) -> None:
        height_width = (size, size) if isinstance(size, int) else tuple(size)
        if len(height_width) != 2 or min(height_width) < 1:
            raise ValueError(f"size must be a positive int or (height, width), not {size!r}")
        if len(source.shape) != 3:
            raise ValueError(
                f"size is for pictures [height, width, channels], not {list(source.shape)}"
            )
        self.source = source
        self.labels = source.labels
        self.class_names = source.class_names
        self.size = height_width
        self.shape = (*height_width, source.shape[-1])
        self.dtype = source.dtype

    def read(self, indices: np.ndarray) -> np.ndarray:
        """Return the pictures at `indices`, resized."""
        pictures = self.source.read(indices)
        if self.dtype != np.uint8:
            return images.resize(pictures, self.size)
        return np.rint(images.resize(pictures / np.float32(255), self.size) * 255).astype(np.uint8)


def split_source(
    source: Source, fractions: Sequence[float] = (0.8, 0.2), *, seed: int = 0
) -> tuple[Subset, ...]:
    """Cut a source into the parts that `split` would cut the same data set into.

    Only labels are looked at; no picture is read.

    Raises `ValueError` as `split` does.

    >>> import cnn_jax as cnn
    >>> train, test = split_source(InMemory(cnn.data.digits()))
    >>> len(train.labels), len(test.labels)
    (1438, 359)
    """
    # A picture's number stands for the picture: floats hold whole numbers exactly up to 2**53.
    numbers = np.arange(len(source.labels), dtype=np.float64)[:, None]
    parts = split(Dataset(numbers, source.labels, source.class_names), fractions, seed=seed)
    return tuple(Subset(source, np.asarray(part.images)[:, 0]) for part in parts)


def read_all(source: Source, name: str | os.PathLike[str] = "data") -> Dataset:
    """Read every picture of a source into memory.

    Raises `ValueError` where they are larger than the machine's memory, besides what reading
    raises. `name` is what messages call the data.

    >>> import cnn_jax as cnn
    >>> read_all(InMemory(cnn.data.digits())).images.shape
    (1797, 8, 8, 1)
    """
    size = len(source.labels)
    check_memory(name, size * int(np.prod(source.shape)) * source.dtype.itemsize)
    images = np.empty((size, *source.shape), source.dtype)
    for start in range(0, size, BLOCK):
        stop = min(start + BLOCK, size)
        images[start:stop] = source.read(np.arange(start, stop))
    return check(Dataset(images, source.labels, source.class_names), name=os.fspath(name))


def check_memory(
    name: str | os.PathLike[str],
    needed: int,
    advice: str = "stream them instead of loading them",
) -> None:
    """Raise `ValueError`, with `advice`, for data that can't fit in this machine's memory."""
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return  # the system does not tell
    if needed > memory:
        raise ValueError(
            f"{os.fspath(name)}: the pictures take {needed / 2**30:.3g} GiB and this machine has "
            f"{memory / 2**30:.3g} GiB of memory; {advice}"
        )


def check_labels(
    path: str | os.PathLike[str], labels: np.ndarray, class_names: Sequence[str]
) -> np.ndarray:
    """Return labels as int32 if each is the index of a class, or say which is not."""
    wrong = np.flatnonzero((labels < 0) | (labels >= len(class_names)))
    if wrong.size:
        raise ValueError(
            f"{os.fspath(path)}: label {labels[wrong[0]]} of example {wrong[0]} is out of range; "
            f"expected 0..{len(class_names) - 1} for {len(class_names)} classes"
        )
    return labels.astype(np.int32)


def read_class_names(path: Path) -> tuple[str, ...]:
    """Return the class names in a text file, one a line, or say what is wrong with it."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        return check_class_names([line.strip() for line in lines if line.strip()])
    except ValueError as error:  # text that is not UTF-8 as well
        raise ValueError(f"{path}: expected a class name on each line: {error}") from None


def check_class_names(class_names: Sequence[str]) -> tuple[str, ...]:
    """Return class names as a tuple, or say what is wrong with them."""
    if isinstance(class_names, str) or not all(isinstance(name, str) for name in class_names):
        raise TypeError(f"class_names must be a sequence of strings, not {class_names!r}")
    names = tuple(class_names)
    if not names:
        raise ValueError("class_names must name at least one class")
    twice = [name for i, name in enumerate(names) if name in names[:i]]
    if twice:
        raise ValueError(f"class_names must differ, but {twice[0]!r} comes twice")
    return names
