"""Convolutions of each channel by itself, along rows that stay in a core's nearest caches.

oneDNN has depthwise kernels of its own in 2-D alone, and not for large windows, dilated gradients
or bfloat16 gradients with a stride. They fetch the memory that a result is written to, which takes
most of their time where it is large.
"""

import math

from cnn_jax.cpu import native_library
from cnn_jax.cpu.convolution import Convolution, Kind

# Measured: with fewer channels vectors are all but empty. Of bfloat16 oneDNN takes each channel for
# a group.
_FEWEST_CHANNELS = {"float32": 5, "bfloat16": 2}
# oneDNN's kernels work along a row.
_SHORT_ROW = 5
# In bfloat16, beside matrix units, where alone it was measured.
_SHORT_ROW_BESIDE_MATRICES = 14
# For larger ones, and with a dilation, oneDNN's kernel gradients take each channel for a group.
_LARGEST_WINDOW = 3
_WHOLE_VECTORS = 16


def wins(convolution: Convolution) -> bool:
    """Whether the method applies, and is faster than the kernels that oneDNN has of its own."""
    c = convolution
    if not _applies(c) or math.prod(c.slid) == 1:
        return False
    if c.rank != 2:
        return _channels(c) >= _FEWEST_CHANNELS[c.dtype]
    if c.kind is Kind.KERNEL_GRADIENT:
        own = max(c.output) <= _LARGEST_WINDOW and max(c.stride) == 1
        return not own and _channels(c) >= _FEWEST_CHANNELS[c.dtype]
    if _has_large_result(c) and (c.kind is Kind.INPUT_GRADIENT or _rarely_leaves_rows(c)):
        return True
    if max(c.lhs_dilation) > 1:
        return c.dtype == "bfloat16" or max(c.rhs_dilation) > 1
    if _is_short_beside_matrices(c):
        return True
    dilated_gradient = c.kind is Kind.INPUT_GRADIENT and max(c.rhs_dilation) > 1
    return dilated_gradient or c.output[-1] <= _SHORT_ROW


def helps(convolution: Convolution) -> bool:
    """Whether it is faster where oneDNN has a slow kernel or none."""
    return _applies(convolution)


def _applies(c: Convolution) -> bool:
    if c.dtype not in ("float32", "bfloat16") or c.empty or not 1 <= c.rank <= 3:
        return False
    return 1 < max(c.feature_groups, c.batch_groups) == _channels(c) == c.out_channels


def _is_short_beside_matrices(c: Convolution) -> bool:
    larger = max(c.window) > _LARGEST_WINDOW or c.kind is Kind.INPUT_GRADIENT
    short = c.output[-1] <= _SHORT_ROW_BESIDE_MATRICES and max(c.stride) == 1
    return larger and short and c.dtype == "bfloat16" and native_library.has_matrix_units()


def _has_large_result(c: Convolution) -> bool:
    if c.dtype != "float32" or c.out_channels % _WHOLE_VECTORS != 0:
        return False
    try:
        large = native_library.kept_in_caches()
    except native_library.NativeLibraryError:
        return False
    # What a gradient with a stride is made from is small, and leaves room in the caches.
    if max(c.lhs_dilation) > 1:
        large *= 2
    return 4 * c.batch * math.prod(c.output) * c.out_channels > large


def _rarely_leaves_rows(c: Convolution) -> bool:
    # With a stride oneDNN's own is faster.
    row, reach = c.output[-1], (c.window[-1] - 1) * c.rhs_dilation[-1]
    return max(c.stride) == 1 and 4 * reach <= row


def _channels(c: Convolution) -> int:
    return c.batch if c.batch_groups > 1 else c.in_channels
