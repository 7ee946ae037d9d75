"""Dense convolutions that a matrix product, or a few sums, computes better than XLA's own rule."""

import itertools

import jax
import numpy as np
from jax import lax

from cnn_jax.cpu import xla_convolution_layout as layout
from cnn_jax.cpu.convolution import Convolution
from cnn_jax.cpu.dilated import DilatedWindows


def pointwise(c: Convolution, lhs: jax.Array, rhs: jax.Array) -> jax.Array:
    """A convolution whose window is a single element: a matrix product over the channels."""
    place = (0,) * c.rank
    kernel = layout.right(c, rhs)[place]
    if any(step > 1 for step in c.lhs_dilation):
        # The zeros between the elements need no product; they come in afterwards.
        axes = c.lhs_axes
        x = lax.transpose(lhs, (axes.first, *axes.spatial, axes.second))
        y = layout.tap(c, layout.dilated(c, layout.dot(x, kernel, ((x.ndim - 1,), (0,)))), place)
    else:
        x = layout.tap(c, layout.left(c, lhs), place)
        y = layout.dot(x, kernel, ((x.ndim - 1,), (0,)))
    return lax.convert_element_type(layout.result(c, y), lhs.dtype)


def kernel_gradient(c: Convolution, lhs: jax.Array, rhs: jax.Array) -> jax.Array:
    """A kernel gradient as a matrix product over all pixels of all images."""
    x, dy = layout.left_exchanged(c, lhs), layout.right_exchanged(c, rhs)
    pixels = tuple(range(x.ndim - 1))
    places = [layout.kernel_tap(c, x, place) for place in itertools.product(*map(range, c.output))]
    patches = lax.concatenate(places, x.ndim - 1) if len(places) > 1 else places[0]
    gradient = layout.dot(patches, dy, (pixels, pixels))
    gradient = lax.reshape(gradient, (*c.output, c.batch, c.out_channels))
    return lax.convert_element_type(layout.result_of_kernel(c, gradient), lhs.dtype)


def one_input_channel(c: Convolution, lhs: jax.Array, rhs: jax.Array) -> jax.Array:
    """A sum of shifted copies of the image, each times a number for every output channel."""
    x = layout.left(c, layout.wide(lhs))
    kernel = layout.wide(layout.right(c, rhs))
    total = None
    for place in layout.taps(c):
        part = layout.tap(c, x, place)
        shape = (*part.shape[:-1], c.out_channels)
        term = lax.broadcast_in_dim(part, shape, range(part.ndim)) * lax.broadcast_in_dim(
            lax.reshape(kernel[place], (c.out_channels,)), shape, (part.ndim - 1,)
        )
        total = term if total is None else total + term
    assert total is not None
    return lax.convert_element_type(layout.result(c, total), lhs.dtype)


def few_output_channels(c: Convolution, lhs: jax.Array, rhs: jax.Array) -> jax.Array:
    """A matrix product for all places of the window, then the shifted sum of its columns."""
    axes = c.lhs_axes
    x = lax.transpose(lhs, (axes.first, *axes.spatial, axes.second))
    kernel = lax.transpose(rhs, (*c.rhs_axes.spatial, c.rhs_axes.first, c.rhs_axes.second))
    places = layout.size(c.window)
    kernel = lax.reshape(kernel, (places * c.out_channels, c.in_channels))
    columns = layout.dot(x, kernel, ((x.ndim - 1,), (1,)))
    columns = lax.reshape(columns, (*x.shape[:-1], places, c.out_channels))
    columns = lax.transpose(columns, (x.ndim - 1, *range(x.ndim - 1), x.ndim))
    windows = DilatedWindows(
        c.input,
        c.output,
        c.window,
        c.rhs_dilation,
        c.lhs_dilation,
        tuple(low for low, _ in c.padding),
    )

    def at(columns: jax.Array, place: tuple[int, ...]) -> jax.Array:
        return columns[int(np.ravel_multi_index(place, c.window))]

    y = windows.total(columns, 2, at, 1)
    return lax.convert_element_type(layout.result(c, y), lhs.dtype)


def one_output_channel(c: Convolution, lhs: jax.Array, rhs: jax.Array) -> jax.Array:
    """A matrix product for all places of the window at once, then the shifted sum of its rows."""
    axes = c.lhs_axes
    x = lax.transpose(lhs, (axes.first, *axes.spatial, axes.second))
    kernel = lax.reshape(layout.right(c, rhs), (layout.size(c.window), c.in_channels))
    rows = layout.dot(kernel, x, ((1,), (x.ndim - 1,)))
    rows = layout.pad(rows, [(0, 0, 0), (0, 0, 0), *layout.padding(c)])
    total = None
    for row, place in enumerate(layout.taps(c)):
        part = layout.tap(c, lax.slice_in_dim(rows, row, row + 1, axis=0), place, 2)
        total = part if total is None else total + part
    assert total is not None
    y = lax.reshape(total, (*total.shape[1:], 1))
    return lax.convert_element_type(layout.result(c, y), lhs.dtype)
