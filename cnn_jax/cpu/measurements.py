"""What was measured of kernels: for this process, and in a file for later ones."""

import json
import os
import platform
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jaxlib.version

from cnn_jax.cpu import native_library
from cnn_jax.files import append_line, read_lines

Seconds = dict[str, float]


class Measurements:
    """Seconds that kernels take, by what they compute.

    A file has a line of JSON for each of those, and may be shared by machines and by processes.
    """

    def __init__(self, path: Path | None) -> None:
        """Those of the file that were made on a machine like this one, if there is such a file.

        Raises:
            ValueError: the file holds something else, or its folder is not there.
        """
        self.path = path
        self._machine = _machine()
        self._seconds: dict[str, Seconds] = {}
        for line in [] if path is None else _lines(path):
            if line["machine"] == self._machine:
                self._seconds[_key(line["measured"])] = line["seconds"]

    def __len__(self) -> int:
        """How many things were measured."""
        return len(self._seconds)

    def get(self, measured: Mapping[str, Any]) -> Seconds | None:
        """The seconds of each kernel, if that was measured."""
        return self._seconds.get(_key(measured))

    def add(self, measured: Mapping[str, Any], seconds: Seconds) -> None:
        """Remember them; a file that can't be written is warned about and left as it was."""
        self._seconds[_key(measured)] = seconds
        if self.path is None:
            return
        line = {"machine": self._machine, "measured": measured, "seconds": seconds}
        try:
            append_line(self.path, line)
        except OSError as error:
            warnings.warn(f"{self.path} can't be written: {error}", RuntimeWarning, stacklevel=2)


def _lines(path: Path) -> list[Any]:
    if path.is_dir():
        raise ValueError(f"install: tune names {path}, which is a folder")
    if not path.parent.is_dir():
        raise ValueError(f"install: tune names {path}, and there is no folder {path.parent}")
    if not path.exists():
        return []
    expected = "the times of kernels, as install(tune=...) writes them"
    lines = read_lines(path, expected)
    if not all(map(_is_understood, lines)):
        raise ValueError(f"{path}: damaged: expected {expected}")
    return lines


def _is_understood(line: Any) -> bool:
    types = {"machine": str, "measured": dict, "seconds": dict}
    if not isinstance(line, dict) or line.keys() != types.keys():
        return False
    if not all(isinstance(line[name], expected) for name, expected in types.items()):
        return False
    seconds, kernels = line["seconds"], line["measured"].get("kernels")
    return (
        isinstance(kernels, list)
        and len(seconds) > 0
        and all(kernel in kernels for kernel in seconds)
        and all(isinstance(time, float) and time > 0 for time in seconds.values())
    )


def _key(measured: Mapping[str, Any]) -> str:
    return json.dumps(measured, sort_keys=True)


def _machine() -> str:
    """All that makes kernels faster or slower."""
    try:
        onednn = native_library.onednn_version()
    except native_library.NativeLibraryError:
        onednn = "none"
    versions = [
        f"jax {jax.__version__}",
        f"jaxlib {jaxlib.version.__version__}",
        f"oneDNN {onednn}",
        f"kernels {native_library.FORMAT}",
    ]
    return ", ".join([_processor(), f"{_threads()} threads", *versions])


def _processor() -> str:
    """The model, and the numbers that tell apart those of one name."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or platform.machine()
    names = ("model name", "cpu family", "model", "stepping")
    found = (re.search(rf"^{name}\s*: (.*)$", text, re.MULTILINE) for name in names)
    return " ".join(each[1] for each in found if each) or platform.machine()


def _threads() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
