"""Run folders: what a training leaves behind, and how to get it back.

    config.json     what was asked for: model, data, settings, versions
    metrics.jsonl   one line of numbers for each epoch, written as it ends
    checkpoints/    what the training can go on from (see `checkpoints.py`)
    parameters/     the trained parameters (orbax, with checksums)
    pictures/       learning curves, filters, feature maps, confusion matrix, worst mistakes
    report.html     all of it on one page
    result.json     the final numbers; the last file to be written, so it marks a finished run

The folder appears all at once with its configuration inside, and every file in it is whole at
every moment: a run that is killed leaves a folder without `result.json`, and its checkpoints.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from cnn_jax.data import Normalisation
from cnn_jax.files import (
    append_line,
    read_json,
    read_lines,
    remove,
    replacing,
    write_json,
    write_lines,
)
from cnn_jax.layers import Layer
from cnn_jax.train.checkpoints import Checkpoints
from cnn_jax.train.classifier import classifier
from cnn_jax.train.named import make_model
from cnn_jax.train.parameters import load_tree, save_tree

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMAT = "cnn_jax run 1"
_CHECKPOINTS = "checkpoints"


class RunWriter:
    """A run folder while its training goes on; `new_run` makes one."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def add_record(self, record: Mapping[str, float | str]) -> None:
        """Append an epoch's numbers to `metrics.jsonl`."""
        append_line(self.path / "metrics.jsonl", record)

    def save_parameters(self, params: Any) -> None:
        """Write the parameters, in place of those that were there."""
        save_tree(self.path / "parameters", params)

    @property
    def checkpoints(self) -> Path:
        """The folder for its checkpoints."""
        return self.path / _CHECKPOINTS

    def go_on(self, history: Sequence[Mapping[str, float]]) -> None:
        """Open the run again after these epochs: what was written of later ones is taken back."""
        for name in ("result.json", "parameters"):
            remove(self.path / name)
        write_lines(self.path / "metrics.jsonl", history)

    def save_picture(self, name: str, figure: "Figure") -> None:
        """Write a figure to `pictures/NAME.png`."""
        folder = self.path / "pictures"
        folder.mkdir(exist_ok=True)
        with replacing(folder / f"{name}.png") as hidden:
            figure.savefig(hidden, format="png")

    def finish(self, result: Mapping[str, Any]) -> None:
        """Write `result.json`, which marks the run as finished."""
        write_json(self.path / "result.json", dict(result))


@dataclass(frozen=True)
class Run:
    """A run read back from its folder.

    `params` are the trained parameters of `model`; `config`, `history` and `result` hold what
    `config.json`, `metrics.jsonl` and `result.json` hold (`result` is None for an unfinished run).
    `normalisation` is what was learned from the training part, or None.

    `apply(images)` is all that is needed to use the network. For the functions that take a model
    and its parameters, such as `evaluate` and `predict`, pass `classifier` and `params`.
    """

    path: Path
    config: dict[str, Any]
    model: Layer
    params: Any
    history: list[dict[str, float]]
    result: dict[str, Any] | None
    normalisation: Normalisation | None = None

    @cached_property
    def classifier(self) -> Layer:
        """`model` from pictures to logits: with the normalisation and the precision it had."""
        return classifier(self.model, self.normalisation, _dtype(self.config))

    def apply(self, images: Any) -> jax.Array:
        """Return the logits `[*batch, classes]` of `images: [*batch, *spatial, channels]`.

        Pictures are uint8, or floats in 0 to 1. It may be jitted.
        """
        return self.classifier.apply(self.params, images)

    @property
    def class_names(self) -> tuple[str, ...]:
        """What the classes are called, in the order of the model's outputs."""
        return tuple(self.config["class_names"])

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one input, `(*spatial, channels)`."""
        return tuple(self.config["input_shape"])


def new_run(path: str | Path, config: Mapping[str, Any], *, overwrite: bool = False) -> RunWriter:
    """Make a run folder with its `config.json` and an empty `metrics.jsonl`.

    `config` must hold `model` (`{"name": ..., "classes": ...}`, and the `dtype` that it computes in
    unless that is float32), `input_shape` and `class_names` and, where pictures are normalised,
    `normalisation` (`{"mean": [...], "std": [...]}`, a number for each channel). The rest is free.

    Raises `FileExistsError` for a folder that is not empty, unless `overwrite` is set and it is a
    run's; other folders are never overwritten. Raises `OSError` where it can't be written.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp(), "first")
    >>> run = new_run(path, {
    ...     "model": {"name": "small", "classes": 2}, "input_shape": [8, 8, 1],
    ...     "class_names": ["cat", "dog"],
    ... })
    >>> sorted(file.name for file in run.path.iterdir())
    ['config.json', 'metrics.jsonl']
    """
    check_new(path, overwrite=overwrite)
    target = Path(path).resolve()
    target.parent.mkdir(parents=True, exist_ok=True)
    with replacing(target) as hidden:
        hidden.mkdir()
        write_json(hidden / "config.json", {"format": FORMAT, **config})
        (hidden / "metrics.jsonl").touch()
    return RunWriter(Path(path))


def check_new(path: str | Path, *, overwrite: bool = False) -> None:
    """Raise what `new_run` would raise about an existing `path`, without making anything."""
    path = Path(path)
    above = next(parent for parent in path.absolute().parents if parent.exists())
    if not above.is_dir():
        raise NotADirectoryError(f"{above}: a file is in the way; a run needs a folder of its own")
    if _is_free(path):
        return
    if not path.is_dir():
        raise NotADirectoryError(f"{path}: a file is in the way; a run needs a folder of its own")
    if not (path / "config.json").is_file() or not (path / "metrics.jsonl").is_file():
        raise FileExistsError(f"{path}: the folder is not empty and holds no run; choose another")
    if not overwrite:
        raise FileExistsError(
            f"{path}: a run is there already; choose another folder, or replace it (--overwrite, "
            "in Python overwrite=True)"
        )


def reopen(path: str | Path) -> tuple[RunWriter, dict[str, Any]]:
    """Return the writer of an unfinished run, to go on with it, and its configuration.

    Raises `FileNotFoundError` for a folder that holds no run, and `ValueError` for one that is
    finished and for a configuration that is damaged.
    """
    path = Path(path)
    config = read_config(path)
    result = path / "result.json"
    if result.is_file():
        found = read_json(result, "a run's result")
        if isinstance(found, dict) and found.get("status") == "finished":
            raise ValueError(f"{path}: the run is finished; there is nothing to resume")
    return RunWriter(path), config


def load(path: str | Path, *, best: bool = False) -> Run:
    """Read a run folder: the model, its trained parameters, and the history.

    The parameters are those at the end of the training; while it has not ended, those of its newest
    checkpoint. With `best` they are those after the epoch of the highest validation accuracy.

    Nothing in the folder is executed: the model is made by its name in `cnn_jax.models`, and the
    parameters are arrays alone.

    Raises `FileNotFoundError` for a folder that holds no run or no parameters yet, and
    `ValueError` for files that are damaged or do not belong together.

    >>> load("no/such/run")
    Traceback (most recent call last):
    FileNotFoundError: no/such/run: no such folder; expected the folder of a run
    """
    path = Path(path)
    config = read_config(path)
    try:
        model = make_model(config["model"]["name"], config["model"]["classes"])
        shape = tuple(config["input_shape"])
        normalisation = _normalisation(config, shape[-1])
        expected = jax.eval_shape(lambda key: model.init(key, shape), jax.random.key(0))
        classifier(model, normalisation, _dtype(config))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path / 'config.json'}: no usable model in it: {what_is_missing(error)}"
        ) from error
    history = read_lines(path / "metrics.jsonl", "one JSON object on each line")
    result = path / "result.json"
    return Run(
        path=path,
        config=config,
        model=model,
        params=_parameters(path, expected, best),
        history=history,
        result=read_json(result, "a run's result") if result.is_file() else None,
        normalisation=normalisation,
    )


def read_config(path: Path) -> dict[str, Any]:
    """Return what `config.json` in a run folder holds.

    Raises `FileNotFoundError` where there is none, and `ValueError` where it is no run's.
    """
    file = path / "config.json"
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such folder; expected the folder of a run")
    if not file.is_file():
        raise FileNotFoundError(f"{path}: not a run folder; expected config.json in it")
    config = read_json(file, "a run's configuration")
    if not isinstance(config, dict) or config.get("format") != FORMAT:
        raise ValueError(f"{file}: expected a run's configuration of format {FORMAT!r}")
    return config


def what_is_missing(error: Exception) -> str:
    """Say what an error found wrong in a configuration; a `KeyError` says only a name.

    >>> what_is_missing(KeyError("model"))
    "expected 'model'"
    """
    return f"expected {error}" if isinstance(error, KeyError) else str(error)


def _parameters(path: Path, expected: Any, best: bool) -> Any:
    checkpoints = Checkpoints(path / _CHECKPOINTS)
    if best or (not (path / "parameters").exists() and checkpoints.paths()):
        return checkpoints.load_parameters(expected, best=best)
    return load_tree(path / "parameters", expected)


def _dtype(config: Mapping[str, Any]) -> str:
    return config["model"].get("dtype", "float32")


def _normalisation(config: Mapping[str, Any], channels: int) -> Normalisation | None:
    values = config.get("normalisation")
    if values is None:
        return None
    mean, std = (np.asarray(values[name], np.float32) for name in ("mean", "std"))
    if mean.shape != (channels,) or std.shape != (channels,) or not np.all(std > 0):
        raise ValueError(f"the normalisation must have a mean and a std for {channels} channels")
    return Normalisation(mean, std)


def _is_free(path: Path) -> bool:
    """Whether a new folder can take this path: nothing is there, or an empty folder."""
    return not path.exists() or (path.is_dir() and not any(path.iterdir()))
