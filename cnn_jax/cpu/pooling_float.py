"""Half-precision numbers in single precision and back, in steps that XLA vectorises."""

import numpy as np
from jax import Array, lax


def widen(array: Array) -> Array:
    """The same numbers with at least 32 bits.

    XLA computes in bfloat16 by rounding after every step, even after a selection. Read as bits,
    the conversion costs one shift and nothing is rounded.
    """
    if array.dtype == np.dtype("bfloat16"):
        bits = lax.bitcast_convert_type(array, np.uint16)
        wide = lax.shift_left(lax.convert_element_type(bits, np.uint32), np.uint32(16))
        return lax.bitcast_convert_type(wide, np.float32)
    if array.dtype == np.float16:
        return lax.convert_element_type(array, np.float32)
    return array


def narrow_exact(array: Array, dtype) -> Array:
    """The inverse of `widen`, for numbers that came out of it."""
    if np.dtype(dtype) == np.dtype("bfloat16"):
        bits = lax.shift_right_logical(lax.bitcast_convert_type(array, np.uint32), np.uint32(16))
        return lax.bitcast_convert_type(lax.convert_element_type(bits, np.uint16), dtype)
    return lax.convert_element_type(array, dtype)
