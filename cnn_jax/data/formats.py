"""Data by its name or its path, whatever its format."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jax.typing import DTypeLike

from cnn_jax import images
from cnn_jax.data import named
from cnn_jax.data.cifar import cifar_source, find_layout
from cnn_jax.data.dataset import Dataset
from cnn_jax.data.download import download, downloadable
from cnn_jax.data.folder import folder_parts, folder_source
from cnn_jax.data.idx import find_pairs, idx_source, is_idx, is_images, pair_of
from cnn_jax.data.npz import npz_parts, npz_source
from cnn_jax.data.source import InMemory, Resized, Source, read_all

PARTS = ("train", "validation", "test")
"""The parts that data may be divided into by those who made it."""

_CLASS_NAMES = {
    "fashion-mnist": (
        *("T-shirt/top", "trouser", "pullover", "dress", "coat"),
        *("sandal", "shirt", "sneaker", "bag", "ankle boot"),
    ),
    "mnist": tuple("0123456789"),
}
_ARCHIVES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".zip")
_EXPECTED = (
    "expected a .npz file, an IDX file of pictures, or a folder with IDX files, CIFAR's files or "
    "one folder of pictures for each class"
)

Path_ = str | os.PathLike[str]


def names() -> tuple[str, ...]:
    """Return the names of data sets that `load` and `open_source` accept beside paths.

    >>> names()
    ('cifar10', 'cifar100', 'digits', 'fashion-mnist', 'mnist')
    """
    return tuple(sorted((*named.names(), *downloadable())))


def load(
    data: Path_,
    part: str = "train",
    *,
    size: int | tuple[int, int] | None = None,
    channels: int | None = None,
    background: float | Sequence[float] | None = None,
    dtype: DTypeLike = np.uint8,
    labels: str = "fine",
    class_names: Sequence[str] | None = None,
) -> Dataset:
    """Return the labelled pictures at a path, or of a name, all of them in memory.

    `data` is one of `names()` (all but the digits are fetched at first use, see `download`), or the
    path of
    - a folder with one folder of pictures for each class (see `folder_source`);
    - a folder of IDX files, plain or compressed, or one such file of pictures (`idx_source`);
    - a folder of CIFAR-10's or CIFAR-100's files, binary or pickled (`cifar_source`);
    - a `.npz` file (`npz_source`).

    A name comes before a file or folder that is called the same: write `./mnist` for that.

    - `part`: `train`, `validation` or `test`, where the data is divided; see `parts`.
    - `size`: resize pictures to this height and width, or to this int for both.
    - `channels`, `background`, `dtype`: for folders of pictures, as `folder_source` says.
    - `labels`: for CIFAR-100, `fine` or `coarse`.
    - `class_names`: what the classes are called, in place of what the data says.

    Raises `OSError` and `ValueError` in one line that names the file and says what was expected.

    >>> load("digits").size
    1797
    """
    source = open_source(
        data,
        part,
        size=size,
        channels=channels,
        background=background,
        dtype=dtype,
        labels=labels,
        class_names=class_names,
    )
    return read_all(source, data)


def open_source(
    data: Path_,
    part: str = "train",
    *,
    size: int | tuple[int, int] | None = None,
    channels: int | None = None,
    background: float | Sequence[float] | None = None,
    dtype: DTypeLike = np.uint8,
    labels: str = "fine",
    class_names: Sequence[str] | None = None,
) -> Source:
    """Return the labelled pictures at a path, or of a name, to be read when they are asked for.

    The arguments are those of `load`. Files that are not compressed stay on disk; `stream` makes
    batches of them.

    >>> open_source("digits").shape
    (8, 8, 1)
    """
    path, known_names = _find(data)
    _check_part(data, path, part)
    if class_names is None:
        class_names = known_names
    if path is not None and is_picture_folder(path):
        return folder_source(
            path,
            part,
            size=size,
            channels=channels,
            background=background,
            dtype=dtype,
            class_names=class_names,
        )
    if channels is not None or background is not None:
        raise ValueError(
            f"{os.fspath(data)}: channels and background are for folders of pictures; this is none"
        )
    source = _open(data, path, part, labels, class_names)
    return source if size is None else Resized(source, size)


def parts(data: Path_) -> tuple[str, ...]:
    """Return the parts that data is divided into, of `train`, `validation` and `test`.

    Data that is not divided is all `train`; `split` divides it.

    >>> parts("digits")
    ('train',)
    """
    path, _ = _find(data)
    return _parts(path) if path is not None else ("train",)


def _find(data: Path_) -> tuple[Path | None, tuple[str, ...] | None]:
    """Return the data's path, fetched if need be (None for the digits), and its class names."""
    name = os.fspath(data)
    path = Path(data)
    if name in named.names():
        return None, None
    if name in downloadable():
        return download(name), _CLASS_NAMES.get(name)
    if path.exists():
        return path, None
    if path.name == name and not path.suffix:
        raise ValueError(
            f"dataset: unknown name {name!r}; the data sets are {', '.join(names())}, and there is "
            "no file or folder of that name"
        )
    raise FileNotFoundError(f"{name}: no such file or folder; {_EXPECTED}")


def _check_part(data: Path_, path: Path | None, part: str) -> None:
    if part not in PARTS:
        raise ValueError(f"part must be one of {', '.join(PARTS)}, not {part!r}")
    there = ("train",) if path is None else _parts(path)
    if part not in there:
        raise ValueError(
            f"{os.fspath(data)}: there is no {part} part; there is {' and '.join(there)}"
        )


def _parts(path: Path) -> tuple[str, ...]:
    if path.is_file():
        return npz_parts(path) or ("train",) if _is_npz(path) else ("train",)
    layout = find_layout(path)
    if layout is not None:
        here = {entry.name for entry in path.iterdir()}
        return tuple(part for part in ("train", "test") if here.intersection(layout.files(part)))
    return tuple(sorted(find_pairs(path), key=PARTS.index)) or folder_parts(path)


def _open(
    data: Path_,
    path: Path | None,
    part: str,
    labels: str,
    class_names: Sequence[str] | None,
) -> Source:
    if path is None:
        found = named.load(os.fspath(data))
        return InMemory(found if class_names is None else _renamed(found, class_names))
    if path.is_dir():
        if find_layout(path) is not None:
            return cifar_source(path, part, labels=labels, class_names=class_names)
        return idx_source(find_pairs(path)[part], class_names)
    if _is_npz(path):
        return npz_source(path, part, class_names=class_names)
    if is_idx(path):
        if not is_images(path.name):
            raise ValueError(
                f"{path}: an IDX file, but not called as pictures are; expected a name such as "
                "train-images-idx3-ubyte, which leads to the labels"
            )
        return idx_source(pair_of(path), class_names)
    raise ValueError(f"{path}: {_wrong_file(path)}")


def _renamed(data: Dataset, class_names: Sequence[str]) -> Dataset:
    if len(class_names) != len(data.class_names):
        raise ValueError(
            f"class_names must name {len(data.class_names)} classes, not {len(class_names)}"
        )
    return data._replace(class_names=tuple(class_names))


def is_picture_folder(path: Path) -> bool:
    """Whether a path is that of a folder to be read as pictures, not of another format's files."""
    return path.is_dir() and find_layout(path) is None and not find_pairs(path)


def _is_npz(path: Path) -> bool:
    if path.suffix.lower() == ".npz":
        return True
    with open(path, "rb") as file:
        # Other zip files are archives of something else.
        return file.read(4) == b"PK\x03\x04" and not path.name.lower().endswith(_ARCHIVES)


def _wrong_file(path: Path) -> str:
    name = path.name.lower()
    if name.endswith(_ARCHIVES):
        return "an archive; unpack it and name the folder"
    if name.endswith(images.SUFFIXES):
        return "a single picture; expected a folder with one folder of pictures for each class"
    layout = find_layout(path.parent)
    if layout is not None and path.name in (*layout.train, *layout.test, *layout.meta):
        return f"one of {layout.name}; expected the folder that holds them, {path.parent}"
    return f"not a known kind of data; {_EXPECTED}"
