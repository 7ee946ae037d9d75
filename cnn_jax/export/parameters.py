"""Parameters in safetensors files, which many libraries read.

Source: https://huggingface.co/docs/safetensors, 'Format'. Names join the layers' names with dots:
`conv_0.kernel`, `stage_1.block_0.residual_0.body.conv_0.kernel`.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import safetensors
import safetensors.numpy
from flax import traverse_util

from cnn_jax.export.files import check_free
from cnn_jax.files import replacing
from cnn_jax.train.parameters import check_same_arrays

_FORMAT, _DIGEST = "cnn_jax parameters 1", "sha256"


def save_safetensors(
    path: str | Path,
    params: Mapping[str, Any],
    metadata: Mapping[str, Any] | None = None,
    *,
    overwrite: bool = False,
) -> None:
    """Write nested dicts of arrays to a safetensors file, whole or not at all.

    `metadata` holds JSON values; in the file each is a string of JSON under its name.

    Raises `ValueError` for names that can't be told apart once they are joined with dots,
    `TypeError` for leaves that are no arrays, `FileExistsError` where the file is there, unless
    `overwrite` is set, and `OSError` where it can't be written.

    >>> import tempfile
    >>> import cnn_jax as cnn
    >>> params = cnn.models.small().init(jax.random.key(0), (8, 8, 1))
    >>> path = Path(tempfile.mkdtemp(), "small.safetensors")
    >>> save_safetensors(path, params, {"model": {"name": "small", "classes": 10}})
    >>> read, metadata = load_safetensors(path, params)
    >>> read["conv_0"]["kernel"].shape, metadata
    ((3, 3, 1, 16), {'model': {'name': 'small', 'classes': 10}})
    """
    path = Path(path)
    check_free(path, overwrite=overwrite)
    arrays = {name: _contiguous(name, leaf) for name, leaf in _named(params).items()}
    texts = {
        name: json.dumps(value, ensure_ascii=False) for name, value in (metadata or {}).items()
    }
    own = {"format": _FORMAT, _DIGEST: _digest(arrays)}
    reserved = sorted(own.keys() & texts.keys())
    if reserved:
        raise ValueError(f"save_safetensors: metadata may not be called {' or '.join(reserved)}")
    data = safetensors.numpy.save(arrays, metadata={**own, **texts})
    with replacing(path) as hidden:
        hidden.write_bytes(data)


def load_safetensors(
    path: str | Path, expected: Mapping[str, Any] | None = None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read nested dicts of arrays, and the metadata, from a safetensors file.

    `expected` is a tree of the wanted names whose leaves have `shape` and `dtype`, such as
    `jax.eval_shape(lambda key: model.init(key, shape), key)`. With it, files of other programs are
    read too, where they hold exactly these arrays; without it, only files that `save_safetensors`
    wrote. Nothing in the file is executed.

    Raises `OSError` where the file can't be read, and `ValueError`, naming it, where it is damaged,
    of another program or of another model.
    """
    path = Path(path)
    arrays, texts = _read(path)
    ours = texts.pop("format", None) == _FORMAT
    if not ours and expected is None:
        raise ValueError(
            f"{path}: not parameters that cnn_jax wrote: expected the metadata to hold "
            f"format={_FORMAT!r}"
        )
    if not ours:
        texts = {}
    elif texts.pop(_DIGEST, None) != _digest(arrays):
        raise ValueError(
            f"{path}: damaged: the arrays are not as they were written; expected those whose "
            f"{_DIGEST} the metadata holds"
        )
    if expected is not None:
        check_same_arrays(path, _kinds(arrays), _kinds(_named(expected)))
    try:
        metadata = {name: json.loads(text) for name, text in texts.items()}
    except ValueError as error:
        raise ValueError(f"{path}: damaged: expected metadata in JSON ({error})") from error
    tree = {name: jnp.asarray(array) for name, array in arrays.items()}
    return traverse_util.unflatten_dict(tree, sep="."), metadata


def _named(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the leaves by their joined names."""
    flat = traverse_util.flatten_dict(dict(params))
    dotted = sorted({part for path in flat for part in path if "." in part})
    if dotted:
        raise ValueError(
            f"safetensors: names must not contain dots, which join them, but there is {dotted[0]!r}"
        )
    return {".".join(path): leaf for path, leaf in flat.items()}


def _contiguous(name: str, leaf: Any) -> np.ndarray:
    if not isinstance(leaf, jax.Array | np.ndarray):
        raise TypeError(f"safetensors: {name} must be an array, not {type(leaf).__name__}")
    return np.ascontiguousarray(leaf)


def _read(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    with path.open("rb"):  # its errors name the file, those of safetensors do not
        pass
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return arrays, dict(file.metadata() or {})
    except safetensors.SafetensorError as error:
        raise ValueError(f"{path}: damaged: expected a whole safetensors file ({error})") from error


def _digest(arrays: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(f"{name} {_form(arrays[name])}\n".encode())
        digest.update(arrays[name].tobytes())
    return digest.hexdigest()


def _kinds(arrays: Mapping[str, Any]) -> dict[str, str]:
    return {name: _form(array) for name, array in arrays.items()}


def _form(array: Any) -> str:
    return f"{np.dtype(array.dtype).name}[{','.join(map(str, array.shape))}]"
