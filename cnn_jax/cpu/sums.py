"""Sums that XLA rounds too often, or takes in an order that is slow.

Of half-precision numbers, such as the gradient of a bias, XLA rounds every partial sum to the
numbers' own type: of 50,000 standard normal ones in bfloat16 its sum is off by about half of its
spread, and takes fifteen times as long. They are summed in float32.

Over the last axis and others, but not those between, as in the mean of a group of channels, XLA
walks through memory once for each number of the result. The last axis is summed by itself, after
the others, which takes 0.1 to 0.8 of the time.

Over the first axes alone, as in the gradient of what all examples of a batch share, XLA takes 4 to
50 times as long as memory does where the result is large. It is a product with ones.
"""

import functools

import jax
import numpy as np
from jax import lax

from cnn_jax.cpu import views
from cnn_jax.cpu.choice import Choice

PRIMITIVE = lax.reduce_sum_p
HALF = ("bfloat16", "float16")

# Measured: more numbers on the last axis XLA sums as fast, and fewer numbers of the result.
_SHORT = 16
_LARGE_RESULT = 2**14
_FEWEST_SUMMED = 2**15


def concerned(avals_in, avals_out, params, kernels: tuple[str, ...]) -> bool:
    """Whether a sum is to be taken in float32, in two steps or as a product; others are XLA's."""
    (operand,), (total,) = avals_in, avals_out
    if operand.size == total.size or "xla" not in kernels:
        return False
    if operand.dtype.name in HALF:
        return True
    return _is_large(operand, params) and (
        _in_two_steps(operand, params) or _is_product(operand, total, params)
    )


def choose(avals_in, params) -> Choice:
    """The kernel for a sum that is concerned."""
    (operand,) = avals_in
    if operand.dtype.name in HALF:
        reason = f"XLA would round each partial sum to {operand.dtype}"
        build = functools.partial(_in_float32, **params)
        return Choice("float32 sum", reason, build, stock_is_right=False)
    # Of numbers that cancel, such as those of a mean's gradient, XLA's sum is all rounding.
    if _in_two_steps(operand, params):
        reason = "the last axis is short, and summed after the others"
        build = functools.partial(_last_axis_last, **params)
        return Choice("two sums", reason, build, stock_is_right=False)
    reason = "the first axes of a large array are summed"
    build = functools.partial(_with_ones, axes=params["axes"])
    return Choice("product", reason, build, stock_is_right=False)


def _is_large(operand, params) -> bool:
    if operand.dtype != np.float32 or params["out_sharding"] is not None:
        return False
    known = all(isinstance(size, int) for size in operand.shape)
    return known and operand.size >= _FEWEST_SUMMED


def _in_two_steps(operand, params) -> bool:
    *others, last = views.long_axes(operand.shape)
    if not others or last not in params["axes"] or others[-1] in params["axes"]:
        return False
    return operand.shape[last] <= _SHORT and any(axis in params["axes"] for axis in others)


def _is_product(operand, total, params) -> bool:
    long = views.long_axes(operand.shape)
    summed = [axis in params["axes"] for axis in long]
    return total.size > _LARGE_RESULT and summed == sorted(summed, reverse=True)


def _in_float32(x: jax.Array, **params) -> jax.Array:
    total = PRIMITIVE.bind(lax.convert_element_type(x, "float32"), **params)
    return lax.convert_element_type(total, x.dtype)


def _with_ones(x: jax.Array, *, axes: tuple[int, ...]) -> jax.Array:
    ones = lax.full([x.shape[axis] for axis in axes], 1, x.dtype)
    contracted = (tuple(range(len(axes))), axes)
    return lax.dot_general(ones, x, (contracted, ((), ())), precision=lax.Precision.HIGHEST)


def _last_axis_last(x: jax.Array, *, axes: tuple[int, ...], **params) -> jax.Array:
    last = views.long_axes(x.shape)[-1]
    others = tuple(axis for axis in axes if axis != last)
    total = PRIMITIVE.bind(x, axes=others, **params)
    # XLA would make one sum of two that it can see through.
    total = lax.optimization_barrier(total)
    return PRIMITIVE.bind(total, axes=(last - sum(axis < last for axis in others),), **params)
