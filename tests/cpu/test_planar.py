"""Convolutions by rows of single channels: which are, how exactly, and to the same end."""

import channels_last
import exact_sums
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnn_jax import cpu
from cnn_jax.cpu import planar

pytestmark = pytest.mark.usefixtures("avx512")

MINE = "planar rows"


def kernels_of(size, channels, window=3, dtype="float32", **keywords):
    """Those of the result, of the gradient by x, and of that by the kernel."""
    kernel = (*(window,) * len(size), *channels)
    return channels_last.kernels_of((4, *size, channels[0]), kernel, dtype, **keywords)


@pytest.fixture
def whatever_the_shape(monkeypatch):
    """Everything that the method can compute is computed by it."""
    monkeypatch.setattr(planar, "wins", lambda convolution: True)
    # Of the poolings' family is what follows a convolution, too.
    with cpu.installed(kernels=["planar", "pooling"]):
        yield


def test_those_of_few_channels_are_computed_by_it():
    assert kernels_of((28, 28), (1, 6), 5) == [MINE, MINE, "oneDNN"]
    assert kernels_of((28, 28), (1, 6), 5, "bfloat16") == [MINE, "window rows", "oneDNN"]
    assert kernels_of((64, 64), (3, 4), padding=1) == [MINE] * 3
    assert kernels_of((64, 64), (3, 3), padding=1, dtype="bfloat16") == [MINE] * 3
    assert kernels_of((300,), (4, 4), 5) == [MINE] * 3
    assert kernels_of((16, 16, 16), (1, 2), padding=1) == [MINE] * 3


def test_it_stands_in_where_onednn_is_slow_or_has_no_kernel():
    assert kernels_of((28, 35), (4, 3), 5, padding=4, stride=3, dilation=2)[1] == MINE
    assert kernels_of((17, 6, 21), (32, 3), padding=2, dilation=2)[2] == MINE


def test_others_are_not():
    assert MINE not in kernels_of((28, 28), (1, 16), 5)[::2]
    assert MINE not in kernels_of((28, 28), (16, 8))
    assert MINE not in kernels_of((64, 64), (3, 4), window=2)
    # Vectors that are half empty.
    assert MINE not in kernels_of((64, 20), (3, 4), padding=1)
    assert MINE not in kernels_of((64, 64), (3, 4), stride=2)[::2]
    assert MINE not in kernels_of((64, 64), (3, 4), dtype="float16")


# Vectors are of 16 positions, up to four of them are taken together, and up to eight channels are
# split at once; long rows are taken in segments of up to 128.
CHANNELS = st.tuples(st.sampled_from([1, 2, 3, 5, 8, 9, 40]), st.integers(1, 8), st.just(1))
CONVOLUTIONS = exact_sums.convolutions(CHANNELS, (1, 5, 13, 16, 63, 129, 500))


@pytest.mark.parametrize(("dtype", "precision"), exact_sums.PRECISIONS)
@settings(max_examples=60)
@given(CONVOLUTIONS, st.integers(0, 2**32 - 1))
def test_it_is_as_exact_as_any_sum(dtype, precision, shapes, seed):
    exact_sums.check(exact_sums.by_both, "planar", planar, MINE, shapes, seed, dtype, precision)


@pytest.mark.parametrize("size", [(30, 50), (300,)])
def test_what_a_window_does_not_meet_counts_for_nothing(whatever_the_shape, size):
    # Past the end of a row, in vectors that are computed whole, lies what is not a number.
    rank = len(size)
    x = jnp.ones((3, *size, 2)).at[..., -1, :].set(jnp.nan)
    kernel = jnp.ones((*(3,) * rank, 2, 3))
    value, pullback = jax.vjp(lambda kernel: channels_last.correlate(x, kernel), kernel)
    weight = jnp.ones_like(value).at[..., -1, :].set(0)
    assert np.isfinite(value[..., :-1, :]).all()
    assert np.isnan(value[..., -1, :]).all()
    (gradient,) = pullback(weight)
    # Nothing is a product of NaN but the last element of each row of the window.
    assert np.isfinite(gradient[..., :-1, :, :]).all()
    assert np.isnan(gradient[..., -1, :, :]).all()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_bias_and_a_relu_are_computed_with_it_and_so_is_the_gradient(
    whatever_the_shape, monkeypatch, dtype
):
    exact_sums.check_what_follows((7, 6, 5), dtype, monkeypatch)


_BITS = """
import jax, jax.numpy as jnp, numpy as np
from jax import lax
from cnn_jax import cpu

cpu.install(keep_memory=False)
draw = np.random.default_rng(0)
sizes = (16, 64, 64, 3), (3, 3, 3, 4), (16, 62, 62, 4)
x, kernel, dy = (jnp.asarray(draw.normal(size=size), jnp.float32) for size in sizes)

@jax.jit
def all_of_it(x, kernel, dy):
    def result(x, kernel):
        return lax.conv_general_dilated(
            x, kernel, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"))
    value, pullback = jax.vjp(result, x, kernel)
    return value, *pullback(dy)

rows = cpu.explain(all_of_it, x, kernel, dy).rows
assert [row.kernel for row in rows] == ["planar rows"] * 3
results = {tuple(np.asarray(a).tobytes() for a in all_of_it(x, kernel, dy)) for _ in range(5)}
print(len(results), hash(results.pop()))
"""


def test_the_same_numbers_give_the_same_bits_on_any_number_of_threads(same_bits):
    same_bits(_BITS)
