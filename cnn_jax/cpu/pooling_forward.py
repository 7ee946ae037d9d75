"""Maximum, minimum and sum over windows, from slices of the array."""

import functools
from collections.abc import Callable

import jax
import numpy as np
from jax import lax

from cnn_jax.cpu.pooling_float import narrow_exact, widen
from cnn_jax.cpu.pooling_window import Window


def extreme(operand: jax.Array, window: Window, *, largest: bool, by_axis: bool) -> jax.Array:
    """The largest or smallest element of every window; NaN where there is one."""
    combine = lax.max if largest else lax.min
    wide = _reduce(widen(operand), window, combine, lowest(operand.dtype, largest), by_axis)
    return narrow_exact(wide, operand.dtype)


def total(operand: jax.Array, window: Window, *, by_axis: bool) -> jax.Array:
    """The sum of every window, half-precision numbers summed in single precision."""
    wide = _reduce(widen(operand), window, lax.add, 0, by_axis)
    return lax.convert_element_type(wide, operand.dtype)


def lowest(dtype, largest: bool):
    """The number that never wins: what padding counts as."""
    if np.issubdtype(dtype, np.integer):
        return np.iinfo(dtype).min if largest else np.iinfo(dtype).max
    return -np.inf if largest else np.inf


def _reduce(
    operand: jax.Array, window: Window, combine: Callable, identity, by_axis: bool
) -> jax.Array:
    for part in window.by_axis() if by_axis else [window]:
        padded = part.padded(operand, identity)
        operand = functools.reduce(
            combine, (part.tap(padded, position) for position in part.positions())
        )
    return operand
