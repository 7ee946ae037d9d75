"""Convolutions and input gradients as a matrix product of the windows with the kernel.

No window is copied: the product takes its rows of channels from the picture where they lie, from
positions all over it. So short rows, strides and dilations cost nothing, where oneDNN's kernels
work along a row, and copy windows for what they have no kernel for. Where channels are few on one
side, the vectors are along the other. A kernel that is large beside what it is multiplied by is put
in order only as it is multiplied, in a core's cache, where oneDNN writes it to memory first.
"""

import math

from cnn_jax.cpu import tile_product
from cnn_jax.cpu.convolution import Convolution, Kind

_VECTOR = 16

# Measured: with fewer inputs to a group finding the rows takes longer than their products. Of
# gradients with a stride fewer repay it, since oneDNN is slower there.
_FEWEST_INPUTS, _FEWEST_INPUTS_OF_GRADIENT = 8, 5
# A vector of outputs or less oneDNN computes as fast, but of many inputs.
_MANY_INPUTS = 32
# So few outputs leave its vectors empty; ours are of inputs then. The more outputs, the more inputs
# it takes: this many times the square of the outputs.
_FEW_OUTPUTS, _INPUTS_BY_SQUARE = 8, 2
# Along longer rows oneDNN's kernels are as fast, or faster.
_SHORT_ROW, _SHORT_STRIDED_ROW, _SHORT_GRADIENT_ROW = 4, 8, 16
# Of a gradient with a stride oneDNN writes many channels slowly, the more so with a dilation.
_WIDE_GRADIENT, _WIDE_DILATED_GRADIENT = 192, 32
# And those of groups along a single axis.
_LARGE_STRIDE_OF_GROUPS = 3
# Of more inputs than these it is as fast only where outputs are some two to four vectors.
_MANY_INPUTS_OF_GRADIENT, _FEWER_OUTPUTS, _MORE_OUTPUTS = 64, 17, 64
# Of a gradient with a single output, and a small window.
_MANY_INPUTS_OF_ONE, _SMALL_WINDOW, _WORK_OF_ONE = 128, 9, 1_000_000
# As in native/implicit_product.cpp, which packs each block of columns only when it is multiplied.
_FEW_POSITIONS, _LARGE_KERNEL, _ONE_BLOCK = 256, 65_536, 64
# So much work is too little for oneDNN's threads, which sleep, and enough for XLA's.
_LEAST_WORK, _MOST_WORK = 2_000_000, 20_000_000
# Instead of a slow kernel it may have few of one kind of channels.
_FEW_INPUTS, _MANY_OUTPUTS = 4, 64
# Fewer products for each result take less time than finding their rows.
_FEWEST_PRODUCTS = 48


def wins(convolution: Convolution) -> bool:
    """Whether the method applies, and is faster than the kernels that oneDNN has of its own."""
    c = convolution
    if c.dtype == "bfloat16":
        return tile_product.wins(c)
    if not _applies(c):
        return False
    inputs, outputs = c.in_group
    strided = max(*c.stride, *c.lhs_dilation) > 1
    single = max(c.window) == 1
    if single and not strided:
        return False
    few = outputs <= _FEW_OUTPUTS and inputs >= max(_VECTOR, _INPUTS_BY_SQUARE * outputs**2)
    if few and not single and _has_many_products(c):
        return not _is_one_sum(c)
    if not single and _has_few_positions(c):
        return True
    if strided and c.kind is Kind.FORWARD:
        least = _FEWEST_INPUTS if outputs > _VECTOR else _MANY_INPUTS
        return inputs >= least and c.output[-1] <= _SHORT_STRIDED_ROW
    if strided:
        return _strided_gradient_wins(c)
    if c.rank != 2 or inputs < _FEWEST_INPUTS or outputs < _VECTOR:
        return False
    return c.output[-1] <= _SHORT_ROW or _LEAST_WORK <= c.flops // 2 < _MOST_WORK


def _strided_gradient_wins(convolution: Convolution) -> bool:
    c = convolution
    inputs, outputs = c.in_group
    if outputs >= _WIDE_GRADIENT:
        return True
    if c.rank == 1 and c.feature_groups > 1 and c.lhs_dilation[0] >= _LARGE_STRIDE_OF_GROUPS:
        return inputs >= _FEWEST_INPUTS_OF_GRADIENT
    if max(c.rhs_dilation) > 1:
        return outputs >= _WIDE_DILATED_GRADIENT
    short = c.input[-1] <= _SHORT_GRADIENT_ROW
    if max(c.window) == 1:
        # XLA's product is as fast for few outputs, if there is much work.
        few = outputs < _VECTOR and c.flops // 2 < _LEAST_WORK
        least = _MANY_INPUTS_OF_ONE if outputs == 1 else _MANY_INPUTS_OF_GRADIENT + 1
        repaid = short or (c.rank > 1 and inputs >= _MANY_INPUTS_OF_GRADIENT)
        many = outputs > _MORE_OUTPUTS or (outputs >= 2 * _VECTOR and repaid)
        return many or (few and inputs >= least)
    if inputs > _MANY_INPUTS_OF_GRADIENT:
        return outputs <= _FEWER_OUTPUTS or outputs > _MORE_OUTPUTS
    return inputs >= _FEWEST_INPUTS_OF_GRADIENT and outputs > _VECTOR and short


def _has_few_positions(c: Convolution) -> bool:
    """Whether the kernel, which oneDNN first copies, is large beside what it is multiplied by."""
    positions, outputs = c.batch * math.prod(c.output), c.out_channels
    large = c.in_channels * math.prod(c.window) * outputs >= _LARGE_KERNEL
    several = outputs > _ONE_BLOCK and c.feature_groups == 1
    return c.kind is Kind.FORWARD and positions <= _FEW_POSITIONS and large and several


def _is_one_sum(c: Convolution) -> bool:
    """Whether XLA's product with the whole window, added up where its columns meet, is faster."""
    one = c.out_channels == 1 and c.feature_groups == 1 and c.in_channels >= _MANY_INPUTS_OF_ONE
    small = c.rank > 1 and math.prod(c.window) <= _SMALL_WINDOW
    return one and small and max(c.lhs_dilation) > 1 and c.flops // 2 >= _WORK_OF_ONE


def helps(convolution: Convolution) -> bool:
    """Whether it is faster where oneDNN has a slow kernel or none."""
    c = convolution
    if c.dtype == "bfloat16":
        return tile_product.helps(c)
    if not _applies(c):
        return False
    inputs, outputs = c.in_group
    # A window that covers the picture meets padding for the most part.
    beyond = sum(w > n for w, n in zip(c.window, c.input, strict=True))
    product = max(*c.window, *c.stride, *c.lhs_dilation) == 1
    # XLA's own kernel in 3-D takes far longer than any.
    many = c.rank == 3 or _has_many_products(c)
    enough = inputs >= _FEW_INPUTS or outputs >= _MANY_OUTPUTS
    return enough and beyond < 2 and not product and many


def _applies(c: Convolution) -> bool:
    return (
        c.dtype == "float32"
        and c.kind is not Kind.KERNEL_GRADIENT
        and c.batch_groups == 1
        and not c.empty
        and 1 <= c.rank <= 3
    )


def _has_many_products(c: Convolution) -> bool:
    inputs, _ = c.in_group
    return inputs * math.prod(c.window) >= _FEWEST_PRODUCTS * math.prod(c.lhs_dilation)
