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
def avx512(native):
    """Skip where the processor has not the vectors that the library's own kernels need."""
    # Not asked of the choice of a kernel, which is what is tested.
    if "avx512dq" not in Path("/proc/cpuinfo").read_text():
        pytest.skip("this processor has no AVX-512")


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


@pytest.fixture
def same_bits(run_alone):
    """Check that a program prints the same, which begins with 1, on any number of threads."""

    def check(program: str) -> None:
        # XLA makes so many threads, and the work is done on them.
        printed = {
            run_alone(program, NPROC=threads, PYTHONHASHSEED="0") for threads in ("1", "2", "3")
        }
        assert len(printed) == 1
        assert printed.pop().startswith("1 ")

    return check
