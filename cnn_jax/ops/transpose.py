"""The transpose of correlation, for any spatial rank."""

from collections.abc import Sequence
from typing import Any

from jax import Array, lax
from jax.typing import ArrayLike

from cnn_jax.ops.batch import flatten_batch, restore_batch
from cnn_jax.ops.bias import add_bias
from cnn_jax.ops.check import Call, Shape
from cnn_jax.ops.kernel import (
    check_shapes,
    dimension_numbers,
    operands,
    output_shape,
    transposed_padding,
    upsets_xla,
)
from cnn_jax.ops.window import Padding, Window, slide_transpose


def correlate_transpose(
    x: ArrayLike,
    kernel: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    stride: int | Sequence[int] = 1,
    padding: Padding = "VALID",
    output_padding: int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    precision: lax.PrecisionLike = None,
) -> Array:
    """The transpose of `correlate`: every input element stamps the kernel on the output.

    In one spatial dimension and one group, with all `y` starting at `bias`,

        y[i * stride + k * dilation - low, f] += x[i, c] * kernel[k, c, f]

    and what falls outside the output is dropped. It maps what `correlate`, with the same stride,
    padding, dilation and groups, gives back to what it takes: it is the gradient of `correlate`
    with respect to `x`, and the two are adjoint. In one group that `correlate` has the kernel
    `jnp.swapaxes(kernel, -1, -2)`.

    On an axis of size `n`, with a window that spans `d` elements, holes included, the output has

        (n - 1) * stride + d - low - high + output_padding

    elements, and `n * stride` with `"SAME"` and `"SAME_LOWER"`. `correlate` maps `stride` different
    sizes to `n`: `output_padding`, less than `stride`, says how far above the smallest of them the
    output lies. It adds no zeros but shows more of what the stamps cover.

    Args:
        x: `[*batch, *spatial, channels]`, with any number of batch dimensions, none included.
        kernel: `[*window, channels / groups, features]`: the layout of `correlate`, from this
            operation's own view of its inputs and outputs.
        bias: `[features]`, or None.
        stride: the distance between stamps, an int or one for each spatial axis.
        padding: as in `correlate`. Padding there is cropping here.
        output_padding: an int or one for each spatial axis; 0 with `"SAME"` and `"SAME_LOWER"`.
        dilation: the distance between the kernel's elements, an int or one for each spatial axis.
        groups: into how many runs the channels are cut.
        precision: passed to XLA, as in `jax.lax.conv_general_dilated`.

    Returns:
        `[*batch, *sizes, features]`, in the dtype of `x`; accumulated as in `correlate`.

    Raises:
        TypeError: as `correlate`.
        ValueError: as `correlate`, and for an `output_padding` that is not less than `stride`.

    Source: Dumoulin and Visin, 'A guide to convolution arithmetic for deep learning' (2016),
    chapter 4.

    >>> import jax.numpy as jnp
    >>> x, kernel = jnp.array([[1.0], [10.0]]), jnp.array([[[1.0]], [[2.0]], [[3.0]]])
    >>> correlate_transpose(x, kernel, stride=2)[:, 0].tolist()
    [1.0, 2.0, 13.0, 20.0, 30.0]
    """
    call, x, kernel, bias = operands("correlate_transpose", x, kernel, bias)
    window = _window(call, stride, padding, output_padding, dilation, groups)
    sizes = x.shape[-window.rank - 1 : -1]
    pairs = transposed_padding(window, window.output, sizes)
    crop = upsets_xla(window, sizes, pairs)
    if crop:
        pairs = tuple((low, high + 1) for low, high in pairs)
    flat, batch = flatten_batch(x, window.rank)
    y = lax.conv_general_dilated(
        flat,
        lax.rev(kernel, tuple(range(window.rank))),
        (1,) * window.rank,
        pairs,
        lhs_dilation=window.stride,
        rhs_dilation=window.dilation,
        dimension_numbers=dimension_numbers(window.rank),
        feature_group_count=int(groups),
        precision=precision,
    )
    if crop:
        y = y[(slice(None), *(slice(n) for n in window.output))]
    return restore_batch(add_bias(y, bias), batch)


def correlate_transpose_shape(
    x_shape: Shape,
    kernel_shape: Shape,
    *,
    stride: int | Sequence[int] = 1,
    padding: Padding = "VALID",
    output_padding: int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> Shape:
    """The shape that `correlate_transpose` gives, without an array; the errors are the same.

    >>> correlate_transpose_shape((8, 14, 14, 32), (3, 3, 32, 1), stride=2, padding="SAME")
    (8, 28, 28, 1)
    """
    call = Call("correlate_transpose", {"x": tuple(x_shape), "kernel": tuple(kernel_shape)})
    window = _window(call, stride, padding, output_padding, dilation, groups)
    return output_shape(call, window)


def _window(
    call: Call, stride: Any, padding: Any, output_padding: Any, dilation: Any, groups: Any
) -> Window:
    sizes, window = check_shapes(call, groups)
    slid = slide_transpose(
        call,
        sizes,
        window,
        stride=stride,
        padding=padding,
        output_padding=output_padding,
        dilation=dilation,
    )
    output_shape(call, slid)
    return slid
