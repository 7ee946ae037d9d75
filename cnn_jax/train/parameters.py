"""Trees of arrays in a folder: written by orbax, whole or not at all, and checked when read.

Beside orbax's files lies `manifest.json` with the name, shape and dtype of every array and the
checksum of every file. What is damaged, or belongs to another model, is so refused with a clear
word before orbax opens it. Arrays are kept under their names alone (`conv_0/kernel`), so that no
file says what Python objects to make of them.
"""

import errno
import hashlib
import logging
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from cnn_jax.files import read_json, remove, replacing, write_json

_MANIFEST = "manifest.json"
_NOTES = "notes.json"
_LIST = "a list of arrays and checksums"
_KIND = re.compile(r"([a-z0-9_]+)\[([0-9,]*)\]")


class DamagedError(ValueError):
    """What was written is not there any more as it was written."""


def save_tree(path: Path, tree: Any, notes: Any = None) -> None:
    """Write a tree of arrays to the folder `path`, in place of what was there.

    `notes`, of what JSON has, are kept with them; `load_notes` reads them.

    Raises `OSError` where it can't be written; what was there stays.
    """
    import orbax.checkpoint  # takes a second, so only where it is wanted

    named = _by_name(tree)
    _check_space(path, sum(leaf.size * leaf.dtype.itemsize for leaf in named.values()))
    with replacing(path) as hidden:
        try:
            with _without_log(), orbax.checkpoint.StandardCheckpointer() as checkpointer:
                # Orbax has no form for arrays without elements, and they need none.
                full = {name: leaf for name, leaf in named.items() if leaf.size}
                checkpointer.save(hidden.absolute(), full)
        except (ValueError, RuntimeError) as error:
            # Orbax writes through TensorStore, whose errors are not OSErrors.
            if "RESOURCE_EXHAUSTED" in str(error):
                raise _disk_is_full(path) from error
            raise OSError(f"{path}: {_first_line(error)}") from error
        finally:
            for unfinished in path.parent.glob(f"{hidden.name}.orbax-checkpoint-tmp*"):
                remove(unfinished)
        if notes is not None:
            write_json(hidden / _NOTES, notes)
        arrays = {name: _kind(leaf) for name, leaf in named.items()}
        write_json(hidden / _MANIFEST, {"arrays": arrays, "files": _checksums(hidden)})


def _check_space(path: Path, data: int) -> None:
    """Raise `OSError` before anything is written where the disk has no room for it.

    Orbax's threads report a full disk many times over, each with a traceback.
    """
    # Data are not compressed by much; besides them there are some twenty small files.
    if shutil.disk_usage(path.absolute().parent).free < data + data // 10 + 2**17:
        raise _disk_is_full(path)


def _disk_is_full(path: Path) -> OSError:
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


@contextmanager
def _without_log() -> Iterator[None]:
    """Keep orbax from printing the errors that it raises as well."""
    log = logging.getLogger("absl")
    before = log.disabled
    log.disabled = True
    try:
        yield
    finally:
        log.disabled = before


def load_tree(path: Path, expected: Any, *, under: str = "") -> Any:
    """Read a tree of arrays from the folder `path` to the default device.

    `expected` is a tree of the same structure whose leaves have `shape` and `dtype`. With `under`
    it is that part of the whole whose names begin so: `state/params/`.

    Raises `FileNotFoundError` where there is no folder, `DamagedError` where it is damaged, and
    another `ValueError` where it holds other arrays than expected.
    """
    arrays = _checked(path)
    there = {name.removeprefix(under): arrays[name] for name in arrays if name.startswith(under)}
    wanted = {name: _kind(leaf) for name, leaf in _by_name(expected).items()}
    check_same_arrays(path, there, wanted)
    found = _restore(path, arrays)
    leaves = [found[under + name] for name in wanted]
    return jax.tree.unflatten(jax.tree.structure(expected), leaves)


def check_same_arrays(path: Path, found: Mapping[str, str], wanted: Mapping[str, str]) -> None:
    """Raise `ValueError` unless the names and kinds of the arrays in a file are the wanted ones.

    >>> check_same_arrays(Path("parameters"), {"bias": "float32[2]"}, {"bias": "float32[3]"})
    Traceback (most recent call last):
    ValueError: parameters: of another model: expected float32[3] as bias, found float32[2]
    """
    for name in sorted(found.keys() | wanted.keys()):
        if found.get(name) != wanted.get(name):
            raise ValueError(
                f"{path}: of another model: expected {wanted.get(name, 'nothing')} as {name}, "
                f"found {found.get(name, 'nothing')}"
            )


def load_notes(path: Path) -> Any:
    """Read the notes that were kept with arrays; `load_tree` has to find the folder whole first."""
    return read_json(path / _NOTES, "the notes of a training")


def _checked(path: Path) -> dict[str, str]:
    """Return the kind of every array, once every file is known to be as it was written."""
    if not path.is_dir():
        raise FileNotFoundError(
            f"{path}: no parameters; expected the folder that a run has at its end"
        )
    if not (path / _MANIFEST).is_file():
        raise DamagedError(f"{path}: damaged, or no parameters: expected {_MANIFEST} in it")
    try:
        manifest = read_json(path / _MANIFEST, _LIST)
    except ValueError as error:
        raise DamagedError(str(error)) from error
    there, checksums = (
        (manifest.get("arrays"), manifest.get("files"))
        if isinstance(manifest, dict)
        else ({}, None)
    )
    if (
        not isinstance(there, dict)
        or not isinstance(checksums, dict)
        or not all(isinstance(kind, str) and _KIND.fullmatch(kind) for kind in there.values())
    ):
        raise DamagedError(f"{path / _MANIFEST}: damaged: expected {_LIST}")
    found = _checksums(path)
    for name in sorted(found.keys() | checksums.keys()):
        if found.get(name) != checksums.get(name):
            raise DamagedError(
                f"{path}: damaged: {name} is not as it was written; expected the file that "
                f"{_MANIFEST} lists"
            )
    return there


def _restore(path: Path, kinds: Mapping[str, str]) -> dict[str, jax.Array]:
    import orbax.checkpoint

    here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    shapes: dict[str, jax.ShapeDtypeStruct] = {}
    for name, kind in kinds.items():
        dtype, lengths = _KIND.fullmatch(kind).groups()  # pyright: ignore[reportOptionalMemberAccess]
        shape = tuple(int(length) for length in lengths.split(",") if length)
        shapes[name] = jax.ShapeDtypeStruct(shape, jnp.dtype(dtype), sharding=here)
    target = {name: leaf for name, leaf in shapes.items() if leaf.size}
    try:
        with orbax.checkpoint.StandardCheckpointer() as checkpointer:
            full = checkpointer.restore(path.absolute(), target)
    except (ValueError, RuntimeError, KeyError, TypeError) as error:
        # The files are as they were written, so what was written was no checkpoint.
        raise ValueError(f"{path}: orbax can't read it: {_first_line(error)}") from error
    return {
        name: full[name] if name in full else jnp.zeros(leaf.shape, leaf.dtype)
        for name, leaf in shapes.items()
    }


def _by_name(tree: Any) -> dict[str, Any]:
    """Name every array: `{"conv_0/kernel": ..., "conv_0/bias": ...}`."""
    return {
        "/".join(
            str(getattr(key, "key", getattr(key, "name", getattr(key, "idx", key)))) for key in path
        ): leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


def _kind(leaf: Any) -> str:
    return f"{leaf.dtype}[{','.join(map(str, leaf.shape))}]"


def _checksums(folder: Path) -> dict[str, str]:
    return {
        str(file.relative_to(folder)): _checksum(file)
        for file in sorted(folder.rglob("*"))
        if file.is_file() and file.name != _MANIFEST
    }


def _checksum(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _first_line(error: Exception) -> str:
    return re.split(r"[\n;]", str(error), maxsplit=1)[0].strip()[:300] or type(error).__name__
