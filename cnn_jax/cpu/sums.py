"""Sums of half-precision numbers, such as the gradient of a bias, taken in float32.

XLA rounds every partial sum to the numbers' own type: of 50,000 standard normal numbers in bfloat16
its sum is off by about half of its spread, and takes fifteen times as long.
"""

import jax
from jax import lax

from cnn_jax.cpu.choice import Choice

PRIMITIVE = lax.reduce_sum_p
HALF = ("bfloat16", "float16")


def concerned(avals_in, avals_out, kernels: tuple[str, ...]) -> bool:
    """Whether a sum is to be taken in float32; any other is XLA's."""
    (operand,), (total,) = avals_in, avals_out
    return operand.dtype.name in HALF and operand.size != total.size and "xla" in kernels


def choose(avals_in, params) -> Choice:
    """The kernel for a sum that is concerned."""
    (operand,) = avals_in

    def build(x: jax.Array) -> jax.Array:
        total = PRIMITIVE.bind(lax.convert_element_type(x, "float32"), **params)
        return lax.convert_element_type(total, operand.dtype)

    reason = f"XLA would round each partial sum to {operand.dtype}"
    return Choice("float32 sum", reason, build, stock_is_right=False)
