"""Volumes by Winograd's method, slice by slice: which are, how exactly, and to the same end."""

import functools

import channels_last
import exact_sums
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnn_jax import cpu
from cnn_jax.cpu import winograd

pytestmark = pytest.mark.usefixtures("avx512")

MINE = "Winograd"


def kernels_of(size, channels, depth=3, batch=4, dtype="float32", **keywords):
    """Those of the result, and of its gradients by x and by the kernel."""
    kernel = (depth, 3, 3, *channels)
    keywords = {"padding": (depth // 2, 1, 1)} | keywords
    return channels_last.kernels_of((batch, *size, channels[0]), kernel, dtype, **keywords)


@pytest.fixture
def whatever_the_shape(monkeypatch):
    """Everything that the method can compute is computed by it."""
    monkeypatch.setattr(winograd, "wins", lambda convolution: True)
    # Of the poolings' family is what follows a convolution, too.
    with cpu.installed(kernels=["winograd", "pooling"]):
        yield


def test_those_with_many_tiles_are_computed_by_it():
    assert kernels_of((8, 8, 8), (16, 32)) == [MINE] * 3
    assert kernels_of((16, 16, 16), (8, 16)) == [MINE] * 3
    assert kernels_of((8, 16, 16), (32, 32), depth=1) == [MINE] * 3


def test_so_are_kernel_gradients_that_onednn_has_none_for():
    assert kernels_of((8, 4, 4), (16, 32), depth=5, batch=1, padding=2)[2] == MINE


def test_others_are_not():
    assert MINE not in kernels_of((8, 8, 8), (4, 32))
    assert MINE not in kernels_of((8, 8, 8), (16, 32), depth=1)
    assert MINE not in kernels_of((8, 4, 4), (32, 32), batch=1)
    assert MINE not in kernels_of((8, 8, 8), (16, 32), stride=2)
    assert MINE not in kernels_of((8, 8, 8), (16, 32), dtype="bfloat16")


@st.composite
def volumes(draw):
    """Shapes of x, of a kernel and of the result, and how they are correlated."""
    size = tuple(draw(st.integers(1, most)) for most in (7, 9, 9))
    window = draw(st.sampled_from([1, 2, 3, 5])), 3, 3
    padding = tuple((draw(st.integers(0, w - 1)), draw(st.integers(0, w - 1))) for w in window)
    result = [n + sum(pad) - w + 1 for n, w, pad in zip(size, window, padding, strict=True)]
    batch, inputs = draw(st.sampled_from([1, 2, 5, 33])), draw(st.sampled_from([1, 3, 16, 17, 40]))
    outputs = draw(st.sampled_from([16, 32, 48, 80, 10, 1]))
    shapes = (batch, *size, inputs), (*window, inputs, outputs), (batch, *result, outputs)
    return *shapes, {"padding": padding}


@settings(max_examples=60)
@given(volumes().filter(lambda drawn: min(drawn[2]) > 0), st.integers(0, 2**32 - 1))
def test_it_is_as_exact_as_any_sum(shapes, seed):
    exact_sums.check(
        exact_sums.by_both, "winograd", winograd, MINE, shapes, seed, "float32", precision=2e-6
    )


def test_a_bias_and_a_relu_are_computed_with_it_and_so_is_the_gradient(
    whatever_the_shape, monkeypatch
):
    shapes = (8, 6, 8, 9, 16), (3, 3, 3, 16, 16), (1, 1, 1, 1, 16), (3, 3, 3, 16, 32)
    exact_sums.check_gradients_that_follow(shapes, "float32", monkeypatch)


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
@pytest.mark.parametrize("operand", [0, 1, 2])
def test_what_is_not_finite_reaches_the_same_results(whatever_the_shape, wrong, operand):
    draw = np.random.default_rng(0)
    shapes = (2, 6, 5, 7, 16), (3, 3, 3, 16, 16), (2, 6, 5, 7, 16)
    arrays = [draw.normal(size=shape).astype(np.float32) for shape in shapes]
    arrays[operand][1, 2, 1, 1, 3] = wrong

    compute = functools.partial(exact_sums.by_both, padding=1)
    assert {row.kernel for row in cpu.explain(compute, *arrays).rows} == {MINE}
    mine = jax.jit(compute)(*arrays)
    with cpu.uninstalled():
        theirs = jax.jit(compute)(*arrays)
    for got, expected in zip(mine, theirs, strict=True):
        np.testing.assert_array_equal(np.isfinite(got), np.isfinite(expected))


def test_the_same_numbers_give_the_same_bits():
    draw = np.random.default_rng(0)
    shapes = (3, 12, 10, 11, 24), (3, 3, 3, 24, 32), (3, 12, 10, 11, 32)
    arrays = [jnp.asarray(draw.normal(size=shape), jnp.float32) for shape in shapes]
    with cpu.installed():
        compute = jax.jit(lambda *a: exact_sums.by_both(*a, padding=1))
        assert {row.kernel for row in cpu.explain(compute, *arrays).rows} == {MINE}
        first = jax.tree.map(np.asarray, compute(*arrays))
        for _ in range(5):
            jax.tree.map(np.testing.assert_array_equal, compute(*arrays), first)
