"""What a training is asked to do."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


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
    optimizer: str = "sgd"
    learning_rate: float = 0.05
    momentum: float | None = None
    nesterov: bool = False
    weight_decay: float = 5e-4
    clip: float | None = None
    schedule: str = "cosine"
    warmup: float = 0.1
    epochs: int = 20
    batch_size: int = 32
    seed: int = 0
    cpu_kernels: bool = True
    out: Path | None = None
    overwrite: bool = False
    pictures: bool = True
    quiet: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return the settings that a result depends on."""
        settings = asdict(self)
        for name in ("out", "overwrite", "pictures", "quiet"):
            del settings[name]
        return settings
