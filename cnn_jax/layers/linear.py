"""Layers with a kernel: convolutions and dense layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.nn.initializers import he_normal, zeros
from jax.typing import DTypeLike

from cnn_jax import ops
from cnn_jax.layers.compose import composite
from cnn_jax.layers.layer import (
    Initializer,
    Layer,
    Parameters,
    check_features,
    check_floating,
    check_int,
    check_parameters,
    check_shape,
    check_window,
)
from cnn_jax.ops.correlate import PaddingMode
from cnn_jax.ops.window import Padding

HE_NORMAL: Initializer = he_normal()
"""He's normal initialiser: variance 2 / fan_in, which keeps the size of signals under ReLU."""


def conv(
    channels: int,
    window: int | Sequence[int],
    *,
    stride: int | Sequence[int] = 1,
    padding: Padding = "VALID",
    padding_mode: PaddingMode = "zeros",
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    bias: bool = True,
    kernel_init: Initializer = HE_NORMAL,
    bias_init: Initializer = zeros,
    dtype: DTypeLike = jnp.float32,
) -> Layer:
    """Convolve, in deep learning's sense: `ops.correlate` with a kernel and a bias to learn.

    An int `window` is square and 2-D; a sequence gives the rank: `(5,)` for signals, `(3, 3, 3)`
    for volumes. The other arguments are `ops.correlate`'s. The kernel is
    `[*window, in_channels / groups, channels]`, drawn by He's normal initialiser, which suits the
    ReLU (He et al., 'Delving deep into rectifiers', ICCV 2015); the bias is `[channels]`, of zeros.

    Parameters and inputs must agree in dtype: cast the parameters to compute in another,
    `jax.tree.map(lambda p: p.astype(jnp.bfloat16), params)`.

    Raises:
        ValueError: wrong arguments; in `init`, a shape of the wrong rank or channels that `groups`
            does not divide; in `apply`, parameters that do not fit.

    >>> import jax, jax.numpy as jnp, cnn_jax as cnn
    >>> layer = cnn.conv(6, 5, padding="SAME")
    >>> params = layer.init(jax.random.key(0), (28, 28, 1))
    >>> jax.tree.map(jnp.shape, params)
    {'bias': (6,), 'kernel': (5, 5, 1, 6)}
    >>> layer.apply(params, jnp.zeros((64, 28, 28, 1))).shape
    (64, 28, 28, 6)
    """
    sizes = check_window("conv", "window", window)
    return _with_kernel(
        "conv",
        _grouped("conv", sizes, channels, groups),
        lambda x, kernel, bias: ops.correlate(
            x,
            kernel,
            bias,
            stride=stride,
            padding=padding,
            padding_mode=padding_mode,
            dilation=dilation,
            groups=groups,
        ),
        _Start(bias, kernel_init, bias_init, dtype),
    )


def conv_transpose(
    channels: int,
    window: int | Sequence[int],
    *,
    stride: int | Sequence[int] = 1,
    padding: Padding = "VALID",
    output_padding: int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    bias: bool = True,
    kernel_init: Initializer = HE_NORMAL,
    bias_init: Initializer = zeros,
    dtype: DTypeLike = jnp.float32,
) -> Layer:
    """Enlarge: `ops.correlate_transpose`, the transpose of a strided convolution, with parameters.

    The kernel is `[*window, in_channels / groups, channels]`; the rest is as for `conv`.

    >>> import jax, jax.numpy as jnp, cnn_jax as cnn
    >>> layer = cnn.conv_transpose(3, 2, stride=2)
    >>> params = layer.init(jax.random.key(0), (4, 4, 8))
    >>> layer.apply(params, jnp.zeros((4, 4, 8))).shape
    (8, 8, 3)
    """
    sizes = check_window("conv_transpose", "window", window)
    return _with_kernel(
        "conv_transpose",
        _grouped("conv_transpose", sizes, channels, groups),
        lambda x, kernel, bias: ops.correlate_transpose(
            x,
            kernel,
            bias,
            stride=stride,
            padding=padding,
            output_padding=output_padding,
            dilation=dilation,
            groups=groups,
        ),
        _Start(bias, kernel_init, bias_init, dtype),
    )


def depthwise_conv(
    window: int | Sequence[int],
    *,
    multiplier: int = 1,
    stride: int | Sequence[int] = 1,
    padding: Padding = "VALID",
    padding_mode: PaddingMode = "zeros",
    dilation: int | Sequence[int] = 1,
    bias: bool = True,
    kernel_init: Initializer = HE_NORMAL,
    bias_init: Initializer = zeros,
    dtype: DTypeLike = jnp.float32,
) -> Layer:
    """Convolve each channel by itself, into `multiplier` channels of output.

    It is `conv` with as many groups as the input has channels; the kernel is
    `[*window, 1, in_channels * multiplier]`.

    >>> import jax, jax.numpy as jnp, cnn_jax as cnn
    >>> layer = cnn.depthwise_conv(3, padding="SAME")
    >>> jax.tree.map(jnp.shape, layer.init(jax.random.key(0), (8, 8, 16)))
    {'bias': (16,), 'kernel': (3, 3, 1, 16)}
    """
    sizes = check_window("depthwise_conv", "window", window)
    multiplier = check_int("depthwise_conv", "multiplier", multiplier)
    return _with_kernel(
        "depthwise_conv",
        lambda inputs: (*sizes, 1, inputs * multiplier),
        lambda x, kernel, bias: ops.correlate(
            x,
            kernel,
            bias,
            stride=stride,
            padding=padding,
            padding_mode=padding_mode,
            dilation=dilation,
            groups=x.shape[-1],
        ),
        _Start(bias, kernel_init, bias_init, dtype),
    )


def separable_conv(
    channels: int,
    window: int | Sequence[int],
    *,
    multiplier: int = 1,
    stride: int | Sequence[int] = 1,
    padding: Padding = "VALID",
    padding_mode: PaddingMode = "zeros",
    dilation: int | Sequence[int] = 1,
    bias: bool = True,
    kernel_init: Initializer = HE_NORMAL,
    bias_init: Initializer = zeros,
    dtype: DTypeLike = jnp.float32,
) -> Layer:
    """Convolve each channel by itself, then mix the channels at each position.

    A `depthwise_conv` without bias and a `conv` of window 1, called `depthwise` and `pointwise` in
    the parameters: about `prod(window)` times fewer multiplications than one `conv`.
    Source: Chollet, 'Xception', CVPR 2017.

    >>> import jax, jax.numpy as jnp, cnn_jax as cnn
    >>> layer = cnn.separable_conv(32, 3, padding="SAME")
    >>> sorted(layer.init(jax.random.key(0), (8, 8, 16)))
    ['depthwise', 'pointwise']
    """
    depthwise = depthwise_conv(
        window,
        multiplier=multiplier,
        stride=stride,
        padding=padding,
        padding_mode=padding_mode,
        dilation=dilation,
        bias=False,
        kernel_init=kernel_init,
        dtype=dtype,
    )
    pointwise = conv(
        channels,
        (1,) * len(check_window("separable_conv", "window", window)),
        bias=bias,
        kernel_init=kernel_init,
        bias_init=bias_init,
        dtype=dtype,
    )
    return composite("separable_conv", {"depthwise": depthwise, "pointwise": pointwise})


def dense(
    features: int,
    *,
    bias: bool = True,
    kernel_init: Initializer = HE_NORMAL,
    bias_init: Initializer = zeros,
    dtype: DTypeLike = jnp.float32,
) -> Layer:
    """Connect every feature with every output: `y = x @ kernel + bias`.

    `x: [*batch, in]`, kernel `[in, features]`, bias `[features]`; initialised as `conv` is.

    >>> import jax, jax.numpy as jnp, cnn_jax as cnn
    >>> layer = cnn.dense(10)
    >>> params = layer.init(jax.random.key(0), (84,))
    >>> layer.apply(params, jnp.zeros((2, 3, 84))).shape
    (2, 3, 10)
    """
    features = check_int("dense", "features", features)
    return _with_kernel(
        "dense",
        lambda inputs: (inputs, features),
        ops.dense,
        _Start(bias, kernel_init, bias_init, dtype),
    )


class _Start(NamedTuple):
    """How a kernel and, where there is one, its bias begin."""

    bias: bool
    kernel_init: Initializer
    bias_init: Initializer
    dtype: DTypeLike


def _with_kernel(
    kind: str,
    kernel_shape: Callable[[int], tuple[int, ...]],
    operation: Callable[[jax.Array, jax.Array, jax.Array | None], jax.Array],
    start: _Start,
) -> Layer:
    """Make a layer of an operation with a kernel, whose shape follows from the input's channels.

    The kernel has one dimension more than what it works on: the window's and the channels, or, of a
    dense layer, which takes any dimensions before, the channels alone.
    """
    check_floating(kind, start.dtype)
    rank = len(kernel_shape(0)) - 1

    def init(key: jax.Array, shape: Sequence[int], /) -> dict[str, Any]:
        sizes = check_shape(kind, shape, None if rank == 1 else rank, least=1)
        *kernel, channels = kernel_shape(sizes[-1])
        params = {"kernel": start.kernel_init(key, (*kernel, channels), start.dtype)}
        if start.bias:
            bias_key = jax.random.fold_in(key, 1)
            params["bias"] = start.bias_init(bias_key, (channels,), start.dtype)
        return params

    def apply(params: Parameters, x: jax.Array, /, *, rng: jax.Array | None = None) -> jax.Array:
        del rng
        check_features(kind, x, rank)
        kernel = kernel_shape(x.shape[-1])
        expected = {"kernel": kernel, "bias": kernel[-1:]} if start.bias else {"kernel": kernel}
        check_parameters(kind, params, expected, x)
        return operation(x, params["kernel"], params.get("bias"))

    return Layer(init, apply, kind)


def _grouped(
    kind: str, sizes: tuple[int, ...], channels: int, groups: int
) -> Callable[[int], tuple[int, ...]]:
    channels = check_int(kind, "channels", channels)
    groups = check_int(kind, "groups", groups)
    if channels % groups:
        raise ValueError(f"{kind}: {groups} groups do not divide channels={channels}")

    def kernel_shape(inputs: int) -> tuple[int, ...]:
        if inputs % groups:
            raise ValueError(f"{kind}: {groups} groups do not divide the input's {inputs} channels")
        return (*sizes, inputs // groups, channels)

    return kernel_shape
