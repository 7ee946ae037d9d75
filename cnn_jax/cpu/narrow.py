"""Convolutions with few outputs or few inputs, and their gradients, by whole rows of their windows.

The channels of neighbouring pixels lie next to each other, so that a window's row is one vector, of
its width times the channels. oneDNN's vectors are of outputs, and all but empty where these are
few. Where inputs are few, vectors are of outputs here as well; oneDNN has only slow kernels for
them in volumes, and for hundreds of outputs. Of a gradient with a stride the rows of what is given
are multiplied by the kernel's, and the products added up where they meet.
"""

import math

from cnn_jax.cpu import native_library
from cnn_jax.cpu.convolution import Convolution, Kind

# Measured, in float32 beside implicit products and oneDNN, in bfloat16 beside oneDNN, which takes
# two products at once there.
_MOST_OUTPUTS = {"float32": 8, "bfloat16": 4}
_FEWEST_PRODUCTS = {"float32": 64, "bfloat16": 128}
_FEWEST_INPUTS = 6
# Of more inputs, or in shorter rows, implicit products are as fast.
_MOST_INPUTS, _SHORTEST_ROW = 96, 8
# Of volumes; in bfloat16 oneDNN takes two products at once.
_FEW_INPUTS, _SOME_OUTPUTS = {"float32": 4, "bfloat16": 1}, 8
# Where the processor has matrix units, oneDNN takes far more at once, and repays smaller windows.
_SMALLEST_WINDOW_BESIDE_MATRICES = 25
# Windows that hardly overlap leave little to keep.
_SMALL_STRIDE = 2
# Of a gradient with a stride: so few outputs, so many inputs that make them, and so long rows of
# what is given.
_OUTPUTS_OF_INPUTS = ((4, 8), (8, 16), (12, 32))
_SHORTEST_GIVEN = 3
# A single output, and few elements in a window's row, leave vectors all but empty, which so many
# inputs show.
_FEW_ELEMENTS, _MANY_GIVEN = 5, 128
# Of a gradient with a stride under a window of one element.
_SOME_OUTPUTS_OF_SINGLE, _MOST_OUTPUTS_OF_SINGLE, _FEWEST_INPUTS_OF_SINGLE = 3, 8, 64
# oneDNN writes a block of outputs after the other, far from each other where there are so many.
_MANY_OUTPUTS, _MOST_PRODUCTS = 256, 64


def wins(convolution: Convolution) -> bool:
    """Whether the method applies, and is faster than the kernels that oneDNN has of its own."""
    c = convolution
    if c.dtype not in _MOST_OUTPUTS or c.kind is Kind.KERNEL_GRADIENT or c.empty:
        return False
    if not 1 <= c.rank <= 3 or max(c.feature_groups, c.batch_groups) > 1:
        return False
    if max(c.lhs_dilation) > 1:
        return _strided_gradient_wins(c)
    if math.prod(c.window) == 1:
        return max(c.stride) > 1 and _has_few_of_many(c)
    if c.rhs_dilation[-1] > 1 or _is_for_matrices(c):
        return False
    return _has_few_outputs(c) or _has_few_inputs_of_volumes(c) or _has_few_of_many(c)


def _is_for_matrices(c: Convolution) -> bool:
    small = math.prod(c.window) < _SMALLEST_WINDOW_BESIDE_MATRICES
    return c.dtype == "bfloat16" and small and native_library.has_matrix_units()


def _has_few_outputs(c: Convolution) -> bool:
    products = c.in_channels * math.prod(c.window)
    if c.out_channels > _MOST_OUTPUTS[c.dtype] or products < _FEWEST_PRODUCTS[c.dtype]:
        return False
    beside_implicit = c.in_channels <= _MOST_INPUTS and c.output[-1] >= _SHORTEST_ROW
    return c.in_channels >= _FEWEST_INPUTS and (c.dtype == "bfloat16" or beside_implicit)


def _has_few_inputs_of_volumes(c: Convolution) -> bool:
    if c.rank != 3 or c.in_channels > _FEW_INPUTS[c.dtype]:
        return False
    overlapping = max(c.stride) <= _SMALL_STRIDE or min(c.window) > max(c.stride)
    return overlapping and c.out_channels >= _SOME_OUTPUTS


def _has_few_of_many(c: Convolution) -> bool:
    few = c.in_channels * math.prod(c.window) <= _MOST_PRODUCTS
    return c.dtype == "float32" and few and c.out_channels >= _MANY_OUTPUTS


def _strided_gradient_wins(c: Convolution) -> bool:
    if c.dtype != "float32" or max(c.stride) > 1:
        return False
    if math.prod(c.window) == 1:
        some = _SOME_OUTPUTS_OF_SINGLE <= c.out_channels <= _MOST_OUTPUTS_OF_SINGLE
        return some and c.in_channels >= _FEWEST_INPUTS_OF_SINGLE
    if c.out_channels == 1 and c.window[-1] <= _FEW_ELEMENTS and c.in_channels >= _MANY_GIVEN:
        return False
    few = any(c.out_channels <= out and c.in_channels >= given for out, given in _OUTPUTS_OF_INPUTS)
    return few and c.input[-1] >= _SHORTEST_GIVEN
