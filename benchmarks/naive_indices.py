"""Where a naive loop reads: flat indices of output positions and of the taps of a window."""

import dataclasses
import itertools
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

OPERATIONS = ("correlate", "max_pool")
PASSES = ("forward", "gradient")


@dataclasses.dataclass(frozen=True)
class Windows:
    """One channel of `size ** rank` numbers under a window, without padding.

    Correlation has a window of 3 and stride 1; pooling a window of 2 and stride 2. The window at
    output position `p` reads the flat indices `bases[p] + offsets`.
    """

    operation: str
    rank: int
    size: int

    def __post_init__(self) -> None:
        """Raise `ValueError` for what can't be."""
        if self.operation not in OPERATIONS:
            raise ValueError(f"unknown operation {self.operation!r}; there are {OPERATIONS}")
        if self.rank < 1 or self.size < self.window:
            raise ValueError(f"a window of {self.window} does not fit {self.size} ** {self.rank}")

    @classmethod
    def of(cls, case: Mapping[str, Any]) -> "Windows":
        """Those of a case."""
        return cls(case["operation"], case["rank"], case["size"])

    @property
    def window(self) -> int:
        """The window's size in every dimension."""
        return 3 if self.operation == "correlate" else 2

    @property
    def stride(self) -> int:
        """The stride in every dimension."""
        return 1 if self.operation == "correlate" else 2

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the input."""
        return (self.size,) * self.rank

    @property
    def output(self) -> tuple[int, ...]:
        """Of the output."""
        return ((self.size - self.window) // self.stride + 1,) * self.rank

    @property
    def taps(self) -> tuple[tuple[int, ...], ...]:
        """The positions in the window."""
        return tuple(itertools.product(range(self.window), repeat=self.rank))

    @property
    def work(self) -> int:
        """How often a number is read under a window in one forward pass."""
        return math.prod(self.output) * len(self.taps)

    def bases(self) -> np.ndarray:
        """The flat index of the first number under the window, for each output position."""
        corners = np.indices(self.output, np.int32).reshape(self.rank, -1) * self.stride
        return np.asarray(np.ravel_multi_index(tuple(corners), self.shape), np.int32)

    def offsets(self) -> np.ndarray:
        """How far each tap is from the first."""
        taps = np.ravel_multi_index(tuple(np.array(self.taps).T), self.shape)
        return np.asarray(taps, np.int32)

    def arrays(self) -> dict[str, np.ndarray]:
        """Draw `x`, `kernel` and the output's cotangent `dy`."""
        random = np.random.default_rng(0)
        return {
            "x": random.standard_normal(self.shape, np.float32),
            "kernel": random.standard_normal((self.window,) * self.rank, np.float32),
            "dy": random.standard_normal(self.output, np.float32),
        }
