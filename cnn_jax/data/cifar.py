"""CIFAR-10 and CIFAR-100, as binary files and as pickled batches.

Pictures of 32 x 32 pixels in red, green and blue (A. Krizhevsky, 'Learning Multiple Layers of
Features from Tiny Images', 2009). Pickled batches are read without executing anything in them.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cnn_jax.data.cifar_names import CLASS_NAMES
from cnn_jax.data.dataset import Dataset
from cnn_jax.data.plain_pickle import read_plain_pickle
from cnn_jax.data.rows import Rows, RowSource, whole_file
from cnn_jax.data.source import (
    BLOCK,
    InMemory,
    Source,
    check_class_names,
    check_labels,
    read_class_names,
)

SHAPE = (32, 32, 3)
PIXELS = 32 * 32 * 3
LABELS = ("fine", "coarse")
"""The two kinds of labels of CIFAR-100: 100 classes, or the 20 groups that they fall into."""


class Layout(NamedTuple):
    """How one of the four forms lies in its folder.

    `labels` are the names of the labels in each record, in their order.
    """

    name: str
    train: tuple[str, ...]
    test: tuple[str, ...]
    meta: tuple[str, ...]
    labels: tuple[str, ...]
    pickled: bool

    def files(self, part: str) -> tuple[str, ...]:
        """The names of the files of a part."""
        return self.train if part == "train" else self.test


_BATCHES = tuple(f"data_batch_{i}" for i in range(1, 6))
LAYOUTS = (
    Layout(
        name="CIFAR-10 binary files",
        train=tuple(f"{batch}.bin" for batch in _BATCHES),
        test=("test_batch.bin",),
        meta=("batches.meta.txt",),
        labels=("label",),
        pickled=False,
    ),
    Layout(
        name="CIFAR-100 binary files",
        train=("train.bin",),
        test=("test.bin",),
        meta=("coarse_label_names.txt", "fine_label_names.txt"),
        labels=("coarse", "fine"),
        pickled=False,
    ),
    Layout(
        name="CIFAR-10 pickled batches",
        train=_BATCHES,
        test=("test_batch",),
        meta=("batches.meta",),
        labels=("label",),
        pickled=True,
    ),
    Layout(
        name="CIFAR-100 pickled batches",
        train=("train",),
        test=("test",),
        meta=("meta",),
        labels=("coarse", "fine"),
        pickled=True,
    ),
)


def find_layout(folder: str | os.PathLike[str]) -> Layout | None:
    """Return which of the forms of CIFAR a folder holds, or None.

    Any of the files that hold pictures will do; those that are missing are named when they are
    read.
    """
    here = {path.name for path in Path(folder).iterdir() if path.is_file()}
    for layout in LAYOUTS:
        if here.intersection(layout.train + layout.test) and (
            # 'train' and 'test' are names that any file may have.
            layout.train[0] != "train"
            or "meta" in here
            or all(_is_pickle(Path(folder, name)) for name in here & {"train", "test"})
        ):
            return layout
    return None


def cifar_source(
    folder: str | os.PathLike[str],
    part: str = "train",
    *,
    labels: str = "fine",
    class_names: Sequence[str] | None = None,
) -> Source:
    """Return the pictures and labels of a part, `train` or `test`, of CIFAR-10 or CIFAR-100.

    `labels` chooses `fine` or `coarse` for CIFAR-100. Binary files stay on disk, and their pictures
    are read when asked for; pickled batches are read whole. Class names are `class_names`, or stand
    in the folder; where neither says them they are those that CIFAR was published with.

    Raises `OSError` for files that are missing or can't be read, and `ValueError`, naming the file,
    for files that are damaged or hold labels out of range.
    """
    if labels not in LABELS:
        raise ValueError(f"labels must be fine or coarse, not {labels!r}")
    layout = find_layout(folder)
    if layout is None:
        raise FileNotFoundError(
            f"{os.fspath(folder)}: no CIFAR files; expected data_batch_1.bin, train.bin, "
            "data_batch_1 or train and meta"
        )
    files = [Path(folder, name) for name in layout.files(part)]
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise FileNotFoundError(
            f"{os.fspath(folder)}: {missing[0]} is missing; the {part} part of {layout.name} is "
            f"{', '.join(layout.files(part))}"
        )
    kind = labels if "fine" in layout.labels else "label"
    names = (
        _read_names(Path(folder), layout, kind)
        if class_names is None
        else check_class_names(class_names)
    )
    return (_pickled if layout.pickled else _binary)(files, layout, kind, names)


def _binary(files: list[Path], layout: Layout, kind: str, names: tuple[str, ...]) -> Source:
    head = len(layout.labels)
    record = head + PIXELS
    files_rows, labels = [], []
    for file in files:
        rows = Rows(str(file), 0, np.dtype(np.uint8), (record,), whole_file(file, record))
        found = np.empty(rows.count, np.uint8)
        for start in range(0, rows.count, BLOCK):
            chosen = np.arange(start, min(start + BLOCK, rows.count))
            found[chosen] = rows.read(chosen)[:, layout.labels.index(kind)]
        labels.append(_check_labels(file, found, layout, kind, names))
        files_rows.append(rows)
    return RowSource(files_rows, np.concatenate(labels), names, SHAPE, picture=_pictures)


def _pictures(records: np.ndarray) -> np.ndarray:
    """Return the pictures `[n, 32, 32, 3]` at the end of each record `[n, bytes]`."""
    return records[:, -PIXELS:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)


def _pickled(files: list[Path], layout: Layout, kind: str, names: tuple[str, ...]) -> Source:
    pictures, labels = [], []
    for file in files:
        batch = _read_dict(file)
        key = "labels" if kind == "label" else f"{kind}_labels"
        pixels = _entry(file, batch, "data")
        if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8:
            got = pixels.dtype if isinstance(pixels, np.ndarray) else type(pixels).__name__
            raise ValueError(f"{file}: expected an array of uint8 under 'data', got {got}")
        if pixels.ndim != 2 or pixels.shape[1] != PIXELS or not len(pixels):
            raise ValueError(
                f"{file}: expected pixels [n, {PIXELS}] under 'data', got {list(pixels.shape)}"
            )
        found = _entry(file, batch, key)
        if not isinstance(found, list) or not all(type(label) is int for label in found):
            raise ValueError(f"{file}: expected a list of whole numbers under {key!r}")
        if len(found) != len(pixels):
            raise ValueError(
                f"{file}: expected {len(pixels)} labels for as many pictures, got {len(found)}"
            )
        pictures.append(_pictures(pixels))
        labels.append(_check_labels(file, np.asarray(found, object), layout, kind, names))
    data = Dataset(np.concatenate(pictures), np.concatenate(labels), names)
    return InMemory(data, files[0].parent)


def _check_labels(
    file: Path, labels: np.ndarray, layout: Layout, kind: str, names: tuple[str, ...]
) -> np.ndarray:
    """Return labels as int32, or say whether they or the names of the classes are wrong."""
    meta = _names_file(file.parent, layout, kind)
    largest = labels.max(initial=0)
    # A label that CIFAR has, and the names beside it stop short of, is not the pictures' fault.
    short = len(names) <= largest < len(CLASS_NAMES[kind]) and meta.is_file()
    if short and names == _read_names(file.parent, layout, kind):
        raise ValueError(
            f"{meta}: names {len(names)} classes, but {file.name} has labels up to {largest}; "
            f"expected {len(CLASS_NAMES[kind])} names"
        )
    return check_labels(file, labels, names)


def _names_file(folder: Path, layout: Layout, kind: str) -> Path:
    return folder / layout.meta[0 if kind != "fine" or len(layout.meta) == 1 else 1]


def _read_names(folder: Path, layout: Layout, kind: str) -> tuple[str, ...]:
    file = _names_file(folder, layout, kind)
    if not file.is_file():
        return CLASS_NAMES[kind]
    if not layout.pickled:
        return read_class_names(file)
    key = "label_names" if kind == "label" else f"{kind}_label_names"
    entries = _entry(file, _read_dict(file), key)
    if not isinstance(entries, list):
        raise ValueError(f"{file}: expected a list of names under {key!r}, got {entries!r:.100}")
    try:
        return check_class_names(
            [entry.decode() if isinstance(entry, bytes) else entry for entry in entries if entry]
        )
    except (TypeError, ValueError) as error:
        raise ValueError(f"{file}: expected a list of names under {key!r}: {error}") from None


def _read_dict(file: Path) -> dict[Any, Any]:
    batch = read_plain_pickle(file)
    if not isinstance(batch, dict):
        raise ValueError(f"{file}: expected a pickled dict, got {type(batch).__name__}")
    return batch


def _is_pickle(file: Path) -> bool:
    """Whether a file begins as pickles of protocol 2 and later do."""
    with open(file, "rb") as opened:
        return opened.read(1) == b"\x80"


def _entry(file: Path, batch: dict[Any, Any], key: str) -> Any:
    for spelling in (key, key.encode()):
        if spelling in batch:
            return batch[spelling]
    raise ValueError(f"{file}: expected {key!r} in the pickled dict")
