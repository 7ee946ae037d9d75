"""What a run folder says of a training and its data, and whether it still holds."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import jax
import numpy as np

from cnn_jax import data as datasets
from cnn_jax.commands.info import versions
from cnn_jax.commands.material import Examples, Material
from cnn_jax.commands.settings import Settings
from cnn_jax.data import Normalisation


def configuration(
    settings: Settings, material: Material, parameters: int, kernels: str
) -> dict[str, Any]:
    """Return what `config.json` holds: all that is needed to do the same again."""
    return {
        "created": datetime.now().astimezone().isoformat(timespec="seconds"),
        "model": {
            "name": settings.model,
            "classes": len(material.learn.class_names),
            "dtype": settings.dtype,
        },
        **_of_data(material),
        "normalisation": _as_lists(material.normalisation),
        "pixel_range": list(material.pixel_range),
        "parameters": parameters,
        "settings": replace(settings, data=_anywhere(settings.data)).to_json(),
        "versions": versions(),
        "devices": [str(device) for device in jax.devices()],
        "kernels": kernels,
    }


def check_same(path: Path, config: Mapping[str, Any], material: Material) -> None:
    """Raise `ValueError` unless the data is what it was when the run began."""
    words = {
        "input_shape": "pictures of shape",
        "class_names": "the classes",
        "examples": "the numbers of pictures",
        "labels": "labels with the checksums",
    }
    for name, value in _of_data(material).items():
        if config.get(name) != value:
            raise ValueError(
                f"{config['settings']['data']}: the data is not what it was when {path} began: "
                f"expected {words[name]} {config.get(name)}, found {value}"
            )


def what_changed(config: Mapping[str, Any], kernels: str) -> list[str]:
    """Say in a line each what may keep a resumed run from being the same bit for bit."""
    before, now = config.get("versions", {}), versions()
    changed = [
        f"{name} was {before.get(name)} and is {now[name]}"
        for name in now
        if before.get(name) != now[name]
    ]
    if config.get("kernels") != kernels:
        changed.append(f"the kernels were: {config.get('kernels')}")
    devices = [str(device) for device in jax.devices()]
    if config.get("devices") != devices:
        changed.append(f"the devices were {config.get('devices')} and are {devices}")
    return changed


def normalisation_of(config: Mapping[str, Any]) -> Normalisation | None:
    """Return the normalisation that a configuration holds."""
    values = config.get("normalisation")
    if values is None:
        return None
    return Normalisation(*(np.asarray(values[name], np.float32) for name in ("mean", "std")))


def last_measured(history: Sequence[Mapping[str, float]], material: Material) -> dict[str, Any]:
    """Return what `result.json` holds of the last epoch's numbers."""
    last = history[-1]
    return {
        "held_out_accuracy": last["validation_accuracy"],
        "held_out_loss": last["validation_loss"],
        "held_out_examples": len(material.validation.labels),
        "train_accuracy": last["train_accuracy"],
        "train_loss": last["train_loss"],
    }


def _of_data(material: Material) -> dict[str, Any]:
    learn, validation = material.learn, material.validation
    return {
        "input_shape": list(learn.shape),
        "class_names": list(learn.class_names),
        "examples": {"train": len(learn.labels), "held_out": len(validation.labels)},
        "labels": {"train": _digest(learn), "held_out": _digest(validation)},
    }


def _as_lists(normalisation: Normalisation | None) -> dict[str, list[float]] | None:
    if normalisation is None:
        return None
    return {name: [float(x) for x in value] for name, value in normalisation._asdict().items()}


def _digest(examples: Examples) -> str:
    labels = np.ascontiguousarray(examples.labels, np.int32)
    return hashlib.sha256(labels.data).hexdigest()[:16]


def _anywhere(data: str) -> str:
    """Return a path that means the same in any folder; names stay names."""
    return data if data in datasets.names() else str(Path(data).resolve())
