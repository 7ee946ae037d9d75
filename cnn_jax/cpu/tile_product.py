"""Convolutions and input gradients in bfloat16 by the processor's matrix units.

The rows of channels that windows meet are laid in one line with gaps, so that 16 positions after
each other meet an element of the window at one distance, and are multiplied with a matrix of the
kernel at once: two such tiles of positions by two of outputs, whose sums never leave the units
before all products are added up. oneDNN's kernels reach half of that rate.
"""

import math

from cnn_jax.cpu import gapped_line, native_library
from cnn_jax.cpu.convolution import Convolution, Kind

# Measured: a tile is 32 inputs deep and 16 outputs wide, and positions are copied for each group.
_FEWEST_INPUTS, _FEWEST_INPUTS_OF_GROUPS = 48, 128
_FEWEST_OUTPUTS = 16
# Of a gradient with a stride, which oneDNN is slow at.
_FEWEST_INPUTS_OF_STRIDED, _FEWEST_OUTPUTS_OF_STRIDED = 16, 8
# Of the line; its gaps are multiplied, too.
_LEAST_FILLED = 0.3
# Where oneDNN has only a slow kernel.
_FEWEST_CHANNELS = 8


def wins(convolution: Convolution) -> bool:
    """Whether the method applies, and is faster than the kernels that oneDNN has of its own."""
    c = convolution
    # A window of one element is a plain product, of which memory is the limit.
    if not _applies(c) or math.prod(c.window) == 1:
        return False
    inputs, outputs = c.in_group
    if max(c.lhs_dilation) > 1:
        return inputs >= _FEWEST_INPUTS_OF_STRIDED and outputs >= _FEWEST_OUTPUTS_OF_STRIDED
    least = _FEWEST_INPUTS if c.feature_groups == 1 else _FEWEST_INPUTS_OF_GROUPS
    if inputs < least or outputs < _FEWEST_OUTPUTS:
        return False
    return max(c.stride) > 1 or _filled(c) >= _LEAST_FILLED


def helps(convolution: Convolution) -> bool:
    """Whether it is faster where oneDNN has a slow kernel or none."""
    return _applies(convolution) and min(convolution.in_group) >= _FEWEST_CHANNELS


def _filled(c: Convolution) -> float:
    low = [low for low, _ in c.padding]
    return gapped_line.filled(c.input, c.output, c.window, c.stride, c.rhs_dilation, low)


def _applies(c: Convolution) -> bool:
    layer = c.dtype == "bfloat16" and c.kind is not Kind.KERNEL_GRADIENT and c.batch_groups == 1
    return layer and not c.empty and 1 <= c.rank <= 3 and native_library.has_matrix_units()
