"""Half-precision numbers in single precision and back, in steps that XLA vectorises.

XLA computes in bfloat16 by converting and rounding around every step, a selection or a shift in
memory included. Read as bits, the numbers move as they are, the conversion is one shift, and
nothing is rounded.
"""

import numpy as np
from jax import Array, lax

_BFLOAT16 = np.dtype("bfloat16")


def stored(array: Array) -> Array:
    """The numbers in the form in which they are best moved about."""
    if array.dtype == _BFLOAT16:
        return lax.bitcast_convert_type(array, np.uint16)
    return array


def stored_number(number, dtype) -> np.ndarray:
    """One number in that form."""
    scalar = np.asarray(number, dtype)
    return scalar.view(np.uint16) if scalar.dtype == _BFLOAT16 else scalar


def loaded(array: Array, dtype) -> Array:
    """Stored numbers of a type, with at least 32 bits, to be computed with."""
    dtype = np.dtype(dtype)
    if dtype == _BFLOAT16 and array.dtype == np.uint16:
        wide = lax.shift_left(lax.convert_element_type(array, np.uint32), np.uint32(16))
        return lax.bitcast_convert_type(wide, np.float32)
    if array.dtype == np.float16:
        return lax.convert_element_type(array, np.float32)
    return array


def widen(array: Array) -> Array:
    """The same numbers with at least 32 bits."""
    return loaded(stored(array), array.dtype)


def narrow_exact(array: Array, dtype) -> Array:
    """The inverse of `widen`, for numbers that came out of it."""
    if np.dtype(dtype) == _BFLOAT16:
        bits = lax.shift_right_logical(lax.bitcast_convert_type(array, np.uint32), np.uint32(16))
        return lax.bitcast_convert_type(lax.convert_element_type(bits, np.uint16), dtype)
    return lax.convert_element_type(array, dtype)
