"""Where oneDNN's kernels are slower than XLA's own, measured on shapes drawn at random."""

import math

from cnn_jax.cpu import xla_convolution_layout as layout
from cnn_jax.cpu.convolution import Convolution, Kind

# Weights that don't fit into a core's cache are fetched anew for every image, which so many output
# positions don't repay.
_LARGE_WEIGHTS, _FEW_POSITIONS = 1_000_000, 32
# With up to 4 input channels oneDNN has kernels of its own, with 16 its vectors are full.
_BETWEEN, _MANY_OUTPUTS, _LARGE_RESULT = range(5, 9), 96, 900_000
# The general kernel copies every window before its product, and makes one for every image.
_FEW_INPUTS, _LITTLE_WORK, _MANY_IMAGES, _SMALL_IMAGE = 8, 5_000_000, 32, 100_000
# Its kernels go row by row.
_LONG, _ROWS_WORK = 64, 1_000_000
# A result of so few channels leaves most of a vector empty.
_FEW_OUTPUTS, _MANY_INPUTS, _SOME_WORK = range(2, 5), 16, 2_000_000
_VERY_MANY_INPUTS = 256


def slower(c: Convolution, general: bool) -> str | None:
    """Why XLA's own kernel is to be preferred, or None.

    `general` is whether oneDNN has only the kernel that it uses where no other fits.
    """
    # What takes something away XLA gets wrong, unless it is done first, and that is slow.
    if c.dtype != "float32" or layout.negative(c):
        return None
    gradient = c.kind is Kind.KERNEL_GRADIENT
    groups = max(c.feature_groups, c.batch_groups)
    images = c.in_channels  # of a kernel gradient
    small = images >= _MANY_IMAGES and c.flops // 2 < _SMALL_IMAGE * images
    if gradient and general and groups == 1 and (c.batch > _FEW_INPUTS or small):
        return "oneDNN has only its general kernel for this kernel gradient"
    little = c.flops // 2 < _LITTLE_WORK
    if gradient and general and 1 < groups < c.batch and c.rank == 3 and little:
        return "oneDNN has only its general kernel for these groups"
    if groups > 1:
        return None
    if c.kind is not Kind.INPUT_GRADIENT and _has_large_weights(c):
        return "the weights are large beside the picture"
    if gradient or math.prod(c.window) == 1:
        return None
    step = c.lhs_dilation[-1]
    if step > 2 and c.in_channels <= 4 and c.output[-1] < 4 * step and c.flops // 2 >= _ROWS_WORK:
        return "the rows are narrow beside the stride"
    if any(step > 1 for step in c.lhs_dilation):
        return None
    if c.rank == 2 and _has_rows_of_one(c):
        return "the rows are single elements"
    large = math.prod(c.out_shape) >= _LARGE_RESULT
    if c.in_channels in _BETWEEN and c.out_channels >= _MANY_OUTPUTS and large:
        return "few input channels make a large result"
    many = c.in_channels >= _MANY_INPUTS * c.out_channels and max(c.stride) == 1
    if c.out_channels in _FEW_OUTPUTS and many and c.flops // 2 >= _SOME_WORK:
        return "few output channels of many inputs"
    if c.out_channels == 1 and c.in_channels >= _VERY_MANY_INPUTS and max(c.stride) > 1:
        return "one output channel of many inputs"
    return None


def faster_in_float32(c: Convolution) -> str | None:
    """Why oneDNN's bfloat16 kernel is slower than a conversion to float32 and back, or None."""
    depthwise = 1 < c.feature_groups == c.in_channels == c.out_channels
    if c.dtype == "bfloat16" and depthwise and any(step > 1 for step in c.lhs_dilation):
        return "oneDNN's bfloat16 kernel for strided depthwise input gradients is slow"
    return None


def _has_rows_of_one(c: Convolution) -> bool:
    one = c.output[-1] == 1 or (c.kind is Kind.INPUT_GRADIENT and c.input[-1] == 1)
    return one and c.window[-1] > 1 and max(c.stride) == 1 and max(c.output) >= _LONG


def _has_large_weights(c: Convolution) -> bool:
    weights, window, positions = c.rhs_shape, c.window, c.output
    if c.kind is Kind.KERNEL_GRADIENT:
        weights, window, positions = c.out_shape, c.output, c.window
    return (
        math.prod(window) > 1
        and math.prod(weights) >= _LARGE_WEIGHTS
        and math.prod(positions) <= _FEW_POSITIONS
    )
