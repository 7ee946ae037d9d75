"""Values of a module that are others with their axes in another order.

Where channels come before the spatial axes, what a native call makes with the channels last is
transposed and reshaped before it is used. What it was made from is found through that, and what is
made of it in its place is transposed and reshaped alike; XLA leaves out what cancels.
"""

import math
from typing import Any, NamedTuple

import jax
from jax import lax

from cnn_jax.cpu.private import hlo

Order = tuple[int, ...]


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


def split_axes(value) -> list[tuple[int, int]] | None:
    """Of an array reshaped so that axes are split: for each axis what it is of, and which part."""
    reshape = value.owner
    if not isinstance(reshape, hlo.ReshapeOp) or 0 in value.type.shape:
        return None
    shape, inner = squeezed(value.type.shape), squeezed(reshape.operand.type.shape)
    made = []
    for axis, size in enumerate(inner):
        part = 0
        while size > 1 and len(made) < len(shape) and size % shape[len(made)] == 0:
            size //= shape[len(made)]
            made.append((axis, part))
            part += 1
        if size > 1:
            return None
    return made if len(made) == len(shape) else None


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
