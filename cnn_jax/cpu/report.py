"""`status()`: what is installed, what is missing and how to get it."""

import dataclasses
from collections.abc import Callable

from cnn_jax.cpu import native_library, rules
from cnn_jax.cpu.installation import current


@dataclasses.dataclass(frozen=True)
class Status:
    """What `cnn_jax.cpu` does at the moment; printed, it is a short text.

    `native` is the path of the native library, and `onednn` the version of the oneDNN that it
    calls; where one of them is None, `native_missing` or `onednn_missing` says why, and how to get
    it.
    `tuned` is for how many operations kernels were timed, None where none are to be, and `tuned_in`
    the file that keeps their times.
    `chosen` counts the kernels of all operations compiled since `install()`, by
    (primitive, kernel, reason).
    """

    installed: bool
    kernels: tuple[str, ...]
    strict: bool
    compare: bool
    memory: str
    tuned: int | None
    tuned_in: str | None
    native: str | None
    onednn: str | None
    native_missing: str | None
    onednn_missing: str | None
    chosen: dict[tuple[str, str, str], int]

    @property
    def missing(self) -> str | None:
        """All that the oneDNN kernels lack, and how to get it; None where they lack nothing."""
        lacking = {"the native library": self.native_missing, "oneDNN": self.onednn_missing}
        return "; ".join(f"{what}: {why}" for what, why in lacking.items() if why) or None

    def __str__(self) -> str:
        """The status as a table of words."""
        rows = [
            ("installed", "yes" if self.installed else "no"),
            ("kernel families", ", ".join(self.kernels) or "none"),
            ("native library", self.native or f"missing: {self.native_missing}"),
            ("oneDNN", self.onednn or f"missing: {self.onednn_missing}"),
            ("freed memory", self.memory),
        ]
        if self.strict:
            rows.append(("fallbacks", "are errors"))
        if self.compare:
            rows.append(("results", "are compared with XLA's own"))
        if self.tuned is not None:
            where = f", kept in {self.tuned_in}" if self.tuned_in else ""
            rows.append(("kernels", f"are timed{where}; operations so far: {self.tuned}"))
        for (primitive, kernel, reason), count in sorted(self.chosen.items()):
            rows.append((primitive, f"{count} x {kernel} ({reason})"))
        width = max(len(name) for name, _ in rows)
        return "\n".join(f"{name:<{width}}  {value}" for name, value in rows)


def status() -> Status:
    """What is installed, what each compiled operation got, and what is missing.

    Examples:
        >>> from cnn_jax import cpu
        >>> cpu.status().installed
        False
    """
    standing = current()
    measurements = standing.tuner.measurements if standing and standing.tuner else None
    native, native_missing = _told(_load)
    onednn, onednn_missing = _told(native_library.onednn_version)
    return Status(
        installed=standing is not None,
        kernels=standing.settings.kernels if standing else (),
        strict=standing.settings.strict if standing else False,
        compare=standing.settings.compare if standing else False,
        memory=standing.memory if standing else "returned",
        tuned=None if measurements is None else len(measurements),
        tuned_in=None
        if measurements is None or measurements.path is None
        else str(measurements.path),
        native=native,
        onednn=onednn,
        native_missing=native_missing,
        onednn_missing=onednn_missing,
        chosen=dict(rules.chosen),
    )


def _told(ask: Callable[[], str]) -> tuple[str | None, str | None]:
    """What it answers, or why it can't."""
    try:
        return ask(), None
    except native_library.NativeLibraryError as error:
        return None, str(error)


def _load() -> str:
    path = native_library.find()
    try:
        native_library.onednn_version()
    except native_library.NativeLibraryError:
        raise native_library.NativeLibraryError(f"{path} can't be loaded without oneDNN") from None
    native_library.load()
    return str(path)
