"""Grouped convolutions as a few dense ones.

XLA has a fast kernel for dense convolutions alone. Groups of few channels are joined, with zeros
between them in the kernel, until a dense convolution is worth its call.
"""

from collections.abc import Sequence

import jax
import numpy as np
from jax import lax

from cnn_jax.cpu import xla_convolution_layout as layout
from cnn_jax.cpu.convolution import Convolution


def joined(groups: int, channels: int, enough: int, most_calls: int) -> int:
    """How many groups of so many channels make one dense convolution."""
    divisors = [count for count in range(1, groups + 1) if groups % count == 0]
    small = [count for count in divisors if count == 1 or count * channels <= enough]
    few = [count for count in divisors if groups // count <= most_calls]
    return max(small[-1], few[0])


def forward(c: Convolution, lhs: jax.Array, rhs: jax.Array, *, together: int) -> jax.Array:
    """A convolution with several feature groups."""
    calls = c.feature_groups // together
    inputs, outputs = c.in_group
    spatial = len(c.window)
    kernel = lax.reshape(layout.right(c, rhs), (*c.window, inputs, calls, together, outputs))
    if together > 1:
        # [*window, group of the input, input, call, group of the output, output]
        shape = (*c.window, together, inputs, calls, together, outputs)
        others = [*range(spatial), *range(spatial + 1, spatial + 5)]
        kernel = lax.broadcast_in_dim(kernel, shape, others)
        own = np.broadcast_to(
            np.eye(together, dtype=bool)[:, None, None, :, None],
            shape[spatial:],
        )
        own = lax.broadcast_in_dim(own, shape, range(spatial, spatial + 5))
        kernel = lax.select(own, kernel, lax.full_like(kernel, 0))
    kernel = lax.reshape(kernel, (*c.window, together * inputs, calls * together * outputs))
    axes = (spatial + 1, spatial, *range(spatial))
    lhs, padding, lhs_dilation = layout.cropped(c, lhs)
    parts = [
        lax.conv_general_dilated(
            x,
            weights,
            c.stride,
            padding,
            lhs_dilation,
            c.rhs_dilation,
            layout.dimension_numbers(c.lhs_axes, axes, c.out_axes),
        )
        for x, weights in zip(
            _split(lhs, calls, c.lhs_axes.second),
            _split(kernel, calls, spatial + 1),
            strict=True,
        )
    ]
    return lax.concatenate(parts, c.out_axes.second)


def kernel_gradient(c: Convolution, lhs: jax.Array, rhs: jax.Array, *, together: int) -> jax.Array:
    """A convolution with several batch groups.

    Of each dense kernel gradient the blocks on the diagonal are the groups' own.
    """
    calls = c.batch_groups // together
    inputs = c.batch // c.batch_groups
    outputs = c.out_channels // c.batch_groups
    spatial = len(c.output)
    axes = (spatial, spatial + 1, *range(spatial))
    lhs, padding, lhs_dilation = layout.cropped(c, lhs)
    parts = []
    for x, dy in zip(
        _split(lhs, calls, c.lhs_axes.first),
        _split(rhs, calls, c.rhs_axes.first),
        strict=True,
    ):
        dense = lax.conv_general_dilated(
            x,
            dy,
            c.stride,
            padding,
            lhs_dilation,
            c.rhs_dilation,
            layout.dimension_numbers(c.lhs_axes, c.rhs_axes, axes),
        )
        parts += [
            dense[..., i * inputs : (i + 1) * inputs, i * outputs : (i + 1) * outputs]
            for i in range(together)
        ]
    return layout.result_of_kernel(c, lax.concatenate(parts, spatial + 1))


def _split(array: jax.Array, count: int, axis: int) -> Sequence[jax.Array]:
    return lax.split(array, (array.shape[axis] // count,) * count, axis)
