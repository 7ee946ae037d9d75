"""Wide convolutions of 3x3 windows by Winograd's minimal filtering, F(2x2, 3x3).

Four results of a 3x3 window take 16 products instead of 36, on sums of the inputs and of the
weights. Those weigh by one and by a half alone, so that the error is that of a direct sum of
9 * channels products.

Source: Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016.
"""

import math

from cnn_jax.cpu.convolution import Convolution, Kind

_WINDOW = (3, 3)
_TILE = 2

# Measured: with fewer channels the sums cost more than the products saved, with fewer tiles the
# kernel's transform does.
_FEWEST_CHANNELS = 64
_FEWEST_TILES = 192
_LEAST_FILLED = 0.8


def wins(convolution: Convolution) -> bool:
    """Whether the method applies, and saves more in products than its sums cost."""
    c = convolution
    if c.dtype != "float32" or c.rank != 2 or c.empty:
        return False
    if c.feature_groups > 1 or c.batch_groups > 1:
        return False
    steps = (*c.stride, *c.lhs_dilation, *c.rhs_dilation)
    gradient = c.kind is Kind.KERNEL_GRADIENT
    window, result = (c.output, c.window) if gradient else (c.window, c.output)
    batch, channels = (c.in_channels, c.batch) if gradient else (c.batch, c.in_channels)
    if window != _WINDOW or any(step > 1 for step in steps):
        return False
    tiles = math.prod(-(-size // _TILE) for size in result)
    filled = math.prod(result) / (tiles * _TILE**2)
    return (
        min(channels, c.out_channels) >= _FEWEST_CHANNELS
        and batch * tiles >= _FEWEST_TILES
        and filled >= _LEAST_FILLED
    )
