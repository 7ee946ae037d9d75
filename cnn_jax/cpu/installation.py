"""Puts the rules in the place of JAX's own, and takes them away again."""

import contextlib
import dataclasses
import os
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import jax

from cnn_jax.cpu import (
    choose,
    dense,
    fused,
    inlined,
    memory,
    native_library,
    private,
    reversal,
    rules,
    transposed,
)
from cnn_jax.cpu.settings import Settings, resolve
from cnn_jax.cpu.tuning import Tuner


@dataclasses.dataclass(frozen=True)
class Installation:
    """What stands now, and what stood before."""

    settings: Settings
    saved_rules: tuple[tuple[dict, Any, Any], ...]  # table, primitive and entry, None for none
    saved_uncacheable: frozenset
    memory: str  # "kept", "kept in part: why", "returned" or "returned: why"
    tuner: Tuner | None


_OF_PRODUCTS = (dense.PRIMITIVE, transposed.PRIMITIVE)
_PRIMITIVES = tuple(
    dict.fromkeys((*choose.PRIMITIVES, *fused.PRIMITIVES, reversal.PRIMITIVE, inlined.PRIMITIVE))
)

_lock = threading.RLock()
_current: Installation | None = None


def current() -> Installation | None:
    """The installation that stands, or None."""
    return _current


def install(
    *,
    kernels: Iterable[str] | None = None,
    strict: bool | None = None,
    compare: bool | None = None,
    keep_memory: bool | None = None,
    tune: bool | str | os.PathLike[str] | None = None,
) -> None:
    """Give JAX's convolutions and poolings faster kernels on CPUs, in every library and program.

    Only JAX's lowering rules for the CPU change: those of convolution, of pooling and of the
    product of two matrices; of a ReLU, its gradient, a bias's gradient, a division, a conversion to
    bfloat16, a transposition and a reversal where they stand next to one of these and can be
    computed with it; of functions under `jax.jit` to which a picture with its channels first is
    passed, which are lowered where they are called; and of sums in half precision, which are taken
    in float32, and those over groups of channels or over the examples of a batch. JAX's caches are
    emptied, so that what was compiled before gets the new kernels too. Calling it again changes the
    settings. oneDNN is loaded and stays so; its OpenMP threads wait some 0.02 ms for more to do
    before they sleep, unless `OMP_WAIT_POLICY` or `GOMP_SPINCOUNT` is set by then.

    Args:
        kernels: the families that may be used, of "winograd", "outer", "planar", "depthwise",
            "narrow", "implicit", "onednn", "xla", "pooling" and "dense"; all by default, or those
            in the variable `CNN_JAX_CPU_KERNELS`, separated by commas.
        strict: a convolution or pooling that would get XLA's own kernel raises `FallbackError`
            instead (`CNN_JAX_CPU_STRICT=1`); a product may always do so.
        compare: each result is compared with that of XLA's own kernel, and the program fails where
            they disagree; slow (`CNN_JAX_CPU_COMPARE=1`).
        keep_memory: the process keeps memory that is freed, up to its highest level, which spares
            the system from clearing the same pages at every step. Its threads then share one heap,
            so that large programs take longer to compile. On by default; off with False or
            `CNN_JAX_CPU_KEEP_MEMORY=0`. Needs glibc, and to be installed before JAX first computes,
            since it is then that XLA's threads begin; `status()` says whether it took.
        tune: the kernels for a convolution, or for a pooling that is computed alone, are timed as
            it is first compiled, XLA's own among them, and the fastest is taken. That takes some
            tenths of a second for each, and results may differ in their last bits where another
            kernel is taken. With the path of a `.jsonl` file what was measured is kept in it, and
            later processes on such a machine choose the same at once (`CNN_JAX_CPU_TUNE=1`, or the
            path).

    Raises:
        TypeError, ValueError: an argument or a variable is not one of those above, or the file
            holds something else; what was installed stands.

    Examples:
        >>> import cnn_jax.cpu
        >>> cnn_jax.cpu.install(keep_memory=False)
        >>> cnn_jax.cpu.status().installed
        True
        >>> cnn_jax.cpu.uninstall()
    """
    global _current
    settings = resolve(kernels, strict, compare, keep_memory, tune)
    with _lock:
        if _current is not None and _current.settings == settings:
            return
        # What it refuses leaves everything as it was.
        path = settings.tune if isinstance(settings.tune, Path) else None
        tuner = Tuner(path) if settings.tune else None
        _remove()
        if settings.native:
            with contextlib.suppress(native_library.NativeLibraryError):
                native_library.load()
        primitives = (*_PRIMITIVES, *_OF_PRODUCTS) if "dense" in settings.kernels else _PRIMITIVES
        saved = tuple(entry for primitive in primitives for entry in private.entries(primitive))
        uncacheable = frozenset(private.uncacheable_primitives() & set(primitives))
        for primitive in primitives:
            # Equal equations of one module may stand inside and outside of shard_map, and next to
            # different ones, and must not share a lowered body.
            stock = private.stock_rule(primitive)
            private.replace_rules(primitive, rules.rule(primitive, stock, settings, tuner))
        kept = memory.keep() if settings.keep_memory else "returned"
        _current = Installation(settings, saved, uncacheable, kept, tuner)
        jax.clear_caches()


def uninstall() -> None:
    """Leave JAX exactly as it was before `install()`; without effect where nothing is installed."""
    with _lock:
        if _current is not None:
            _remove()
            jax.clear_caches()


@contextlib.contextmanager
def installed(
    *,
    kernels: Iterable[str] | None = None,
    strict: bool | None = None,
    compare: bool | None = None,
    keep_memory: bool | None = None,
    tune: bool | str | os.PathLike[str] | None = None,
) -> Iterator[None]:
    """Within the `with` block, `install()` with these arguments; after it, what stood before.

    Examples:
        >>> from cnn_jax import cpu
        >>> with cpu.installed(keep_memory=False):
        ...     cpu.status().installed
        True
        >>> cpu.status().installed
        False
    """
    before = _current
    install(kernels=kernels, strict=strict, compare=compare, keep_memory=keep_memory, tune=tune)
    try:
        yield
    finally:
        _put_back(before)


@contextlib.contextmanager
def uninstalled() -> Iterator[None]:
    """Within the `with` block, JAX's own rules; after it, what stood before.

    For programs that are to be lowered as JAX alone does, say to compare with.

    Examples:
        >>> from cnn_jax import cpu
        >>> with cpu.installed(keep_memory=False):
        ...     with cpu.uninstalled():
        ...         cpu.status().installed
        ...     cpu.status().installed
        False
        True
    """
    before = _current
    uninstall()
    try:
        yield
    finally:
        _put_back(before)


def _put_back(before: Installation | None) -> None:
    if before is None:
        uninstall()
    else:
        install(**dataclasses.asdict(before.settings))


def _remove() -> None:
    global _current
    if _current is None:
        return
    for table, primitive, entry in _current.saved_rules:
        if entry is None:
            table.pop(primitive, None)
        else:
            table[primitive] = entry
        if primitive not in _current.saved_uncacheable:
            private.uncacheable_primitives().discard(primitive)
    if _current.settings.keep_memory:
        memory.release()
    if _current.settings.native:
        with contextlib.suppress(native_library.NativeLibraryError):
            native_library.release()
    rules.chosen.clear()
    _current = None
