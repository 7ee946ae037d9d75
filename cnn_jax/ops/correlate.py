"""Correlation and convolution, for any spatial rank."""

from collections.abc import Sequence
from typing import Any, Literal

import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike

from cnn_jax.ops.batch import flatten_batch, restore_batch
from cnn_jax.ops.bias import add_bias
from cnn_jax.ops.check import Call, Shape, as_array
from cnn_jax.ops.kernel import (
    check_shapes,
    dimension_numbers,
    operands,
    output_shape,
    transposed_padding,
    upsets_xla,
)
from cnn_jax.ops.window import Padding, Window, slide

PaddingMode = Literal["zeros", "reflect", "replicate", "circular"]

_PAD_MODES = {"zeros": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}


def correlate(
    x: ArrayLike,
    kernel: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    stride: int | Sequence[int] = 1,
    padding: Padding = "VALID",
    padding_mode: PaddingMode = "zeros",
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    precision: lax.PrecisionLike = None,
) -> Array:
    """Slides a kernel over the input and takes the dot product with it at every position.

    In one spatial dimension and one group, with `x` already padded,

        y[o, f] = bias[f] + sum over k, c of x[o * stride + k * dilation, c] * kernel[k, c, f]

    This is what deep learning calls convolution; `convolve` flips the kernel first. With `groups`,
    the input and output channels are cut into that many equal runs, and each run of outputs sees
    only its own run of inputs; as many groups as input channels is a depthwise correlation.

    Args:
        x: `[*batch, *spatial, channels]`, with any number of batch dimensions, none included.
        kernel: `[*window, channels / groups, features]`. The number of its window dimensions is
            the number of spatial dimensions.
        bias: `[features]`, or None.
        stride: the distance between positions, an int or one for each spatial axis.
        padding: `"VALID"`, `"SAME"`, `"SAME_LOWER"`, `"FULL"`, `"CAUSAL"`, an int, a sequence of
            ints, or a sequence of `(low, high)` pairs; `cnn_jax.ops.window` defines each.
        padding_mode: what the padding holds. For `1234` and a padding of two: `"zeros"` is
            `00123400`, `"reflect"` is `32123432`, `"replicate"` is `11123444` and `"circular"`
            is `34123412`.
        dilation: the distance between the kernel's elements, an int or one for each spatial axis.
        groups: into how many runs the channels are cut.
        precision: passed to XLA, as in `jax.lax.conv_general_dilated`.

    Returns:
        `[*batch, *positions, features]`, in the dtype of `x`. float16 and bfloat16 are accumulated
        in float32 and rounded once; integers wrap around as NumPy's do.

    Raises:
        TypeError: for a dtype that is not a real float or an integer, operands of different
            dtypes, or a stride, padding, dilation or group count that is not made of ints.
        ValueError: for shapes that do not fit, numbers out of range, an empty input or output, or
            a reflection wider than the input.

    Source: Dumoulin and Visin, 'A guide to convolution arithmetic for deep learning' (2016).

    >>> import jax.numpy as jnp
    >>> signal = jnp.array([[0.0], [0.0], [1.0], [0.0], [1.0]])
    >>> lonely = jnp.array([[[-1.0]], [[1.0]], [[-1.0]]])
    >>> correlate(signal, lonely, padding="SAME")[:, 0].tolist()
    [0.0, -1.0, 1.0, -2.0, 1.0]
    """
    return _correlate(
        "correlate", x, kernel, bias, stride, padding, padding_mode, dilation, groups, precision
    )


def convolve(
    x: ArrayLike,
    kernel: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    stride: int | Sequence[int] = 1,
    padding: Padding = "VALID",
    padding_mode: PaddingMode = "zeros",
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    precision: lax.PrecisionLike = None,
) -> Array:
    """Convolution as mathematics has it: `correlate` with the kernel flipped on every window axis.

    In one spatial dimension and one group, with `x` already padded and `n` elements in the window,

        y[o, f] = bias[f] + sum over k, c of
                  x[o * stride + k * dilation, c] * kernel[n - 1 - k, c, f]

    The arguments, shapes, dtypes and errors are those of `correlate`. With `padding="FULL"` it
    multiplies polynomials.

    >>> import jax.numpy as jnp
    >>> one_plus_x, one_plus_2x = jnp.array([[1.0], [1.0]]), jnp.array([[[1.0]], [[2.0]]])
    >>> convolve(one_plus_x, one_plus_2x, padding="FULL")[:, 0].tolist()
    [1.0, 3.0, 2.0]
    """
    kernel = as_array("convolve", "kernel", kernel)
    flipped = lax.rev(kernel, tuple(range(kernel.ndim - 2)))
    return _correlate(
        "convolve", x, flipped, bias, stride, padding, padding_mode, dilation, groups, precision
    )


def correlate_shape(
    x_shape: Shape,
    kernel_shape: Shape,
    *,
    stride: int | Sequence[int] = 1,
    padding: Padding = "VALID",
    padding_mode: PaddingMode = "zeros",
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> Shape:
    """The shape that `correlate` and `convolve` give, without an array; the errors are the same.

    >>> correlate_shape((8, 28, 28, 1), (3, 3, 1, 32), stride=2, padding="SAME")
    (8, 14, 14, 32)
    """
    call = Call("correlate", {"x": tuple(x_shape), "kernel": tuple(kernel_shape)})
    window = _window(call, stride, padding, padding_mode, dilation, groups)
    return output_shape(call, window)


def _correlate(
    name: str,
    x: ArrayLike,
    kernel: ArrayLike,
    bias: ArrayLike | None,
    stride: Any,
    padding: Any,
    padding_mode: Any,
    dilation: Any,
    groups: Any,
    precision: lax.PrecisionLike,
) -> Array:
    call, x, kernel, bias = operands(name, x, kernel, bias)
    window = _window(call, stride, padding, padding_mode, dilation, groups)
    flat, batch = flatten_batch(x, window.rank)
    pairs = window.padding
    gradient_pairs = transposed_padding(window, flat.shape[1:-1], window.output)
    if padding_mode != "zeros" or upsets_xla(window, window.output, gradient_pairs):
        flat = jnp.pad(flat, ((0, 0), *pairs, (0, 0)), mode=_PAD_MODES[padding_mode])
        pairs = ((0, 0),) * window.rank
    y = lax.conv_general_dilated(
        flat,
        kernel,
        window.stride,
        pairs,
        rhs_dilation=window.dilation,
        dimension_numbers=dimension_numbers(window.rank),
        feature_group_count=int(groups),
        precision=precision,
    )
    return restore_batch(add_bias(y, bias), batch)


def _window(
    call: Call, stride: Any, padding: Any, padding_mode: Any, dilation: Any, groups: Any
) -> Window:
    sizes, window = check_shapes(call, groups)
    slid = slide(call, sizes, window, stride=stride, padding=padding, dilation=dilation)
    if padding_mode not in tuple(_PAD_MODES):
        accepted = ", ".join(repr(mode) for mode in _PAD_MODES)
        raise call.value_error(f"padding_mode must be one of {accepted}, not {padding_mode!r}")
    if padding_mode == "reflect":
        for axis, (n, pair) in enumerate(zip(sizes, slid.padding, strict=True)):
            if max(pair) >= n:
                raise call.value_error(
                    f"a reflection is at most {n - 1} wide on spatial axis {axis}, which has "
                    f"{n} elements, but padding is {pair} there"
                )
    output_shape(call, slid)
    return slid
