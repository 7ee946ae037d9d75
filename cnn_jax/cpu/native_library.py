"""Finds and loads the native library and the oneDNN that it calls."""

import contextlib
import ctypes
import functools
import importlib.metadata
import os
import pathlib
import platform
import shutil
import sys
from collections.abc import Iterator

import jax

FORMAT = 11
TARGET = "cnn_jax_convolution_v1"
POOLING_TARGET = "cnn_jax_pooling_v1"
PRODUCT_TARGET = "cnn_jax_product_v1"

MISSING = "the native library is missing; see status()"

_LIBRARY = "libcnn_jax_cpu.so"
_ONEDNN = "libdnnl.so.3"

# 0.02 to 0.05 ms, by the processor: the longest that libgomp waits where it has more threads than
# there are processors.
_SPINS = 1_000

_GENERAL = 2  # the library's word for what oneDNN does where no kernel of its own fits


class NativeLibraryError(Exception):
    """The native library can't be used; the text says why and what would help."""


@functools.cache
def load() -> ctypes.CDLL:
    """Load the library and register its handlers with XLA, once for each process.

    Raises:
        NativeLibraryError: there is no library, no oneDNN, or one of another version.
    """
    path = find()
    _load_onednn()
    try:
        library = ctypes.CDLL(str(path))
    except OSError as error:
        raise NativeLibraryError(f"{path} can't be loaded: {error}") from error
    if not hasattr(library, "cnn_jax_format"):
        raise NativeLibraryError(f"{path} is not the native library of cnn_jax")
    if library.cnn_jax_format() != FORMAT:
        raise NativeLibraryError(f"{path} is of another version of cnn_jax: install it again")
    for supported in (library.cnn_jax_convolution_supported, library.cnn_jax_product_supported):
        supported.argtypes = [
            ctypes.POINTER(ctypes.c_int64),
            ctypes.c_size_t,
            ctypes.c_char_p,
            ctypes.c_size_t,
        ]
    library.cnn_jax_kept_in_caches.restype = ctypes.c_int64
    for target, handler in (
        (TARGET, library.cnn_jax_convolution),
        (POOLING_TARGET, library.cnn_jax_pooling),
        (PRODUCT_TARGET, library.cnn_jax_product),
    ):
        jax.ffi.register_ffi_target(target, jax.ffi.pycapsule(handler), platform="cpu")
    return library


def find() -> pathlib.Path:
    """The file of the native library; the variable `CNN_JAX_NATIVE` names another one.

    Raises:
        NativeLibraryError: there is none.
    """
    named = os.environ.get("CNN_JAX_NATIVE")
    if named:
        if not pathlib.Path(named).is_file():
            raise NativeLibraryError(f"CNN_JAX_NATIVE names {named}, which is not a file")
        return pathlib.Path(named)
    candidates = [pathlib.Path(__file__).parent / "native" / _LIBRARY]
    # A program run inside a checkout imports the sources, while the library lies in the
    # installed package.
    try:
        distribution = importlib.metadata.distribution("cnn-jax")
        installed = distribution.locate_file(f"cnn_jax/cpu/native/{_LIBRARY}")
        candidates.append(pathlib.Path(str(installed)))
    except importlib.metadata.PackageNotFoundError:
        pass
    for candidate in candidates:
        if candidate.exists():
            return candidate
    raise NativeLibraryError(f"it was not built; {_how_to_build()}")


def onednn_version() -> str:
    """The version of oneDNN that the library calls."""
    return ".".join(map(str, _version_of(_load_onednn())))


def reason_against(configuration: tuple[int, ...]) -> str | None:
    """Why oneDNN can't run the configuration, or None where it can."""
    support, why = _ask("cnn_jax_convolution_supported", configuration)
    return None if support else why


def reason_against_product(configuration: tuple[int, ...]) -> str | None:
    """Why oneDNN can't compute the matrix product, or None where it can."""
    support, why = _ask("cnn_jax_product_supported", configuration)
    return None if support else why


def only_general(configuration: tuple[int, ...]) -> bool:
    """Whether oneDNN has only its general kernel, a matrix product for each image, or an older one.

    Older are those for processors whose vectors are half as wide as this one's.
    """
    support, _ = _ask("cnn_jax_convolution_supported", configuration)
    return support == _GENERAL


def has_matrix_units() -> bool:
    """Whether the library multiplies bfloat16 matrices with units that the processor has for it."""
    try:
        return bool(load().cnn_jax_matrix_units())
    except NativeLibraryError:
        return False


def kept_in_caches() -> int:
    """How many bytes of a result are still in the caches when it is read, as the library has it."""
    return load().cnn_jax_kept_in_caches()


@functools.lru_cache(maxsize=4096)
def _ask(question: str, configuration: tuple[int, ...]) -> tuple[int, str]:
    numbers = (ctypes.c_int64 * len(configuration))(*configuration)
    why = ctypes.create_string_buffer(256)
    support = getattr(load(), question)(numbers, len(configuration), why, len(why))
    return support, why.value.decode() or "oneDNN has no kernel for this shape"


def release() -> None:
    """Give back the primitives and the memory that the library keeps between calls."""
    load().cnn_jax_release()
    _ask.cache_clear()


def _how_to_build() -> str:
    if sys.platform != "linux":
        return f"there is one for Linux only, and this is {platform.system()}"
    again = "run `pip install --force-reinstall --no-deps -v .` in the folder of the sources"
    needed = []
    if not any(map(shutil.which, (os.environ.get("CXX", "c++"), "g++", "clang++"))):
        needed.append("a C++ compiler, as in `apt install g++`")
    if not _has_wheels():
        needed.append(
            "oneDNN 3 with its headers, as in `apt install libdnnl-dev`, since its wheels are for "
            f"x86_64 and this is {platform.machine()}"
        )
    if needed:
        return f"install {' and '.join(needed)}; then {again}"
    return f"a C++ compiler is there now: {again}, and look for CMake's messages where it fails"


def _how_to_get_onednn() -> str:
    return (
        "`pip install onednn-cpu-gomp`" if _has_wheels() else "`apt install libdnnl3`, or the like"
    )


def _has_wheels() -> bool:
    return sys.platform == "linux" and platform.machine() == "x86_64"


@functools.cache
def _load_onednn() -> ctypes.CDLL:
    failures = []
    with _waiting_shortly():
        for path in _onednn_candidates():
            try:
                library = ctypes.CDLL(path)
            except OSError as error:
                failures.append(str(error))
                continue
            if not hasattr(library, "dnnl_version"):
                failures.append(f"{path} is not oneDNN")
                continue
            version = _version_of(library)
            if version[0] == 3:
                return library
            failures.append(f"{path} is version {'.'.join(map(str, version))}, not 3")
    raise NativeLibraryError(
        f"{_how_to_get_onednn()}, or name a library of oneDNN 3 in CNN_JAX_ONEDNN "
        f"({'; '.join(failures)})"
    )


@contextlib.contextmanager
def _waiting_shortly() -> Iterator[None]:
    """Environment variables that libgomp reads once, when it is loaded.

    Its threads would otherwise spin for milliseconds after each convolution and keep XLA's off the
    cores. To sleep at once costs more: waking them takes up to 0.1 ms, at each of the two or three
    steps of a convolution. But that they do, unless told to be active, from the moment when a
    second of XLA's threads has called, as in every program of several convolutions: then libgomp
    has more threads than there are processors. What the user has set stays.
    """
    wanted = {"OMP_WAIT_POLICY": "active", "GOMP_SPINCOUNT": str(_SPINS)}
    if any(name in os.environ for name in wanted):
        yield
        return
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name in wanted:
            del os.environ[name]


class _Version(ctypes.Structure):
    # The beginning of dnnl_version_t.
    _fields_ = (("major", ctypes.c_int), ("minor", ctypes.c_int), ("patch", ctypes.c_int))


def _version_of(library: ctypes.CDLL) -> tuple[int, int, int]:
    library.dnnl_version.restype = ctypes.POINTER(_Version)
    version = library.dnnl_version().contents
    return version.major, version.minor, version.patch


def _onednn_candidates() -> Iterator[str]:
    named = os.environ.get("CNN_JAX_ONEDNN")
    if named:
        yield named
        return
    try:
        files = importlib.metadata.files("onednn-cpu-gomp") or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.name == _ONEDNN:
            yield str(pathlib.Path(str(file.locate())).resolve())
    yield _ONEDNN
