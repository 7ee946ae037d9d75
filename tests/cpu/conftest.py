"""The kernels are installed only where a test says so, and never stay."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cnn_jax import cpu

# The helpers beside these tests.
sys.path.insert(0, str(Path(__file__).parent))


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


@pytest.fixture
def run_alone():
    """Run a program in a process of its own that ends well, and return what it prints."""

    def run(program: str, **variables: str) -> str:
        result = subprocess.run(
            [sys.executable, "-c", program],
            capture_output=True,
            text=True,
            timeout=120,
            env={**os.environ, **variables},
        )
        assert result.returncode == 0, result.stderr[-2000:]
        return result.stdout

    return run
