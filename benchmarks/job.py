"""What a contender's process prepares for a case, and how it says that it can't."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class Job:
    """One piece of work, ready to be timed.

    `run()` does it once and returns when it is finished. `results` are what it computes, in the
    layout that all contenders share, to be compared before anything is timed. `facts` are noted
    beside the figures: compile time, the memory format that was chosen, and the like.
    """

    run: Callable[[], Any]
    results: Mapping[str, np.ndarray]
    facts: Mapping[str, Any] = dataclasses.field(default_factory=dict)


class MissingError(Exception):
    """A contender can't take part on this machine; the message says how to get what it lacks."""
