"""Makes `benchmarks` importable wherever pytest is started, and lends contenders that misbehave."""

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
sys.path.append(str(ROOT))  # last, so that the installed package comes before its sources

from benchmarks.harness import Contender, Harness, Limits  # noqa: E402
from benchmarks.machine import available_cpus  # noqa: E402

Make = Callable[..., Contender]


@pytest.fixture(scope="session")
def contender() -> Make:
    """`contender(name, function, **options)` with a function of `misbehaving`."""

    def make(name: str, function: str = "honest", **options: Any) -> Contender:
        environment = {"PYTHONPATH": os.pathsep.join([str(ROOT), str(HERE)])}
        return Contender(name, f"misbehaving:{function}", options, environment)

    return make


@pytest.fixture
def harness() -> Iterator[Harness]:
    """A harness with short limits."""
    limits = Limits(turn=0.002, rounds=3, fewest_rounds=2, case=5, prepare=30, run=30)
    with Harness(available_cpus()[:1], limits) as made:
        yield made
