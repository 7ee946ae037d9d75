"""Event files for TensorBoard, written by tensorboardX, which is installed only where wanted."""

import importlib.util
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

FOLDER = "tensorboard"
"""The folder within a run folder."""

_PARTS = {"train": "training", "validation": "held_out"}

Log = Callable[[Mapping[str, Any]], None]


def check_tensorboard(wanted: bool = True) -> None:
    """Raise `ValueError` where event files are wanted and can't be written."""
    if wanted and importlib.util.find_spec("tensorboardX") is None:
        raise ValueError(
            "event files for TensorBoard need the package tensorboardX: "
            "pip install 'cnn-jax[tensorboard]'"
        )


@contextmanager
def event_log(run: Path, *, wanted: bool = True, epochs: int = 0) -> Iterator[Log]:
    """Give a function that adds an epoch's record to the event files of a run folder.

    Loss, accuracy and the like become scalars by epoch, such as `loss/training` and
    `loss/held_out`; the configuration becomes a text. Each epoch can be seen as soon as it has
    ended. A run that is resumed after so many `epochs` takes the place of whatever was written
    beyond them. Without `wanted` the function does nothing, and no file is made.

    Raises `ValueError` where tensorboardX is not installed.
    """
    check_tensorboard(wanted)
    if not wanted:
        yield lambda record: None
        return
    from tensorboardX import SummaryWriter

    purge = epochs + 1 if epochs else None
    with SummaryWriter(
        str(run / FOLDER), purge_step=purge, filename_suffix=f".after-{epochs}"
    ) as writer:
        if not epochs:
            config = json.loads((run / "config.json").read_text(encoding="utf-8"))
            lines = json.dumps(config, indent=2, ensure_ascii=False).splitlines()
            # Markdown shows what is indented by four spaces as it is.
            writer.add_text("configuration", "\n".join(f"    {line}" for line in lines), 0)

        def log(record: Mapping[str, Any]) -> None:
            for name, value in record.items():
                part, _, measure = name.partition("_")
                tag = f"{measure}/{_PARTS[part]}" if measure and part in _PARTS else f"run/{name}"
                if name != "epoch":
                    writer.add_scalar(tag, value, record["epoch"])
            writer.flush()

        yield log


def add_pictures(run: Path, epoch: int) -> None:
    """Add the pictures of a run folder to its event files, if it has any."""
    if not (run / FOLDER).is_dir():
        return
    from tensorboardX import SummaryWriter

    # Files are told apart by the second in which they are begun, and by this.
    with SummaryWriter(str(run / FOLDER), filename_suffix=".pictures") as writer:
        for file in sorted((run / "pictures").glob("*.png")):
            with Image.open(file) as picture:
                pixels = np.asarray(picture.convert("RGB"))
            writer.add_image(file.stem, pixels, epoch, dataformats="HWC")
