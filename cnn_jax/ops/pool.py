"""Pooling by maximum, minimum and average, for any spatial rank."""

import functools
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.typing import ArrayLike

from cnn_jax.ops.batch import flatten_batch, restore_batch
from cnn_jax.ops.check import FLOATING, INTEGER, Call, Shape, as_array, check_dtypes
from cnn_jax.ops.window import Padding, Window, check_elements, slide, spread, whole_number


def max_pool(
    x: ArrayLike,
    size: int | Sequence[int],
    *,
    stride: int | Sequence[int] | None = None,
    padding: Padding = "VALID",
    dilation: int | Sequence[int] = 1,
) -> Array:
    """The largest element in each position of a sliding window, channel by channel.

    In one spatial dimension, with `x` already padded,

        y[o, c] = max over k of x[o * stride + k * dilation, c]

    Padding never wins: it stands for minus infinity. The gradient goes to the first maximum in
    reading order.

    Args:
        x: `[*batch, *spatial, channels]`, with any number of batch dimensions, none included.
        size: the window, one int for each spatial axis; a single int is a square in 2-D.
        stride: the distance between positions, an int or one for each axis; None is `size`.
        padding: as in `correlate`; every window must hold some of the input.
        dilation: the distance between the window's elements, an int or one for each axis.

    Returns:
        `[*batch, *positions, channels]`, in the dtype of `x`: a real float or an integer. A window
        that holds a NaN gives NaN.

    Raises:
        TypeError: for any other dtype, or a number that is not an int.
        ValueError: for shapes that do not fit, numbers out of range, an empty input or output, or
            windows that hold nothing but padding.

    Source: Goodfellow, Bengio and Courville, 'Deep Learning' (2016), section 9.3.

    >>> import jax.numpy as jnp
    >>> x = jnp.array([3, 1, 4, 1, 5, 9]).reshape(6, 1)
    >>> max_pool(x, (2,))[:, 0].tolist()
    [3, 4, 9]
    """
    return _pool_extremes(_MAXIMUM, x, size, stride, padding, dilation)


def min_pool(
    x: ArrayLike,
    size: int | Sequence[int],
    *,
    stride: int | Sequence[int] | None = None,
    padding: Padding = "VALID",
    dilation: int | Sequence[int] = 1,
) -> Array:
    """The smallest element in each position of a sliding window, channel by channel.

    In one spatial dimension, with `x` already padded,

        y[o, c] = min over k of x[o * stride + k * dilation, c]

    The mirror image of `max_pool`, whose arguments, dtypes and errors it has.

    >>> import jax.numpy as jnp
    >>> x = jnp.array([3, 1, 4, 1, 5, 9]).reshape(6, 1)
    >>> min_pool(x, (2,))[:, 0].tolist()
    [1, 1, 5]
    """
    return _pool_extremes(_MINIMUM, x, size, stride, padding, dilation)


def avg_pool(
    x: ArrayLike,
    size: int | Sequence[int],
    *,
    stride: int | Sequence[int] | None = None,
    padding: Padding = "VALID",
    dilation: int | Sequence[int] = 1,
    count_include_pad: bool = False,
) -> Array:
    """The mean of each position of a sliding window, channel by channel.

    In one spatial dimension, with `x` already padded by zeros,

        y[o, c] = sum over k of x[o * stride + k * dilation, c] / n[o]

    where `n[o]` is the number of the window's elements that lie inside the input or, with
    `count_include_pad`, the size of the window.

    The arguments, shapes and errors are those of `max_pool`. Only real floats are averaged: a mean
    of integers is not an integer. float16 and bfloat16 are accumulated in float32.

    >>> import jax.numpy as jnp
    >>> x = jnp.array([3.0, 1.0, 4.0]).reshape(3, 1)
    >>> avg_pool(x, (2,), padding=((0, 1),))[:, 0].tolist()
    [2.0, 4.0]
    >>> avg_pool(x, (2,), padding=((0, 1),), count_include_pad=True)[:, 0].tolist()
    [2.0, 2.0]
    """
    x = as_array("avg_pool", "x", x)
    call = Call("avg_pool", {"x": x})
    check_dtypes(call, FLOATING)
    if not isinstance(count_include_pad, bool):
        raise call.type_error(f"count_include_pad must be a bool, not {count_include_pad!r}")
    window = _window(call, size, stride, padding, dilation)
    flat, batch = flatten_batch(_at_least_float32(x), window.rank)
    total = _reduce_window(flat, np.zeros((), flat.dtype), lax.add, window)
    if count_include_pad or not any(map(any, window.padding)):
        y = total / math.prod(window.size)
    else:
        sizes = flat.shape[1:-1]
        counts = (_inside(*axis) for axis in _axes(sizes, window))
        y = total / functools.reduce(np.multiply, np.ix_(*counts))[None, ..., None].astype(
            total.dtype
        )
    return restore_batch(y.astype(x.dtype), batch)


def global_max_pool(x: ArrayLike, spatial: int = 2) -> Array:
    """The largest element of each channel: `[*batch, *spatial, channels]` to `[*batch, channels]`.

    The gradient goes to the first maximum in reading order.

    Args:
        x: a real float or an integer array, with any number of batch dimensions, none included.
        spatial: the number of spatial dimensions.

    Raises:
        TypeError: for any other dtype, or if `spatial` is not an int.
        ValueError: if `spatial` is not positive, or `x` is empty or has too few dimensions.

    >>> import jax.numpy as jnp
    >>> global_max_pool(jnp.arange(8).reshape(2, 2, 2)).tolist()
    [6, 7]
    """
    x = _flatten_spatial("global_max_pool", x, spatial, FLOATING + INTEGER)
    # A mask rather than jnp.max, whose gradient is shared among equal elements.
    largest = lax.argmax(x, x.ndim - 2, np.int32)
    position = lax.broadcasted_iota(np.int32, x.shape, x.ndim - 2)
    first = position == jnp.expand_dims(largest, -2)
    return jnp.sum(jnp.where(first, x, jnp.zeros_like(x)), axis=-2, dtype=x.dtype)


def global_avg_pool(x: ArrayLike, spatial: int = 2) -> Array:
    """The mean of each channel: `[*batch, *spatial, channels]` to `[*batch, channels]`.

    float16 and bfloat16 are accumulated in float32.

    Args:
        x: a real float array, with any number of batch dimensions, none included.
        spatial: the number of spatial dimensions.

    Raises:
        TypeError: for any other dtype, or if `spatial` is not an int.
        ValueError: if `spatial` is not positive, or `x` is empty or has too few dimensions.

    Source: Lin, Chen and Yan, 'Network in network' (2013), section 3.2.

    >>> import jax.numpy as jnp
    >>> global_avg_pool(jnp.arange(8.0).reshape(2, 2, 2)).tolist()
    [3.0, 4.0]
    """
    x = _flatten_spatial("global_avg_pool", x, spatial, FLOATING)
    return jnp.mean(_at_least_float32(x), axis=-2).astype(x.dtype)


def pool_shape(
    x_shape: Shape,
    size: int | Sequence[int],
    *,
    stride: int | Sequence[int] | None = None,
    padding: Padding = "VALID",
    dilation: int | Sequence[int] = 1,
) -> Shape:
    """The shape that the pools give, without an array; the errors are the same.

    >>> pool_shape((8, 28, 28, 32), 2)
    (8, 14, 14, 32)
    """
    call = Call("pool", {"x": tuple(x_shape)})
    window = _window(call, size, stride, padding, dilation)
    return (*x_shape[: -window.rank - 1], *window.output, x_shape[-1])


class _Extreme(NamedTuple):
    name: str
    reduce: Callable[[Array, Array], Array]
    beats: Callable[[Array, Array], Array]
    sign_of_worst: int

    def worst(self, dtype: Any) -> np.ndarray:
        """What never wins: the identity of `reduce`."""
        if jnp.issubdtype(dtype, jnp.floating):
            return np.asarray(self.sign_of_worst * np.inf, dtype)
        limits = jnp.iinfo(dtype)
        return np.asarray(limits.min if self.sign_of_worst < 0 else limits.max, dtype)


_MAXIMUM = _Extreme("max_pool", lax.max, lax.gt, -1)
_MINIMUM = _Extreme("min_pool", lax.min, lax.lt, 1)


def _pool_extremes(
    extreme: _Extreme, x: ArrayLike, size: Any, stride: Any, padding: Any, dilation: Any
) -> Array:
    x = as_array(extreme.name, "x", x)
    call = Call(extreme.name, {"x": x})
    check_dtypes(call, FLOATING + INTEGER)
    window = _window(call, size, stride, padding, dilation)
    # Where windows overlap, the gradient is a sum, and sums are accumulated in float32.
    overlap = any(s < d for s, d in zip(window.stride, window.span, strict=True))
    wide = _at_least_float32(x) if overlap else x
    flat, batch = flatten_batch(wide, window.rank)
    worst = extreme.worst(flat.dtype)
    if any(d > 1 for d in window.dilation):
        y = _fold_window(flat, worst, extreme.beats, window)
    else:
        y = _reduce_window(flat, worst, extreme.reduce, window)
    return restore_batch(y.astype(x.dtype), batch)


def _reduce_window(
    x: Array, identity: np.ndarray, reduce: Callable[[Array, Array], Array], window: Window
) -> Array:
    return lax.reduce_window(
        x,
        identity,
        reduce,
        (1, *window.size, 1),
        (1, *window.stride, 1),
        ((0, 0), *window.padding, (0, 0)),
        window_dilation=(1, *window.dilation, 1),
    )


def _fold_window(
    x: Array, worst: np.ndarray, beats: Callable[[Array, Array], Array], window: Window
) -> Array:
    """The first extreme of each window, one shifted view of the input at a time.

    `lax.reduce_window` has no reverse derivative for a maximum with dilation.
    """
    padded = lax.pad(x, worst, ((0, 0, 0), *((lo, hi, 0) for lo, hi in window.padding), (0, 0, 0)))
    strides = (1, *window.stride, 1)
    best = None
    for element in itertools.product(*map(range, window.size)):
        start = [e * d for e, d in zip(element, window.dilation, strict=True)]
        last = [
            b + (n - 1) * s + 1 for b, n, s in zip(start, window.output, window.stride, strict=True)
        ]
        view = lax.slice(padded, (0, *start, 0), (x.shape[0], *last, x.shape[-1]), strides)
        # NaN is unequal to itself; once it is best, nothing beats it.
        best = view if best is None else lax.select(beats(view, best) | (view != view), view, best)
    assert best is not None
    return best


def _window(call: Call, size: Any, stride: Any, padding: Any, dilation: Any) -> Window:
    shape = call.shape("x")
    try:
        rank = len(size)
    except TypeError:
        rank = 2
    if rank < 1:
        raise call.value_error("size must have at least one entry, but it is empty")
    window = spread(call, "size", size, rank, least=1)
    _check_rank(call, shape, rank)
    sizes = shape[-rank - 1 : -1]
    stride = window if stride is None else stride
    slid = slide(call, sizes, window, stride=stride, padding=padding, dilation=dilation)
    for axis, geometry in enumerate(_axes(sizes, slid)):
        n, k, s, d, low, positions = geometry
        # The ends first: between them no more windows stand than the input is long.
        outside = low >= slid.span[axis] or (positions - 1) * s - low >= n
        if outside or not _inside(*geometry).all():
            raise call.value_error(
                f"some windows hold nothing but padding on spatial axis {axis}: {n} elements, "
                f"padding {slid.padding[axis]}, size {k}, stride {s}, dilation {d}"
            )
    check_elements(call, "the output", (*shape[: -rank - 1], *slid.output, shape[-1]))
    return slid


def _axes(sizes: Shape, window: Window) -> list[tuple[int, int, int, int, int, int]]:
    """For each spatial axis: elements, window size, stride, dilation, low padding, positions."""
    lows = [low for low, _ in window.padding]
    return list(
        zip(sizes, window.size, window.stride, window.dilation, lows, window.output, strict=True)
    )


def _inside(n: int, k: int, s: int, d: int, low: int, positions: int) -> np.ndarray:
    """How many of a window's elements lie inside the input, at each position on one axis."""
    start = np.arange(positions) * s - low
    first = np.maximum(-(start // d), 0)
    last = np.minimum((n - 1 - start) // d, k - 1)
    return np.maximum(last - first + 1, 0)


def _flatten_spatial(name: str, x: ArrayLike, spatial: Any, accepted: tuple[str, ...]) -> Array:
    """`x` as `[*batch, elements, channels]`."""
    x = as_array(name, "x", x)
    call = Call(name, {"x": x})
    check_dtypes(call, accepted)
    spatial = whole_number(call, "spatial", spatial)
    _check_rank(call, x.shape, spatial)
    sizes = x.shape[-spatial - 1 : -1]
    if 0 in sizes:
        raise call.value_error(f"x is empty: its spatial sizes are {list(sizes)}")
    return x.reshape((*x.shape[: -spatial - 1], math.prod(sizes), x.shape[-1]))


def _check_rank(call: Call, shape: Shape, rank: int) -> None:
    if len(shape) < rank + 1:
        raise call.value_error(
            f"x must be [*batch, *spatial, channels] with {rank} spatial dimensions, so at least "
            f"{rank + 1} dimensions, but it has {len(shape)}"
        )


def _at_least_float32(x: Array) -> Array:
    return x.astype(jnp.float32) if x.dtype in (jnp.float16, jnp.bfloat16) else x
