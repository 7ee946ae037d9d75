"""The process of one contender: prepares jobs and runs them when it is told to.

It reads one JSON object a line from its standard input and answers each with one on the standard
output that it was started with; whatever libraries print goes to the standard error. Between two
requests it sleeps in `read`, so that the contender whose turn it is has the machine to itself.
"""

import gc
import importlib
import json
import os
import resource
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.job import Job, MissingError

INSTALL = "pip install '.[benchmarks]'"

# A run longer than this leaves the caches as it wants them, whoever ran before.
_WARM_UP_SECONDS = 0.1


def main() -> None:
    """Answer requests until the standard input ends."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    job: Job | None = None
    for line in sys.stdin:
        request = json.loads(line)
        try:
            match request["do"]:
                case "prepare":
                    job = None
                    gc.collect()
                    job, answer = _prepare(request)
                case "run":
                    answer = {"status": "ran", "seconds": _run(_ready(job), request["seconds"])}
                case "memory":
                    answer = {"status": "ran", "peak_bytes": _peak_bytes(_ready(job))}
                case "forget":
                    job = None
                    gc.collect()
                    answer = {"status": "ready"}
                case unknown:
                    answer = {"status": "failed", "message": f"unknown request {unknown!r}"}
        except MissingError as error:
            answer = {"status": "missing", "message": str(error)}
        except ModuleNotFoundError as error:
            answer = {"status": "missing", "message": f"needs {error.name}: {INSTALL}"}
        except Exception as error:
            traceback.print_exc()
            answer = {"status": "failed", "message": _one_line(error)}
        answers.write(json.dumps(answer) + "\n")


def _prepare(request: dict[str, Any]) -> tuple[Job, dict[str, Any]]:
    module, name = request["factory"].split(":")
    factory: Callable[..., Job] = getattr(importlib.import_module(module), name)
    resident = _resident_bytes()
    job = factory(request["case"], **request["options"])
    folder = Path(request["folder"])
    paths = {}
    for name, value in job.results.items():
        paths[name] = str(folder / f"{name}.npy")
        np.save(paths[name], np.asarray(value))
    facts = {"resident_bytes_before": resident, **job.facts}
    return job, {"status": "ready", "facts": facts, "results": paths}


def _run(job: Job, seconds: float) -> list[float]:
    """Run the job for about `seconds`, at least once, and return how long each run took.

    Other contenders had the caches in between, so short runs are preceded by some that don't count.
    """
    started = time.perf_counter()
    job.run()
    elapsed = time.perf_counter() - started
    if elapsed > max(_WARM_UP_SECONDS, seconds):
        return [elapsed]
    while time.perf_counter() - started < seconds / 4:
        job.run()
    times = []
    started = time.perf_counter()
    while not times or time.perf_counter() - started < seconds:
        before = time.perf_counter()
        job.run()
        times.append(time.perf_counter() - before)
    return times


def _peak_bytes(job: Job) -> int:
    """The most memory that the process has held while the job ran, everything included."""
    gc.collect()
    job.run()
    try:
        Path("/proc/self/clear_refs").write_text("5")  # Starts the high-water mark afresh.
        job.run()
        status = Path("/proc/self/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) * 1024
    except (OSError, IndexError):
        job.run()
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _resident_bytes() -> int | None:
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return None
    return pages * resource.getpagesize()


def _ready(job: Job | None) -> Job:
    if job is None:
        raise RuntimeError("nothing is prepared")
    return job


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}"[:300]


if __name__ == "__main__":
    main()
