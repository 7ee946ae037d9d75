"""Convolutions of pictures so narrow that every output of a row meets every element of the row.

Along the last axis there is nothing to slide then: the row's elements are channels, and so are its
outputs. Without that axis no product is with padding, and the kernels for one dimension less have
long rows and many channels, which is what they are made for.
"""

import functools

import jax
from jax import lax

from cnn_jax.cpu import xla_convolution_layout as layout
from cnn_jax.cpu.convolution import Convolution, Kind

# The weights are put together anew for each call, which fewer products of each don't repay.
_FEWEST_POSITIONS = 32


def wins(c: Convolution) -> bool:
    """Whether the last axis can be made part of the channels, and is better there."""
    return c.batch * layout.size(c.output[:-1]) >= _FEWEST_POSITIONS and applies(c)


def applies(c: Convolution) -> bool:
    """Whether the last axis can be made part of the channels."""
    if c.feature_groups > 1 or c.batch_groups > 1 or c.kind is Kind.KERNEL_GRADIENT:
        return False
    return not layout.negative(c) and _rows(c) is not None


def merged(c: Convolution, lhs: jax.Array, rhs: jax.Array) -> jax.Array:
    """The convolution without its last spatial axis."""
    rows = _rows(c)
    assert rows is not None
    inputs, outputs = rows
    axes = c.lhs_axes
    x = lax.transpose(lhs, (axes.first, *axes.spatial, axes.second))
    x = lax.slice_in_dim(x, inputs.start, inputs.stop, axis=c.rank)
    x = lax.reshape(x, (*x.shape[:-2], len(inputs) * c.in_channels))
    y = _without_rows(c, x, _weights(c, layout.right(c, rhs), inputs, outputs))
    y = lax.reshape(y, (c.batch, *c.output[:-1], len(outputs), c.out_channels))
    around = (outputs.start, c.output[-1] - outputs.stop, 0)
    y = layout.pad(y, [*[(0, 0, 0)] * c.rank, around, (0, 0, 0)])
    return lax.convert_element_type(layout.result(c, y), lhs.dtype)


def _rows(c: Convolution) -> tuple[range, range] | None:
    """The inputs and the outputs of a row that meet any, if each of these meets all of those."""
    window = c.window[-1]
    if max(c.input[-1], c.output[-1]) > 2 * window:
        return None
    met = [(i, o) for i in range(c.input[-1]) for o in range(c.output[-1]) if _met(c, i, o)]
    if not met:
        return None
    inputs, outputs = (range(min(numbers), max(numbers) + 1) for numbers in zip(*met, strict=True))
    return (inputs, outputs) if len(met) == len(inputs) * len(outputs) else None


def _met(c: Convolution, i: int, o: int) -> bool:
    place, rest = _place(c, i, o)
    return rest == 0 and 0 <= place < c.window[-1]


def _place(c: Convolution, i: int, o: int) -> tuple[int, int]:
    """Where in the window of a row's output `o` its input `i` lies, and how far from there."""
    low, _ = c.padding[-1]
    return divmod(i * c.lhs_dilation[-1] + low - o * c.stride[-1], c.rhs_dilation[-1])


def _weights(c: Convolution, kernel: jax.Array, inputs: range, outputs: range) -> jax.Array:
    """The kernel as `[*window but the last, inputs * channels, outputs * channels]`."""
    axis = c.rank - 1

    def pair(i: int, o: int) -> jax.Array:
        return lax.index_in_dim(kernel, _place(c, i, o)[0], axis, keepdims=False)

    columns = [[pair(i, o) for i in inputs] for o in outputs]
    join = functools.partial(lax.concatenate, dimension=axis)
    return lax.concatenate([join(column) for column in columns], axis + 1)


def _without_rows(c: Convolution, x: jax.Array, weights: jax.Array) -> jax.Array:
    last = c.rank - 1
    if last == 0:
        return layout.dot(x, weights, ((1,), (0,)))
    spatial = tuple(range(last))
    pictures = (0, last + 1, *(axis + 1 for axis in spatial))
    return lax.conv_general_dilated(
        x,
        weights,
        c.stride[:-1],
        c.padding[:-1],
        c.lhs_dilation[:-1],
        c.rhs_dilation[:-1],
        layout.dimension_numbers(pictures, (last + 1, last, *spatial), pictures),
    )
