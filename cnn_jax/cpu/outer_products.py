"""Kernel gradients as sums of outer products, of a pixel and the gradient at a position.

Such a product takes its two rows as they lie in memory, whatever the stride and the dilation, where
oneDNN first transposes or copies pictures. Rows that come next are fetched meanwhile.
"""

import math

from cnn_jax.cpu.convolution import Convolution, Kind

# The output's channels fill whole vectors.
_VECTOR = 16

# Measured: with fewer input channels the registers are not filled, with fewer positions the threads
# are not, and in shorter rows the window leaves too few positions without padding.
_FEWEST_INPUTS = 16
_FEWEST_POSITIONS = 128
_SHORTEST_ROW = 28
# A window of one element reads every number once. oneDNN waits for them, which shows where there
# are few products for each.
_MANY_POSITIONS = 12_000
_FEW_PRODUCTS = 60


def wins(convolution: Convolution) -> bool:
    """Whether the method applies, and is faster than oneDNN's own kernels."""
    c = convolution
    if c.dtype != "float32" or c.kind is not Kind.KERNEL_GRADIENT:
        return False
    if c.empty or c.rank == 0 or c.batch_groups > 1 or max(c.lhs_dilation) > 1:
        return False
    # Of the layer whose kernel it is; the gradient has it as a window of the output's size.
    inputs, outputs, window = c.batch, c.out_channels, math.prod(c.output)
    positions = c.in_channels * math.prod(c.window)
    strided, dilated = max(c.rhs_dilation) > 1, max(c.stride) > 1
    if outputs % _VECTOR != 0:
        return False
    if window == 1:
        few = inputs * outputs < _FEW_PRODUCTS * (inputs + outputs)
        return not strided and few and positions >= _MANY_POSITIONS
    if inputs < _FEWEST_INPUTS or positions < _FEWEST_POSITIONS:
        return False
    return strided or (dilated and c.window[-1] >= _SHORTEST_ROW)
