"""Where oneDNN's kernels are slower than XLA's own, measured on drawn shapes, or wrong."""

import math

from cnn_jax.cpu import xla_convolution_layout as layout
from cnn_jax.cpu.convolution import Convolution, Kind

# The gradient of weights that don't fit into a core's cache is added to anew for every image, which
# so many output positions don't repay.
_LARGE_WEIGHTS, _FEW_POSITIONS = 1_000_000, 8
# The general kernel copies every window before its product, and makes one for every image.
_FEW_INPUTS, _LITTLE_WORK, _MANY_IMAGES, _SMALL_IMAGE = 4, 5_000_000, 32, 100_000
# Its kernels go row by row, which shorter rows don't repay unless channels fill whole vectors.
_ROWS_WORK = 1_000_000
_SHORT_ROW, _SHORT_ROWS_WORK = 3, 400_000
# Of the gradient that a single element of a window goes back from.
_SHORT_SINGLE_ROW = 4
# A result of so few channels leaves most of a vector empty. In a small window that is lost only
# where inputs are so many for each output.
_FEW_OUTPUTS, _VECTOR, _MANY_INPUTS = 4, 16, 16
_SMALL_WINDOW, _SOME_WORK = 9, 2_000_000
_FEW_FOR_A_STRIDE = 8
# Channels whose gradients go over the edge.
_NARROW = 4


def wrong(c: Convolution) -> str | None:
    """Why oneDNN's result would be wrong, or None."""
    # Seen with stride 3 and 1,000 output channels: a few bytes past the end of an array.
    few = c.out_channels // c.feature_groups <= _NARROW
    gradient = c.kind is Kind.INPUT_GRADIENT
    if c.dtype == "float32" and gradient and few and max(c.lhs_dilation, default=1) > 2:
        return "oneDNN reads past its array where few channels have a large stride"
    if c.dtype == "bfloat16" and c.batch_groups == c.batch > 1 and max(c.stride, default=1) > 1:
        return "oneDNN's bfloat16 kernel for dilated depthwise kernel gradients is wrong"
    return None


def slower(c: Convolution, general: bool) -> str | None:
    """Why XLA's own kernel is to be preferred, or None.

    `general` is whether oneDNN has only the kernel that it uses where no other fits.
    """
    # What takes something away XLA gets wrong, unless it is done first, and that is slow.
    if layout.negative(c):
        return None
    gradient = c.kind is Kind.KERNEL_GRADIENT
    groups = max(c.feature_groups, c.batch_groups)
    if c.dtype != "float32":
        slow = gradient and general and groups == 1 and c.rank == 3
        return "oneDNN has only its general kernel for this kernel gradient" if slow else None
    images = c.in_channels  # of a kernel gradient
    small = images >= _MANY_IMAGES and c.flops // 2 < _SMALL_IMAGE * images
    if gradient and general and groups == 1 and (c.batch > _FEW_INPUTS or small):
        return "oneDNN has only its general kernel for this kernel gradient"
    little = c.flops // 2 < _LITTLE_WORK
    if gradient and general and 1 < groups < c.batch and c.rank == 3 and little:
        return "oneDNN has only its general kernel for these groups"
    if groups > 1:
        return None
    if gradient and _has_large_weights(c):
        return "the weights are large beside the picture"
    step = c.lhs_dilation[-1]
    if math.prod(c.window) == 1 and step > 1 and c.rank == 2 and _has_short_single_rows(c):
        return "the rows are short, and channels don't fill their vectors"
    if gradient or math.prod(c.window) == 1:
        return None
    if step > 2 and c.in_channels <= 4 and c.output[-1] < 4 * step and c.flops // 2 >= _ROWS_WORK:
        return "the rows are narrow beside the stride"
    if any(step > 1 for step in c.lhs_dilation):
        few = c.rank > 1 and c.out_channels < _FEW_OUTPUTS and c.in_channels <= _FEW_FOR_A_STRIDE
        return "few channels on both sides of a stride" if few else None
    if _has_short_rows(c):
        return "the rows are short, and channels don't fill their vectors"
    if c.out_channels <= _FEW_OUTPUTS and _has_many_inputs(c) and c.flops // 2 >= _SOME_WORK:
        return "few output channels of many inputs"
    return None


def faster_in_float32(c: Convolution) -> str | None:
    """Why oneDNN's bfloat16 kernel is slower than a conversion to float32 and back, or None."""
    depthwise = 1 < c.feature_groups == c.in_channels == c.out_channels
    if c.dtype == "bfloat16" and depthwise and any(step > 1 for step in c.lhs_dilation):
        return "oneDNN's bfloat16 kernel for strided depthwise input gradients is slow"
    return None


def _has_short_rows(c: Convolution) -> bool:
    partly = c.out_channels < 2 * _VECTOR and c.out_channels % _VECTOR != 0
    short = c.rank == 2 and c.output[-1] <= _SHORT_ROW
    return short and partly and c.flops // 2 >= _SHORT_ROWS_WORK


def _has_short_single_rows(c: Convolution) -> bool:
    return c.input[-1] <= _SHORT_SINGLE_ROW and _VECTOR < c.out_channels < 2 * _VECTOR


def _has_many_inputs(c: Convolution) -> bool:
    if max(c.stride) > 1 or c.in_channels <= _VECTOR:
        return False
    large = math.prod(c.window) > _SMALL_WINDOW
    return large or c.in_channels >= _MANY_INPUTS * max(c.out_channels, 2)


def _has_large_weights(c: Convolution) -> bool:
    return (
        math.prod(c.output) > 1
        and math.prod(c.out_shape) >= _LARGE_WEIGHTS
        and math.prod(c.window) <= _FEW_POSITIONS
    )
