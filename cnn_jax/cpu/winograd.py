"""Wide convolutions of 3x3 windows by Winograd's minimal filtering, F(2x2, 3x3).

Four results of a 3x3 window take 16 products instead of 36, on sums of the inputs and of the
weights. Those weigh by one and by a half alone, so that the error is that of a direct sum of
9 * channels products. Volumes are filtered slice by slice, under windows of any depth.

Source: Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016.
"""

import math
from typing import NamedTuple

from cnn_jax.cpu import native_library
from cnn_jax.cpu.convolution import Convolution, Kind

_WINDOW = (3, 3)
_TILE = 2

# Measured: with fewer channels the sums cost more than the products saved, with fewer tiles the
# kernel's transform does.
_FEWEST_CHANNELS = 64
# Processors with matrix units compute half as much with their vectors in the time, but move numbers
# as fast.
_FEWEST_CHANNELS_BESIDE_MATRICES, _FEWEST_CHANNELS_OF_KERNEL_BESIDE_MATRICES = 24, 40
_FEWEST_TILES = 192
_LEAST_FILLED = 0.8
# Of volumes, whose sums serve as many products as the window is deep.
_FEWEST_CHANNELS_FLAT, _FEWEST_CHANNELS_DEEP = 32, 8
_LEAST_FILLED_OF_VOLUMES = 0.7
# What a kernel gradient adds up is stored anew for each slice.
_FEWEST_TILES_OF_SLICE = 32


class _Layer(NamedTuple):
    """A convolution as the method sees it; axes are those of the result and of the window."""

    batch: int
    fewest_channels: int
    window: tuple[int, ...]
    result: tuple[int, ...]
    gradient: bool  # by the kernel

    def tiles(self) -> int:
        return self.batch * math.prod(-(-size // _TILE) for size in self.result[-2:])

    def filled(self) -> float:
        return self.batch * math.prod(self.result[-2:]) / (self.tiles() * _TILE**2)


def wins(convolution: Convolution) -> bool:
    """Whether the method applies, and saves more in products than its sums cost."""
    layer = _layer(convolution)
    if layer is None:
        return False
    return _wide_enough(layer) if len(layer.window) == 2 else _deep_enough(layer)


def helps(convolution: Convolution) -> bool:
    """Whether it is faster where oneDNN has a slow kernel or none."""
    layer = _layer(convolution)
    if layer is None or len(layer.window) == 2:
        return False
    return layer.gradient and layer.fewest_channels >= _FEWEST_CHANNELS_DEEP


def _layer(c: Convolution) -> _Layer | None:
    if c.dtype != "float32" or c.rank not in (2, 3) or c.empty:
        return None
    steps = (*c.stride, *c.lhs_dilation, *c.rhs_dilation, c.feature_groups, c.batch_groups)
    gradient = c.kind is Kind.KERNEL_GRADIENT
    window, result = (c.output, c.window) if gradient else (c.window, c.output)
    batch, channels = (c.in_channels, c.batch) if gradient else (c.batch, c.in_channels)
    if window[-2:] != _WINDOW or max(steps) > 1:
        return None
    return _Layer(batch, min(channels, c.out_channels), window, result, gradient)


def _fewest_channels(layer: _Layer) -> int:
    if not native_library.has_matrix_units():
        return _FEWEST_CHANNELS
    if layer.gradient:
        return _FEWEST_CHANNELS_OF_KERNEL_BESIDE_MATRICES
    return _FEWEST_CHANNELS_BESIDE_MATRICES


def _wide_enough(layer: _Layer) -> bool:
    return (
        layer.fewest_channels >= _fewest_channels(layer)
        and layer.tiles() >= _FEWEST_TILES
        and layer.filled() >= _LEAST_FILLED
    )


def _deep_enough(layer: _Layer) -> bool:
    fewest = _FEWEST_CHANNELS_FLAT if layer.window[0] == 1 else _FEWEST_CHANNELS_DEEP
    least = _FEWEST_TILES_OF_SLICE if layer.gradient else 1
    return (
        layer.fewest_channels >= fewest
        and layer.tiles() >= least
        and layer.tiles() * layer.result[0] >= _FEWEST_TILES
        and layer.filled() >= _LEAST_FILLED_OF_VOLUMES
    )
