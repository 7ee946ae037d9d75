"""status() says what is missing, of the two things that can be, and how to get it."""

import sys

import pytest
from numpy.random import mtrand

from cnn_jax import cpu
from cnn_jax.cpu import native_library

if sys.platform != "linux":
    pytest.skip("the native library is for Linux", allow_module_level=True)


@pytest.fixture
def unbuilt(monkeypatch):
    monkeypatch.setattr(native_library, "_LIBRARY", "never_built.so")


@pytest.fixture
def no_onednn(monkeypatch):
    monkeypatch.setenv("CNN_JAX_ONEDNN", "/nowhere/libdnnl.so")
    monkeypatch.setattr(native_library, "_load_onednn", native_library._load_onednn.__wrapped__)


@pytest.fixture
def compilers(monkeypatch):
    """The programs on the path."""
    found = []
    monkeypatch.setattr(native_library.shutil, "which", lambda name: name in found or None)
    monkeypatch.setattr(native_library.platform, "machine", lambda: "x86_64")
    monkeypatch.delenv("CXX", raising=False)
    return found


def rows() -> dict[str, str]:
    return dict(line.split("  ", 1) for line in str(cpu.status()).splitlines())


def test_nothing_is_missing(native):
    status = cpu.status()
    assert status.missing is None
    assert rows()["native library"].strip() == status.native == str(native_library.find())
    assert rows()["oneDNN"].strip() == status.onednn
    assert (status.onednn or "").startswith("3.")


def test_without_a_compiler_only_the_library_is_missing(native, unbuilt, compilers):
    status = cpu.status()
    assert (status.native, status.onednn_missing) == (None, None)
    assert (status.onednn or "").startswith("3.")
    assert status.native_missing == (
        "it was not built; install a C++ compiler, as in `apt install g++`; then run "
        "`pip install --force-reinstall --no-deps -v .` in the folder of the sources"
    )
    assert status.missing == f"the native library: {status.native_missing}"


def test_with_a_compiler_the_build_is_to_be_looked_at(unbuilt, compilers):
    compilers.append("clang++")
    assert cpu.status().native_missing == (
        "it was not built; a C++ compiler is there now: run `pip install --force-reinstall "
        "--no-deps -v .` in the folder of the sources, and look for CMake's messages where it fails"
    )


def test_a_compiler_named_in_the_environment_counts(unbuilt, compilers, monkeypatch):
    monkeypatch.setenv("CXX", "icpx")
    assert "install a C++ compiler" in (cpu.status().native_missing or "")
    compilers.append("icpx")
    assert "a C++ compiler is there now" in (cpu.status().native_missing or "")


def test_other_processors_need_a_onednn_of_their_own(unbuilt, no_onednn, compilers, monkeypatch):
    monkeypatch.setattr(native_library.platform, "machine", lambda: "aarch64")
    status = cpu.status()
    assert (
        "install a C++ compiler, as in `apt install g++` and oneDNN 3 with its headers, as in "
        in (status.native_missing or "")
    )
    assert "its wheels are for x86_64 and this is aarch64" in (status.native_missing or "")
    assert (status.onednn_missing or "").startswith("`apt install libdnnl3`, or the like, or name")


def test_other_systems_are_told_that_there_is_no_library(unbuilt, monkeypatch):
    monkeypatch.setattr(native_library.sys, "platform", "darwin")
    monkeypatch.setattr(native_library.platform, "system", lambda: "Darwin")
    assert cpu.status().native_missing == (
        "it was not built; there is one for Linux only, and this is Darwin"
    )


def test_without_onednn_the_library_waits_for_it(native, no_onednn):
    status = cpu.status()
    assert status.native is None
    assert status.onednn is None
    path = native_library.find()
    assert status.native_missing == f"{path} can't be loaded without oneDNN"
    assert (status.onednn_missing or "").startswith(
        "`pip install onednn-cpu-gomp`, or name a library of oneDNN 3 in CNN_JAX_ONEDNN "
        "(/nowhere/libdnnl.so: cannot open"
    )
    assert rows()["oneDNN"].strip() == f"missing: {status.onednn_missing}"


def test_a_named_library_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setenv("CNN_JAX_NATIVE", "/nowhere/library.so")
    missing = "CNN_JAX_NATIVE names /nowhere/library.so, which is not a file"
    assert cpu.status().native_missing == missing


def test_other_libraries_are_told_from_those_that_are_needed(native, monkeypatch):
    another = mtrand.__file__
    monkeypatch.setenv("CNN_JAX_ONEDNN", another)
    monkeypatch.setattr(native_library, "_load_onednn", native_library._load_onednn.__wrapped__)
    assert f"({another} is not oneDNN)" in (cpu.status().onednn_missing or "")
    monkeypatch.undo()
    monkeypatch.setenv("CNN_JAX_NATIVE", another)
    monkeypatch.setattr(native_library, "load", native_library.load.__wrapped__)
    assert cpu.status().native_missing == f"{another} is not the native library of cnn_jax"


_PROGRAM = """
import jax, jax.numpy as jnp, numpy as np
from jax import lax
from cnn_jax import cpu

def network(kernel, x):
    y = lax.conv_general_dilated(
        x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
    return jnp.sum(jnp.sin(lax.reduce_window(
        y, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")))

draw = np.random.default_rng(0)
x, kernel = (draw.normal(size=s).astype("float32") for s in [(2, 8, 8, 32), (3, 3, 32, 16)])
gradient = jax.jit(jax.grad(network, (0, 1)))
stock = gradient(kernel, x)
cpu.install(keep_memory=False)
for mine, theirs in zip(gradient(kernel, x), stock, strict=True):
    np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-4)
(row, *_) = cpu.explain(network, kernel, x).rows
print(cpu.status().native, "native library is missing; see status()" in row.reason)
cpu.uninstall()
"""


@pytest.mark.parametrize("variable", ["CNN_JAX_NATIVE", "CNN_JAX_ONEDNN"])
def test_a_program_runs_without_either(run_alone, variable):
    assert run_alone(_PROGRAM, **{variable: "/nowhere/library.so"}) == "None True\n"
