"""Values computed anew in the order in which XLA keeps what they are computed from.

Where channels come before the spatial axes, a native call makes an array with the channels last and
a view of it. XLA computes what is made of the view in the view's order, and copies it back into the
other order for the next call. Here the operations between are repeated on the array as it lies in
memory; XLA drops those that nothing uses any longer.
"""

from collections.abc import Sequence
from typing import Any

from cnn_jax.cpu import lowered, private, views
from cnn_jax.cpu.private import hlo, ir

Axes = tuple[int, ...]

_MADE = "arrays made in memory order"
# How many operations in a row are repeated.
_DEEPEST = 64
_UNARY = (
    "abs cbrt ceil convert cosine exponential exponential_minus_one floor is_finite log"
    " log_plus_one logistic negate not round_nearest_afz round_nearest_even rsqrt sign sine sqrt"
    " tan tanh"
)
_BINARY = "add and atan2 divide maximum minimum multiply or power remainder subtract xor"
_TERNARY = "clamp compare select"
_ELEMENTWISE = {
    *(f"stablehlo.{name}" for name in f"{_UNARY} {_BINARY} {_TERNARY}".split()),
    *(f"chlo.{name}" for name in ("erf", "erf_inv", "erfc", "lgamma", "square")),
}


def note(context, results) -> None:
    """Note that the module has views in another order, if a native call's results are such."""
    if any(isinstance(result.owner, hlo.TransposeOp) for result in results):
        private.notes(context).setdefault(_MADE, {})


def are_views(context) -> bool:
    """Whether the module has views in another order, as far as it is lowered."""
    return _MADE in private.notes(context)


def in_memory_order(context, value):
    """The value, as a view of an array in memory order where its own order is another one."""
    if not are_views(context) or lowered.in_memory(views.seen(value).array):
        return value
    order = lowered.order_in_memory(context, value)
    if order is None:
        return value
    axes = views.axes_in_memory(lowered.shape(value), order)
    made = _Made(private.notes(context)[_MADE]).array(value, axes)
    return _transposed(made, views.inverse(axes))


class _Made:
    """Arrays made for values: of each value's axes the first of the array is `axes[0]`, and so on.

    They are remembered by value and axes, for each module.
    """

    def __init__(self, made: dict[Any, Any]) -> None:
        self._made = made
        self._depth = 0

    def array(self, value, axes: Axes):
        """The array for a value, computed where the value is."""
        known = self._made.get((value, axes))
        if known is not None:
            return known
        self._depth += 1
        with private.just_after(value):
            made = self._new(value, axes) if self._depth <= _DEEPEST else None
            if made is None:
                made = _transposed(value, axes)
        self._depth -= 1
        self._made[value, axes] = made
        return made

    def _new(self, value, axes: Axes):
        operation = value.owner
        if not isinstance(operation, ir.OpView):
            return None
        if isinstance(operation, hlo.TransposeOp):
            return self.array(operation.operand, tuple(operation.permutation[i] for i in axes))
        if axes == views.straight(len(axes)):
            return value
        if isinstance(operation, hlo.ConstantOp):
            return private.number_repeated(operation, _sizes(value, axes))
        if isinstance(operation, hlo.BroadcastInDimOp):
            return self._broadcast(operation, axes)
        if isinstance(operation, hlo.ReshapeOp):
            return self._reshaped(operation, axes)
        if operation.operation.name in _ELEMENTWISE:
            # The predicate of a selection and the bounds of a range may be single numbers.
            operands = [
                self.array(operand, axes) if lowered.shape(operand) else operand
                for operand in operation.operands
            ]
            return private.repeated(operation, operands, _sizes(value, axes))
        if isinstance(operation, hlo.ConcatenateOp):
            operands = [self.array(operand, axes) for operand in operation.inputs]
            return hlo.concatenate(operands, axes.index(int(operation.dimension)))
        if isinstance(operation, hlo.SliceOp):
            numbers = operation.start_indices, operation.limit_indices, operation.strides
            moved = [_moved(each, axes) for each in numbers]
            return hlo.slice(self.array(operation.operand, axes), *moved)
        if isinstance(operation, hlo.PadOp):
            numbers = (
                operation.edge_padding_low,
                operation.edge_padding_high,
                operation.interior_padding,
            )
            moved = [_moved(each, axes) for each in numbers]
            return hlo.pad(self.array(operation.operand, axes), operation.padding_value, *moved)
        return None

    def _broadcast(self, operation, axes: Axes):
        places = [axes.index(int(place)) for place in operation.broadcast_dimensions]
        inner = tuple(sorted(range(len(places)), key=places.__getitem__))
        return hlo.broadcast_in_dim(
            private.type_of(operation.result, _sizes(operation.result, axes)),
            self.array(operation.operand, inner),
            private.whole_numbers([places[axis] for axis in inner]),
        )

    def _reshaped(self, operation, axes: Axes):
        inner = views.axes_before(
            lowered.shape(operation.operand), lowered.shape(operation.result), axes
        )
        if inner is None:
            return None
        made = private.type_of(operation.result, _sizes(operation.result, axes))
        return hlo.reshape(made, self.array(operation.operand, inner))


def _transposed(value, axes: Axes):
    if axes == views.straight(len(axes)):
        return value
    return hlo.transpose(value, private.whole_numbers(axes))


def _moved(numbers, axes: Axes):
    return private.whole_numbers([int(numbers[axis]) for axis in axes])


def _sizes(value, axes: Axes) -> Sequence[int]:
    sizes = lowered.shape(value)
    return [sizes[axis] for axis in axes]
