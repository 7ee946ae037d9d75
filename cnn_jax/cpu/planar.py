"""Convolutions of few channels and all their gradients, by rows of single channels.

Vectors are of neighbouring positions. oneDNN's are of channels, and all but empty where there are
few.
"""

import math

from cnn_jax.cpu.convolution import Convolution, Kind

_MOST_CHANNELS = 8
_MOST_INPUTS_OF_GRADIENT = 64
# Measured: the last vector of a row is full to so much of all vectors.
_SHORTEST_ROW, _FILLED = 16, 0.7
_SMALLEST_WINDOW = 3
_MOST_OUTPUTS_OF_GRADIENT = 4
# In bfloat16 oneDNN takes two products at once, of two inputs.
_MOST_INPUTS_IN_BFLOAT16, _LONG_ROW = 3, 40


def wins(convolution: Convolution) -> bool:
    """Whether the method applies, and is faster than the kernels that oneDNN has of its own."""
    c = convolution
    if not _applies(c) or max(*c.lhs_dilation, *_stride(c)) > 1:
        return False
    row, vector = _positions(c)[-1], _SHORTEST_ROW
    if row < vector or row < _FILLED * vector * math.ceil(row / vector):
        return False
    if _inputs(c) > _MOST_CHANNELS or c.slid[-1] < _SMALLEST_WINDOW:
        return False
    if c.kind is Kind.KERNEL_GRADIENT:
        return c.out_channels <= _MOST_OUTPUTS_OF_GRADIENT
    if c.dtype == "float32":
        return True
    few = _inputs(c) == 1 or (_inputs(c) <= _MOST_INPUTS_IN_BFLOAT16 and row >= _LONG_ROW)
    return few and c.rank > 1


def helps(convolution: Convolution) -> bool:
    """Whether it is faster where oneDNN has a slow kernel or none."""
    c = convolution
    if not _applies(c) or c.slid[-1] < _SMALLEST_WINDOW:
        return False
    if c.kind is Kind.KERNEL_GRADIENT:
        slow = c.rank == 3 or max(_stride(c)) == 1
        return slow and _inputs(c) <= _MOST_INPUTS_OF_GRADIENT
    return _inputs(c) <= _MOST_CHANNELS and _positions(c)[-1] >= _SHORTEST_ROW


def _applies(c: Convolution) -> bool:
    if c.dtype not in ("float32", "bfloat16") or c.empty or not 1 <= c.rank <= 3:
        return False
    return max(c.feature_groups, c.batch_groups) == 1 and c.out_channels <= _MOST_CHANNELS


def _inputs(c: Convolution) -> int:
    return c.batch if c.kind is Kind.KERNEL_GRADIENT else c.in_channels


def _positions(c: Convolution) -> tuple[int, ...]:
    return c.window if c.kind is Kind.KERNEL_GRADIENT else c.output


def _stride(c: Convolution) -> tuple[int, ...]:
    return c.rhs_dilation if c.kind is Kind.KERNEL_GRADIENT else c.stride
