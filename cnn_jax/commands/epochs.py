"""The epochs of `cnn-jax train`: shown, written down, and safe from whatever ends them."""

import math
import time
from pathlib import Path
from typing import NamedTuple

from rich.console import Console

from cnn_jax.commands.errors import UserError
from cnn_jax.commands.interrupt import stop_requests
from cnn_jax.commands.settings import Settings
from cnn_jax.commands.show import epoch_bar
from cnn_jax.report import event_log
from cnn_jax.train import Checkpoints, Loop, RunWriter, Underway

PAUSE = 1.0
"""The seconds after which a training looks up: is it to stop, is a checkpoint due?"""


class Start(NamedTuple):
    """Where a training begins: at its beginning, or where another process left it."""

    underway: Underway | None = None
    history: list[dict[str, float]] = []  # noqa: RUF012 (it is not changed)
    seconds: float = 0.0


class Outcome(NamedTuple):
    """How a training ended; `stopped_at` is its last checkpoint where it was asked to stop."""

    underway: Underway
    history: list[dict[str, float]]
    stopped_at: Path | None


def train_epochs(
    console: Console, settings: Settings, loop: Loop, run: RunWriter, start: Start
) -> Outcome:
    """Train to the end, or until Ctrl-C, with a checkpoint after each epoch and every few minutes.

    An epoch is written down once its checkpoint is safe, so that what is written is never lost.

    Raises `UserError` where the training diverges or its pictures can't be read.
    """
    checkpoints = Checkpoints(run.checkpoints, keep=settings.keep)
    history = list(start.history)
    underway = start.underway
    stopped_at = None
    saved = time.monotonic()
    moments = loop.run(underway, first=0, elapsed=start.seconds, pause=PAUSE)
    with (
        stop_requests() as stop,
        epoch_bar(console, settings.epochs) as show,
        event_log(run.path, wanted=settings.tensorboard, epochs=len(history)) as log,
    ):
        while True:
            try:
                moment = next(moments, None)
            except ValueError as error:  # a picture that can't be read
                raise UserError(f"{error}; what the run has so far is in {run.path}") from error
            if moment is None:
                break
            underway, record = moment.underway, moment.record
            if record is not None:
                history.append(record)
                if not math.isfinite(record["train_loss"]):
                    run.add_record(record)
                    raise _diverged(settings, record, run)
            minutes = (time.monotonic() - saved) / 60
            if record is not None or minutes >= settings.checkpoint_minutes:
                checkpoints.save(moment, history)
                saved = time.monotonic()
            if record is not None:
                run.add_record(record)
                log(record)
                show(record)
            if stop.is_set() and len(history) < settings.epochs:
                stopped_at = checkpoints.save(moment, history)
                moments.close()
                break
    assert underway is not None  # there is at least one epoch
    return Outcome(underway, history, stopped_at)


def _diverged(settings: Settings, record: dict[str, float], run: RunWriter) -> UserError:
    return UserError(
        f"the training diverged in epoch {record['epoch']} (the loss is {record['train_loss']}); "
        f"try a --learning-rate below {settings.learning_rate:g}. The metrics so far are in "
        f"{run.path}"
    )
