"""Sums over windows of a dilated array, without its zeros.

Dilation by d puts d - 1 zeros between the elements. Of a window whose output has the number
r + d * j, with a residue r below d, only some places meet an element, and each of these meets the
j-th after the one that it meets at j = 0. So each residue has windows of its own over the array as
it is, and the sums of all residues are put together, one of each in turn.
"""

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable, Iterator, Sequence

import jax
from jax import lax

Place = tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class DilatedWindows:
    """Windows that move by one over a dilated and padded array, one entry for each axis."""

    input: tuple[int, ...]
    output: tuple[int, ...]
    size: tuple[int, ...]
    window_dilation: tuple[int, ...]
    dilation: tuple[int, ...]
    low: tuple[int, ...]

    def total(
        self,
        array: jax.Array,
        axis: int,
        at: Callable[[jax.Array, Place], jax.Array],
        result_axis: int,
    ) -> jax.Array:
        """The sum over each window of `at(array, place)`.

        `axis` is the first of the array's axes that the windows move along; `at` takes from the
        padded array what one place of the window is to see, where these axes begin at
        `result_axis`.
        """
        padded = self._padded(array, axis)
        total = interleaved(
            self.dilation, result_axis, lambda residue: self._part(padded, at, result_axis, residue)
        )
        limit = list(total.shape)
        limit[result_axis : result_axis + len(self.output)] = self.output
        return lax.slice(total, [0] * total.ndim, limit)

    def _part(
        self,
        padded: jax.Array,
        at: Callable[[jax.Array, Place], jax.Array],
        axis: int,
        residue: Place,
    ) -> jax.Array:
        blocks = self._blocks
        end = axis + len(blocks)
        terms = []
        for place, first in self._met(residue):
            term = at(padded, place)
            start, limit = [0] * term.ndim, list(term.shape)
            start[axis:end] = [low + n for (low, _), n in zip(self._padding, first, strict=True)]
            limit[axis:end] = [n + count for n, count in zip(start[axis:end], blocks, strict=True)]
            terms.append(lax.slice(term, start, limit))
        if terms:
            return functools.reduce(lax.add, terms)
        nothing = at(padded, (0,) * len(blocks))
        return lax.full((*nothing.shape[:axis], *blocks, *nothing.shape[end:]), 0, nothing.dtype)

    def _met(self, residue: Place) -> Iterator[tuple[Place, Place]]:
        """The places of a residue's windows that meet elements, and the first that each meets."""
        along = [self._met_along(axis, r) for axis, r in enumerate(residue)]
        for places in itertools.product(*along):
            yield tuple(place for place, _ in places), tuple(first for _, first in places)

    def _met_along(self, axis: int, residue: int) -> list[tuple[int, int]]:
        step = self.dilation[axis]
        met = []
        for place in range(self.size[axis]):
            first, rest = divmod(
                residue + place * self.window_dilation[axis] - self.low[axis], step
            )
            if rest == 0:
                met.append((place, first))
        return met

    @property
    def _blocks(self) -> tuple[int, ...]:
        return tuple(
            math.ceil(n / step) for n, step in zip(self.output, self.dilation, strict=True)
        )

    @functools.cached_property
    def _padding(self) -> list[tuple[int, int]]:
        padding = []
        for axis, (n, blocks) in enumerate(zip(self.input, self._blocks, strict=True)):
            firsts = [
                first
                for residue in range(self.dilation[axis])
                for _, first in self._met_along(axis, residue)
            ]
            low, high = min(firsts, default=0), max(firsts, default=0)
            padding.append((max(-low, 0), max(high + blocks - n, 0)))
        return padding

    def _padded(self, array: jax.Array, axis: int) -> jax.Array:
        if not any(low or high for low, high in self._padding):
            return array
        config = [(0, 0, 0)] * array.ndim
        config[axis : axis + len(self._padding)] = [(low, high, 0) for low, high in self._padding]
        return lax.pad(array, lax.full((), 0, array.dtype), config)


def interleaved(
    steps: Sequence[int], axis: int, part: Callable[[Place], jax.Array], residue: Place = ()
) -> jax.Array:
    """The array whose elements at one residue of `steps` are those of `part(residue)`.

    `steps` are for neighbouring axes from `axis` on.
    """
    if len(residue) == len(steps):
        return part(residue)
    parts = [interleaved(steps, axis, part, (*residue, r)) for r in range(steps[len(residue)])]
    if len(parts) == 1:
        return parts[0]
    here = axis + len(residue)
    shape = list(parts[0].shape)
    stacked = lax.concatenate(
        [lax.reshape(array, [*shape[: here + 1], 1, *shape[here + 1 :]]) for array in parts],
        here + 1,
    )
    shape[here] *= len(parts)
    return lax.reshape(stacked, shape)
