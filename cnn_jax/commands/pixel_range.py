"""The values that a run's pictures have: 0 to 1, as picture files give, or others.

Levels 0 to 255 count as divided by 255 wherever they are uint8. A network that was trained on
floats of another range would take such pictures for almost black ones, and answer nonetheless.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from cnn_jax.data import Dataset, Source
from cnn_jax.data.source import BLOCK

PixelRange = tuple[float, float]

UNIT: PixelRange = (0.0, 1.0)
_ROUNDING = 1 / 255
_ANOTHER_SCALE = 1.0
ADVICE = "expected uint8 from 0 to 255, or floats from 0 to 1"


def pixel_range_of(examples: Dataset | Source, most: int) -> PixelRange:
    """Return the least and the largest value of `most` pictures at most, spread evenly.

    Of uint8 pictures that is 0 to 1, whatever they hold.

    >>> import cnn_jax as cnn
    >>> pixel_range_of(cnn.data.digits(), 2000)
    (0.0, 1.0)
    """
    if isinstance(examples, Dataset):
        dtype, read = examples.images.dtype, examples.images.__getitem__
    else:
        dtype, read = examples.dtype, examples.read
    if dtype == np.uint8:
        return UNIT
    count = len(examples.labels)
    some = np.unique(np.linspace(0, count - 1, min(most, count)).round().astype(np.int64))
    low, high = math.inf, -math.inf
    for start in range(0, len(some), BLOCK):
        pictures = np.asarray(read(some[start : start + BLOCK]))
        low, high = min(low, float(pictures.min())), max(high, float(pictures.max()))
    return low, high


def pixel_range_in(config: Mapping[str, Any]) -> PixelRange:
    """Return the range that a run's configuration holds; without one it is 0 to 1."""
    found = config.get("pixel_range")
    if found is None:
        return UNIT
    low, high = found
    return float(low), float(high)


def is_unit(values: PixelRange, slack: float = _ROUNDING) -> bool:
    """Whether values lie in 0 to 1; `slack` is how far beyond they may reach.

    >>> is_unit((0.0, 0.5)), is_unit((0.0, 255.0)), is_unit((-0.4, 0.6))
    (True, False, False)
    """
    return values[0] >= -slack and values[1] <= 1 + slack


def written(values: PixelRange) -> str:
    """Return a range as messages say it.

    >>> written((-0.4242, 255.0))
    '-0.424 to 255'
    """
    return f"{values[0]:.3g} to {values[1]:.3g}"


def check_alike(name: str, found: PixelRange, levels: bool, expected: PixelRange) -> None:
    """Raise `ValueError` where data is on another scale than a run's.

    `levels` says that the data is uint8, whose scale is known. The extremes of floats differ from
    part to part, so that only those far beyond 0 to 1 count as another scale.
    """
    slack = _ROUNDING if levels else _ANOTHER_SCALE
    if is_unit(found, slack) != is_unit(expected, slack):
        counted = " (uint8 divided by 255)" if levels else ""
        raise ValueError(
            f"{name}: the pictures have values from {written(found)}{counted}; expected "
            f"{written(expected)}, as the run's have"
        )
