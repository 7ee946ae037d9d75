"""The gradient of a maximum or minimum over windows, by masks of the first best element.

A first pass writes down, for every window, the number of its first best element. A second one adds
up, for every element of the array, the sources of those windows whose number is its own. Each runs
over contiguous memory without a branch; XLA's own rule scatters element by element.
"""

import functools
import itertools
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np
from jax import lax

from cnn_jax.cpu.dilated import interleaved
from cnn_jax.cpu.pooling_float import loaded, narrow_exact, stored, stored_number, widen
from cnn_jax.cpu.pooling_forward import lowest
from cnn_jax.cpu.pooling_window import Window, pad
from cnn_jax.cpu.separate import separately


class Best(NamedTuple):
    """The best element of every window: its number, its value, and whether a NaN was met."""

    number: jax.Array
    value: jax.Array
    poisoned: jax.Array


def scatter(
    source: jax.Array, operand: jax.Array, window: Window, *, largest: bool, by_axis: bool
) -> jax.Array:
    """Add each window's source to the window's first best element.

    As in XLA's rule padding takes part, and what falls on it is lost; a NaN gives way to whatever
    follows it, so that the elements before the last NaN are out of the game.
    """
    parts = [_Grid(part) for part in (window.by_axis() if by_axis else [window])]
    numbers = []
    value, poisoned = operand, None
    for part in parts:
        find = functools.partial(_find, part, largest=largest)
        if part is parts[-1]:
            number = _only_number(find)
            # Numbers that each element looks at once are best made on the spot.
            at_once = len(parts) == 1 and part.alone and not part.across_memory
            number = number if at_once else separately(number)
            numbers.append(number(value, poisoned))
        else:
            best = separately(find)(value, poisoned)
            numbers.append(best.number)
            value = part.existing(best.value, lowest(best.value.dtype, largest))
            poisoned = part.existing(best.poisoned, False)
    result = widen(source)
    for part, number in zip(reversed(parts), reversed(numbers), strict=True):
        result = _spread(part, result, number)
    if all(part.alone for part in parts):
        return narrow_exact(result, source.dtype)
    return lax.convert_element_type(result, source.dtype)


def gather(tangents: jax.Array, operand: jax.Array, window: Window, *, largest: bool) -> jax.Array:
    """Take each window's tangent from the window's first best element.

    As in XLA's rule padding is passed over, and elements no better than the identity of the
    maximum or minimum give a zero. The first is that in the array's order, as it is to `scatter`;
    where there is padding XLA's rule for tangents goes through a window in another order than its
    rule for gradients.
    """
    wins = lax.ge if largest else lax.le
    identity = lowest(operand.dtype, largest)
    values = window.padded(widen(operand), identity)
    candidates = window.padded(widen(tangents), 0)
    best = lax.full(window.count, identity, values.dtype)
    chosen = lax.full(window.count, 0, candidates.dtype)
    for position in window.positions():
        value = window.tap(values, position)
        keep = wins(best, value)
        outside = _outside(window, position)
        if outside is not None:
            keep = lax.bitwise_or(keep, outside)
        best = lax.select(keep, best, value)
        chosen = lax.select(keep, chosen, window.tap(candidates, position))
    return narrow_exact(chosen, tangents.dtype)


class _Grid:
    """All windows that would touch the array if there were no end to them.

    The array with its low padding is cut into blocks of one stride. `overlap` windows touch each
    block, the block's own and those before it. Windows that don't exist have no source.
    """

    def __init__(self, window: Window):
        self.window = window
        self.stride = window.stride
        self.low = tuple(low for low, _ in window.padding)
        self.overlap = tuple(
            math.ceil(k / step) for k, step in zip(window.size, window.stride, strict=True)
        )
        self.blocks = tuple(
            math.ceil((low + n) / step)
            for low, n, step in zip(self.low, window.shape, window.stride, strict=True)
        )
        self.before = tuple(overlap - 1 for overlap in self.overlap)
        padding = []
        for axis, n in enumerate(window.shape):
            step = window.stride[axis]
            low = self.low[axis] + self.before[axis] * step
            windows = self.before[axis] + self.blocks[axis]
            padding.append((low, (windows - 1) * step + window.size[axis] - n - low))
        self.windows = Window(
            window.shape, window.size, window.stride, tuple(padding), window.dilation
        )

    @property
    def alone(self) -> bool:
        """Whether every element belongs to one window at most, so that nothing is added."""
        return all(overlap == 1 for overlap in self.overlap)

    @property
    def across_memory(self) -> bool:
        """Whether neighbours in memory lie in different windows."""
        return self.window.rank - 1 in self.window.axes

    @property
    def number_type(self):
        """The integers that number a window's elements.

        Where neighbours in memory lie in different windows, numbers as wide as the values
        vectorise better than the few bytes saved are worth.
        """
        return np.int32 if self.across_memory or self.window.taps > 127 else np.int8

    def number(self, position: tuple[int, ...]) -> int:
        """A window's elements, numbered in reading order."""
        return int(np.ravel_multi_index(position, self.window.size))

    def existing(self, array: jax.Array, identity) -> jax.Array:
        """Of an array over the grid, the part over windows that exist.

        Windows past the grid meet padding alone.
        """
        config = [
            (-before, before + count - windows, 0)
            for before, count, windows in zip(
                self.before, self.window.count, self.windows.count, strict=True
            )
        ]
        return pad(array, identity, config)


def _only_number(find: Callable[..., Best]) -> Callable[..., jax.Array]:
    return lambda value, poisoned: find(value, poisoned).number


def _find(grid: _Grid, operand: jax.Array, poisoned: jax.Array | None, largest: bool) -> Best:
    windows = grid.windows
    wins = lax.ge if largest else lax.le
    dtype = operand.dtype
    values = windows.padded(stored(operand), stored_number(lowest(dtype, largest), dtype))
    marks = None if poisoned is None else windows.padded(poisoned, False)
    best = None
    for position in windows.positions():
        value = loaded(windows.tap(values, position), dtype)
        number = lax.full(value.shape, grid.number(position), grid.number_type)
        nan = lax.ne(value, value) if marks is None else windows.tap(marks, position)
        if best is None:
            best = Best(number, value, nan)
            continue
        keep = wins(best.value, value)
        if marks is not None:
            keep = lax.bitwise_and(keep, lax.bitwise_not(nan))
        best = Best(
            lax.select(keep, best.number, number),
            lax.select(keep, best.value, value),
            lax.bitwise_or(best.poisoned, nan),
        )
    assert best is not None
    return best


def _spread(grid: _Grid, source: jax.Array, number: jax.Array) -> jax.Array:
    config = [
        (before, blocks - windows, 0)
        for before, blocks, windows in zip(grid.before, grid.blocks, grid.window.count, strict=True)
    ]
    # The elements at one place of every block form a contiguous array.
    padded = pad(source, 0, config)
    spread = interleaved(grid.stride, 0, lambda residue: _at_residue(grid, padded, number, residue))
    return lax.slice(
        spread,
        grid.low,
        [low + n for low, n in zip(grid.low, grid.window.shape, strict=True)],
    )


def _at_residue(
    grid: _Grid, source: jax.Array, number: jax.Array, residue: tuple[int, ...]
) -> jax.Array:
    terms = []
    for back in itertools.product(*map(range, grid.overlap)):
        position = tuple(
            place + windows * step
            for place, windows, step in zip(residue, back, grid.stride, strict=True)
        )
        if any(place >= k for place, k in zip(position, grid.window.size, strict=True)):
            continue
        start = [before - windows for before, windows in zip(grid.before, back, strict=True)]
        limit = [first + blocks for first, blocks in zip(start, grid.blocks, strict=True)]
        part = lax.slice(source, start, limit)
        chosen = lax.eq(
            lax.slice(number, start, limit),
            lax.full(grid.blocks, grid.number(position), number.dtype),
        )
        terms.append(lax.select(chosen, part, lax.full_like(part, 0)))
    if not terms:
        return lax.full(grid.blocks, 0, source.dtype)
    return functools.reduce(lax.add, terms)


def _outside(window: Window, position: tuple[int, ...]) -> jax.Array | None:
    # Whether each window has padding at that place; None where none has.
    outside = None
    for axis in window.axes:
        place = position[axis] * window.dilation[axis] - window.padding[axis][0]
        places = place + np.arange(window.count[axis]) * window.stride[axis]
        padding = (places < 0) | (places >= window.shape[axis])
        if not padding.any():
            continue
        mask = lax.broadcast_in_dim(padding, window.count, (axis,))
        outside = mask if outside is None else lax.bitwise_or(outside, mask)
    return outside
