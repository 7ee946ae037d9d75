"""Checkpoints of a training: all that it needs to go on as if nothing had happened.

    checkpoints/step-0000045/     one folder for each checkpoint, named by the steps taken
        ...                       orbax's files: parameters, optimiser, random key, the epoch's sums
        notes.json                the records of the epochs so far, and the epoch's seconds
        manifest.json             every array's shape, every file's checksum

A checkpoint appears whole or not at all, also when the process is killed or the power fails while
it is written. It holds arrays and numbers alone; nothing in it is ever executed.
"""

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax

from cnn_jax.files import remove
from cnn_jax.train.loop import Moment, Record
from cnn_jax.train.parameters import DamagedError, load_notes, load_tree, save_tree
from cnn_jax.train.state import State
from cnn_jax.train.underway import Underway

_NAME = re.compile(r"step-\d{7,}")

_Score = tuple[float, float]


class Checkpoint(NamedTuple):
    """A training read back; `Loop.run` goes on from it.

    `history` has the records of the epochs that had ended; `seconds` is what the epoch under way
    had taken.
    """

    path: Path
    underway: Underway
    history: list[Record]
    seconds: float


class Checkpoints:
    """The checkpoints in a folder: the last `keep` of them and the best.

    The best is the one after the epoch of the highest validation accuracy; of equal ones, that
    with the lowest validation loss.

    >>> import tempfile
    >>> Checkpoints(Path(tempfile.mkdtemp(), "checkpoints")).paths()
    []
    """

    def __init__(self, folder: Path, *, keep: int = 3) -> None:
        if keep < 1:
            raise ValueError(f"checkpoints: keep must be at least 1, not {keep}")
        self.folder, self.keep = folder, keep
        self._scores: dict[Path, _Score | None] = {}

    def paths(self) -> list[Path]:
        """Return the folders of the checkpoints, the newest first."""
        if not self.folder.is_dir():
            return []
        return sorted(
            (entry for entry in self.folder.iterdir() if _NAME.fullmatch(entry.name)),
            key=_step,
            reverse=True,
        )

    def best(self) -> Path | None:
        """Return the folder of the best checkpoint, or None where no epoch has ended."""
        best = None
        for path in reversed(self.paths()):
            score = self._score_of(path)
            if score is not None and (best is None or score > best[0]):
                best = score, path
        return None if best is None else best[1]

    def save(self, moment: Moment, history: Sequence[Record]) -> Path:
        """Write a checkpoint, unless there is one of this step, and remove those not to be kept.

        `history` has the records of the epochs that have ended, that of `moment` included.

        Raises `OSError` where it can't be written; the others stay then.
        """
        state = moment.underway.state
        path = self.folder / f"step-{int(state.step):07d}"
        ended = moment.record is not None
        if not path.is_dir():
            self.folder.mkdir(exist_ok=True)
            notes = {
                "ended": ended,
                "seconds": 0.0 if ended else moment.seconds,
                "history": [_with_nulls(record) for record in history],
                "key": str(jax.random.key_impl(state.key)),
            }
            save_tree(path, _plain(moment.underway), notes)
        self._scores[path] = _score(moment.record)
        best = self.best()
        for old in self.paths()[self.keep :]:
            if old != best:
                self._discard(old)
        return path

    def load(self, path: Path, expected: Underway) -> Checkpoint:
        """Read a checkpoint; `expected` is `Loop.shapes()`.

        Raises `DamagedError` where it is damaged, and another `ValueError` where it is of another
        training.
        """
        plain = load_tree(path, jax.eval_shape(_plain, expected))
        notes = load_notes(path)
        try:
            history = [_with_nans(record) for record in notes["history"]]
            key = jax.random.wrap_key_data(plain["state"].pop("key"), impl=notes["key"])
            seconds = float(notes["seconds"])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ValueError(f"{path}: not a checkpoint of a training ({error!r})") from error
        return Checkpoint(
            path, Underway(State(**plain["state"], key=key), plain["sums"]), history, seconds
        )

    def newest(self, expected: Underway) -> tuple[Checkpoint | None, list[str]]:
        """Read the newest checkpoint that is whole; say in a line of each newer one why it is not.

        Those that are damaged are renamed, so that they are not in the way of what is to come.

        Raises `DamagedError` where there are checkpoints and none is whole, and another
        `ValueError` where the newest whole one is of another training.
        """
        damage: dict[Path, DamagedError] = {}
        for path in self.paths():
            try:
                found = self.load(path, expected)
            except DamagedError as error:
                damage[path] = error
                continue
            complaints = []
            for damaged, error in damage.items():
                aside = damaged.with_name(f"damaged-{damaged.name}")
                remove(aside)
                damaged.rename(aside)
                complaints.append(f"{error} (it is called {aside.name} now)")
            return found, complaints
        if damage:
            first = next(iter(damage.values()))
            raise DamagedError(f"{first}; there is no other checkpoint that is whole")
        return None, []

    def load_parameters(self, expected: Any, *, best: bool = False) -> Any:
        """Read the parameters of the newest checkpoint that is whole, or of the best one.

        `expected` has their structure, shapes and dtypes.

        Raises `FileNotFoundError` where there is none, and `ValueError` as `load` does.
        """
        paths = self.paths()
        if best:
            paths = [path for path in (self.best(),) if path is not None]
        damage = None
        for path in paths:
            try:
                return load_tree(path, expected, under="state/params/")
            except DamagedError as error:
                damage = damage or error
        if damage is not None:
            raise damage
        raise FileNotFoundError(f"{self.folder}: there is no {'best ' if best else ''}checkpoint")

    def tidy(self) -> None:
        """Remove what was being written, or removed, when an earlier process was killed."""
        if self.folder.is_dir():
            for entry in self.folder.iterdir():
                if entry.name.startswith("."):
                    remove(entry)

    def _discard(self, path: Path) -> None:
        # Under its own name it would be a damaged checkpoint if this were cut off.
        remove(path.rename(path.with_name(f".{path.name}.old")))

    def _score_of(self, path: Path) -> _Score | None:
        if path not in self._scores:
            try:
                notes = load_notes(path)
                record = _with_nans(notes["history"][-1]) if notes["ended"] else None
                self._scores[path] = _score(record)
            except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError):
                self._scores[path] = None  # damaged, which reading it will say
        return self._scores[path]


def _plain(underway: Underway) -> dict[str, Any]:
    """Return what a training is made of as dicts of arrays of numbers."""
    state = underway.state
    return {
        "state": {
            "step": state.step,
            "params": state.params,
            "optimizer_state": state.optimizer_state,
            "key": jax.random.key_data(state.key),
        },
        "sums": underway.sums,
    }


def _score(record: Record | None) -> _Score | None:
    if record is None or "validation_accuracy" not in record:
        return None
    score = record["validation_accuracy"], -record["validation_loss"]
    return score if all(map(math.isfinite, score)) else None


def _step(path: Path) -> int:
    return int(path.name.removeprefix("step-"))


def _with_nulls(record: Record) -> dict[str, float | None]:
    """Return a record as JSON has it, which knows no NaN."""
    return {name: x if math.isfinite(x) else None for name, x in record.items()}


def _with_nans(record: dict[str, float | None]) -> Record:
    return {name: math.nan if x is None else x for name, x in record.items()}
