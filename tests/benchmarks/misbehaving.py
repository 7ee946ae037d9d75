"""Contenders for the tests of the harness: one is honest, the others each fail in their own way."""

import ctypes
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmarks.job import Job, MissingError

TRUTH = np.arange(12, dtype=np.float32).reshape(3, 4)


def _nothing() -> None:
    time.sleep(1e-4)


def honest(case: Mapping[str, Any], seconds: float = 0.0, off: float = 0.0) -> Job:
    """Right up to `off`; each run takes `seconds`."""
    del case
    run = (lambda: time.sleep(seconds)) if seconds else _nothing
    return Job(run, {"y": TRUTH + np.float32(off)}, {"compile_seconds": 0.5})


def wrong_shape(case: Mapping[str, Any]) -> Job:
    """The right numbers in another shape."""
    return Job(_nothing, {"y": TRUTH.T})


def not_finite(case: Mapping[str, Any]) -> Job:
    """NaN in one place."""
    return Job(_nothing, {"y": np.where(TRUTH == 5, np.float32("nan"), TRUTH)})


def one_result_short(case: Mapping[str, Any]) -> Job:
    """Computes nothing at all."""
    return Job(_nothing, {})


def refuse(case: Mapping[str, Any]) -> Job:
    """Can't do it."""
    raise ValueError(f"can't do\n{dict(case)}")


def refuse_when_run(case: Mapping[str, Any]) -> Job:
    """Prepares well, then fails."""

    def run() -> None:
        raise RuntimeError("out of luck")

    return Job(run, {"y": TRUTH})


def segfault(case: Mapping[str, Any]) -> Job:
    """Takes the process with it."""
    ctypes.string_at(0)
    raise AssertionError


def exit_when_run(case: Mapping[str, Any]) -> Job:
    """Prepares well, then ends the process."""

    def run() -> None:
        print("last words", file=sys.stderr, flush=True)
        os._exit(3)

    return Job(run, {"y": TRUTH})


def hang(case: Mapping[str, Any]) -> Job:
    """Never gets ready, nor does the process that it starts."""
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    with open(case["pids"], "w") as file:
        file.write(f"{os.getpid()} {child.pid}")
    child.wait()
    raise AssertionError


def hang_when_run(case: Mapping[str, Any]) -> Job:
    """Prepares well, then never returns."""
    return Job(lambda: time.sleep(600), {"y": TRUTH})


def missing_module(case: Mapping[str, Any]) -> Job:
    """Needs what is not there."""
    import no_such_module  # pyright: ignore[reportMissingImports]

    return no_such_module.job


def missing_tool(case: Mapping[str, Any]) -> Job:
    """Needs what is not there, and says so itself."""
    raise MissingError("needs a compiler")


def talkative(case: Mapping[str, Any]) -> Job:
    """Prints where the answers go, from Python and from C."""
    print('{"status": "ran"}', flush=True)
    os.write(1, b"noise\n")
    return Job(_nothing, {"y": TRUTH})


def pinned(case: Mapping[str, Any]) -> Job:
    """Tells where it may run, and what it was told."""
    facts = {
        "cpus": sorted(os.sched_getaffinity(0)),
        "threads": os.environ["OMP_NUM_THREADS"],
        "pid": os.getpid(),
    }
    return Job(_nothing, {"y": TRUTH}, facts)


def greedy(case: Mapping[str, Any], megabytes: int) -> Job:
    """Each run writes to so much memory."""
    return Job(lambda: np.ones(megabytes << 20, np.uint8), {"y": TRUTH})
