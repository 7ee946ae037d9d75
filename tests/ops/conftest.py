"""Makes the helpers beside these tests importable, and compilation cheap where asked."""

import sys
from collections.abc import Iterator
from pathlib import Path

import jax
import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="module")
def cheap_compilation() -> Iterator[None]:
    """Compiles without optimising: thousands of drawn cases run once each."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", before)
