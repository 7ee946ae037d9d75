"""Settings under which every test runs: strict promotion, float32 defaults, two CPU devices."""

import os
import pathlib

os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=2"
)
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import hypothesis
import jax
import matplotlib as mpl
import pytest

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
mpl.use("Agg")

# Compilation makes a first example slow, so no deadline; the draws are the same on every run.
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
hypothesis.settings.register_profile("thorough", deadline=None, print_blob=True, max_examples=3000)
hypothesis.settings.load_profile("ci")

# Every compiled program holds some fifty memory mappings, and the system allows a process 65,530:
# beyond them XLA's compiler crashes.
_MOST_MAPPINGS = 16_000
_MAPPINGS = pathlib.Path("/proc/self/maps")


@pytest.fixture(autouse=True)
def _compiled_programs_do_not_pile_up():
    yield
    if _MAPPINGS.exists() and _MAPPINGS.read_bytes().count(b"\n") > _MOST_MAPPINGS:
        jax.clear_caches()
