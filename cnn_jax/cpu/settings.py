"""What `install()` was told, by its arguments or by environment variables."""

import dataclasses
import os
from collections.abc import Iterable
from pathlib import Path

FAMILIES = (
    "winograd",
    "outer",
    "planar",
    "depthwise",
    "narrow",
    "implicit",
    "onednn",
    "xla",
    "pooling",
    "dense",
)
_NATIVE = frozenset(FAMILIES) - {"xla"}

_TRUE = ("1", "true", "yes", "on")
_FALSE = ("0", "false", "no", "off", "")
_LINES = ".jsonl"


@dataclasses.dataclass(frozen=True)
class Settings:
    """The choices that stand while the package is installed."""

    kernels: tuple[str, ...] = FAMILIES
    strict: bool = False
    compare: bool = False
    keep_memory: bool = True
    tune: bool | Path = False

    @property
    def native(self) -> bool:
        """Whether a family may be used that needs the native library."""
        return not _NATIVE.isdisjoint(self.kernels)


def resolve(
    kernels: Iterable[str] | None = None,
    strict: bool | None = None,
    compare: bool | None = None,
    keep_memory: bool | None = None,
    tune: bool | str | os.PathLike[str] | None = None,
) -> Settings:
    """Settings from arguments; what is None comes from the environment, else from the defaults.

    Raises:
        TypeError: `kernels` is not a sequence of names, or another argument of the wrong type.
        ValueError: an unknown kernel family, another file than one of lines of JSON, or an
            environment variable that is not understood.

    Examples:
        >>> resolve(kernels=["pooling"]).kernels
        ('pooling',)
    """
    defaults = Settings()
    return Settings(
        kernels=_families(kernels),
        strict=_switch(strict, "CNN_JAX_CPU_STRICT", defaults.strict),
        compare=_switch(compare, "CNN_JAX_CPU_COMPARE", defaults.compare),
        keep_memory=_switch(keep_memory, "CNN_JAX_CPU_KEEP_MEMORY", defaults.keep_memory),
        tune=_switch_or_file(tune, "CNN_JAX_CPU_TUNE"),
    )


def _families(kernels: Iterable[str] | None) -> tuple[str, ...]:
    source = "kernels"
    if kernels is None:
        text = os.environ.get("CNN_JAX_CPU_KERNELS")
        if text is None:
            return FAMILIES
        source = "CNN_JAX_CPU_KERNELS"
        kernels = [name.strip() for name in text.split(",") if name.strip()]
    if isinstance(kernels, str):
        raise TypeError(f"install: kernels is a sequence of names, not the string {kernels!r}")
    kernels = tuple(kernels)
    for name in kernels:
        if name not in FAMILIES:
            raise ValueError(
                f"install: {source} has {name!r}; the kernel families are {', '.join(FAMILIES)}"
            )
    return tuple(name for name in FAMILIES if name in kernels)


def _switch(given: bool | None, variable: str, default: bool) -> bool:
    if given is not None:
        if not isinstance(given, bool):
            raise TypeError(
                f"install: {variable.removeprefix('CNN_JAX_CPU_').lower()} is True or False, "
                f"not {given!r}"
            )
        return given
    text = os.environ.get(variable)
    if text is None:
        return default
    if text.lower() in _TRUE:
        return True
    if text.lower() in _FALSE:
        return False
    raise ValueError(f"install: {variable} is {text!r}; it can be 1 or 0")


def _switch_or_file(given: bool | str | os.PathLike[str] | None, variable: str) -> bool | Path:
    name = given
    if given is None:
        text = os.environ.get(variable, "")
        name = text if text.lower() not in (*_TRUE, *_FALSE) else text.lower() in _TRUE
    if isinstance(name, bool):
        return name
    source = "tune" if given is not None else variable
    if not isinstance(name, (str, os.PathLike)):
        raise TypeError(f"install: {source} is True, False or the path of a file, not {name!r}")
    path = Path(name).absolute()
    if path.suffix != _LINES:
        raise ValueError(
            f"install: {source} is 1, 0 or a file whose name ends in {_LINES}, not {name!r}"
        )
    return path
