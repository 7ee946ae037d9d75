"""Convolutions of arrays whose channels come before the spatial axes, computed with them last.

The native kernels work on arrays whose channels are neighbours in memory and copy any other, before
and after. Transposed around the kernel instead, an array between two convolutions is transposed
back and forth, and XLA leaves out both and computes what stands between them in the other order.
"""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax
from jax import lax

from cnn_jax.cpu.convolution import Axes, Convolution, Kind


class Moved(NamedTuple):
    """A convolution whose pictures have their channels last, and what is transposed for it."""

    convolution: Convolution
    left: bool
    right: bool
    result: bool

    def around(self, call: Callable[[jax.Array, jax.Array], jax.Array]):
        """The function of the operands as they are given, from that of those moved."""

        def run(lhs: jax.Array, rhs: jax.Array) -> jax.Array:
            result = call(_to_last(lhs) if self.left else lhs, _to_last(rhs) if self.right else rhs)
            return _from_last(result) if self.result else result

        return run


def last(c: Convolution, fixed: tuple[bool, ...] = (False, False)) -> Moved:
    """The convolution with the channels of its pictures last, where they came first.

    Operands that are `fixed` stay as they are.
    """
    left = _come_first(c.lhs_axes) and not fixed[0]
    # Of a kernel gradient the right operand is the picture, and the result is a kernel.
    gradient = c.kind is Kind.KERNEL_GRADIENT
    right = gradient and _come_first(c.rhs_axes) and not fixed[1]
    result = not gradient and _come_first(c.out_axes)
    changes = {}
    if left:
        changes |= {"lhs_shape": _shape(c.lhs_shape), "lhs_axes": _axes(c.lhs_axes)}
    if right:
        changes |= {"rhs_shape": _shape(c.rhs_shape), "rhs_axes": _axes(c.rhs_axes)}
    if result:
        changes |= {"out_shape": _shape(c.out_shape), "out_axes": _axes(c.out_axes)}
    return Moved(dataclasses.replace(c, **changes), left, right, result)


def _come_first(axes: Axes) -> bool:
    return {axes.first, axes.second} == {0, 1} and bool(axes.spatial)


def _axes(axes: Axes) -> Axes:
    """The axes of a moved array: the second goes to the end."""
    moved = (0, len(axes.spatial) + 1)
    spatial = tuple(axis - 1 for axis in axes.spatial)
    return Axes(moved[axes.first], moved[axes.second], spatial)


def _shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    batch, channels, *spatial = shape
    return (batch, *spatial, channels)


def _to_last(array: jax.Array) -> jax.Array:
    return lax.transpose(array, (0, *range(2, array.ndim), 1))


def _from_last(array: jax.Array) -> jax.Array:
    return lax.transpose(array, (0, array.ndim - 1, *range(1, array.ndim - 1)))
