"""The kernels are installed only where a test says so, and never stay."""

import pytest

from cnn_jax import cpu


@pytest.fixture(autouse=True)
def _nothing_installed():
    cpu.uninstall()
    yield
    cpu.uninstall()


@pytest.fixture
def native():
    """Skip where the native library was not built."""
    missing = cpu.status().missing
    if missing:
        pytest.skip(missing)
