"""Runs a case by every contender: each in its own process, equal first, then timed in turns."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from benchmarks.process import Worker, WorkerDiedError, WorkerHungError
from benchmarks.statistics import Spread, spread


@dataclasses.dataclass(frozen=True)
class Contender:
    """A way to do a case: `factory` is `module:function`, called as `function(case, **options)`."""

    name: str
    factory: str
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Case:
    """A piece of work: `settings` go to the contenders, and results may differ by `tolerance`.

    `tolerance` is relative to the largest magnitude of the result; `truth` names the contender
    to be believed where results differ, else it is the one with which most others agree.
    """

    name: str
    settings: Mapping[str, Any]
    tolerance: float = 1e-4
    truth: str | None = None


@dataclasses.dataclass(frozen=True)
class Limits:
    """How long to measure, in seconds, and how often."""

    turn: float = 0.1
    rounds: int = 11
    fewest_rounds: int = 3
    case: float = 12.0
    prepare: float = 180.0
    run: float = 120.0

    @property
    def for_quick(self) -> "Limits":
        """The same with less of everything."""
        return dataclasses.replace(
            self, turn=self.turn / 3, rounds=min(5, self.rounds), case=self.case / 6, prepare=60.0
        )


@dataclasses.dataclass
class Row:
    """What came of one contender in one case.

    `status` is "ok", "missing", "failed", "hung", "wrong" or "skipped"; the `message` says why.
    """

    case: str
    contender: str
    settings: dict[str, Any]
    status: str = "ok"
    message: str = ""
    samples: list[float] = dataclasses.field(default_factory=list)  # seconds, one for each round
    peak_bytes: int | None = None
    facts: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def timed(self) -> bool:
        """Whether there is a figure."""
        return self.status == "ok" and bool(self.samples)

    @property
    def spread(self) -> Spread:
        """Median seconds with quartiles."""
        return spread(self.samples)


class Harness:
    """Keeps one process for each contender, and lets one at a time work."""

    def __init__(self, cpus: Sequence[int], limits: Limits | None = None) -> None:
        """Use these CPUs, the same for all."""
        self.cpus = list(cpus)
        self.limits = limits or Limits()
        self._workers: dict[str, Worker] = {}

    def __enter__(self) -> Self:
        """Processes start when they are first needed."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End them all, whatever happened."""
        self.restart()

    def restart(self) -> None:
        """End all processes; the next case begins with fresh ones."""
        for worker in self._workers.values():
            worker.stop()
        self._workers.clear()

    def measure(
        self,
        case: Case,
        contenders: Sequence[Contender],
        *,
        memory: bool = False,
        progress: Callable[[str], object] = lambda _: None,
    ) -> list[Row]:
        """Prepare, compare and time a case; every contender has a row, whatever happened to it."""
        rows = {c.name: Row(case.name, c.name, dict(case.settings)) for c in contenders}
        results: dict[str, dict[str, str]] = {}
        for contender in contenders:
            progress(f"{case.name}: {contender.name} prepares")
            answer = self._ask(rows[contender.name], contender, case)
            if answer is not None:
                results[contender.name] = answer["results"]
        _mark_wrong(rows, _load(results), case)
        ready = [c for c in contenders if rows[c.name].status == "ok"]
        self._time(ready, rows, lambda text: progress(f"{case.name}: {text}"))
        if memory:
            for contender in ready:
                if rows[contender.name].status == "ok":
                    self._memory(contender, rows[contender.name])
        for contender in contenders:
            worker = self._workers.get(contender.name)
            if worker is not None and worker.alive:
                self._request(rows[contender.name], contender, {"do": "forget"}, 60)
        return list(rows.values())

    def _ask(self, row: Row, contender: Contender, case: Case) -> dict[str, Any] | None:
        worker = self._worker(contender)
        request = {
            "do": "prepare",
            "factory": contender.factory,
            "options": dict(contender.options),
            "case": dict(case.settings),
            "folder": worker.folder.name,
        }
        answer = self._request(row, contender, request, self.limits.prepare)
        if answer is not None:
            row.facts = answer["facts"]
        return answer

    def _time(
        self,
        contenders: Sequence[Contender],
        rows: Mapping[str, Row],
        progress: Callable[[str], object],
    ) -> None:
        """Rounds in which each contender has one turn, in an order that moves on every round."""
        alive = list(contenders)
        used = 0.0
        for number in range(self.limits.rounds):
            if number >= self.limits.fewest_rounds and used > self.limits.case:
                break
            progress(f"round {number + 1} of {self.limits.rounds}")
            start = number % max(1, len(alive))
            for contender in [*alive[start:], *alive[:start]]:
                row = rows[contender.name]
                request = {"do": "run", "seconds": self.limits.turn}
                answer = self._request(row, contender, request, self.limits.run)
                if answer is None:
                    alive.remove(contender)
                    continue
                row.samples.append(float(np.median(answer["seconds"])))
                used += sum(answer["seconds"])

    def _memory(self, contender: Contender, row: Row) -> None:
        answer = self._request(row, contender, {"do": "memory"}, self.limits.run)
        if answer is not None:
            row.peak_bytes = answer["peak_bytes"]

    def _request(
        self, row: Row, contender: Contender, request: Mapping[str, Any], timeout: float
    ) -> dict[str, Any] | None:
        """Return the answer, or note in the row why there is none."""
        try:
            answer = self._worker(contender).ask(request, timeout)
        except WorkerDiedError as error:
            self._workers.pop(contender.name).stop()
            row.status, row.message = "failed", str(error)
        except WorkerHungError as error:
            self._workers.pop(contender.name)
            row.status, row.message = "hung", str(error)
        else:
            if answer["status"] in ("ready", "ran"):
                return answer
            row.status, row.message = answer["status"], answer["message"]
        return None

    def _worker(self, contender: Contender) -> Worker:
        if contender.name not in self._workers:
            self._workers[contender.name] = Worker(self.cpus, contender.environment)
        return self._workers[contender.name]


def difference(result: np.ndarray, truth: np.ndarray, tolerance: float) -> str | None:
    """Say how a result differs from the truth by more than the tolerance, or None."""
    if result.shape != truth.shape:
        return f"shape {list(result.shape)} instead of {list(truth.shape)}"
    result, truth = result.astype(np.float64), truth.astype(np.float64)
    if not np.isfinite(result).all():
        return "not all numbers are finite"
    if not truth.size:
        return None
    scale = float(np.abs(truth).max())
    worst = float(np.abs(result - truth).max())
    if worst <= tolerance * scale:
        return None
    return f"differs by up to {worst:.2g} where the largest magnitude is {scale:.2g}"


Results = dict[str, np.ndarray]


def _load(paths: Mapping[str, Mapping[str, str]]) -> dict[str, Results]:
    return {
        contender: {name: np.load(Path(path), mmap_mode="r") for name, path in results.items()}
        for contender, results in paths.items()
    }


def _mark_wrong(rows: Mapping[str, Row], results: Mapping[str, Results], case: Case) -> None:
    if not results:
        return
    verdicts = {
        name: {other: _compare(results[other], results[name], case.tolerance) for other in results}
        for name in results
    }
    truth = case.truth
    if truth is None or truth not in results:
        # Of equals, `max` returns the first.
        truth = max(results, key=lambda name: sum(why is None for why in verdicts[name].values()))
    for name, why in verdicts[truth].items():
        if why is not None:
            rows[name].status, rows[name].message = "wrong", f"{why} (against {truth})"


def _compare(results: Results, truths: Results, tolerance: float) -> str | None:
    if set(results) != set(truths):
        return f"returns {sorted(results)} instead of {sorted(truths)}"
    for name, truth in truths.items():
        why = difference(results[name], truth, tolerance)
        if why is not None:
            return f"{name}: {why}"
    return None
