"""Convolutions made of plain XLA operations, where those are faster than XLA's own rule."""

import functools

from cnn_jax.cpu import xla_convolution_depthwise as depthwise
from cnn_jax.cpu import xla_convolution_dot as dot
from cnn_jax.cpu import xla_convolution_grouped as grouped
from cnn_jax.cpu import xla_convolution_layout as layout
from cnn_jax.cpu import xla_convolution_narrow as narrow
from cnn_jax.cpu.choice import Choice, stock
from cnn_jax.cpu.convolution import Convolution
from cnn_jax.cpu.xla_convolution_layout import size

_FLOATS = {"float64", "float32", "bfloat16", "float16"}

# Each element of the window is code to compile.
_MOST_ELEMENTS = 81
# Less work than this, in multiply-adds, is over before a choice matters.
_LEAST_WORK, _LEAST_WORK_3D = 2_000_000, 5_000_000
# The input gradient of a depthwise convolution that makes so many outputs of each input.
_FEW_INPUTS = 4
# oneDNN's kernel gradients by channel are for windows up to this one; past it, sums by row are
# faster from so many channels on.
_WINDOW_BY_CHANNEL, _CHANNELS_BY_ROW = 3, 64
# Groups are joined until a dense convolution has as many channels, in so many calls at most. In
# three dimensions XLA's dense kernel is itself slow, and zeros between groups cost more.
_ENOUGH_CHANNELS = {1: 32, 2: 32, 3: 8}
_MOST_CALLS = 16
# Nor do zeros repay in a kernel gradient in three dimensions with fewer inputs to a group.
_FEWEST_INPUTS_JOINED = 4
# A first layer's kernel gradient is one matrix product if its result is narrow and long.
_LEAST_COLUMNS, _MOST_COLUMNS = 16, 32
# A sum of products for every output channel, where a matrix product's columns are short.
_MOST_PRODUCTS = 300
# Where so many inputs make one output, and outputs are this few, oneDNN's vectors are mostly empty.
_MANY_INPUTS, _FEW_OUTPUTS = 16, 4
# Fewer channels than these fill less than two of its vectors.
_TWO_VECTORS = 32
# A single output repays its product sooner than several, unless these have many times the inputs.
_WORK_FOR_ONE, _WORK_FOR_FEW = 1_000_000, 16_000_000
# With such a stride the terms of the sum are few, which this many inputs repay.
_LARGE_STRIDE, _VERY_MANY_INPUTS, _FEWER_OUTPUTS = 3, 256, 4
# Of a single output the terms of such a sum are moved apart one by one.
_LARGEST_WINDOW_MOVED = 9
# Where it leaves gaps between the windows, zeros in so many channels cost oneDNN as much as sums.
_MANY_ZEROS = 256
# One large product beats the products by image that oneDNN's general kernel makes.
_LARGE_PRODUCT = 400_000
# A shifted sum of that many terms is worth the memory that it goes through.
_LEAST_TERMS = 16


def choose(convolution: Convolution) -> Choice:
    """The kernel for a convolution, from its description."""
    c = convolution
    if c.dtype not in _FLOATS:
        return stock(f"no kernel for {c.dtype}")
    if c.empty:
        return stock("an array is empty")
    if not 1 <= c.rank <= 3:
        return stock(f"no kernel for {c.rank} spatial dimensions")
    if c.batch_groups > 1:
        return _batch_groups(c)
    if c.feature_groups > 1:
        return _feature_groups(c)
    return _dense(c)


def beats_onednn(c: Convolution, general: bool) -> bool:
    """Whether the kernel that `choose` finds is faster than oneDNN's.

    `general` is whether oneDNN has only the kernel that it uses where no other fits.
    """
    if c.dtype not in ("float32", "bfloat16") or c.empty or not 1 <= c.rank <= 3:
        return False
    if c.batch_groups > 1 and c.batch_groups == c.batch:
        return size(c.output) <= _MOST_ELEMENTS and (general or _onednn_works_by_group(c))
    # In bfloat16 oneDNN has the processor's matrix units.
    if c.dtype != "float32" or c.batch_groups > 1:
        return False
    if c.feature_groups > 1:
        each = c.feature_groups == c.in_channels and size(c.window) <= _MOST_ELEMENTS
        return each and (general or size(c.window) == 1)
    if narrow.wins(c):
        return True
    if _single_product(c):
        # oneDNN goes row by row through what a stride leaves; a volume has many.
        narrow_picture = c.rank == 2 and c.out_channels < _TWO_VECTORS
        strided = max(c.lhs_dilation) > 1 and (c.rank == 3 or narrow_picture)
        few = c.out_channels <= _FEW_OUTPUTS
        return general or (size(c.window) == 1 and (few or strided))
    return _one_output_of_many(c) or _few_outputs(c) or _has_large_stride(c)


def _onednn_works_by_group(c: Convolution) -> bool:
    """Whether oneDNN takes each channel for a group of 16, and is slower than a sum by row."""
    own = c.rank < 3 and max(c.output) <= _WINDOW_BY_CHANNEL and max(c.stride) == 1
    many = c.dtype == "bfloat16" or (c.rank == 2 and c.batch >= _CHANNELS_BY_ROW)
    return many and not own


def _single_product(c: Convolution) -> bool:
    """Whether the convolution, or its whole result, is one matrix product without a window."""
    if size(c.output) == 1 and size(c.window) > 1:
        return _work(c) >= _LARGE_PRODUCT
    if size(c.window) > 1:
        return False
    return max(size(c.lhs_shape), size(c.out_shape)) >= _LARGE_PRODUCT


def _feature_groups(c: Convolution) -> Choice:
    if c.feature_groups == c.in_channels and size(c.window) <= _MOST_ELEMENTS:
        return _choice("shifted products", "a kernel for each channel", depthwise.forward, c)
    few = c.in_channels <= _FEW_INPUTS * c.feature_groups
    if c.feature_groups == c.out_channels and few and size(c.window) <= _MOST_ELEMENTS:
        return _choice("shifted products", "one output for each group", depthwise.to_one, c)
    per_group = max(c.in_channels, c.out_channels) // c.feature_groups
    if _work(c) < _LEAST_WORK:
        return stock("little work")
    enough = _ENOUGH_CHANNELS[c.rank]
    together = grouped.joined(c.feature_groups, per_group, enough, _MOST_CALLS)
    if together == c.feature_groups and c.rank == 3:
        return stock("XLA's kernel is as fast")
    build = functools.partial(grouped.forward, together=together)
    return _choice("dense by group", "several groups", build, c)


def _batch_groups(c: Convolution) -> Choice:
    if c.batch_groups == c.batch and size(c.output) <= _MOST_ELEMENTS:
        return _choice(
            "shifted products by row", "a kernel for each channel", depthwise.kernel_gradient, c
        )
    if _work(c) < _LEAST_WORK or (c.rank == 3 and _work(c) < _LEAST_WORK_3D):
        return stock("little work")
    per_group = max(c.batch, c.out_channels) // c.batch_groups
    enough = _ENOUGH_CHANNELS[c.rank]
    together = grouped.joined(c.batch_groups, per_group, enough, _MOST_CALLS)
    few = c.batch < _FEWEST_INPUTS_JOINED * c.batch_groups
    if together == c.batch_groups and c.rank == 3 and few:
        return stock("XLA's kernel is as fast")
    build = functools.partial(grouped.kernel_gradient, together=together)
    return _choice("dense by group", "several groups", build, c)


def _dense(c: Convolution) -> Choice:
    if narrow.wins(c):
        return _choice("rows as channels", "a narrow picture", narrow.merged, c)
    # With zeros between the elements most products are for nothing.
    dense = max(c.lhs_dilation) == 1 or _work(c) >= _WORK_FOR_ONE
    if c.in_channels == 1 and dense and size(c.window) * c.out_channels <= _MOST_PRODUCTS:
        return _choice("shifted products", "one input channel", dot.one_input_channel, c)
    if _work(c) < _LEAST_WORK and not _single_product(c) and not _one_output_of_many(c):
        return stock("little work")
    if size(c.output) == 1 and size(c.window) > 1:
        return _choice("matrix product", "a 1x1 kernel's gradient", dot.kernel_gradient, c)
    if size(c.window) == 1:
        if any(step > 1 for step in c.stride):
            return stock("a strided 1x1 kernel")
        return _choice("matrix product", "a 1x1 kernel", dot.pointwise, c)
    if _one_output(c):
        return _choice("shifted sum of products", "one output channel", dot.one_output_channel, c)
    if _one_output_of_many(c) or _few_outputs(c):
        return _choice("shifted sum of products", "few output channels", dot.few_output_channels, c)
    if _has_large_stride(c):
        return _choice("shifted sum of products", "a large stride", dot.few_output_channels, c)
    # A window of many elements beside a small result is a kernel gradient's.
    columns = size(c.output) * c.batch
    suits = _LEAST_COLUMNS <= columns <= _MOST_COLUMNS <= c.out_channels
    if size(c.window) > _MOST_ELEMENTS and suits:
        return _choice("matrix product", "few input channels", dot.kernel_gradient, c)
    return stock("XLA's dense kernel")


def _one_output(c: Convolution) -> bool:
    terms = _LEAST_TERMS <= size(c.window) <= _MOST_ELEMENTS
    return c.out_channels == 1 and terms and not _is_moved_apart(c)


def _is_moved_apart(c: Convolution) -> bool:
    far = c.rank > 1 and min(c.lhs_dilation) >= _LARGE_STRIDE
    return c.out_channels == 1 and far and size(c.window) > _LARGEST_WINDOW_MOVED


def _one_output_of_many(c: Convolution) -> bool:
    return c.out_channels == 1 and _outputs_of_many(c) and _work(c) >= _WORK_FOR_ONE


def _few_outputs(c: Convolution) -> bool:
    very_many = c.in_channels >= 2 * _MANY_INPUTS * c.out_channels
    least = _LEAST_WORK if very_many else _WORK_FOR_FEW
    return c.out_channels <= _FEW_OUTPUTS and _outputs_of_many(c) and _work(c) >= least


def _outputs_of_many(c: Convolution) -> bool:
    many = c.in_channels > _MANY_INPUTS * c.out_channels
    return many and _can_be_shifted(c) and not _is_moved_apart(c)


def _has_large_stride(c: Convolution) -> bool:
    many = c.in_channels >= max(_VERY_MANY_INPUTS, _FEWER_OUTPUTS * c.out_channels)
    gaps = all(w < step for w, step in zip(c.window, c.lhs_dilation, strict=True))
    large = min(c.lhs_dilation) >= _LARGE_STRIDE
    return (
        large
        and (many or (gaps and c.out_channels >= _MANY_ZEROS))
        and _can_be_shifted(c)
        and _work(c) >= _LEAST_WORK
    )


def _can_be_shifted(c: Convolution) -> bool:
    return (
        1 < size(c.window) <= _MOST_ELEMENTS
        and all(step == 1 for step in c.stride)
        and not layout.negative(c)
    )


def _work(c: Convolution) -> int:
    return c.flops // 2


def _choice(kernel: str, reason: str, build, c: Convolution) -> Choice:
    return Choice(kernel, reason, functools.partial(build, c))
