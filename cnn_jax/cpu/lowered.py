"""What a value of a module that is being lowered was made from, as far as its function shows."""

import math
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
from jax.core import ShapedArray
from jax.interpreters import mlir

from cnn_jax.cpu import private, views
from cnn_jax.cpu.private import hlo, ir, is_main, is_marked_call

# The types that hold every number of a type.
_HOLDING = {"bf16": ("bf16", "f32", "f64"), "f32": ("f32", "f64")}
# How many values are asked what they are computed from.
_FARTHEST = 64
# Where the orders are remembered that were found in a module, by array.
_ORDERS = "orders in memory"
_ONE_NUMBER = re.compile(r"dense<(-?[0-9.]+(?:[eE][-+]?[0-9]+)?)> ")


class Sum(NamedTuple):
    """An array, and a row that was added to it along its last axis; the order of the sum's axes."""

    array: Any
    row: Any
    order: views.Order

    @property
    def operands(self) -> list:
        """What is added."""
        return [self.array, self.row]


def shape(value) -> tuple[int, ...]:
    """The shape of a value."""
    return tuple(value.type.shape)


def aval(value, dtype) -> ShapedArray:
    """The abstract value, in JAX's sense, of a value of this type."""
    return ShapedArray(shape(value), dtype)


def sum_with_row(value) -> Sum | None:
    """Of a view of x + row, with the row broadcast along the last axis of x in memory: both."""
    total = views.seen(value)
    add = total.array.owner
    if not isinstance(add, hlo.AddOp) or not shape(add.lhs):
        return None
    x, row = views.seen(add.lhs), _row(add.rhs)
    if row is None or shape(x.array)[-1:] != (row.size,):
        return None
    axis = row.axis_of(shape(add.lhs))
    if row.size > 1 and (axis is None or x.order[axis] != len(x.order) - 1):
        return None
    return Sum(x.array, row.value, x.of(total.order).order)


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
    operation = value.owner
    written = isinstance(operation, (hlo.CustomCallOp, hlo.ConvolutionOp, hlo.DotGeneralOp))
    return written or is_marked_call(operation)


def is_argument(value) -> bool:
    """Whether it is an argument of the whole program, whose order in memory XLA can't choose."""
    view = views.seen(value)
    block = view.array.owner
    return view.in_memory_order and isinstance(block, ir.Block) and is_main(block.owner)


def order_in_memory(context, value) -> views.Order | None:
    """How a value computed element by element is ordered: as what it is computed from in memory."""
    view = views.seen(value)
    known = private.notes(context).setdefault(_ORDERS, {})
    if view.array not in known:
        known[view.array] = _order_found(view.array, known)
    order = known[view.array]
    return None if order is None else tuple(order[axis] for axis in view.order)


def _order_found(value, known: Mapping[Any, views.Order | None]) -> views.Order | None:
    straight = views.straight(len(views.long_axes(shape(value))))
    found: list[tuple[Any, list[views.Place]]] = [(value, [(axis,) for axis in straight])]
    for array, places in found:
        order = known.get(array)
        if order is not None:
            places = [(order[axis], *rest) for axis, *rest in places]
        if order is not None or in_memory(array):
            return tuple(sorted(places).index(place) for place in places)
        operation = array.owner
        if not isinstance(operation, ir.OpView) or len(found) >= _FARTHEST:
            continue
        for operand in operation.operands:
            within = views.places_in(operand, array)
            if within is not None:
                inner = views.seen(operand)
                steps = [(inner.order[axis], *rest) for axis, *rest in within]
                found.append((inner.array, [(*steps[axis], *rest) for axis, *rest in places]))
    return None


def first_of_call(value, target: str):
    """The call of a native function whose first result a value is."""
    call = value.owner
    if not isinstance(call, hlo.CustomCallOp) or call.results[0] != value:
        return None
    return call if call.call_target_name.value == target else None


def lower_call(context, run, operands, dtype, order: views.Order):
    """The view with that order of the first result of a native call, in the place of an equation.

    The second result, if there is one, is found by way of the first.
    """
    avals, (out,) = [aval(value, dtype) for value in operands], context.avals_out

    def build(*arrays: jax.Array) -> jax.Array:
        return views.viewed(run(*arrays)[0], order, out.shape)

    return mlir.lower_fun(build, multiple_results=False)(context.replace(avals_in=avals), *operands)


def users(value, later):
    """The calls with results that take a value, in the block where a later value is made."""
    for use in value.uses:
        call, block = use.owner, later.owner.operation.block
        if isinstance(call, hlo.CustomCallOp) and call.results and call.operation.block == block:
            yield call


def is_converted(value) -> bool:
    """Whether a value is another one converted to its type."""
    return isinstance(value.owner, hlo.ConvertOp)


def before_widening(value):
    """What a value was converted from, if from bfloat16 to float32; None for any other."""
    narrow = before_conversion(value)
    types = str(narrow.type.element_type), str(value.type.element_type)
    return narrow if types == ("bf16", "f32") else None


def before_conversion(value):
    """The value itself, or what it was converted from without loss."""
    if not isinstance(value.owner, hlo.ConvertOp):
        return value
    narrow = value.owner.operand
    return narrow if _holds(value, narrow.type.element_type) else value


class _Row(NamedTuple):
    """A row that was broadcast: in memory each number stands `apart` times before the next one."""

    value: Any
    size: int
    apart: int

    def axis_of(self, sizes: tuple[int, ...]) -> int | None:
        """Along which of the axes longer than 1 of an array of those sizes it lies."""
        long = views.squeezed(sizes)
        for axis, size in enumerate(long):
            if (size, math.prod(long[axis + 1 :])) == (self.size, self.apart):
                return axis
        return None


def _row(value) -> _Row | None:
    dtype, row = value.type.element_type, None
    while isinstance(value.owner, (hlo.BroadcastInDimOp, hlo.ReshapeOp, hlo.ConvertOp)):
        # Conversions to a wider type and back leave the numbers as they are.
        inner = value.owner.operand
        if not _holds(inner, dtype):
            return None
        if math.prod(shape(inner)) != math.prod(shape(value)):
            if row is not None:
                return None
            row = _broadcast(value.owner)
            if row is None:
                return None
        value = inner
        if row is not None and value.type.element_type == dtype:
            return row._replace(value=value)
    return None


def _broadcast(operation) -> _Row | None:
    """The row that is broadcast, if it is one."""
    sizes, result = shape(operation.operand), shape(operation.result)
    axes = views.long_axes(sizes) or [len(sizes) - 1]
    if len(axes) > 1 or not sizes:
        return None
    place = list(map(int, operation.broadcast_dimensions))[axes[0]]
    return _Row(operation.operand, sizes[axes[0]], math.prod(result[place + 1 :]))


def _holds(value, dtype) -> bool:
    """Whether a value's type holds every number of another type."""
    return str(value.type.element_type) in _HOLDING.get(str(dtype), ())
