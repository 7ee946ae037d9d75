"""The parent's side of a contender's process: start, ask, and survive whatever it does."""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


class WorkerDiedError(Exception):
    """The process ended before it answered."""


class WorkerHungError(Exception):
    """The process did not answer in time, and was ended."""


class Worker:
    """A process that runs `benchmarks.worker`, pinned to the given CPUs."""

    def __init__(self, cpus: Sequence[int], environment: Mapping[str, str] | None = None) -> None:
        """Start it; libraries are imported only when it is asked to prepare something."""
        self.folder = tempfile.TemporaryDirectory(prefix="benchmark-")
        self._errors = (Path(self.folder.name) / "stderr").open("w+b")
        self._buffer = b""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=_environment(cpus) | dict(environment or {}),
            start_new_session=True,  # An interrupt is the parent's to handle.
            cwd=ROOT,
        )
        # Before the libraries count processors: the pin holds for every thread they will start.
        if hasattr(os, "sched_setaffinity"):
            with contextlib.suppress(ProcessLookupError):
                os.sched_setaffinity(self._process.pid, cpus)

    @property
    def alive(self) -> bool:
        """Whether it can be asked anything."""
        return self._process.poll() is None

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._process.pid

    def ask(self, request: Mapping[str, Any], timeout: float) -> dict[str, Any]:
        """Send a request and return the answer.

        Raises:
            WorkerDiedError: it ended instead; the message has the signal or the last words.
            WorkerHungError: no answer within `timeout` seconds; the process is killed.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
        except OSError as error:
            raise WorkerDiedError(self._last_words()) from error
        line = self._read_line(time.monotonic() + timeout)
        if line is None:
            self.stop()
            raise WorkerHungError(f"no answer within {timeout:.0f} s")
        return json.loads(line)

    def stop(self) -> None:
        """End the process and everything that it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._errors):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        self.folder.cleanup()

    def _read_line(self, deadline: float) -> bytes | None:
        """Return the next line, or None when the deadline passes."""
        assert self._process.stdout is not None
        descriptor = self._process.stdout.fileno()
        while b"\n" not in self._buffer:
            ready, _, _ = select.select([descriptor], [], [], max(0, deadline - time.monotonic()))
            if not ready:
                return None
            piece = os.read(descriptor, 1 << 16)
            if not piece:
                raise WorkerDiedError(self._last_words())
            self._buffer += piece
        line, self._buffer = self._buffer.split(b"\n", 1)
        return line

    def _last_words(self) -> str:
        try:
            code = self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            return "its process closed the connection"
        if code < 0:
            return f"its process was ended by {signal.Signals(-code).name}"
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        return f"its process ended with status {code}" + (f": {lines[-1][:200]}" if lines else "")


def _environment(cpus: Sequence[int]) -> dict[str, str]:
    threads = str(len(cpus))
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(paths),
        "OMP_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
        "OPENBLAS_NUM_THREADS": threads,
        "JAX_PLATFORMS": "cpu",
        # Compile times are those of a first run.
        "JAX_ENABLE_COMPILATION_CACHE": "false",
        "TORCHINDUCTOR_FORCE_DISABLE_CACHES": "1",
        "TORCHINDUCTOR_COMPILE_THREADS": "1",
    }
