"""The arrays of a convolution in one order of axes, and the elements that each output meets."""

import itertools
import math
from collections.abc import Iterator, Sequence

import jax
import numpy as np
from jax import lax

from cnn_jax.cpu.convolution import Axes, Convolution


def left(c: Convolution, lhs: jax.Array) -> jax.Array:
    """The left operand as `[first, *spatial, second]`, padded and dilated."""
    axes = c.lhs_axes
    return dilated(c, lax.transpose(lhs, (axes.first, *axes.spatial, axes.second)))


def left_exchanged(c: Convolution, lhs: jax.Array) -> jax.Array:
    """The left operand as `[second, *spatial, first]`, padded and dilated."""
    axes = c.lhs_axes
    return dilated(c, lax.transpose(lhs, (axes.second, *axes.spatial, axes.first)))


def dilated(c: Convolution, array: jax.Array) -> jax.Array:
    """An array `[first, *spatial, second]`, padded and dilated as the left operand is."""
    return pad(array, [(0, 0, 0), *padding(c), (0, 0, 0)])


def right(c: Convolution, rhs: jax.Array) -> jax.Array:
    """The right operand as `[*spatial, second, first]`: of a kernel, input channels come first."""
    axes = c.rhs_axes
    return lax.transpose(rhs, (*axes.spatial, axes.second, axes.first))


def right_exchanged(c: Convolution, rhs: jax.Array) -> jax.Array:
    """The right operand as `[second, *spatial, first]`."""
    axes = c.rhs_axes
    return lax.transpose(rhs, (axes.second, *axes.spatial, axes.first))


def result(c: Convolution, array: jax.Array) -> jax.Array:
    """The result from `[first, *spatial, second]`."""
    axes = c.out_axes
    return lax.transpose(array, _inverse((axes.first, *axes.spatial, axes.second)))


def result_of_kernel(c: Convolution, array: jax.Array) -> jax.Array:
    """The result from `[*spatial, first, second]`, the order of a kernel gradient."""
    axes = c.out_axes
    return lax.transpose(array, _inverse((*axes.spatial, axes.first, axes.second)))


def negative(c: Convolution) -> bool:
    """Whether the padding takes something away."""
    return any(low < 0 or high < 0 for low, high in c.padding)


def cropped(c: Convolution, lhs: jax.Array):
    """The left operand, its padding and its dilation, with no negative padding left.

    XLA's own kernel ignores a negative padding, or reads outside the array, where little of an
    axis remains.
    """
    if not negative(c):
        return lhs, c.padding, c.lhs_dilation
    return padded(c, lhs), ((0, 0),) * c.rank, (1,) * c.rank


def padded(c: Convolution, lhs: jax.Array) -> jax.Array:
    """The left operand, padded and dilated, its axes in their own order."""
    config = [(0, 0, 0)] * lhs.ndim
    for axis, entry in zip(c.lhs_axes.spatial, padding(c), strict=True):
        config[axis] = entry
    return pad(lhs, config)


def convolution_of_padded(
    c: Convolution,
    padded: jax.Array,
    rhs: jax.Array,
    *,
    precision=None,
    preferred_element_type=None,
) -> jax.Array:
    """The convolution of a left operand that has been padded and dilated."""
    return lax.conv_general_dilated(
        padded,
        rhs,
        c.stride,
        ((0, 0),) * c.rank,
        rhs_dilation=c.rhs_dilation,
        dimension_numbers=dimension_numbers(c.lhs_axes, c.rhs_axes, c.out_axes),
        feature_group_count=c.feature_groups,
        batch_group_count=c.batch_groups,
        precision=precision,
        preferred_element_type=preferred_element_type,
    )


def dimension_numbers(
    lhs: Axes | Sequence[int], rhs: Axes | Sequence[int], out: Axes | Sequence[int]
) -> lax.ConvDimensionNumbers:
    """The axes as `lax.conv_general_dilated` takes them."""
    specs = (
        (axes.first, axes.second, *axes.spatial) if isinstance(axes, Axes) else tuple(axes)
        for axes in (lhs, rhs, out)
    )
    return lax.ConvDimensionNumbers(*specs)


def taps(c: Convolution) -> Iterator[tuple[int, ...]]:
    """The places of the window, in reading order."""
    return itertools.product(*map(range, c.window))


def tap(
    c: Convolution, padded: jax.Array, place: tuple[int, ...], first_spatial: int = 1
) -> jax.Array:
    """What every output position meets at one place of the window."""
    return strided(padded, place, c.rhs_dilation, c.output, c.stride, first_spatial)


def kernel_tap(c: Convolution, padded: jax.Array, place: tuple[int, ...]) -> jax.Array:
    """What every element of a kernel gradient's right operand meets at one place of the result."""
    return strided(padded, place, c.stride, c.window, c.rhs_dilation, 1)


def strided(
    array: jax.Array,
    place: Sequence[int],
    step: Sequence[int],
    count: Sequence[int],
    stride: Sequence[int],
    first_axis: int,
) -> jax.Array:
    """From `place * step` on, `count` elements a stride apart, along neighbouring axes."""
    start, limit, strides = [0] * array.ndim, list(array.shape), [1] * array.ndim
    for i, (at, by, many, apart) in enumerate(zip(place, step, count, stride, strict=True)):
        axis = first_axis + i
        start[axis] = at * by
        limit[axis] = at * by + (many - 1) * apart + 1
        strides[axis] = apart
    return lax.slice(array, start, limit, strides)


def wide(array: jax.Array) -> jax.Array:
    """The same numbers with at least 32 bits, to be summed."""
    return lax.convert_element_type(array, wide_type(array.dtype))


def wide_type(dtype) -> np.dtype:
    """The type in which numbers of a type are summed."""
    dtype = np.dtype(dtype)
    return np.dtype(np.float32) if dtype.itemsize < 4 else dtype


def dot(a: jax.Array, b: jax.Array, contract, batch=((), ())) -> jax.Array:
    """`lax.dot_general`, summed with at least 32 bits."""
    return lax.dot_general(a, b, (contract, batch), preferred_element_type=wide_type(a.dtype))


def size(shape: Sequence[int]) -> int:
    """The number of elements of an array of that shape."""
    return math.prod(shape)


def pad(array: jax.Array, config: Sequence[tuple[int, int, int]]) -> jax.Array:
    """Pad with zeros, unless there is nothing to do."""
    if all(entry == (0, 0, 0) for entry in config):
        return array
    return lax.pad(array, lax.full((), 0, array.dtype), config)


def padding(c: Convolution) -> list[tuple[int, int, int]]:
    """What `lax.pad` is to do along the spatial axes."""
    return [
        (low, high, step - 1) for (low, high), step in zip(c.padding, c.lhs_dilation, strict=True)
    ]


def _inverse(permutation: Sequence[int]) -> list[int]:
    return [permutation.index(axis) for axis in range(len(permutation))]
