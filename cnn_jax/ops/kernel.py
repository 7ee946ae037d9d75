"""What every operation with a sliding kernel checks and passes on in the same way."""

from typing import Any

from jax import Array, lax
from jax.typing import ArrayLike

from cnn_jax import xla_simplifier
from cnn_jax.ops.check import FLOATING, INTEGER, Call, Shape, as_array, check_bias, check_dtypes
from cnn_jax.ops.window import Pairs, Window, check_elements, whole_number


def operands(
    name: str, x: ArrayLike, kernel: ArrayLike, bias: ArrayLike | None
) -> tuple[Call, Array, Array, Array | None]:
    """The operands as arrays of one accepted dtype, and the call that names them in errors."""
    x, kernel = as_array(name, "x", x), as_array(name, "kernel", kernel)
    named = {"x": x, "kernel": kernel}
    if bias is not None:
        bias = named["bias"] = as_array(name, "bias", bias)
    call = Call(name, named)
    check_dtypes(call, FLOATING + INTEGER)
    if bias is not None and kernel.ndim:
        check_bias(call, kernel.shape[-1])
    return call, x, kernel, bias


def check_shapes(call: Call, groups: Any) -> tuple[Shape, Shape]:
    """The spatial sizes and the window, once ranks, channels and groups fit."""
    x, kernel = call.shape("x"), call.shape("kernel")
    rank = len(kernel) - 2
    if rank < 1:
        raise call.value_error(
            "kernel must be [*window, in_channels / groups, out_channels] with at least one "
            f"window dimension, but it has {len(kernel)} dimensions"
        )
    if len(x) < rank + 1:
        raise call.value_error(
            f"x must be [*batch, *spatial, channels] with {rank} spatial dimensions as in the "
            f"kernel's window, so at least {rank + 1} dimensions, but it has {len(x)}"
        )
    if 0 in kernel:
        raise call.value_error("kernel is empty")
    groups = whole_number(call, "groups", groups)
    channels, features = x[-1], kernel[-1]
    if channels != kernel[-2] * groups:
        raise call.value_error(
            f"kernel has {kernel[-2]} input channels per group, but x has {channels} channels "
            f"in {groups} group{'s' if groups > 1 else ''}"
        )
    if features % groups:
        raise call.value_error(
            f"groups must divide the output channels, but the kernel has {features} and "
            f"groups is {groups}"
        )
    return x[-rank - 1 : -1], kernel[:-2]


def output_shape(call: Call, window: Window) -> Shape:
    """The shape of the result, once it and the padded input can be counted."""
    x = call.shape("x")
    batch = x[: -window.rank - 1]
    padded = (n + sum(p) for n, p in zip(x[-window.rank - 1 : -1], window.padding, strict=True))
    check_elements(call, "the padded input", (*batch, *padded, x[-1]))
    shape = (*batch, *window.output, call.shape("kernel")[-1])
    check_elements(call, "the output", shape)
    return shape


def dimension_numbers(rank: int) -> lax.ConvDimensionNumbers:
    """Channels last: batch, spatial, features; window, input features, output features."""
    channels_last = (0, rank + 1, *range(1, rank + 1))
    return lax.ConvDimensionNumbers(channels_last, (rank + 1, rank, *range(rank)), channels_last)


def transposed_padding(window: Window, sizes: Shape, positions: Shape) -> Pairs:
    """What pads `positions`, set `stride` apart, for a window over them to end in `sizes`."""
    return tuple(
        (d - 1 - low, n - (m - 1) * s - 1 + low)
        for n, m, s, d, (low, _) in zip(
            sizes, positions, window.stride, window.span, window.padding, strict=True
        )
    )


def upsets_xla(window: Window, positions: Shape, pairs: Pairs) -> bool:
    """Whether XLA would abort on the transposed correlation of `positions`, padded by `pairs`."""
    return xla_simplifier.aborts(
        input=positions,
        window=window.size,
        lhs_dilation=window.stride,
        rhs_dilation=window.dilation,
        padding=pairs,
    )
