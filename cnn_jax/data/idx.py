"""IDX files, the format of MNIST and its kin, plain or compressed by gzip.

A file is two zero bytes, a byte for the kind of numbers, a byte for the number of dimensions, the
dimensions as big-endian 32-bit numbers, and the numbers themselves, big-endian, the last dimension
running fastest (Y. LeCun, C. Cortes and C. Burges, 'The MNIST database of handwritten digits').
"""

import gzip
import math
import os
import re
import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple
from uuid import uuid4

import numpy as np
from jax.typing import ArrayLike

from cnn_jax.data.dataset import Dataset
from cnn_jax.data.rows import Rows, RowSource
from cnn_jax.data.source import (
    InMemory,
    Source,
    check_class_names,
    check_labels,
    check_memory,
    read_class_names,
)

_KINDS = {
    0x08: np.dtype("u1"),
    0x09: np.dtype("i1"),
    0x0B: np.dtype(">i2"),
    0x0C: np.dtype(">i4"),
    0x0D: np.dtype(">f4"),
    0x0E: np.dtype(">f8"),
}
_GZIP = b"\x1f\x8b"
_NAMES = "class_names.txt"

Path_ = str | os.PathLike[str]


class Header(NamedTuple):
    """What the start of an IDX file says; the numbers begin after `size` bytes."""

    dtype: np.dtype
    shape: tuple[int, ...]
    size: int

    @property
    def content(self) -> int:
        """The number of bytes that must follow the header."""
        return math.prod(self.shape) * self.dtype.itemsize


def read_idx(path: Path_) -> np.ndarray:
    """Return the array in an IDX file, plain or compressed by gzip (told by its content).

    The dtype is the file's (uint8, int8, int16, int32, float32 or float64) in native byte order.

    Raises `OSError` where the file can't be read, and `ValueError`, naming the file, for a wrong
    magic number, and for fewer or more bytes than the dimensions say.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp(), "labels-idx1-ubyte.gz")
    >>> write_idx(path, np.array([5, 0, 4], np.uint8))
    >>> read_idx(path)
    array([5, 0, 4], dtype=uint8)
    """
    with _open(path) as file:
        header = _read_header(path, file)
        if is_compressed(path):
            check_memory(path, header.content, "expected fewer, or the file without compression")
        else:
            _check_length(path, header)
            check_memory(path, header.content)
        content = file.read(header.content)
        if len(content) < header.content:
            raise _wrong_length(path, header, len(content))
        if file.read(1):
            raise ValueError(f"{os.fspath(path)}: {_expected(header)}, but there are more")
    array = np.frombuffer(content, header.dtype).reshape(header.shape)
    return array.astype(header.dtype.newbyteorder("="))


def write_idx(path: Path_, array: ArrayLike, *, overwrite: bool = False) -> None:
    """Write an array as an IDX file, compressed where the name ends in `.gz`.

    The file appears whole or not at all; the same array gives the same bytes.

    Raises `FileExistsError` for a file that is there, unless `overwrite` is set, `TypeError` for
    dtypes other than those of `read_idx`, and `ValueError` for more than 255 dimensions or none.
    """
    target, x = Path(path), np.asarray(array)
    kinds = {dtype.newbyteorder("="): kind for kind, dtype in _KINDS.items()}
    kind = kinds.get(x.dtype.newbyteorder("="))
    if kind is None:
        names = ", ".join(dtype.name for dtype in kinds)
        raise TypeError(f"write_idx: array must be one of {names}, not {x.dtype}")
    if not 1 <= x.ndim <= 255:
        raise ValueError(f"write_idx: array must have 1 to 255 dimensions, not {x.ndim}")
    if target.exists() and not overwrite:
        raise FileExistsError(f"{target} exists: pass overwrite=True to replace it")
    content = struct.pack(f">4B{x.ndim}I", 0, 0, kind, x.ndim, *x.shape)
    content += x.astype(_KINDS[kind]).tobytes()
    if target.suffix == ".gz":
        content = gzip.compress(content, mtime=0)
    partial = target.with_name(f".{target.name}.{uuid4().hex}.part")
    try:
        partial.write_bytes(content)
        os.replace(partial, target)
    except OSError as error:
        raise type(error)(error.errno, error.strerror, str(target)) from None
    finally:
        partial.unlink(missing_ok=True)


class Pair(NamedTuple):
    """An IDX file of pictures and the file of their labels."""

    images: Path
    labels: Path


def find_pairs(folder: Path_) -> dict[str, Pair]:
    """Return the pairs of IDX files in a folder by the part that they are: `train`, `test`.

    Files are told by their names, as those of MNIST: `train-images-idx3-ubyte`, with `labels-idx1`
    for the labels, `t10k` or `test` for the test part, with or without `.gz`.

    Raises `FileNotFoundError` for pictures without labels, and `ValueError` for two pairs of one
    part.
    """
    pairs: dict[str, Pair] = {}
    names = {path.name for path in Path(folder).iterdir() if path.is_file()}
    for name in sorted(names):
        if not is_images(name):
            continue
        if name.endswith(".gz") and name.removesuffix(".gz") in names:
            continue  # the same file, already unpacked
        part = "test" if re.search(r"t10k|test", name) else "train"
        if part in pairs:
            raise ValueError(
                f"{os.fspath(folder)}: two files hold the {part} pictures, "
                f"{pairs[part].images.name} and {name}; name one of them instead of the folder"
            )
        pairs[part] = pair_of(Path(folder, name))
    return pairs


def is_images(name: str) -> bool:
    """Whether a file is called as IDX files of pictures are."""
    return not name.startswith(".") and re.search(r"images[.-]idx\d", name) is not None


def pair_of(images: Path_) -> Pair:
    """Return an IDX file of pictures with the file of labels that its name leads to."""
    images = Path(images)
    wanted = re.sub(r"images([.-])idx\d", r"labels\1idx1", images.name)
    plain = wanted.removesuffix(".gz")
    for name in dict.fromkeys((wanted, plain, f"{plain}.gz")):
        if name != images.name and images.with_name(name).is_file():
            return Pair(images, images.with_name(name))
    raise FileNotFoundError(
        f"{images}: no labels for these pictures; expected {wanted} in the same folder"
    )


def idx_source(pair: Pair, class_names: Sequence[str] | None = None) -> Source:
    """Return the pictures and labels of a pair of IDX files.

    Pictures are `[n, h, w]`, `[n, h, w, c]` or of other ranks from 3 on, uint8 or floats. Where
    they are not compressed they stay on disk. Without `class_names` the names stand in
    `class_names.txt` beside the files, one a line, or are the numbers from 0 to the largest label.

    Raises `OSError` and `ValueError`, naming the file, for files that can't be read, are damaged,
    or do not belong together, and for labels out of range.
    """
    with _open(pair.images) as file:
        header = _read_header(pair.images, file)
    if len(header.shape) < 3:
        raise ValueError(
            f"{pair.images}: expected pictures [n, h, w], got an array of shape "
            f"{list(header.shape)}"
        )
    if header.dtype.kind != "f" and header.dtype != np.uint8:
        raise ValueError(f"{pair.images}: expected uint8 or floats, got {header.dtype.name}")
    if not is_compressed(pair.images):
        _check_length(pair.images, header)
    labels = _read_labels(pair, header.shape[0])
    names = _class_names(pair, labels, class_names)
    labels = check_labels(pair.labels, labels, names)
    # Three dimensions are grey pictures: the channel is left out.
    shape = header.shape[1:] if len(header.shape) > 3 else (*header.shape[1:], 1)
    if 0 in header.shape:
        raise ValueError(f"{pair.images}: there are no pixels in shape {list(header.shape)}")
    if is_compressed(pair.images):
        images = read_idx(pair.images).reshape(-1, *shape)
        if images.dtype != np.uint8:
            images = images.astype(np.float32)
        return InMemory(Dataset(images, labels, names), pair.images)
    rows = Rows(str(pair.images), header.size, header.dtype, header.shape[1:], header.shape[0])
    dtype = np.dtype(np.uint8 if header.dtype == np.uint8 else np.float32)
    return RowSource([rows], labels, names, shape, dtype=dtype)


def is_compressed(path: Path_) -> bool:
    """Whether a file is compressed by gzip, by its first two bytes."""
    with open(path, "rb") as file:
        return file.read(2) == _GZIP


def is_idx(path: Path_) -> bool:
    """Whether a file begins as IDX files do."""
    try:
        with _open(path) as file:
            start = file.read(4)
    except ValueError:
        return False
    return len(start) == 4 and start[:2] == b"\0\0" and start[2] in _KINDS


@contextmanager
def _open(path: Path_) -> Iterator[IO[bytes] | gzip.GzipFile]:
    try:
        with gzip.open(path, "rb") if is_compressed(path) else open(path, "rb") as file:
            yield file
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(
            f"{os.fspath(path)}: the gzip data is broken or cut off: {error}; expected a whole "
            "gzip file"
        ) from None


def _read_header(path: Path_, file: IO[bytes] | gzip.GzipFile) -> Header:
    start = file.read(4)
    if len(start) < 4:
        raise ValueError(
            f"{os.fspath(path)}: expected an IDX file, but there are {len(start)} bytes"
        )
    if start[:2] != b"\0\0" or start[2] not in _KINDS or start[3] == 0:
        raise ValueError(
            f"{os.fspath(path)}: not an IDX file: it begins with {start.hex(' ')}; expected 00 00, "
            "a kind of numbers from 08 to 0e, and the number of dimensions"
        )
    dimensions = file.read(4 * start[3])
    if len(dimensions) < 4 * start[3]:
        raise ValueError(
            f"{os.fspath(path)}: cut off: expected {start[3]} dimensions of 4 bytes each, but "
            f"there are {len(dimensions)} bytes"
        )
    shape = struct.unpack(f">{start[3]}I", dimensions)
    return Header(_KINDS[start[2]], shape, 4 + 4 * start[3])


def _check_length(path: Path_, header: Header) -> None:
    length = os.path.getsize(path) - header.size
    if length != header.content:
        raise _wrong_length(path, header, length)


def _wrong_length(path: Path_, header: Header, length: int) -> ValueError:
    return ValueError(f"{os.fspath(path)}: {_expected(header)}, but there are {length}")


def _expected(header: Header) -> str:
    return (
        f"expected {header.content} bytes after the header for {header.dtype.name} of shape "
        f"{list(header.shape)}"
    )


def _read_labels(pair: Pair, count: int) -> np.ndarray:
    labels = read_idx(pair.labels)
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise ValueError(
            f"{pair.labels}: expected whole numbers [n], got {labels.dtype.name} of shape "
            f"{list(labels.shape)}"
        )
    if len(labels) != count:
        raise ValueError(
            f"{pair.labels}: expected {count} labels for the pictures in {pair.images.name}, "
            f"got {len(labels)}"
        )
    return labels


def _class_names(
    pair: Pair, labels: np.ndarray, class_names: Sequence[str] | None
) -> tuple[str, ...]:
    if class_names is not None:
        return check_class_names(class_names)
    file = pair.labels.with_name(_NAMES)
    if file.is_file():
        return read_class_names(file)
    return tuple(str(i) for i in range(int(labels.max(initial=0)) + 1))
