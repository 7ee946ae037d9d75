"""The pictures that a training learns from and is measured on, as its settings ask for them."""

import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import jax
import numpy as np

from cnn_jax import data as datasets
from cnn_jax.commands.fetch import fetch_named
from cnn_jax.commands.pixel_range import PixelRange, pixel_range_of
from cnn_jax.commands.settings import Settings
from cnn_jax.data import Dataset, Normalisation, Source

Examples = Dataset | Source
"""Pictures in memory, or on disk to be streamed."""

SAMPLE = 10_000
"""How many pictures the normalisation and the range of streamed data are learned from."""


_OPTIONS = {
    "pass size=": "--resize and --channels do so",
    "pass background": "--background does so",
    "stream them instead": "--stream does so",
}


class Material(NamedTuple):
    """The data of a training.

    `test` is None where the data has no test part of its own. `normalisation` is learned from
    `learn` alone; it is None where it is not wanted. `pixel_range` is that of `learn`, too.
    """

    learn: Examples
    validation: Examples
    test: Examples | None
    normalisation: Normalisation | None
    pixel_range: PixelRange


def material(settings: Settings, normalisation: Normalisation | None = None) -> Material:
    """Return the data that `settings` ask for, in memory or to be streamed.

    Where pictures are to be normalised, that is learned unless it is given.

    Raises `OSError` and `ValueError` in one line that names the file and says what was expected.
    """
    sources = open_parts(settings)
    streamed = is_streamed(settings, sources)
    with _named_options():
        read: dict[str, Examples] = {
            part: source if streamed else datasets.read_all(source, settings.data)
            for part, source in sources.items()
        }
        if not settings.normalise:
            normalisation = None
        elif normalisation is None:
            sample = SAMPLE if streamed else None
            normalisation = datasets.learn_normalisation(read["train"], sample=sample)
        learn = read["train"]
        values = pixel_range_of(learn, SAMPLE if streamed else len(learn.labels))
    return Material(learn, read["validation"], read.get("test"), normalisation, values)


def open_parts(settings: Settings) -> Mapping[str, Source]:
    """Return the parts `train`, `validation` and, where the data has one, `test`; none is read yet.

    Where the data has no validation part, `settings.held_out` says what share of the training part
    becomes it, and `settings.split_seed` which examples.
    """
    options: dict[str, Any] = {
        "size": settings.resize,
        "channels": settings.channels,
        "background": settings.background,
        "labels": settings.labels,
    }
    fetch_named(settings.data, quiet=settings.quiet)
    with _named_options():
        first = datasets.open_source(settings.data, "train", **options)
        sources = {"train": first} | {
            # Where the data does not name its classes, each part would by its own largest label.
            part: datasets.open_source(
                settings.data, part, class_names=first.class_names, **options
            )
            for part in datasets.parts(settings.data)
            if part != "train"
        }
    if len(first.class_names) == 1:
        raise ValueError(
            f"{settings.data}: there is one class, {first.class_names[0]!r}; expected two or more "
            "to tell apart"
        )
    for part, source in sources.items():
        if source.shape != first.shape:
            raise ValueError(
                f"{settings.data}: the {part} part has pictures of {_form(source.shape)}, the "
                f"train part of {_form(first.shape)}; all must have one shape"
            )
    if "validation" not in sources:
        shares = (1 - settings.held_out, settings.held_out)
        learn, held_out = datasets.split_source(first, shares, seed=settings.split_seed)
        sources |= {"train": learn, "validation": held_out}
    return sources


def is_streamed(settings: Settings, sources: Mapping[str, Source]) -> bool:
    """Whether the pictures are streamed: as asked, else where they fill a quarter of the memory."""
    if settings.stream is not None:
        return settings.stream
    return sum(map(_bytes, sources.values())) > _memory() / 4


def in_memory(examples: Examples, most: int) -> Dataset:
    """Return examples in memory: of those to be streamed `most`, spread evenly, at most."""
    if isinstance(examples, Dataset):
        return examples
    count = len(examples.labels)
    some = np.unique(np.linspace(0, count - 1, min(most, count)).round().astype(np.int64))
    return Dataset(examples.read(some), examples.labels[some], examples.class_names)


@contextmanager
def _named_options() -> Iterator[None]:
    """Say which options of the command do what errors of the loaders advise."""
    try:
        yield
    except ValueError as error:
        for words, options in _OPTIONS.items():
            if words in str(error):
                raise ValueError(f"{error} ({options})") from error
        raise


def _bytes(source: Source) -> int:
    return len(source.labels) * math.prod(source.shape) * source.dtype.itemsize


def _memory() -> float:
    """Return the bytes of the smaller of the machine's memory and its first device's."""
    try:
        machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        machine = math.inf  # the system does not tell
    device = jax.local_devices()[0].memory_stats() or {}
    return min(machine, device.get("bytes_limit", math.inf))


def _form(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
