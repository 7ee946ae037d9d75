"""Values of a module that are others with their axes in another order.

Where channels come before the spatial axes, what a native call makes with the channels last is
transposed and reshaped before it is used. What it was made from is found through that, and what is
made of it in its place is transposed and reshaped alike; XLA leaves out what cancels.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
from jax import lax

from cnn_jax.cpu.private import hlo

Order = tuple[int, ...]
# Where an axis longer than 1 lies: within which of another array's, and in which part of that.
Place = tuple[int, ...]

_MOST_REPEATED = 16
_ALONG_AXES = (hlo.SliceOp, hlo.PadOp, hlo.ConcatenateOp, hlo.ReverseOp)


class View(NamedTuple):
    """A value as an array in memory, and the order of that array's axes in the value.

    Axes of size 1 lie anywhere and don't count: `order` has an entry for each longer axis of the
    value, its number among those of the array.
    """

    array: Any
    order: Order

    def of(self, order: Order) -> "View":
        """What a view of this view is: of the same array."""
        return View(self.array, tuple(self.order[axis] for axis in order))

    @property
    def in_memory_order(self) -> bool:
        """Whether the value's axes lie as those of the array."""
        return self.order == straight(len(self.order))


def seen(value) -> View:
    """The array that a value is a view of, if only itself."""
    view = View(value, straight(len(long_axes(value.type.shape))))
    while True:
        found = _one_step(view.array)
        if found is None:
            return view
        view = found.of(view.order)


def _one_step(value) -> View | None:
    operation = value.owner
    if not isinstance(operation, (hlo.TransposeOp, hlo.ReshapeOp, hlo.BroadcastInDimOp)):
        return None
    shape, inner = tuple(value.type.shape), tuple(operation.operand.type.shape)
    axes = long_axes(inner)
    if isinstance(operation, hlo.TransposeOp):
        permutation = list(map(int, operation.permutation))
        order = [axes.index(permutation[axis]) for axis in long_axes(shape)]
    elif 0 in shape or math.prod(shape) != math.prod(inner):
        return None
    elif isinstance(operation, hlo.BroadcastInDimOp):
        places = list(map(int, operation.broadcast_dimensions))
        order = [axes.index(places.index(axis)) for axis in long_axes(shape)]
    elif squeezed(shape) == squeezed(inner):
        order = range(len(axes))
    else:
        return None
    return View(operation.operand, tuple(order))


def places_in(operand, value) -> list[Place] | None:
    """Where the axes of a value lie in an operand of the operation that makes it.

    None where they need not lie as the operand's.
    """
    operation, inner, shape = value.owner, operand.type.shape, value.type.shape
    if isinstance(operation, hlo.ReshapeOp):
        return within_reshaped(inner, shape)
    if isinstance(operation, hlo.BroadcastInDimOp):
        return within_repeated(inner, shape, list(map(int, operation.broadcast_dimensions)))
    if inner == shape or isinstance(operation, _ALONG_AXES):
        return within_as_long(inner, shape)
    return None


def within_as_long(inner, shape) -> list[Place] | None:
    """The same where an array is cut, extended or joined along axes that remain what they are."""
    axes = long_axes(inner)
    if len(inner) != len(shape) or not set(long_axes(shape)) <= set(axes):
        return None
    return [(axes.index(axis),) for axis in long_axes(shape)]


def within_reshaped(inner, shape) -> list[Place] | None:
    """The same for a shape and another one of the same size; None for empty arrays."""
    if 0 in shape:
        return None
    places: list[Place] = []
    for before, after in _runs(squeezed(inner), squeezed(shape)):
        places += [(before[0], part) for part in range(len(after))]
    return places


def within_repeated(inner, shape, axes: Sequence[int]) -> list[Place] | None:
    """The same for an array whose axes become those `axes` of a larger one.

    A new axis lies within the one before it. None where there is no such, or where each number is
    repeated so often that it says little about how the larger one lies in memory.
    """
    if 0 in shape or math.prod(shape) > _MOST_REPEATED * math.prod(inner):
        return None
    places: list[Place] = []
    long = long_axes(inner)
    for axis in long_axes(shape):
        before = axes.index(axis) if axis in axes else None
        if before in long:
            places.append((long.index(before),))
        elif places:
            places.append((*places[-1], 1))
        else:
            return None
    return places


def axes_before(inner, shape, axes: Order) -> Order | None:
    """The order of axes in which an array must be, to be reshaped into one in the order `axes`.

    None where it can't be: where axes are merged or split that do not lie next to each other.
    """
    if 0 in shape:
        return None
    long, before = long_axes(shape), long_axes(inner)
    numbers = [long.index(axis) for axis in axes if axis in long]
    order: list[int] = []
    for made_of, made in sorted(
        _runs(squeezed(inner), squeezed(shape)), key=lambda run: numbers.index(run[1][0])
    ):
        first = numbers.index(made[0])
        if numbers[first : first + len(made)] != made:
            return None
        order += made_of
    found = list(range(len(inner)))
    for place, number in zip(before, order, strict=True):
        found[place] = before[number]
    return tuple(found)


def _runs(inner: tuple[int, ...], shape: tuple[int, ...]) -> list[tuple[list[int], list[int]]]:
    """The axes of two shapes of equal size, none of 1, in the shortest runs of equal size."""
    runs: list[tuple[list[int], list[int]]] = []
    i = j = 0
    while i < len(inner):
        before, after = [i], [j]
        i, j = i + 1, j + 1
        left, right = inner[i - 1], shape[j - 1]
        while left != right:
            if left < right:
                before.append(i)
                left, i = left * inner[i], i + 1
            else:
                after.append(j)
                right, j = right * shape[j], j + 1
        runs.append((before, after))
    return runs


def viewed(array: jax.Array, order: Order, shape: tuple[int, ...]) -> jax.Array:
    """The view of an array that has that order and that shape."""
    if order != straight(len(order)):
        array = lax.transpose(lax.reshape(array, squeezed(array.shape)), order)
    return lax.reshape(array, shape)


def into_order(array: jax.Array, axes: tuple[int, ...]) -> jax.Array:
    """The transposed array, unless there is nothing to do."""
    return array if axes == straight(len(axes)) else lax.transpose(array, axes)


def axes_in_memory(shape, order: Order) -> tuple[int, ...]:
    """The axes of an array of that shape as they lie in memory; those of size 1 stay."""
    axes, long = list(range(len(shape))), long_axes(shape)
    for place, number in zip(long, inverse(order), strict=True):
        axes[place] = long[number]
    return tuple(axes)


def inverse(axes: tuple[int, ...]) -> tuple[int, ...]:
    """The order that undoes another one."""
    return tuple(axes.index(axis) for axis in straight(len(axes)))


def straight(rank: int) -> Order:
    """The order of an array that is seen as it lies in memory."""
    return tuple(range(rank))


def long_axes(shape) -> list[int]:
    """The axes that have more than one element."""
    return [axis for axis, size in enumerate(shape) if size != 1]


def squeezed(shape) -> tuple[int, ...]:
    """The sizes other than 1."""
    return tuple(size for size in shape if size != 1)
