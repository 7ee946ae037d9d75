"""What a picture's numbers may be."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer


def check_levels(where: str, pixels: Any, maximum: int) -> Any:
    """Return pixels as an array of whole numbers in 0..maximum."""
    x = as_array(where, "pixels", pixels)
    if x.ndim < 2:
        raise ValueError(f"{where}: pixels must have a height and a width, got shape {x.shape}")
    numeric = x.dtype == bool or jnp.issubdtype(x.dtype, jnp.integer)
    if not numeric and not jnp.issubdtype(x.dtype, jnp.floating):
        raise TypeError(f"{where}: pixels must be whole numbers, got dtype {x.dtype}")
    if isinstance(x, Tracer) or x.size == 0:
        return x
    values = np.asarray(x)
    if not numeric:
        values = values.astype(np.promote_types(values.dtype, np.float32))
        wrong = ~(np.isfinite(values) & (values == np.floor(values)))
        if wrong.any():
            raise ValueError(f"{where}: pixels must be whole numbers, got {_first(values, wrong)}")
    wrong = (values < 0) | (values > maximum)
    if wrong.any():
        raise ValueError(f"{where}: pixels must be in 0..{maximum}, got {_first(values, wrong)}")
    return x


def check_floats(where: str, pictures: Any) -> Any:
    """Return pictures as an array of floats in 0..1."""
    x = as_array(where, "pictures", pictures)
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise TypeError(f"{where}: pictures must be floats in 0..1, got dtype {x.dtype}")
    if isinstance(x, Tracer) or x.size == 0:
        return x
    values = np.asarray(x)
    wrong = ~((values >= 0) & (values <= 1))
    if wrong.any():
        raise ValueError(f"{where}: pictures must be in 0..1, got {_first(values, wrong)}")
    return x


def as_array(where: str, what: str, values: Any) -> Any:
    """Return JAX arrays as they are and anything else as a NumPy array of numbers."""
    if isinstance(values, jax.Array):
        return values
    try:
        return np.asarray(values)
    except ValueError:
        raise ValueError(f"{where}: {what} must be an array, got rows of unequal length") from None


def _first(values: np.ndarray, wrong: np.ndarray) -> str:
    position = tuple(int(i) for i in np.argwhere(wrong)[0])
    return f"{values[position]} at {list(position)}"
