"""Depthwise convolutions and their kernel gradients, as sums of shifted products.

Each input channel has a kernel of its own. There is no matrix product in that, so XLA's own rule
runs scalar loops; a sum over the window's elements runs over contiguous memory instead.
"""

import functools
import itertools

import jax
from jax import lax

from cnn_jax.cpu import xla_convolution_layout as layout
from cnn_jax.cpu.convolution import Convolution


def forward(c: Convolution, lhs: jax.Array, rhs: jax.Array) -> jax.Array:
    """A convolution with as many groups as input channels."""
    per_channel = c.out_channels // c.in_channels
    # The axes stay in their order: a transposition inside the loop would cost more than it.
    axes = c.lhs_axes
    x = layout.padded(c, layout.wide(lhs))
    kernel = layout.wide(layout.right(c, rhs))
    total = None
    for place in layout.taps(c):
        start, limit, strides = [0] * x.ndim, list(x.shape), [1] * x.ndim
        for axis, at, step, many, apart in zip(
            axes.spatial, place, c.rhs_dilation, c.output, c.stride, strict=True
        ):
            start[axis] = at * step
            limit[axis] = at * step + (many - 1) * apart + 1
            strides[axis] = apart
        part = lax.slice(x, start, limit, strides)
        # Output channel `i * per_channel + j` is the j-th of input channel i.
        shape = [*part.shape[: axes.second + 1], per_channel, *part.shape[axes.second + 1 :]]
        kept = [axis for axis in range(len(shape)) if axis != axes.second + 1]
        weights = lax.reshape(kernel[place], (c.in_channels, per_channel))
        term = lax.broadcast_in_dim(part, shape, kept) * lax.broadcast_in_dim(
            weights, shape, (axes.second, axes.second + 1)
        )
        total = term if total is None else total + term
    assert total is not None
    shape = [*total.shape[: axes.second], c.out_channels, *total.shape[axes.second + 2 :]]
    total = lax.transpose(lax.reshape(total, shape), (axes.first, *axes.spatial, axes.second))
    return lax.convert_element_type(layout.result(c, total), lhs.dtype)


def to_one(c: Convolution, lhs: jax.Array, rhs: jax.Array) -> jax.Array:
    """A convolution with as many groups as output channels, of a few input channels each."""
    per_group = c.in_channels // c.out_channels
    x = layout.left(c, layout.wide(lhs))
    kernel = layout.wide(layout.right(c, rhs))
    total = None
    for place in layout.taps(c):
        part = layout.tap(c, x, place)
        weights = lax.reshape(lax.transpose(kernel[place], (1, 0)), (c.in_channels,))
        term = part * lax.broadcast_in_dim(weights, part.shape, (part.ndim - 1,))
        total = term if total is None else total + term
    assert total is not None
    total = lax.reshape(total, (*total.shape[:-1], c.out_channels, per_group))
    y = functools.reduce(lax.add, [total[..., i] for i in range(per_group)])
    return lax.convert_element_type(layout.result(c, y), lhs.dtype)


def kernel_gradient(c: Convolution, lhs: jax.Array, rhs: jax.Array) -> jax.Array:
    """The kernel gradient of a depthwise convolution: as many batch groups as left batches.

    A loop over the rows of the images adds up, for each element of the kernel, the products of a
    row and a shifted row. Every channel and every column has its own sum, so that each step runs
    over contiguous memory; the columns are added up last.
    """
    x = layout.left_exchanged(c, layout.wide(lhs))
    dy = layout.right_exchanged(c, layout.wide(rhs))
    if c.rank == 1:
        x, dy = x[:, None], dy[:, None]
    spatial = _Spatial(c)
    images, channels = x.shape[0], x.shape[-1]
    per_channel = c.out_channels // channels
    columns = list(itertools.product(*map(range, spatial.kernel[1:])))
    if per_channel > 1:
        dy = lax.reshape(dy, (*dy.shape[:-1], channels, per_channel))
        x = lax.broadcast_in_dim(x, (*x.shape, 1), range(x.ndim))
    tail = dy.shape[x.ndim - 1 :] if per_channel == 1 else dy.shape[-2:]

    def add_row(row, sums):
        image, y = row // spatial.rows, row % spatial.rows
        dy_row = _at(dy, image, y, 1)
        reach = (spatial.kernel[0] - 1) * spatial.kernel_step[0] + 1
        x_rows = _at(x, image, y * spatial.row_step[0], reach)
        x_rows = lax.slice_in_dim(x_rows, 0, reach, spatial.kernel_step[0], 0)
        return [
            total
            + layout.strided(
                x_rows,
                column,
                spatial.kernel_step[1:],
                spatial.image[1:],
                spatial.row_step[1:],
                1,
            )
            * dy_row
            for column, total in zip(columns, sums, strict=True)
        ]

    shape = (spatial.kernel[0], *spatial.image[1:], *tail)
    sums = [lax.full(shape, 0, x.dtype) for _ in columns]
    sums = lax.fori_loop(0, images * spatial.rows, add_row, sums)
    # [kernel rows, kernel columns, channels]
    inner = tuple(range(1, 1 + len(spatial.image[1:])))
    gradient = lax.concatenate([lax.reduce_sum(total, inner)[:, None] for total in sums], 1)
    gradient = lax.reshape(gradient, (*c.output, 1, c.out_channels))
    return lax.convert_element_type(layout.result_of_kernel(c, gradient), lhs.dtype)


class _Spatial:
    """The spatial numbers of a kernel gradient, with a first axis of size 1 where rank is 1."""

    def __init__(self, c: Convolution):
        ones = (1,) if c.rank == 1 else ()
        self.kernel = (*ones, *c.output)
        self.kernel_step = (*ones, *c.stride)
        self.image = (*ones, *c.window)
        self.row_step = (*ones, *c.rhs_dilation)
        self.rows = self.image[0]


def _at(array: jax.Array, image: jax.Array, row: jax.Array, rows: int) -> jax.Array:
    zeros = [lax.full_like(row, 0)] * (array.ndim - 2)
    part = lax.dynamic_slice(array, (image, row, *zeros), (1, rows, *array.shape[2:]))
    return lax.reshape(part, part.shape[1:])
