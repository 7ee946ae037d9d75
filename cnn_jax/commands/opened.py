"""A run that a command was given, and the pictures to try it on."""

from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import jax
import numpy as np

from cnn_jax import data as datasets
from cnn_jax import train as training
from cnn_jax.commands.errors import UserError, asked_for
from cnn_jax.commands.fetch import fetch_named
from cnn_jax.commands.material import SAMPLE
from cnn_jax.commands.pixel_range import check_alike, pixel_range_in, pixel_range_of
from cnn_jax.commands.settings import Settings
from cnn_jax.data import Normalisation, Source
from cnn_jax.data.formats import is_picture_folder
from cnn_jax.export import load_safetensors
from cnn_jax.train import Run
from cnn_jax.train.run import what_is_missing


def open_run(path: Path, best: bool = False) -> Run:
    """Read a run folder, or a safetensors file that `cnn-jax export` made of one.

    Raises `UserError`, which says in a line why it can't be read.
    """
    if path.is_file() and path.suffix != ".safetensors":
        raise UserError(
            f"{path}: not a run; expected the folder of one, or a .safetensors file that cnn-jax "
            "export made"
        )
    with asked_for(status=1):
        return _from_file(path) if path.is_file() else training.load(path, best=best)


def _from_file(path: Path) -> Run:
    """Make a run without a history of a file of parameters, whose metadata names the model."""
    params, config = load_safetensors(path)
    try:
        classes, shape = config["class_names"], tuple(config["input_shape"])
        model = training.make_model(config["model"]["name"], len(classes))
        learned = config.get("normalisation")
        normalisation = None
        if learned is not None:
            mean, std = (np.asarray(learned[name], np.float32) for name in ("mean", "std"))
            normalisation = Normalisation(mean, std)
        expected = jax.eval_shape(lambda key: model.init(key, shape), jax.random.key(0))
        pixel_range_in(config)
        run = Run(path, config, model, params, [], None, normalisation)
        jax.eval_shape(run.classifier.apply, expected, jax.ShapeDtypeStruct(shape, np.float32))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(
            f"{path}: no usable model in its metadata: {what_is_missing(error)}"
        ) from error
    load_safetensors(path, expected)  # says which parameters are missing, or another model's
    return run


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
    fetch_named(data)
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
            f"{data}: the pictures are {_form(source.shape)}; expected {_form(run.shape)}, as the "
            "run's are"
        )
    expected = pixel_range_in(run.config)
    check_alike(data, pixel_range_of(source, SAMPLE), source.dtype == np.uint8, expected)
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
