"""Kernel gradients as sums of outer products, of a pixel and the gradient at a position.

Such a product takes its two rows as they lie in memory, whatever the stride and the dilation, where
oneDNN first transposes or copies pictures. Rows that come next are fetched meanwhile. In bfloat16
the rows of two positions are put in pairs first, as the processor multiplies them. Where it has
matrix units, positions are laid in one line, with gaps as wide as the window reaches, so that 32 of
them and 16 channels on either side are multiplied at once.
"""

import math
from typing import NamedTuple

from cnn_jax.cpu import gapped_line, native_library
from cnn_jax.cpu.convolution import Convolution, Kind

# In bfloat16 the output's channels fill whole vectors. In float32 oneDNN is faster where they don't
# but for its general kernel.
_VECTOR = 16
# Without a stride planar rows are faster.
_FEW_OUTPUTS = 4

# Measured: with fewer input channels the registers are not filled, with fewer positions the threads
# are not, and in shorter rows the window leaves too few positions without padding.
_FEWEST_INPUTS = 16
_FEWEST_POSITIONS = 128
_SHORTEST_ROW = 28
# A window of one element reads every number once. oneDNN waits for them, which shows where there
# are few products for each.
_MANY_POSITIONS = 12_000
_FEW_PRODUCTS = 60

# Measured of bfloat16, which oneDNN multiplies as fast where its blocks are filled: they are not in
# short rows and with a stride. Fewer channels don't repay that they are put in pairs.
_FEWEST_INPUTS_OF_PAIRS = 24
_FEWEST_OUTPUTS_OF_PAIRS = 32
_FEWEST_POSITIONS_OF_PAIRS = 6_000
_SHORT_ROW = 8
_SHORT_DILATED_ROW = 14

# Measured of matrix units: with fewer channels their rows are empty, with more gaps their columns.
# With a stride oneDNN is slower.
_FEWEST_INPUTS_OF_MATRICES, _FEWEST_INPUTS_OF_STRIDED_MATRICES = 24, 4
_LEAST_FILLED = 0.2


def wins(convolution: Convolution) -> bool:
    """Whether the method applies, and is faster than oneDNN's own kernels."""
    c = convolution
    if not _applies(c) or c.out_channels % _VECTOR != 0:
        return False
    layer = _layer(c)
    if c.dtype == "float32":
        return _rows_win(layer)
    if native_library.has_matrix_units():
        if layer.strided:
            return layer.inputs >= _FEWEST_INPUTS_OF_STRIDED_MATRICES
        return layer.inputs >= _FEWEST_INPUTS_OF_MATRICES and _filled(c) >= _LEAST_FILLED
    return _pairs_win(layer)


def helps(convolution: Convolution) -> bool:
    """Whether it is faster than XLA's kernels and oneDNN's general ones."""
    c = convolution
    if not _applies(c):
        return False
    if c.dtype == "bfloat16":
        return c.out_channels % _VECTOR == 0
    layer = _layer(c)
    return layer.inputs > 1 and (layer.strided or layer.outputs > _FEW_OUTPUTS)


def _applies(c: Convolution) -> bool:
    if c.dtype not in ("float32", "bfloat16") or c.kind is not Kind.KERNEL_GRADIENT:
        return False
    return not c.empty and c.rank > 0 and c.batch_groups == 1 and max(c.lhs_dilation) == 1


class _Layer(NamedTuple):
    inputs: int
    outputs: int
    window: int
    positions: int
    rank: int
    row: int
    strided: bool
    dilated: bool


def _layer(c: Convolution) -> _Layer:
    """The layer whose kernel it is; the gradient has it as a window of the output's size."""
    return _Layer(
        inputs=c.batch,
        outputs=c.out_channels,
        window=math.prod(c.output),
        positions=c.in_channels * math.prod(c.window),
        rank=c.rank,
        row=c.window[-1],
        strided=max(c.rhs_dilation) > 1,
        dilated=max(c.stride) > 1,
    )


def _rows_win(layer: _Layer) -> bool:
    inputs, outputs = layer.inputs, layer.outputs
    if layer.window == 1:
        few = inputs * outputs < _FEW_PRODUCTS * (inputs + outputs)
        return not layer.strided and few and layer.positions >= _MANY_POSITIONS
    if inputs < _FEWEST_INPUTS or layer.positions < _FEWEST_POSITIONS:
        return False
    return layer.strided or (layer.dilated and layer.row >= _SHORTEST_ROW)


def _pairs_win(layer: _Layer) -> bool:
    if layer.strided and layer.window == 1:
        return True
    if layer.inputs < _FEWEST_INPUTS_OF_PAIRS or layer.outputs < _FEWEST_OUTPUTS_OF_PAIRS:
        return False
    if layer.window == 1:
        return layer.positions >= _FEWEST_POSITIONS_OF_PAIRS
    if layer.strided:
        return layer.dilated or layer.rank > 1
    short = _SHORT_DILATED_ROW if layer.dilated else _SHORT_ROW
    return layer.rank > 1 and layer.row < short


def _filled(c: Convolution) -> float:
    low = [low for low, _ in c.padding]
    return gapped_line.filled(c.input, c.window, c.output, c.rhs_dilation, c.stride, low)
