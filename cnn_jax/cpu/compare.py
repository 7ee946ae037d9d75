"""Every fast result checked against the stock rule's, for debugging."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.interpreters import mlir

from cnn_jax.cpu.choice import Choice

# Of the largest magnitude in the result: sums taken in another order differ by their rounding.
_TOLERANCE = {"float64": 1e-10, "float32": 1e-4, "bfloat16": 3e-2, "float16": 1e-2}


def lower(primitive, choice: Choice, context, fast, slow):
    """The fast result, lowered so that the program fails where it is not the slow one."""
    (out,) = context.avals_out

    def check(fast: np.ndarray, slow: np.ndarray) -> np.ndarray:
        fast, slow = np.asarray(fast), np.asarray(slow)
        difference = disagreement(fast, slow)
        if difference is not None:
            raise ArithmeticError(
                f"{primitive.name} to {out.str_short()}: the {choice.kernel} kernel "
                f"({choice.reason}) and XLA's own disagree: {difference}"
            )
        return fast

    def checked(fast: jax.Array, slow: jax.Array) -> jax.Array:
        return jax.pure_callback(check, jax.ShapeDtypeStruct(fast.shape, fast.dtype), fast, slow)

    return mlir.lower_fun(checked, multiple_results=False)(
        context.replace(avals_in=[out, out], tokens_out=None), *fast, *slow
    )


def disagreement(fast: np.ndarray, slow: np.ndarray) -> str | None:
    """What differs beyond rounding, or None.

    Examples:
        >>> disagreement(np.float32([1.0, 2.0]), np.float32([1.0, 2.5]))
        'by 0.5, where the largest value is 2.5'
    """
    if not jnp.issubdtype(slow.dtype, jnp.floating):
        return None if np.array_equal(fast, slow) else "integers differ"
    tolerance = _TOLERANCE.get(slow.dtype.name, 1e-2)
    wide_fast, wide_slow = fast.astype(np.float64), slow.astype(np.float64)
    if not np.array_equal(np.isfinite(wide_fast), np.isfinite(wide_slow)):
        return "in where they are finite"
    finite = np.isfinite(wide_slow)
    if not finite.any():
        return None
    apart = np.abs(wide_fast[finite] - wide_slow[finite]).max()
    largest = np.abs(wide_slow[finite]).max()
    if apart <= tolerance * max(largest, np.finfo(np.float32).tiny):
        return None
    return f"by {apart:.3g}, where the largest value is {largest:.3g}"
