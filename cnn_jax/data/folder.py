"""A folder of pictures, with one folder for each class.

    pictures/cat/1.png
    pictures/cat/2.jpg
    pictures/dog/1.png

A folder may also hold parts, `train`, `validation` (or `val`, `valid`) and `test`, each a folder
like this one.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jax.typing import DTypeLike

from cnn_jax import images
from cnn_jax.data.source import check_class_names

_PARTS = {
    "train": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
}

Path_ = str | os.PathLike[str]


class PictureFiles:
    """A `Source` of picture files, each read and decoded when it is asked for.

    Names are kept in one block of bytes, so that a million of them cost little.
    """

    def __init__(
        self,
        files: Sequence[str],
        labels: np.ndarray,
        class_names: tuple[str, ...],
        *,
        size: tuple[int, int] | None = None,
        channels: int | None = None,
        background: float | Sequence[float] | None = None,
        dtype: DTypeLike = np.uint8,
    ) -> None:
        names = [os.fsencode(file) for file in files]
        self._ends = np.cumsum([0, *map(len, names)])
        self._names = b"".join(names)
        self.labels = np.asarray(labels, np.int32)
        self.class_names = class_names
        self.dtype = np.dtype(dtype)
        self._options = {"size": size, "channels": channels, "background": background}
        self.shape = images.read(self.file(0), **self._options).shape

    def file(self, index: int) -> str:
        """Return the name of a picture's file."""
        return os.fsdecode(self._names[self._ends[index] : self._ends[index + 1]])

    def read(self, indices: np.ndarray) -> np.ndarray:
        """Return the pictures at `indices`."""
        pictures = np.empty((len(indices), *self.shape), self.dtype)
        for place, index in enumerate(indices):
            file = self.file(index)
            picture = images.read(file, **self._options)
            if picture.shape != self.shape:
                raise ValueError(
                    f"{file}: the picture is {_form(picture.shape)}, but {self.file(0)} is "
                    f"{_form(self.shape)}; all must have one shape: pass size=(height, width), "
                    "and channels=1 or 3 where grey and colour are mixed"
                )
            if self.dtype == np.uint8:
                picture = np.rint(picture * 255)
            pictures[place] = picture
        return pictures


class _Listing(NamedTuple):
    classes: tuple[str, ...]
    files: list[str]
    labels: list[int]


def folder_parts(path: Path_) -> tuple[str, ...]:
    """Return the parts that a folder of pictures is divided into; `train` alone where it is not."""
    return tuple(_part_folders(path)) or ("train",)


def folder_source(
    path: Path_,
    part: str = "train",
    *,
    size: int | tuple[int, int] | None = None,
    channels: int | None = None,
    background: float | Sequence[float] | None = None,
    dtype: DTypeLike = np.uint8,
    class_names: Sequence[str] | None = None,
) -> PictureFiles:
    """Return the pictures in a folder with one folder for each class.

    Classes are the names of the folders in alphabetical order (of their code points) or, with
    `class_names`, in that order. Pictures may lie deeper within their class. Files and folders
    whose names begin with a dot, and files that are not called as pictures are (`images.SUFFIXES`),
    are passed over. `size` (height and width, or one int for both), `channels` and `background`
    are those of `images.read`. Pictures are uint8 by default; float32 keeps 16-bit grey whole.

    Raises `OSError` and `ValueError`, naming the file or folder: where there are no class folders,
    a class has no pictures, pictures lie outside the class folders, a picture can't be read or is
    too large, or pictures differ in shape and neither `size` nor `channels` makes them equal.
    """
    if np.dtype(dtype) not in (np.uint8, np.float32):
        raise TypeError(f"dtype must be uint8 or float32, not {np.dtype(dtype).name}")
    if channels not in (None, 1, 3):
        raise ValueError(f"channels must be 1, 3 or None, not {channels!r}")
    height_width = (size, size) if isinstance(size, int) else size
    if height_width is not None and (len(height_width) != 2 or min(height_width) < 1):
        raise ValueError(f"size must be a positive int or (height, width), not {size!r}")
    parts = _part_folders(path)
    root = parts.get(part) if parts else Path(path)
    if root is None:
        raise ValueError(f"{os.fspath(path)}: there is no {part} part; it has {', '.join(parts)}")
    if class_names is not None:
        classes = check_class_names(class_names)
    elif parts and part != "train":
        # Every part numbers the classes as the training part does.
        classes = _class_folders(parts["train"])
    else:
        classes = _class_folders(root)
    listing = _list(root, classes, complete=part == "train")
    return PictureFiles(
        listing.files,
        np.asarray(listing.labels, np.int32),
        listing.classes,
        size=height_width,
        channels=channels,
        background=background,
        dtype=dtype,
    )


def _part_folders(path: Path_) -> dict[str, Path]:
    """Return the folders of the parts by the part's name, if there are no other folders."""
    folders = [entry for entry in _visible(path) if entry.is_dir()]
    names = [entry.name for entry in folders]
    if "train" not in names or len(names) < 2 or not set(names) <= set(_PARTS):
        return {}
    parts: dict[str, Path] = {}
    for entry in folders:
        part = _PARTS[entry.name]
        if part in parts:
            raise ValueError(
                f"{os.fspath(path)}: both {parts[part].name} and {entry.name} hold the {part} part"
            )
        parts[part] = Path(entry.path)
    return {part: parts[part] for part in ("train", "validation", "test") if part in parts}


def _class_folders(root: Path) -> tuple[str, ...]:
    entries = list(_visible(root))
    classes = tuple(entry.name for entry in entries if entry.is_dir())
    loose = [entry.name for entry in entries if entry.is_file() and _is_picture(entry.name)]
    if not classes:
        also = "" if loose else ", or IDX files, or CIFAR's files"
        raise ValueError(
            f"{root}: expected one folder of pictures for each class{also}, but there are no "
            "folders in it" + (f", only pictures such as {loose[0]}" if loose else "")
        )
    if loose:
        raise ValueError(
            f"{root}: the picture {loose[0]} is in no class; expected every picture in one of the "
            f"class folders, such as {classes[0]}"
        )
    return classes


def _list(root: Path, classes: tuple[str, ...], *, complete: bool) -> _Listing:
    unknown = [name for name in _class_folders(root) if name not in classes]
    if unknown:
        raise ValueError(
            f"{root / unknown[0]}: not one of the classes, which are {', '.join(classes)}"
        )
    files: list[str] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        here = root / name
        if not here.is_dir():
            if complete:
                raise FileNotFoundError(f"{here}: there is no folder for the class {name!r}")
            continue
        found, others = _pictures_in(here)
        if not found:
            seen = f"only other files, such as {others[0]}" if others else "nothing"
            raise ValueError(
                f"{here}: the class {name!r} has no pictures: there is {seen}; expected files "
                f"ending in {', '.join(images.SUFFIXES)}"
            )
        files += found
        labels += [label] * len(found)
    return _Listing(classes, files, labels)


def _pictures_in(folder: Path) -> tuple[list[str], list[str]]:
    """Return the pictures in a folder and its folders, in a fixed order, and what else there is."""
    pictures: list[str] = []
    others: list[str] = []
    for here, folders, names in os.walk(folder, onerror=_raise):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith("."):
                (pictures if _is_picture(name) else others).append(os.path.join(here, name))
    return pictures, [os.path.basename(other) for other in others]


def _raise(error: OSError) -> None:
    raise error


def _visible(path: Path_) -> list[os.DirEntry[str]]:
    with os.scandir(path) as entries:
        return sorted(
            (entry for entry in entries if not entry.name.startswith(".")), key=lambda e: e.name
        )


def _is_picture(name: str) -> bool:
    return name.lower().endswith(images.SUFFIXES)


def _form(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
