"""Trees of arrays in a folder: written by orbax, whole or not at all, and checked when read.

Beside orbax's files lies `manifest.json` with the name, shape and dtype of every array and the
checksum of every file. What is damaged, or belongs to another model, is so refused with a clear
word before orbax opens it.
"""

import hashlib
import re
from pathlib import Path
from typing import Any

import jax

from cnn_jax.train.files import read_json, remove, replacing, write_json

_MANIFEST = "manifest.json"


def save_tree(path: Path, tree: Any) -> None:
    """Write a tree of arrays to the folder `path`, in place of what was there.

    Raises `OSError` where it can't be written; what was there stays.
    """
    import orbax.checkpoint  # takes a second, so only where it is wanted

    with replacing(path) as hidden:
        try:
            with orbax.checkpoint.StandardCheckpointer() as checkpointer:
                checkpointer.save(hidden.absolute(), tree)
        except (ValueError, RuntimeError) as error:
            # Orbax writes through TensorStore, whose errors are not OSErrors.
            raise OSError(f"{path}: {_first_line(error)}") from error
        finally:
            for unfinished in path.parent.glob(f"{hidden.name}.orbax-checkpoint-tmp*"):
                remove(unfinished)
        write_json(hidden / _MANIFEST, {"arrays": _arrays(tree), "files": _checksums(hidden)})


def load_tree(path: Path, expected: Any) -> Any:
    """Read a tree of arrays from the folder `path` to the default device.

    `expected` is a tree of the same structure whose leaves have `shape` and `dtype`.

    Raises `FileNotFoundError` where there is no folder, and `ValueError` where it is damaged or
    holds other arrays than expected.
    """
    import orbax.checkpoint

    if not path.is_dir():
        raise FileNotFoundError(f"{path}: no parameters; the run did not get to its end")
    if not (path / _MANIFEST).is_file():
        raise ValueError(f"{path}: damaged, or no parameters (there is no {_MANIFEST} in it)")
    manifest = read_json(path / _MANIFEST, "a list of arrays and checksums")
    there, checksums = (
        (manifest.get("arrays"), manifest.get("files"))
        if isinstance(manifest, dict)
        else ({}, None)
    )
    if not isinstance(there, dict) or not isinstance(checksums, dict):
        raise ValueError(f"{path / _MANIFEST}: not a list of arrays and checksums")
    found = _checksums(path)
    for name in sorted(found.keys() | checksums.keys()):
        if found.get(name) != checksums.get(name):
            raise ValueError(f"{path}: damaged: {name} is not as it was written")
    wanted = _arrays(expected)
    for name in sorted(there.keys() | wanted.keys()):
        if there.get(name) != wanted.get(name):
            raise ValueError(
                f"{path}: not of this model: {name} is {there.get(name, 'absent')}, "
                f"but the model has {wanted.get(name, 'none')}"
            )
    here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    target = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=here), expected
    )
    with orbax.checkpoint.StandardCheckpointer() as checkpointer:
        return checkpointer.restore(path.absolute(), target)


def _arrays(tree: Any) -> dict[str, str]:
    """Name every array: `{"conv_0/kernel": "float32[3,3,1,16]"}`."""
    return {
        "/".join(str(getattr(key, "key", getattr(key, "name", key))) for key in path): (
            f"{leaf.dtype}[{','.join(map(str, leaf.shape))}]"
        )
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


def _checksums(folder: Path) -> dict[str, str]:
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*"))
        if file.is_file() and file.name != _MANIFEST
    }


def _first_line(error: Exception) -> str:
    return re.split(r"[\n;]", str(error), maxsplit=1)[0].strip()[:300] or type(error).__name__
