"""`status()`: what is installed, what is missing and how to get it."""

import dataclasses

from cnn_jax.cpu import native_library, rules
from cnn_jax.cpu.installation import current


@dataclasses.dataclass(frozen=True)
class Status:
    """What `cnn_jax.cpu` does at the moment; printed, it is a short text.

    `native` is the path of the native library, or None; `missing` says why there is none.
    `chosen` counts the kernels of all operations compiled since `install()`, by
    (primitive, kernel, reason).
    """

    installed: bool
    kernels: tuple[str, ...]
    strict: bool
    compare: bool
    memory: str
    native: str | None
    onednn: str | None
    missing: str | None
    chosen: dict[tuple[str, str, str], int]

    def __str__(self) -> str:
        """The status as a table of words."""
        rows = [
            ("installed", "yes" if self.installed else "no"),
            ("kernel families", ", ".join(self.kernels) or "none"),
            ("native library", self.native or f"missing: {self.missing}"),
            ("oneDNN", self.onednn or "missing"),
            ("freed memory", self.memory),
        ]
        if self.strict:
            rows.append(("fallbacks", "are errors"))
        if self.compare:
            rows.append(("results", "are compared with XLA's own"))
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
    native = version = missing = None
    try:
        native = native_library.path()
        version = native_library.onednn_version()
    except native_library.NativeLibraryError as error:
        native, missing = None, str(error)
    return Status(
        installed=standing is not None,
        kernels=standing.settings.kernels if standing else (),
        strict=standing.settings.strict if standing else False,
        compare=standing.settings.compare if standing else False,
        memory=standing.memory if standing else "returned",
        native=native,
        onednn=version,
        missing=missing,
        chosen=dict(rules.chosen),
    )
