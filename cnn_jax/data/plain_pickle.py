"""Pickles of plain data, read without running anything that is in them.

Unpickling calls whatever functions a file names. Here a file may name only those that rebuild NumPy
arrays and encode text, and functions of our own that check what they are given take their places,
so that a hostile file can cause an error and nothing else.
"""

import os
import pickle
from typing import Any

import numpy as np

_NUMBERS = frozenset(
    ("bool", "b1", "u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f2", "f4", "f8")
)


def read_plain_pickle(path: str | os.PathLike[str]) -> Any:
    """Return what a pickle file holds: an array of numbers, or a dict of plain data and arrays.

    Plain data are numbers, text, bytes, lists, tuples and dicts. In pickles of Python 2 text comes
    as bytes.

    Raises `ValueError`, naming the file, for anything else in it; nothing in it is executed.
    """
    with open(path, "rb") as file:
        try:
            return _PlainUnpickler(file, encoding="bytes").load()
        except _ForbiddenError as error:
            raise ValueError(
                f"{os.fspath(path)}: the pickle names {error}; expected numbers, text and arrays "
                "alone; nothing in it was executed"
            ) from None
        except MemoryError:
            raise ValueError(
                f"{os.fspath(path)}: the pickle is broken: expected one that fits in memory"
            ) from None
        # What a broken pickle raises depends on where it is broken.
        except Exception as error:
            raise ValueError(
                f"{os.fspath(path)}: damaged, or not a pickle; expected a whole one of numbers, "
                f"text and arrays ({type(error).__name__}: {error})"
            ) from None


class _ForbiddenError(Exception):
    pass


class _Array:
    """Stands in for an array until its contents come."""

    def __init__(self) -> None:
        self.array = np.empty(0)

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran, content = state
        if not isinstance(dtype, _DType) or not isinstance(content, bytes):
            raise ValueError("an array without plain contents")
        flat = np.frombuffer(content, dtype.dtype)
        self.array = flat.reshape(shape, order="F" if fortran else "C")


class _DType:
    """Stands in for a dtype of numbers."""

    def __init__(self, name: Any, *_: Any) -> None:
        text = name.decode("ascii") if isinstance(name, bytes) else name
        if not isinstance(text, str) or text not in _NUMBERS:
            raise _ForbiddenError(f"the dtype {text!r}")
        self.dtype = np.dtype(text)

    def __setstate__(self, state: Any) -> None:
        order = state[1].decode("ascii") if isinstance(state[1], bytes) else state[1]
        if order not in ("<", ">", "=", "|"):
            raise ValueError("a dtype with an unknown byte order")
        self.dtype = self.dtype.newbyteorder(order)


def _reconstruct(*_: Any) -> _Array:
    return _Array()


def _from_buffer(content: Any, dtype: Any, shape: Any, order: Any) -> _Array:
    made = _Array()
    made.__setstate__((1, shape, dtype, order == "F", bytes(content)))
    return made


def _ndarray(*_: Any) -> Any:
    raise _ForbiddenError("a call of numpy.ndarray")


def _encode(text: Any, encoding: Any) -> bytes:
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1", "utf-8", "utf8"):
        raise _ForbiddenError("an encoding other than latin1 and utf-8")
    return text.encode(encoding)


def _no_bytes() -> bytes:
    return b""


_ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy.core.numeric", "_frombuffer"): _from_buffer,
    ("numpy._core.numeric", "_frombuffer"): _from_buffer,
    ("numpy", "ndarray"): _ndarray,
    ("numpy", "dtype"): _DType,
    ("_codecs", "encode"): _encode,
    # How protocol 2 writes empty bytes.
    ("__builtin__", "bytes"): _no_bytes,
}


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        allowed = _ALLOWED.get((module, name))
        if allowed is None:
            raise _ForbiddenError(f"{module}.{name}")
        # A new function each time: a pickle can set attributes of what it is handed.
        return lambda *arguments: allowed(*arguments)

    def persistent_load(self, pid: Any) -> Any:
        raise _ForbiddenError("an object outside the file")

    def load(self) -> Any:
        # One level only: a small pickle can nest shared lists into an endless tree.
        value = super().load()
        if isinstance(value, dict):
            return {_unwrap(key): _unwrap(item) for key, item in value.items()}
        return _unwrap(value)


def _unwrap(value: Any) -> Any:
    return value.array if isinstance(value, _Array) else value
