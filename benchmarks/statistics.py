"""The few statistics that the tables need, each safe for few and noisy samples."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

Samples = Sequence[float] | np.ndarray


@dataclasses.dataclass(frozen=True)
class Spread:
    """A median with the quartiles around it."""

    median: float
    low: float
    high: float

    @property
    def relative(self) -> float:
        """Half the distance between the quartiles, as a part of the median."""
        return (self.high - self.low) / 2 / self.median if self.median else math.inf


def spread(samples: Samples) -> Spread:
    """Median and quartiles of at least one sample.

    >>> spread([3.0, 1.0, 2.0, 100.0, 2.0])
    Spread(median=2.0, low=2.0, high=3.0)
    """
    if not len(samples):
        raise ValueError("spread: needs at least one sample")
    low, median, high = np.quantile(np.asarray(samples, float), [0.25, 0.5, 0.75])
    return Spread(float(median), float(low), float(high))


@dataclasses.dataclass(frozen=True)
class Ratio:
    """How many times longer one took than another, and whether that can be told from noise."""

    value: float
    low: float
    high: float

    @property
    def clear(self) -> bool:
        """False where the middle half of the rounds has 1 in it."""
        return not self.low <= 1 <= self.high

    def __str__(self) -> str:
        """Two digits after the point, with a tilde where the spread swallows the difference."""
        return f"{self.value:.2f}" + ("" if self.clear else "~")


def paired_ratio(samples: Samples, others: Samples) -> Ratio:
    """The ratio of samples that were taken in the same rounds: what slows a round slows both.

    >>> str(paired_ratio([2.0, 4.0, 2.0], [1.0, 2.0, 1.1]))
    '2.00'
    >>> str(paired_ratio([1.0, 2.0, 3.0, 2.0], [1.1, 1.9, 3.1, 1.9]))
    '0.98~'
    """
    count = min(len(samples), len(others))
    if count == 0:
        raise ValueError("paired_ratio: needs at least one round")
    middle = spread(np.asarray(samples[:count], float) / np.asarray(others[:count], float))
    return Ratio(middle.median, middle.low, middle.high)


@dataclasses.dataclass(frozen=True)
class Growth:
    """`time = factor * size ** exponent` over the larger sizes, and where that begins to hold."""

    exponent: float
    factor: float
    straight_from: float

    def at(self, size: Any) -> Any:
        """The time that the straight line gives for a size or an array of sizes."""
        return self.factor * size**self.exponent


def growth(sizes: Samples, times: Samples, tolerance: float = 0.25) -> Growth | None:
    """Fit a straight line on log-log axes to the larger half of the sizes.

    `straight_from` is the smallest size from which on every point is within `tolerance` of the
    line; below it fixed costs rule. Fewer than three points have no growth: None.

    >>> fit = growth([1, 2, 4, 8, 16], [9, 9, 16, 64, 256])
    >>> round(fit.exponent, 3), fit.straight_from
    (2.0, 4.0)
    """
    if len(sizes) < 3:
        return None
    order = np.argsort(sizes)
    x, y = np.asarray(sizes, float)[order], np.asarray(times, float)[order]
    count = max(3, math.ceil(len(x) / 2))
    exponent, intercept = np.polyfit(np.log(x[-count:]), np.log(y[-count:]), 1)
    factor = math.exp(intercept)
    off = np.abs(y / (factor * x**exponent) - 1) > tolerance
    beyond = np.flatnonzero(off)
    first = beyond[-1] + 1 if len(beyond) else 0
    straight_from = float(x[first]) if first < len(x) else math.inf
    return Growth(float(exponent), factor, straight_from)


def geometric_mean(values: Samples) -> float:
    """The mean that suits ratios.

    >>> round(geometric_mean([2.0, 8.0]), 6)
    4.0
    """
    return float(np.exp(np.mean(np.log(np.asarray(values, float)))))
