"""What was chosen for one operation, and why."""

import enum
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import jax

if TYPE_CHECKING:
    from cnn_jax.cpu.pooling_native import Plan


class Place(enum.Enum):
    """Where the lowered operation will run."""

    HERE = "in this process, on one device"
    PARTITIONED = "split over several devices by XLA's partitioner"
    EXPORTED = "elsewhere, exported"


class Choice(NamedTuple):
    """A kernel's name, the reason for it, and the function of the operands that runs it.

    `build` is None where the stock rule stays. `stock_is_right` is False where the stock rule's
    result is no measure, for XLA computes it wrongly or not at all. `plan` is a call of the native
    pooling, into which what comes before it may be taken, and `axes` the order of the axes in it.
    """

    kernel: str
    reason: str
    build: Callable[..., jax.Array] | None
    stock_is_right: bool = True
    plan: "Plan | None" = None
    axes: tuple[int, ...] = ()


def stock(reason: str) -> Choice:
    """XLA's own kernel."""
    return Choice("stock XLA", reason, None)


def elsewhere(place: Place) -> str | None:
    """Why no call of the library can run in that place: it can't be split, nor be found there."""
    return None if place is Place.HERE else f"it runs {place.value}"
