"""A pooling window as XLA sees it, one entry per axis of the array."""

import dataclasses
import itertools
import math
from collections.abc import Iterator

import jax
from jax import lax


@dataclasses.dataclass(frozen=True)
class Window:
    """Where the windows of a pooling lie on an array of the given shape."""

    shape: tuple[int, ...]
    size: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    dilation: tuple[int, ...]

    @property
    def rank(self) -> int:
        """The number of axes of the array."""
        return len(self.shape)

    @property
    def axes(self) -> tuple[int, ...]:
        """The axes on which the window does anything."""
        return tuple(
            axis
            for axis in range(self.rank)
            if (self.size[axis], self.stride[axis], self.padding[axis]) != (1, 1, (0, 0))
        )

    @property
    def reach(self) -> tuple[int, ...]:
        """How far a window extends along each axis."""
        return tuple((k - 1) * d + 1 for k, d in zip(self.size, self.dilation, strict=True))

    @property
    def count(self) -> tuple[int, ...]:
        """How many windows there are along each axis."""
        return tuple(
            max((n + low + high - reach) // step + 1, 0)
            for n, (low, high), reach, step in zip(
                self.shape, self.padding, self.reach, self.stride, strict=True
            )
        )

    @property
    def taps(self) -> int:
        """How many elements a window has."""
        return math.prod(self.size)

    @property
    def taps_by_axis(self) -> int:
        """How many elements are visited where each axis has a pass of its own."""
        return sum(self.size[axis] for axis in self.axes)

    def in_order(self, axes: tuple[int, ...]) -> "Window":
        """The same windows on the transposed array."""
        fields = dataclasses.astuple(self)
        return Window(*(tuple(field[axis] for axis in axes) for field in fields))

    def by_axis(self) -> list["Window"]:
        """Windows along one axis each, last axis first, that do the same one after the other."""
        passes = []
        shape = list(self.shape)
        for axis in reversed(self.axes):
            only = Window(
                tuple(shape),
                _at(axis, self.size, 1),
                _at(axis, self.stride, 1),
                _at(axis, self.padding, (0, 0)),
                _at(axis, self.dilation, 1),
            )
            shape[axis] = only.count[axis]
            passes.append(only)
        return passes

    def positions(self) -> Iterator[tuple[int, ...]]:
        """The places of a window's elements, in reading order."""
        return itertools.product(*map(range, self.size))

    def padded(self, array: jax.Array, value) -> jax.Array:
        """The array with every element that a window meets, and no more."""
        config = [
            (low, (windows - 1) * step + reach - n - low, 0)
            for n, (low, _), reach, step, windows in zip(
                self.shape, self.padding, self.reach, self.stride, self.count, strict=True
            )
        ]
        return pad(array, value, config)

    def tap(self, padded: jax.Array, position: tuple[int, ...]) -> jax.Array:
        """The element at one place of every window, as an array over the windows."""
        start = [place * step for place, step in zip(position, self.dilation, strict=True)]
        limit = [
            first + (windows - 1) * step + 1
            for first, windows, step in zip(start, self.count, self.stride, strict=True)
        ]
        return lax.slice(padded, start, limit, self.stride)


def pad(array: jax.Array, value, config) -> jax.Array:
    """`lax.pad` with a Python number, left out where it does nothing."""
    if all(entry == (0, 0, 0) for entry in config):
        return array
    return lax.pad(array, lax.full((), value, array.dtype), config)


def _at(axis: int, values: tuple, elsewhere) -> tuple:
    return tuple(value if i == axis else elsewhere for i, value in enumerate(values))
