"""Errors by their whole message, and pictures that tell which they are."""

import re

import numpy as np
import pytest


@pytest.fixture(scope="session")
def raises():
    """Expect an error with exactly this message."""

    def expect(kind, message):
        return pytest.raises(kind, match=f"^{re.escape(message)}$")

    return expect


@pytest.fixture(scope="session")
def noise():
    """Return uint8 pictures of a shape, the same for the same seed."""

    def make(*shape, seed=0):
        return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)

    return make
