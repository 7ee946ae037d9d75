"""The operations of `cnn_jax.ops` as naive NumPy loops in float64, to test kernels against.

Names, shapes, arguments and defaults are those of `cnn_jax.ops`, without `precision`. Whatever
NumPy converts to float64 without losing an imaginary part is accepted, and float64 is returned.
Arguments that make no sense are refused as there, with a shorter message. It is made to be read,
not to be fast, and shares no code with `ops`.

Arrays are `[*batch, *spatial, channels]`; kernels are `[*window, channels / groups, features]`.
"""

import math
import operator
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def correlate(
    x: ArrayLike,
    kernel: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    stride: Any = 1,
    padding: Any = "VALID",
    padding_mode: str = "zeros",
    dilation: Any = 1,
    groups: int = 1,
) -> Floats:
    """At each position of the window: the sum of the patch there times the kernel, plus the bias.

    >>> correlate([[1], [2], [3]], [[[1]], [[10]]])[:, 0].tolist()
    [21.0, 32.0]
    """
    x, kernel, bias = _operands(x, kernel, bias, groups)
    *window, channels, features = kernel.shape
    rank = len(window)
    stride = _numbers("stride", stride, rank, least=1)
    dilation = _numbers("dilation", dilation, rank, least=1)
    pairs = _pairs(padding, x.shape[-rank - 1 : -1], window, stride, dilation)
    images = [_pad(image, pairs, padding_mode) for image in _images(x, rank)]
    positions = _positions(_padded(x, pairs), window, stride, dilation)

    y = np.zeros((len(images), *positions, features))
    for n, image in enumerate(images):
        for position, patch in _patches(image, window, stride, dilation):
            for feature in range(features):
                group = feature // (features // groups)
                seen = patch[..., group * channels : (group + 1) * channels]
                y[(n, *position, feature)] = np.sum(seen * kernel[..., feature]) + bias[feature]
    return y.reshape(*x.shape[: -rank - 1], *positions, features)


def convolve(
    x: ArrayLike,
    kernel: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    stride: Any = 1,
    padding: Any = "VALID",
    padding_mode: str = "zeros",
    dilation: Any = 1,
    groups: int = 1,
) -> Floats:
    """`correlate` with the kernel flipped on every window axis.

    >>> convolve([[1], [2], [3]], [[[1]], [[10]]])[:, 0].tolist()
    [12.0, 23.0]
    """
    kernel = _floats(kernel)
    flipped = np.flip(kernel, axis=tuple(range(kernel.ndim - 2)))
    return correlate(
        x,
        flipped,
        bias,
        stride=stride,
        padding=padding,
        padding_mode=padding_mode,
        dilation=dilation,
        groups=groups,
    )


def correlate_transpose(
    x: ArrayLike,
    kernel: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    stride: Any = 1,
    padding: Any = "VALID",
    output_padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Floats:
    """Every element of `x` stamps the kernel, times that element, on a canvas that is then cropped.

    >>> correlate_transpose([[1], [2]], [[[1]], [[10]], [[100]]], stride=2)[:, 0].tolist()
    [1.0, 10.0, 102.0, 20.0, 200.0]
    """
    x, kernel, bias = _operands(x, kernel, bias, groups)
    *window, channels, features = kernel.shape
    rank = len(window)
    sizes = x.shape[-rank - 1 : -1]
    stride = _numbers("stride", stride, rank, least=1)
    dilation = _numbers("dilation", dilation, rank, least=1)
    extra = _numbers("output_padding", output_padding, rank, least=0)
    _refuse(any(e >= s for e, s in zip(extra, stride, strict=True)), "output_padding >= stride")
    span = [(k - 1) * d + 1 for k, d in zip(window, dilation, strict=True)]
    same = isinstance(padding, str) and padding in ("SAME", "SAME_LOWER")
    _refuse(same and any(extra), "output_padding with SAME")
    output = tuple(n * s for n, s in zip(sizes, stride, strict=True)) if same else ()
    pairs = _pairs(padding, output or sizes, window, stride, dilation)
    covered = [(n - 1) * s + d for n, s, d in zip(sizes, stride, span, strict=True)]
    if not same:
        output = tuple(
            c - low - high + e for c, (low, high), e in zip(covered, pairs, extra, strict=True)
        )
    _refuse(min(output) < 1, "the output is empty")

    # Room for every stamp, and for an output that reaches past the last of them.
    lows = [low for low, _ in pairs]
    room = [max(c, low + n) for c, low, n in zip(covered, lows, output, strict=True)]
    crop = tuple(slice(low, low + n) for low, n in zip(lows, output, strict=True))
    images = _images(x, rank)
    y = np.zeros((len(images), *output, features))
    for image, result in zip(images, y, strict=True):
        canvas = np.zeros((*room, features))
        for position in np.ndindex(*sizes):
            patch = canvas[_at(position, window, stride, dilation)]
            for feature in range(features):
                group = feature // (features // groups)
                seen = image[position][group * channels : (group + 1) * channels]
                patch[..., feature] += kernel[..., feature] @ seen
        result[...] = canvas[crop] + bias
    return y.reshape(*x.shape[: -rank - 1], *output, features)


def max_pool(
    x: ArrayLike, size: Any, *, stride: Any = None, padding: Any = "VALID", dilation: Any = 1
) -> Floats:
    """The largest element of the patch at each position, in each channel. Padding never wins.

    >>> max_pool([[3], [1], [4], [1]], (2,))[:, 0].tolist()
    [3.0, 4.0]
    """

    def largest(patch: Any, inside: Any) -> Any:
        return np.max(patch[inside], axis=0)

    return _pool(largest, x, size, stride, padding, dilation)


def min_pool(
    x: ArrayLike, size: Any, *, stride: Any = None, padding: Any = "VALID", dilation: Any = 1
) -> Floats:
    """The smallest element of the patch at each position, in each channel. Padding never wins.

    >>> min_pool([[3], [1], [4], [1]], (2,))[:, 0].tolist()
    [1.0, 1.0]
    """

    def smallest(patch: Any, inside: Any) -> Any:
        return np.min(patch[inside], axis=0)

    return _pool(smallest, x, size, stride, padding, dilation)


def avg_pool(
    x: ArrayLike,
    size: Any,
    *,
    stride: Any = None,
    padding: Any = "VALID",
    dilation: Any = 1,
    count_include_pad: bool = False,
) -> Floats:
    """The mean of the patch at each position, in each channel, without or with its padding.

    >>> avg_pool([[3], [1], [4]], (2,), padding=((0, 1),))[:, 0].tolist()
    [2.0, 4.0]
    """

    def mean(patch: Any, inside: Any) -> Any:
        count = inside.size if count_include_pad else np.sum(inside)
        return np.sum(patch[inside], axis=0) / count

    return _pool(mean, x, size, stride, padding, dilation)


def global_max_pool(x: ArrayLike, spatial: int = 2) -> Floats:
    """The largest element of each channel.

    >>> global_max_pool([[3], [1], [4]], spatial=1).tolist()
    [4.0]
    """
    x = _floats(x)
    return np.max(x, axis=_spatial_axes(x, spatial))


def global_avg_pool(x: ArrayLike, spatial: int = 2) -> Floats:
    """The mean of each channel.

    >>> global_avg_pool([[3], [1], [5]], spatial=1).tolist()
    [3.0]
    """
    x = _floats(x)
    return np.mean(x, axis=_spatial_axes(x, spatial))


def dense(x: ArrayLike, kernel: ArrayLike, bias: ArrayLike | None = None) -> Floats:
    """`x @ kernel + bias`.

    >>> dense([1, 2], [[1, 0], [10, 1]], bias=[0, 5]).tolist()
    [21.0, 7.0]
    """
    x, kernel = _floats(x), _floats(kernel)
    _refuse(kernel.ndim != 2 or x.ndim < 1, "kernel is not a matrix, or x a scalar")
    inputs, outputs = kernel.shape
    _refuse(kernel.size == 0 or x.shape[-1] != inputs, "input features differ, or are none")
    bias = np.zeros(outputs) if bias is None else _floats(bias)
    _refuse(bias.shape != (outputs,), "bias is not one for each output")
    y = np.zeros((*x.shape[:-1], outputs))
    for at in np.ndindex(*y.shape):
        *batch, feature = at
        y[at] = np.sum(x[tuple(batch)] * kernel[:, feature]) + bias[feature]
    return y


def relu(x: ArrayLike) -> Floats:
    """`max(x, 0)`, elementwise.

    >>> relu([-1, 0, 2]).tolist()
    [0.0, 0.0, 2.0]
    """
    return np.maximum(_floats(x), 0.0)


def _pool(
    summarise: Callable[[Any, Any], Any],
    x: ArrayLike,
    size: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
) -> Floats:
    """Summarises each patch, given with the mask of its elements that are no padding."""
    x = _floats(x)
    rank = len(size) if hasattr(size, "__len__") else 2
    _refuse(rank < 1 or x.ndim < rank + 1, "x has too few dimensions, or size no entries")
    window = _numbers("size", size, rank, least=1)
    stride = window if stride is None else _numbers("stride", stride, rank, least=1)
    dilation = _numbers("dilation", dilation, rank, least=1)
    sizes = x.shape[-rank - 1 : -1]
    pairs = _pairs(padding, sizes, window, stride, dilation)
    positions = _positions(_padded(x, pairs), window, stride, dilation)
    mask = _pad(np.ones((*sizes, 1)), pairs, "zeros")[..., 0] > 0
    insides = list(_patches(mask, window, stride, dilation))
    _refuse(not all(np.any(inside) for _, inside in insides), "windows of nothing but padding")

    images = _images(x, rank)
    y = np.zeros((len(images), *positions, x.shape[-1]))
    for n, image in enumerate(images):
        patches = _patches(_pad(image, pairs, "zeros"), window, stride, dilation)
        for (position, patch), (_, inside) in zip(patches, insides, strict=True):
            y[(n, *position)] = summarise(patch, inside)
    return y.reshape(*x.shape[: -rank - 1], *positions, x.shape[-1])


def _patches(
    image: Any, window: Any, stride: Any, dilation: Any
) -> Iterator[tuple[tuple[int, ...], Any]]:
    """Each position of the window in reading order, and what the window shows there."""
    for position in np.ndindex(*_positions(image.shape, window, stride, dilation)):
        yield position, image[_at(position, window, stride, dilation)]


def _positions(sizes: Any, window: Any, stride: Any, dilation: Any) -> tuple[int, ...]:
    """On each axis: the number of starts from which the window's last element is still inside."""
    starts = tuple(
        len(range(0, n - (k - 1) * d, s))
        for n, k, s, d in zip(sizes, window, stride, dilation, strict=False)
    )
    _refuse(min(starts) < 1, "the window is larger than the padded input")
    return starts


def _at(position: Any, window: Any, stride: Any, dilation: Any) -> tuple[slice, ...]:
    """The elements that the window shows at a position."""
    return tuple(
        slice(p * s, p * s + (k - 1) * d + 1, d)
        for p, k, s, d in zip(position, window, stride, dilation, strict=True)
    )


def _pad(image: Floats, pairs: Any, mode: str) -> Floats:
    """Pads the leading axes of `image`."""
    _refuse(mode not in ("zeros", "reflect", "replicate", "circular"), f"padding_mode {mode!r}")
    for axis, (low, high) in enumerate(pairs):
        n = image.shape[axis]
        _refuse(mode == "reflect" and max(low, high) >= n, "a reflection wider than the input")
        index = np.arange(-low, n + high)
        outside = (index < 0) | (index >= n)
        if mode == "reflect":
            index = np.where(index < n, np.abs(index), 2 * (n - 1) - index)
        elif mode == "circular":
            index = index % n
        image = np.take(image, np.clip(index, 0, n - 1), axis=axis)
        if mode == "zeros":
            image[(slice(None),) * axis + (outside,)] = 0.0
    return image


def _padded(x: Floats, pairs: Any) -> tuple[int, ...]:
    sizes = x.shape[-len(pairs) - 1 : -1]
    return tuple(n + low + high for n, (low, high) in zip(sizes, pairs, strict=True))


def _pairs(padding: Any, sizes: Any, window: Any, stride: Any, dilation: Any) -> list[Any]:
    """Any padding as one `(low, high)` for each axis."""
    _refuse(0 in sizes, "x is empty")
    if not isinstance(padding, str):
        if not hasattr(padding, "__len__"):
            padding = (padding,) * len(window)
        _refuse(len(padding) != len(window), f"padding {padding!r} for {len(window)} axes")
        return [_numbers("padding", entry, 2, least=0) for entry in padding]
    pairs = []
    for n, k, s, d in zip(sizes, window, stride, dilation, strict=True):
        reach = (k - 1) * d
        last = (math.ceil(n / s) - 1) * s
        needed = max(last + reach - (n - 1), 0)
        small, large = needed // 2, math.ceil(needed / 2)
        named = {
            "VALID": (0, 0),
            "SAME": (small, large),
            "SAME_LOWER": (large, small),
            "FULL": (reach, reach),
            "CAUSAL": (reach, 0),
        }
        _refuse(padding not in named, f"padding {padding!r}")
        pairs.append(named[padding])
    return pairs


def _operands(
    x: ArrayLike, kernel: ArrayLike, bias: ArrayLike | None, groups: int
) -> tuple[Floats, Floats, Floats]:
    x, kernel = _floats(x), _floats(kernel)
    _refuse(kernel.ndim < 3 or kernel.size == 0, "kernel has too few dimensions, or is empty")
    *window, channels, features = kernel.shape
    _refuse(x.ndim < len(window) + 1, "x has too few dimensions")
    _refuse(operator.index(groups) < 1 or features % groups > 0, f"groups {groups}")
    _refuse(x.shape[-1] != channels * groups, "input channels differ")
    bias = np.zeros(features) if bias is None else _floats(bias)
    _refuse(bias.shape != (features,), "bias is not one for each output channel")
    return x, kernel, bias


def _images(x: Floats, rank: int) -> Floats:
    """`x` with one batch dimension."""
    return x.reshape(math.prod(x.shape[: -rank - 1]), *x.shape[-rank - 1 :])


def _spatial_axes(x: Floats, spatial: int) -> tuple[int, ...]:
    count = operator.index(spatial)
    _refuse(count < 1 or x.ndim < count + 1, "x has too few dimensions, or spatial is below 1")
    axes = tuple(range(x.ndim - 1 - count, x.ndim - 1))
    _refuse(0 in [x.shape[axis] for axis in axes], "x is empty")
    return axes


def _numbers(name: str, value: Any, count: int, least: int) -> tuple[int, ...]:
    """`count` ints, from one or from as many."""
    many = value if hasattr(value, "__len__") else (value,) * count
    _refuse(len(many) != count or isinstance(value, str), f"{name} {value!r}")
    numbers = tuple(operator.index(number) for number in many)
    _refuse(min(numbers) < least, f"{name} {value!r} is below {least}")
    return numbers


def _floats(array: ArrayLike) -> Floats:
    return np.asarray(array).astype(np.float64, casting="same_kind")


def _refuse(condition: bool, why: str) -> None:
    if condition:
        raise ValueError(f"reference: {why}")
