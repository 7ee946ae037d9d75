"""A run that a command was given, and the pictures to try it on."""

from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from cnn_jax import data as datasets
from cnn_jax import train as training
from cnn_jax.commands.errors import asked_for
from cnn_jax.commands.settings import Settings
from cnn_jax.data import Source
from cnn_jax.data.formats import is_picture_folder
from cnn_jax.train import Run


def open_run(path: Path, best: bool = False) -> Run:
    """Read a run folder, or raise a `UserError` that says in a line why not."""
    with asked_for(status=1):
        return training.load(path, best=best)


def settings_of(run: Run) -> Settings:
    """Return the settings that a run was trained with; those it does not know have defaults."""
    known = {field.name for field in fields(Settings)}
    found: Any = run.config.get("settings")
    chosen = found if isinstance(found, dict) else {}
    return Settings(**{name: value for name, value in chosen.items() if name in known})


def source_for(run: Run, data: str, part: str | None) -> tuple[Source, str]:
    """Return other data than the run's own, with the run's classes, and the part that it is.

    The part is `test` where there is one and none was asked for, else `train`. Pictures are read
    as those of the run were; classes are told by their names, and may be some of the run's.
    """
    settings = settings_of(run)
    if part is None:
        part = "test" if "test" in datasets.parts(data) else "train"
    size = run.shape[:2] if len(run.shape) == 3 else None
    options: dict[str, Any] = {"labels": settings.labels}
    if data not in datasets.names() and is_picture_folder(Path(data)):
        options |= {"size": size, "channels": run.shape[-1], "background": settings.background}
    source = datasets.open_source(data, part, **options)
    if source.shape != run.shape and size is not None and source.shape[2:] == run.shape[2:]:
        source = datasets.Resized(source, size)
    if source.shape != run.shape:
        raise ValueError(
            f"{data}: the pictures are {_form(source.shape)}, but the run's are {_form(run.shape)}"
        )
    return Relabelled(source, run.class_names, data), part


class Relabelled:
    """A source whose classes are found among `class_names`, and numbered as there.

    Classes that the data only numbers (`0`, `1`, ...) are taken in the order of `class_names`.
    """

    def __init__(self, source: Source, class_names: tuple[str, ...], name: str) -> None:
        own_names = source.class_names
        unknown = [own for own in own_names if own not in class_names]
        numbered = own_names == tuple(map(str, range(len(own_names))))
        if unknown and not (numbered and len(own_names) <= len(class_names)):
            raise ValueError(
                f"{name}: the class {unknown[0]!r} is not one of the run's, which are "
                f"{', '.join(class_names)}"
            )
        numbers = [k if unknown else class_names.index(own) for k, own in enumerate(own_names)]
        self.source = source
        self.labels = np.asarray(numbers, np.int32)[source.labels]
        self.class_names = class_names
        self.shape = source.shape
        self.dtype = source.dtype

    def read(self, indices: np.ndarray) -> np.ndarray:
        """Return the pictures at `indices`."""
        return self.source.read(indices)


def logits_of(run: Run, source: Source, batch_size: int) -> np.ndarray:
    """Return the logits `[n, classes]` of all pictures of a source, read block by block."""
    return np.concatenate(list(_logits(run, source, batch_size)))


def _logits(run: Run, source: Source, batch_size: int) -> Iterator[np.ndarray]:
    count = len(source.labels)
    # Blocks of one size, so that one program serves them all.
    size = min(count, max(batch_size, 1024))
    for start in range(0, count, size):
        indices = np.arange(start, min(start + size, count))
        pictures = source.read(np.resize(indices, size))
        outputs = training.predict(run.classifier, run.params, pictures, batch_size=batch_size)
        yield np.asarray(outputs)[: len(indices)]


def _form(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
