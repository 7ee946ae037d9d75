"""Whole-numbered levels of pictures to floats in 0..1, and back without loss.

Every function takes NumPy arrays, nested lists or JAX arrays, of any number of batch dimensions;
JAX arrays give JAX arrays, everything else NumPy arrays. Under `jax.jit` and the like the values
are not known yet, so there only shapes and dtypes are checked.
"""

from __future__ import annotations

import operator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from cnn_jax.images.checks import check_floats, check_levels

LUMINANCE = (0.299, 0.587, 0.114)
"""How bright red, green and blue look: ITU-R recommendation BT.601."""


def from_black_white(pixels: Any, *, inverted: bool = False, dtype: DTypeLike = np.float32) -> Any:
    """Turn 0 (black) and 1 (white) `[*batch, h, w]` into floats `[*batch, h, w, 1]`.

    Booleans are accepted; `inverted=True` is for pixels where 1 is black, as ink is on paper.

    Raises:
        ValueError: a value is neither 0 nor 1, or there is no height and width.
        TypeError: the dtype is not of numbers.

    >>> from cnn_jax import images
    >>> images.from_black_white([[1, 0], [0, 1]])[..., 0]
    array([[1., 0.],
           [0., 1.]], dtype=float32)
    """
    return _from_levels("from_black_white", pixels, 1, inverted, dtype)[..., None]


def to_black_white(pictures: Any, *, threshold: float = 0.5, inverted: bool = False) -> Any:
    """Turn floats in 0..1 `[*batch, h, w, 1]` into uint8 0 (black) or 1 (white) `[*batch, h, w]`.

    White is what is at least `threshold`.

    >>> from cnn_jax import images
    >>> images.to_black_white([[[0.2], [0.5]]])
    array([[0, 1]], dtype=uint8)
    """
    if not 0 <= threshold <= 1:
        raise ValueError(f"to_black_white: threshold must be in 0..1, got {threshold!r}")
    x = _one_channel("to_black_white", pictures)
    white = x >= threshold
    return (~white if inverted else white).astype(np.uint8)


def from_grey(
    pixels: Any, maximum: int = 255, *, inverted: bool = False, dtype: DTypeLike = np.float32
) -> Any:
    """Turn grey levels 0..P `[*batch, h, w]` into floats `[*batch, h, w, 1]`, `x = level / P`.

    P is `maximum`: 255 for 8 bits, 65535 for 16, 16 for scikit-learn's digits. The levels are whole
    numbers of any dtype. `to_grey` gives back the same levels exactly, for every P that `dtype` can
    tell apart: up to 4194304 in float32. `inverted=True` is for levels where 0 is white.

    Raises:
        ValueError: a value is not a whole number in 0..P, or P is too large or less than 1.
        TypeError: the dtype is not of numbers, or `dtype` is not floating.

    >>> from cnn_jax import images
    >>> images.from_grey([[0, 51, 255]])[..., 0]
    array([[0. , 0.2, 1. ]], dtype=float32)
    """
    return _from_levels("from_grey", pixels, maximum, inverted, dtype)[..., None]


def to_grey(pictures: Any, maximum: int = 255, *, inverted: bool = False) -> Any:
    """Turn floats in 0..1 `[*batch, h, w, 1]` into the nearest levels 0..P `[*batch, h, w]`.

    The result has the smallest of uint8, uint16 and uint32 that holds P.

    Raises:
        ValueError: a value is not in 0..1, or there is not exactly one channel.
        TypeError: the dtype is not floating.

    >>> from cnn_jax import images
    >>> images.to_grey([[[0.0], [0.2], [1.0]]])
    array([[  0,  51, 255]], dtype=uint8)
    """
    return _to_levels("to_grey", _one_channel("to_grey", pictures), maximum, inverted)


def from_rgb(
    pixels: Any,
    maximum: int = 255,
    *,
    channels_first: bool = False,
    dtype: DTypeLike = np.float32,
) -> Any:
    """Turn red, green and blue levels 0..P into floats `[*batch, h, w, 3]`, `x = level / P`.

    The pixels are `[*batch, h, w, 3]`, or with `channels_first=True` `[*batch, 3, h, w]`.

    Raises:
        ValueError: as `from_grey`, or there are not three channels where they should be.
        TypeError: as `from_grey`.

    >>> import numpy as np
    >>> from cnn_jax import images
    >>> images.from_rgb(np.full((3, 4, 5), 255), channels_first=True).shape
    (4, 5, 3)
    """
    x = _from_levels("from_rgb", pixels, maximum, False, dtype)
    axis = -3 if channels_first else -1
    if x.ndim < 3 or x.shape[axis] != 3:
        form = "[*batch, 3, h, w]" if channels_first else "[*batch, h, w, 3]"
        other = "" if channels_first else "; channels_first=True is for [*batch, 3, h, w]"
        raise ValueError(f"from_rgb: pixels must be {form}, got shape {x.shape}{other}")
    return _move(x, -3, -1) if channels_first else x


def to_rgb(pictures: Any, maximum: int = 255, *, channels_first: bool = False) -> Any:
    """Turn floats in 0..1 `[*batch, h, w, 3]` into the nearest levels 0..P.

    >>> from cnn_jax import images
    >>> images.to_rgb([[[1.0, 0.0, 0.2]]])
    array([[[255,   0,  51]]], dtype=uint8)
    """
    levels = _to_levels("to_rgb", _three_channels("to_rgb", pictures), maximum, False)
    return _move(levels, -1, -3) if channels_first else levels


def rgb_to_grey(pictures: Any) -> Any:
    """Turn colour `[*batch, h, w, 3]` into grey `[*batch, h, w, 1]` of the same brightness.

        y = 0.299 red + 0.587 green + 0.114 blue        (ITU-R BT.601)

    >>> from cnn_jax import images
    >>> images.rgb_to_grey([[[0.0, 1.0, 0.0]]]).round(3)
    array([[[0.587]]])
    """
    x = _three_channels("rgb_to_grey", pictures)
    red, green, blue = (x[..., i : i + 1] * LUMINANCE[i] for i in range(3))
    return red + green + blue


def grey_to_rgb(pictures: Any) -> Any:
    """Turn grey `[*batch, h, w, 1]` into colour `[*batch, h, w, 3]` of three equal channels.

    >>> from cnn_jax import images
    >>> images.grey_to_rgb([[[0.25]]])
    array([[[0.25, 0.25, 0.25]]])
    """
    x = _one_channel("grey_to_rgb", pictures)
    stack = jnp.stack if isinstance(x, jax.Array) else np.stack
    return stack([x, x, x], axis=-1)


def _from_levels(where: str, pixels: Any, maximum: int, inverted: bool, dtype: DTypeLike) -> Any:
    maximum = _check_maximum(where, maximum, dtype)
    levels = check_levels(where, pixels, maximum)
    largest = np.asarray(maximum, dtype)
    x = levels.astype(dtype)
    return (largest - x if inverted else x) / largest


def _to_levels(where: str, x: Any, maximum: int, inverted: bool) -> Any:
    maximum = _check_maximum(where, maximum, x.dtype)
    rint = jnp.rint if isinstance(x, jax.Array) else np.rint
    levels = rint(x * np.asarray(maximum, x.dtype)).astype(np.min_scalar_type(maximum))
    return maximum - levels if inverted else levels


def _check_maximum(where: str, maximum: int, dtype: DTypeLike) -> int:
    """Return P, if floats of `dtype` tell all its levels apart.

    The quotient and the product are each off by half a unit in the last place at most, so a level
    below `2 ** (bits of the fraction - 1)` comes back less than half a level off.
    """
    if not jnp.issubdtype(dtype, jnp.floating):
        raise TypeError(f"{where}: dtype must be floating, got {jnp.dtype(dtype).name}")
    try:
        levels = operator.index(maximum)
    except TypeError:
        raise TypeError(f"{where}: maximum must be an int, got {maximum!r}") from None
    largest = 2 ** (jnp.finfo(dtype).nmant - 1)
    if not 1 <= levels <= largest:
        raise ValueError(
            f"{where}: maximum must be in 1..{largest} for {jnp.dtype(dtype).name}, got {maximum}"
        )
    return levels


def _one_channel(where: str, pictures: Any) -> Any:
    x = check_floats(where, pictures)
    if x.ndim < 3 or x.shape[-1] != 1:
        raise ValueError(f"{where}: pictures must be [*batch, h, w, 1], got shape {x.shape}")
    return x[..., 0]


def _three_channels(where: str, pictures: Any) -> Any:
    x = check_floats(where, pictures)
    if x.ndim < 3 or x.shape[-1] != 3:
        raise ValueError(f"{where}: pictures must be [*batch, h, w, 3], got shape {x.shape}")
    return x


def _move(x: Any, source: int, destination: int) -> Any:
    if isinstance(x, jax.Array):
        return jnp.moveaxis(x, source, destination)
    return np.moveaxis(x, source, destination)
