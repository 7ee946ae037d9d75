"""What a value of a module that is being lowered was made from, as far as its function shows."""

import math
import re
from typing import Any, NamedTuple

from jax.core import ShapedArray

from cnn_jax.cpu.private import hlo

# The types that hold every number of a type.
_HOLDING = {"bf16": ("bf16", "f32", "f64"), "f32": ("f32", "f64")}
_ONE_NUMBER = re.compile(r"dense<(-?[0-9.]+(?:[eE][-+]?[0-9]+)?)> ")


class Sum(NamedTuple):
    """An array, and a row that was added to it along its last axis."""

    array: Any
    row: Any


def shape(value) -> tuple[int, ...]:
    """The shape of a value."""
    return tuple(value.type.shape)


def aval(value, dtype) -> ShapedArray:
    """The abstract value, in JAX's sense, of a value of this type."""
    return ShapedArray(shape(value), dtype)


def sum_with_row(value) -> Sum | None:
    """Of x + row, with the row broadcast along the last axis: both."""
    add = value.owner
    if not isinstance(add, hlo.AddOp) or not shape(value):
        return None
    row = _row(add.rhs)
    return None if row is None else Sum(add.lhs, row)


def compared_as_positive(value):
    """Of x > 0, x."""
    compare = value.owner
    if not isinstance(compare, hlo.CompareOp) or "GT" not in str(compare.comparison_direction):
        return None
    return compare.lhs if is_zeros(compare.rhs) else None


def is_zeros(value) -> bool:
    """Whether a value is an array of zeros."""
    return the_number(value) == 0


def the_number(value) -> float | None:
    """The number that all elements of an array of constants are; None for any other value."""
    owner = value.owner
    if isinstance(owner, hlo.BroadcastInDimOp):
        owner = owner.operand.owner
    if not isinstance(owner, hlo.ConstantOp) or "complex" in str(value.type.element_type):
        return None
    written = _ONE_NUMBER.match(str(owner.value))
    return None if written is None else float(written[1])


def in_memory(value) -> bool:
    """Whether XLA writes the value to memory, whatever uses it."""
    return isinstance(value.owner, (hlo.CustomCallOp, hlo.ConvolutionOp, hlo.DotGeneralOp))


def first_of_call(value, target: str):
    """The call of a native function whose first result a value is."""
    call = value.owner
    if not isinstance(call, hlo.CustomCallOp) or call.results[0] != value:
        return None
    return call if call.call_target_name.value == target else None


def users(value, later):
    """The calls with results that take a value, in the block where a later value is made."""
    for use in value.uses:
        call, block = use.owner, later.owner.operation.block
        if isinstance(call, hlo.CustomCallOp) and call.results and call.operation.block == block:
            yield call


def is_converted(value) -> bool:
    """Whether a value is another one converted to its type."""
    return isinstance(value.owner, hlo.ConvertOp)


def before_conversion(value):
    """The value itself, or what it was converted from without loss."""
    if not isinstance(value.owner, hlo.ConvertOp):
        return value
    narrow = value.owner.operand
    return narrow if _holds(value, narrow.type.element_type) else value


def _row(value):
    # Conversions to a wider type and back leave the numbers as they are.
    channels, dtype = shape(value)[-1:], value.type.element_type
    last_axis_alone = False
    while isinstance(value.owner, (hlo.BroadcastInDimOp, hlo.ReshapeOp, hlo.ConvertOp)):
        operation = value.owner
        inner = operation.operand
        if not _holds(inner, dtype):
            return None
        if isinstance(operation, hlo.BroadcastInDimOp) and shape(inner) != shape(value):
            axes = list(map(int, operation.broadcast_dimensions))
            last_axis_alone = (
                shape(inner)[-1:] == channels
                and axes[-1] == len(shape(value)) - 1
                and math.prod(shape(inner)) == channels[0]
            )
            if not last_axis_alone:
                return None
        value = inner
        if last_axis_alone and value.type.element_type == dtype:
            return value
    return None


def _holds(value, dtype) -> bool:
    """Whether a value's type holds every number of another type."""
    return str(value.type.element_type) in _HOLDING.get(str(dtype), ())
