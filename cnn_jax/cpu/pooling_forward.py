"""Maximum, minimum and sum over windows, from slices of the array."""

import functools
from collections.abc import Callable

import jax
import numpy as np
from jax import lax

from cnn_jax.cpu.pooling_float import loaded, narrow_exact, stored, stored_number
from cnn_jax.cpu.pooling_window import Window


def extreme(operand: jax.Array, window: Window, *, largest: bool, by_axis: bool) -> jax.Array:
    """The largest or smallest element of every window; NaN where there is one."""
    combine = lax.max if largest else lax.min
    identity = lowest(operand.dtype, largest)
    for part in window.by_axis() if by_axis else [window]:
        operand = narrow_exact(_reduce(operand, part, combine, identity), operand.dtype)
    return operand


def total(operand: jax.Array, window: Window, *, by_axis: bool) -> jax.Array:
    """The sum of every window, half-precision numbers summed in single precision."""
    dtype = operand.dtype
    for part in window.by_axis() if by_axis else [window]:
        operand = _reduce(operand, part, lax.add, 0)
    return lax.convert_element_type(operand, dtype)


def lowest(dtype, largest: bool):
    """The number that never wins: what padding counts as."""
    if np.issubdtype(dtype, np.integer):
        return np.iinfo(dtype).min if largest else np.iinfo(dtype).max
    return -np.inf if largest else np.inf


def _reduce(operand: jax.Array, window: Window, combine: Callable, identity) -> jax.Array:
    padded = window.padded(stored(operand), stored_number(identity, operand.dtype))
    parts = (window.tap(padded, position) for position in window.positions())
    return functools.reduce(combine, (loaded(part, operand.dtype) for part in parts))
