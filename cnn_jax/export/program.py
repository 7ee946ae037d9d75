"""A trained forward function as one portable file of serialised StableHLO.

StableHLO is the language of XLA's input, with a promise that old programs stay readable
(https://openxla.org/stablehlo). The file holds the parameters too, and is run by JAX alone:

    import jax.export
    program = jax.export.deserialize(open("model.stablehlo", "rb").read())
    logits = program.call(pictures)
"""

import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.export
import numpy as np
from jax.typing import DTypeLike

from cnn_jax.export.files import check_free
from cnn_jax.files import replacing, write_json

PLATFORMS = ("cpu", "cuda", "rocm", "tpu")
"""The platforms that a program can be exported for."""

FORMAT = "cnn_jax program 1"


def to_stablehlo(
    forward: Callable[[jax.Array], jax.Array],
    shape: Sequence[int],
    *,
    dtype: DTypeLike = np.float32,
    batch: int | None = None,
    platforms: Sequence[str] = ("cpu", "cuda", "tpu"),
) -> jax.export.Exported:
    """Return `forward` for pictures `[batch, *shape]` as a program that needs JAX alone.

    - `forward`: a pure function of one array, parameters and preprocessing inside.
    - `dtype`: the pictures' dtype.
    - `batch`: the number of pictures; by default any number, decided at each call.
    - `platforms`: where it will run, of `PLATFORMS`; any of them can be exported for anywhere.

    The program is made of XLA's own operations, whether or not `cnn_jax.cpu` is installed.

    Raises `ValueError` for unknown platforms and for a batch that is not positive, and what
    `forward` raises for pictures that do not fit.

    >>> import cnn_jax as cnn
    >>> model = cnn.serial(cnn.flatten, cnn.dense(10))
    >>> params = model.init(jax.random.key(0), (8, 8, 1))
    >>> program = to_stablehlo(lambda x: model.apply(params, x), (8, 8, 1))
    >>> program.in_avals, program.out_avals
    ((ShapedArray(float32[batch,8,8,1]),), (ShapedArray(float32[batch,10]),))
    >>> program.call(np.zeros((3, 8, 8, 1), np.float32)).shape
    (3, 10)
    """
    unknown = [name for name in platforms if name not in PLATFORMS]
    if unknown or not platforms:
        raise ValueError(
            f"to_stablehlo: platforms must be one or more of {', '.join(PLATFORMS)}, "
            f"not {', '.join(unknown) or 'none'}"
        )
    if batch is not None and batch < 1:
        raise ValueError(f"to_stablehlo: batch must be at least 1 or None, not {batch}")
    (size,) = jax.export.symbolic_shape("batch") if batch is None else (batch,)
    pictures = jax.ShapeDtypeStruct((size, *shape), dtype)
    with _stock_rules(), _no_locations():
        return jax.export.export(jax.jit(forward), platforms=tuple(dict.fromkeys(platforms)))(
            pictures
        )


def save_stablehlo(
    path: str | Path,
    program: jax.export.Exported,
    description: Mapping[str, Any] | None = None,
    *,
    overwrite: bool = False,
) -> None:
    """Write a program to `path` and, beside it, what it takes and gives to `PATH.json`.

    `description` (JSON values, for example the names of the classes) is added to that. Each file
    appears whole or not at all.

    Raises `FileExistsError` where either file is there, unless `overwrite` is set, and `OSError`
    where they can't be written.
    """
    path = Path(path)
    beside = path.with_name(f"{path.name}.json")
    check_free(path, overwrite=overwrite)
    check_free(beside, overwrite=overwrite)
    data = program.serialize()
    (pictures,), (output,) = program.in_avals, program.out_avals
    with replacing(path) as hidden:
        hidden.write_bytes(data)
        write_json(
            beside,
            {
                "format": FORMAT,
                "run": f"jax.export.deserialize(open({path.name!r}, 'rb').read()).call(pictures)",
                "pictures": _form(pictures),
                "output": _form(output),
                "platforms": list(program.platforms),
                "jax": jax.__version__,
                **(description or {}),
            },
        )


def _form(aval: Any) -> dict[str, Any]:
    shape = [size if isinstance(size, int) else str(size) for size in aval.shape]
    return {"shape": shape, "dtype": str(aval.dtype)}


@contextlib.contextmanager
def _no_locations() -> Iterator[None]:
    """Leave out where each operation stands in the source, which names the folders of a machine."""
    name = "jax_traceback_in_locations_limit"
    limit = getattr(jax.config, name)
    jax.config.update(name, 0)
    try:
        yield
    finally:
        jax.config.update(name, limit)


def _stock_rules() -> contextlib.AbstractContextManager[None]:
    """Take the faster CPU kernels away for a moment, if they are installed.

    The program is to be the same with them as without.
    """
    cpu = sys.modules.get("cnn_jax.cpu")
    return contextlib.nullcontext() if cpu is None else cpu.uninstalled()
