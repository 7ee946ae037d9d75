"""Pictures and labels in NumPy's `.npz` files."""

import math
import os
import zipfile
import zlib
from collections.abc import Sequence
from typing import IO

import numpy as np

from cnn_jax.data.dataset import Dataset
from cnn_jax.data.rows import Rows, RowSource
from cnn_jax.data.source import InMemory, Source, check_class_names, check_labels, check_memory

_SPELLINGS = {
    "train": (("images", "labels"), ("train_images", "train_labels"), ("x_train", "y_train")),
    "validation": (("val_images", "val_labels"), ("validation_images", "validation_labels")),
    "test": (("test_images", "test_labels"), ("x_test", "y_test")),
}
_EXPECTED = "expected a whole file as numpy.savez writes it"
_BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, KeyError, NotImplementedError, ValueError)

Path_ = str | os.PathLike[str]


def npz_parts(path: Path_) -> tuple[str, ...]:
    """Return the parts in a `.npz` file, of `train`, `validation` and `test`."""
    names = _members(path)
    return tuple(
        part for part, spellings in _SPELLINGS.items() if any(i in names for i, _ in spellings)
    )


def npz_source(
    path: Path_, part: str = "train", *, class_names: Sequence[str] | None = None
) -> Source:
    """Return the pictures and labels in a `.npz` file.

    It holds `images`, uint8 or floats (other whole numbers in 0..255 become uint8) of shape
    `[n, h, w]` or `[n, *spatial, channels]`, `labels`, whole numbers `[n]` or `[n, 1]`, and perhaps
    `class_names`, text. Parts of their own are called `train_images`, `val_images` and
    `test_images`, or `x_train` and `x_test` with `y_train` and `y_test`.

    Floats should lie in 0..1, as picture files give them: `cnn-jax predict` refuses picture files
    for a run that was trained on others.

    What `numpy.savez` wrote stays on disk, what `numpy.savez_compressed` wrote is read whole.
    Nothing in the file is executed: pickled objects are refused.

    Raises `OSError` and `ValueError`, naming the file.

    >>> import tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "pictures.npz")
    >>> np.savez(path, images=np.zeros((3, 8, 8), np.uint8), labels=[0, 1, 1])
    >>> source = npz_source(path)
    >>> source.shape, source.labels.tolist(), source.class_names
    ((8, 8, 1), [0, 1, 1], ('0', '1'))
    """
    names = _members(path)
    spelling = next(((i, j) for i, j in _SPELLINGS[part] if i in names), None)
    if spelling is None or spelling[1] not in names:
        missing = _SPELLINGS[part][0][0] if spelling is None else spelling[1]
        pairs = _SPELLINGS[part] if spelling is None else (spelling,)
        expected = ", or ".join(f"{images} and {labels}" for images, labels in pairs)
        raise ValueError(
            f"{os.fspath(path)}: there is no array {missing!r}; it holds "
            f"{', '.join(sorted(names)) or 'nothing'}; expected {expected}"
        )
    labels = _labels(path, spelling[1])
    names_found = _names(path, names, labels, class_names)
    labels = check_labels(path, labels, names_found)
    rows = _find_rows(path, spelling[0])
    if rows is None:
        return InMemory(_in_memory(path, spelling, labels, names_found), path)
    _check_images(path, spelling, (rows.count, *rows.shape), labels)
    dtype = np.dtype(np.uint8 if rows.dtype == np.uint8 else np.float32)
    shape = _picture_shape(rows.shape)
    return RowSource([rows], labels, names_found, shape, dtype=dtype)


def _members(path: Path_) -> set[str]:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            return {name.removesuffix(".npy") for name in names if name.endswith(".npy")}
    except zipfile.BadZipFile as error:
        raise ValueError(
            f"{os.fspath(path)}: not a .npz file, or cut off ({error}); {_EXPECTED}"
        ) from None


def _find_rows(path: Path_, name: str) -> Rows | None:
    """Return where an array lies in the file, unless it must be decoded or converted first."""
    with zipfile.ZipFile(path) as archive:
        member = archive.getinfo(f"{name}.npy")
        if member.compress_type != zipfile.ZIP_STORED:
            return None
        with archive.open(member) as file:
            shape, fortran, dtype = _read_header(path, name, file)
            header = file.tell()
    if fortran or not shape or 0 in shape or (dtype.kind != "f" and dtype != np.uint8):
        return None
    expected = dtype.itemsize * math.prod(shape)
    if expected != member.file_size - header:
        raise ValueError(
            f"{os.fspath(path)}: the array {name!r} is broken: expected {expected} bytes for "
            f"{dtype} of shape {list(shape)}, but there are {member.file_size - header}"
        )
    with open(path, "rb") as file:
        # The local header repeats the name and may pad: its two lengths stand at byte 26.
        file.seek(member.header_offset + 26)
        lengths = file.read(4)
        start = member.header_offset + 30
        start += int.from_bytes(lengths[:2], "little") + int.from_bytes(lengths[2:], "little")
    return Rows(os.fspath(path), start + header, dtype, shape[1:], shape[0])


def _read_header(path: Path_, name: str, file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    try:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0
        if version != (1, 0):
            read = np.lib.format.read_array_header_2_0
        return read(file)
    except _BROKEN as error:
        raise _broken(path, name, error) from None


def _read(path: Path_, name: str) -> np.ndarray:
    with zipfile.ZipFile(path) as archive, archive.open(f"{name}.npy") as file:
        shape, _, dtype = _read_header(path, name, file)
    if dtype.hasobject:
        raise ValueError(
            f"{os.fspath(path)}: the array {name!r} holds pickled objects, which are never read; "
            "expected numbers or text"
        )
    advice = "expected fewer, or uint8 or floats that numpy.savez wrote, which can be streamed"
    check_memory(path, dtype.itemsize * math.prod(shape), advice)
    try:
        with np.load(path, allow_pickle=False) as file:
            return file[name]
    except (*_BROKEN, MemoryError) as error:
        raise _broken(path, name, error) from None


def _broken(path: Path_, name: str, error: BaseException) -> ValueError:
    return ValueError(f"{os.fspath(path)}: the array {name!r} is broken: {error}; {_EXPECTED}")


def _labels(path: Path_, name: str) -> np.ndarray:
    labels = _read(path, name)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.dtype.kind not in "iu" or labels.ndim != 1:
        raise ValueError(
            f"{os.fspath(path)}: expected whole numbers [n] as {name!r}, got {labels.dtype} of "
            f"shape {list(labels.shape)}"
        )
    return labels


def _names(
    path: Path_, members: set[str], labels: np.ndarray, class_names: Sequence[str] | None
) -> tuple[str, ...]:
    if class_names is not None:
        return check_class_names(class_names)
    if "class_names" not in members:
        return tuple(str(i) for i in range(int(labels.max(initial=0)) + 1))
    names = _read(path, "class_names")
    if names.dtype.kind != "U" or names.ndim != 1:
        raise ValueError(
            f"{os.fspath(path)}: expected text [classes] as 'class_names', got {names.dtype} of "
            f"shape {list(names.shape)}"
        )
    try:
        return check_class_names(names.tolist())
    except ValueError as error:
        raise ValueError(f"{os.fspath(path)}: {error}") from None


def _in_memory(
    path: Path_, spelling: tuple[str, str], labels: np.ndarray, names: tuple[str, ...]
) -> Dataset:
    images = _read(path, spelling[0])
    _check_images(path, spelling, images.shape, labels)
    if images.dtype.kind == "f":
        images = images.astype(np.float32)
    elif images.dtype.kind in "iub":
        low, high = images.min(), images.max()
        if low < 0 or high > 255:
            raise ValueError(
                f"{os.fspath(path)}: whole numbers as {spelling[0]!r} must be in 0..255, got "
                f"{int(low)}..{int(high)}"
            )
        images = images.astype(np.uint8)
    else:
        raise ValueError(
            f"{os.fspath(path)}: expected uint8 or floats as {spelling[0]!r}, got {images.dtype}"
        )
    return Dataset(images.reshape(-1, *_picture_shape(images.shape[1:])), labels, names)


def _check_images(
    path: Path_, spelling: tuple[str, str], shape: tuple[int, ...], labels: np.ndarray
) -> None:
    if len(shape) < 3 or 0 in shape:
        raise ValueError(
            f"{os.fspath(path)}: expected pictures [n, h, w] or [n, *spatial, channels] as "
            f"{spelling[0]!r}, got shape {list(shape)}"
        )
    if len(labels) != shape[0]:
        raise ValueError(
            f"{os.fspath(path)}: expected {shape[0]} labels as {spelling[1]!r} for as many "
            f"pictures, got {len(labels)}"
        )


def _picture_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (*shape, 1) if len(shape) == 2 else shape
