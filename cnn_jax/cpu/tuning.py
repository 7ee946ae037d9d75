"""Times the kernels for an operation, once for each operation, as a program is compiled."""

import contextlib
import statistics
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np

from cnn_jax.cpu.choice import Choice
from cnn_jax.cpu.measurements import Measurements, Seconds

# Each kernel has its turn in each round, so that what else the machine does hits all alike.
_ROUNDS, _TURN = 9, 2e-3  # seconds
# Before that, each is run so often, or for so long: what takes so many times as long as the fastest
# is not timed further.
_RUNS, _PATIENCE, _HOPELESS = 10, 20e-3, 3
# What is known to be fast gives way to what is faster than by noise.
_CLEARLY = 0.95

Runs = dict[str, Callable[[], None]]


class Array(Protocol):
    """What is known of an operand."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape."""
        ...

    @property
    def dtype(self) -> np.dtype:
        """Its type."""
        ...


class Candidate(NamedTuple):
    """A kernel, and the function and operands that stand for it when it is timed."""

    choice: Choice
    function: Callable[..., jax.Array]
    operands: Sequence[Array]


class Tuner:
    """Finds the fastest kernel for each operation by timing, and remembers it."""

    def __init__(self, path: Path | None = None) -> None:
        """Without a file, nothing is measured yet; see `Measurements`."""
        self.measurements = Measurements(path)
        self._lock = threading.Lock()
        self._thread = threading.local()

    @property
    def is_timing(self) -> bool:
        """Whether this thread lowers a program that is to be timed alone."""
        return getattr(self._thread, "timing", False)

    @property
    def wants_stock(self) -> bool:
        """Whether that is to time XLA's own kernel."""
        return getattr(self._thread, "stock", False)

    def fastest(
        self, operation: Mapping[str, Any], usual: Choice, candidates: Sequence[Candidate]
    ) -> Choice:
        """The fastest candidate; the usual choice, unless another one is clearly faster.

        `operation` tells what they compute from all else.
        """
        choices = {candidate.choice.kernel: candidate.choice for candidate in candidates}
        if len(choices) < 2:
            return usual
        measured = {**operation, "kernels": list(choices)}
        # A candidate may be made of other convolutions, which are timed while it is prepared.
        with contextlib.nullcontext() if self.is_timing else self._lock:
            seconds = self.measurements.get(measured)
            if seconds is None:
                seconds = _time(self._prepared(candidates))
                self.measurements.add(measured, seconds)
        best = min(seconds, key=seconds.__getitem__)
        if usual.kernel in seconds and seconds[best] > _CLEARLY * seconds[usual.kernel]:
            best = usual.kernel
        return choices[best]._replace(reason=_told(best, seconds))

    def _prepared(self, candidates: Sequence[Candidate]) -> Runs:
        # A new thread has none of the contexts that this program may be lowered in.
        with ThreadPoolExecutor(1) as executor:
            return executor.submit(self._prepare, candidates).result()

    def _prepare(self, candidates: Sequence[Candidate]) -> Runs:
        self._thread.timing = True
        device = jax.local_devices(backend="cpu")[0]
        arrays: dict[tuple[int, tuple[int, ...], str], jax.Array] = {}
        runs: Runs = {}
        for choice, function, operands in candidates:
            given = []
            for place, operand in enumerate(operands):
                key = place, tuple(operand.shape), operand.dtype.name
                if key not in arrays:
                    arrays[key] = jax.device_put(_filled(operand), device)
                given.append(arrays[key])
            self._thread.stock = choice.build is None
            compiled = jax.jit(function).lower(*given).compile()
            runs[choice.kernel] = _runner(compiled, given)
        return runs


def _filled(operand: Array) -> np.ndarray:
    """Numbers from 0 to 1, not all the same."""
    numbers = np.linspace(0, 1, 251, dtype=np.float32).astype(operand.dtype)
    return np.resize(numbers, operand.shape)


def _runner(compiled, arrays: Sequence[jax.Array]) -> Callable[[], None]:
    return lambda: compiled(*arrays).block_until_ready()


def _time(runs: Runs) -> Seconds:
    """Seconds that each takes, of those that may be the fastest."""
    least = {name: _least(run) for name, run in runs.items()}
    most = _HOPELESS * min(least.values())
    turns: dict[str, list[float]] = {name: [] for name in runs if least[name] <= most}
    for _ in range(_ROUNDS):
        for name, times in turns.items():
            times.append(_seconds(runs[name], _TURN))
    return {name: statistics.median(times) for name, times in turns.items()}


def _least(run: Callable[[], None]) -> float:
    """The shortest of a few runs, the first of which does more than compute."""
    started, seconds = time.perf_counter(), []
    while len(seconds) < _RUNS and time.perf_counter() - started < _PATIENCE:
        seconds.append(_seconds(run, 0))
    return min(seconds)


def _seconds(run: Callable[[], None], least: float) -> float:
    """The seconds of one run, on average over as many as fill that time."""
    started, times = time.perf_counter(), 0
    while True:
        run()
        times += 1
        passed = time.perf_counter() - started
        if passed >= least:
            return passed / times


def _told(best: str, times: Seconds) -> str:
    others = [f"{name} {_milliseconds(t)}" for name, t in times.items() if name != best]
    told = f"timed: {_milliseconds(times[best])}"
    return f"{told} ({', '.join(others)})" if others else f"{told}, others far more"


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1e3:.3g} ms"
