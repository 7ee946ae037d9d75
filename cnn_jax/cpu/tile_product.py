"""Convolutions and input gradients in bfloat16 by the processor's matrix units.

The rows of channels that windows meet are laid in one line with gaps, so that 16 positions after
each other meet an element of the window at one distance, and are multiplied with a matrix of the
kernel at once: two such tiles of positions by two of outputs, whose sums never leave the units
before all products are added up. oneDNN's kernels reach half of that rate.
"""

import math

from cnn_jax.cpu import native_library
from cnn_jax.cpu.convolution import Convolution, Kind


def wins(convolution: Convolution) -> bool:
    """Whether the method applies, and is faster than the kernels that oneDNN has of its own."""
    c = convolution
    if not _applies(c):
        return False
    return math.prod(c.window) > 1 and c.in_channels // c.feature_groups >= 64


def helps(convolution: Convolution) -> bool:
    """Whether it is faster where oneDNN has a slow kernel or none."""
    return _applies(convolution)


def _applies(c: Convolution) -> bool:
    layer = c.dtype == "bfloat16" and c.kind is not Kind.KERNEL_GRADIENT and c.batch_groups == 1
    return layer and not c.empty and 1 <= c.rank <= 3 and native_library.has_matrix_units()
