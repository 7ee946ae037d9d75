"""What a training is asked to do."""

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

DTYPES = ("float32", "bfloat16")


@dataclass(frozen=True)
class Settings:
    """The settings of `cnn-jax train`; the defaults here are the command's."""

    data: str = "digits"
    held_out: float = 0.2
    split_seed: int = 0
    resize: int | None = None
    channels: int | None = None
    background: float | None = None
    labels: str = "fine"
    normalise: bool = True
    stream: bool | None = None
    workers: int = 0
    augment: str = "shift"
    model: str = "small"
    dtype: str = "float32"
    optimizer: str = "sgd"
    learning_rate: float = 0.05
    momentum: float | None = None
    nesterov: bool = False
    weight_decay: float = 5e-4
    clip: float | None = None
    schedule: str = "cosine"
    warmup: float = 0.1
    epochs: int = 30
    batch_size: int = 32
    seed: int = 0
    cpu_kernels: bool = True
    checkpoint_minutes: float = 10.0
    keep: int = 3
    out: Path | None = None
    overwrite: bool = False
    pictures: bool = True
    tensorboard: bool = False
    quiet: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return what is needed to train in the same way again."""
        settings = asdict(self)
        for name in _OF_ONE_CALL:
            del settings[name]
        return settings

    @classmethod
    def from_json(cls, found: Any) -> "Settings":
        """Return the settings that `to_json` gave.

        Raises `ValueError` for anything else.

        >>> Settings.from_json(Settings(epochs=3).to_json()) == Settings(epochs=3)
        True
        """
        types: dict[str, Any] = {
            field.name: field.type for field in fields(cls) if field.name not in _OF_ONE_CALL
        }
        if not isinstance(found, dict) or found.keys() != types.keys():
            raise ValueError("not the settings of a training of this version")
        for name, kind in types.items():
            value = found[name]
            if not isinstance(value, kind) and not (kind is float and type(value) is int):
                raise ValueError(f"{name} is {value!r}")
        return cls(**found)


_OF_ONE_CALL = ("out", "overwrite", "quiet")
