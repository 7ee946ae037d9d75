"""Convolutions of pictures padded before, where oneDNN has no kernel for the padding itself.

oneDNN's kernels refuse a padding as large as the window, one that some element of the kernel meets
alone, a negative one, and several for which they go wrong. XLA's own kernels take up to fifty times
as long as theirs and a copy of the picture, those of volumes and of kernel gradients above all.
"""

import dataclasses
from collections.abc import Callable

import jax

from cnn_jax.cpu import xla_convolution_layout as layout
from cnn_jax.cpu.convolution import Convolution

# Multiply-adds; with less a copy is not repaid.
_LEAST_WORK = 2_000_000


def applies(c: Convolution) -> bool:
    """Whether there is a padding to make first, and enough work to repay it."""
    padded = any(low or high for low, high in c.padding)
    dilated = any(step > 1 for step in c.lhs_dilation)
    return padded and not dilated and not c.empty and c.flops // 2 >= _LEAST_WORK


def without_padding(c: Convolution) -> Convolution:
    """The same convolution of the padded picture."""
    shape = list(c.lhs_shape)
    for axis, (low, high) in zip(c.lhs_axes.spatial, c.padding, strict=True):
        shape[axis] += low + high
    return dataclasses.replace(c, lhs_shape=tuple(shape), padding=((0, 0),) * c.rank)


def call(c: Convolution) -> Callable[[jax.Array, jax.Array], jax.Array]:
    """The function of the two operands that pads the left one, and convolves that."""

    def run(lhs: jax.Array, rhs: jax.Array) -> jax.Array:
        return layout.convolution_of_padded(c, layout.padded(c, lhs), rhs)

    return run
