"""Convolutions by whole rows of their windows: which are, how exactly, and to the same end."""

import functools

import channels_last
import exact_sums
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from channels_last import correlate
from hypothesis import given, settings
from hypothesis import strategies as st

from cnn_jax import cpu
from cnn_jax.cpu import narrow, native_library

pytestmark = pytest.mark.usefixtures("avx512")

MINE = "window rows"


def kernels_of(size, channels, window=3, dtype="float32", **keywords):
    """That of the result, and of the gradient by x."""
    kernel = (*(window,) * len(size), *channels)
    return channels_last.kernels_of((4, *size, channels[0]), kernel, dtype, **keywords)[:2]


@pytest.fixture
def whatever_the_shape(monkeypatch):
    """Everything that the method can compute is computed by it."""
    monkeypatch.setattr(narrow, "wins", lambda convolution: True)
    # Of the poolings' family is what follows a convolution, too.
    with cpu.installed(kernels=["narrow", "pooling"]):
        yield


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_those_with_few_results_are_computed_by_it(dtype, monkeypatch):
    monkeypatch.setattr(native_library, "has_matrix_units", lambda: False)
    assert kernels_of((30, 30), (32, 3), dtype=dtype, padding=1) == [MINE, "oneDNN"]
    assert kernels_of((30, 30), (3, 32), dtype=dtype, padding=1) == ["oneDNN", MINE]
    assert kernels_of((28, 28), (1, 12), 5, dtype)[1] == MINE
    assert kernels_of((300,), (64, 2), dtype=dtype, stride=2)[0] == MINE
    assert kernels_of((12, 12, 12), (16, 1), dtype=dtype)[0] == MINE


def test_with_matrix_units_small_windows_are_not_in_bfloat16(monkeypatch):
    monkeypatch.setattr(native_library, "has_matrix_units", lambda: True)
    assert kernels_of((30, 30), (32, 3), padding=1) == [MINE, "oneDNN"]
    assert MINE not in kernels_of((30, 30), (32, 3), dtype="bfloat16", padding=1)
    assert kernels_of((28, 28), (1, 12), 5, "bfloat16")[1] == MINE


def test_so_are_volumes_with_few_inputs():
    assert kernels_of((16, 16, 16), (1, 16), padding=1)[0] == MINE
    assert kernels_of((16, 16, 16), (1, 16), stride=2, dtype="bfloat16")[0] == MINE
    assert kernels_of((8, 12, 8), (4, 32), padding=1)[0] == MINE
    assert kernels_of((12, 12, 12), (32, 2), 5, padding=2)[1] == MINE


def test_so_are_strided_gradients_of_few_inputs():
    assert kernels_of((32, 32), (3, 64), 4, stride=2, padding=1)[1] == MINE
    assert kernels_of((300,), (8, 16), stride=3)[1] == MINE
    assert kernels_of((8, 8, 8), (4, 8), padding=1, stride=2)[1] == MINE
    assert kernels_of((32, 32), (3, 64), 4, stride=2, dilation=2)[1] == MINE
    assert kernels_of((16, 14), (8, 64), window=1, stride=2)[1] == MINE


def test_so_are_layers_with_few_inputs_of_hundreds_of_outputs():
    assert kernels_of((32, 32), (3, 256), stride=2)[0] == MINE
    assert kernels_of((16, 16, 8), (1, 512), window=1, stride=2)[0] == MINE
    assert kernels_of((32, 32), (3, 128), stride=2)[0] != MINE
    assert kernels_of((32, 32), (3, 256), window=5, stride=2)[0] != MINE
    assert kernels_of((32, 32), (3, 256), stride=2, dtype="bfloat16")[0] != MINE


def test_others_are_not():
    assert kernels_of((16, 16, 16), (8, 32), padding=1)[0] != MINE
    assert kernels_of((16, 16, 16), (4, 32), padding=1, dtype="bfloat16")[0] != MINE
    assert kernels_of((16, 16, 16), (1, 16), stride=3)[0] != MINE
    assert MINE not in kernels_of((30, 30), (32, 32))
    assert MINE not in kernels_of((30, 30), (4, 3))
    assert MINE not in kernels_of((30, 30), (32, 3), window=1)
    assert MINE not in kernels_of((30, 30), (32, 3), dilation=2)
    assert MINE not in kernels_of((30, 30), (16, 32), stride=2)
    assert MINE not in kernels_of((30, 30), (1, 128), stride=2)
    assert MINE not in kernels_of((30, 30), (2, 64), window=1, stride=2)
    assert MINE not in kernels_of((5, 5), (3, 64), stride=2)
    assert MINE not in kernels_of((30, 30), (32, 3), dtype="float16")
    assert MINE not in kernels_of((30, 30), (32, 8), dtype="bfloat16")


# Long rows are taken in segments of up to 128 positions, tiles of them have 6 to 14.
CHANNELS = st.tuples(
    st.sampled_from([1, 2, 3, 7, 16, 40]), st.sampled_from([1, 3, 16, 17, 70]), st.just(1)
) | st.tuples(st.sampled_from([17, 40, 130]), st.sampled_from([1, 2, 3, 4, 5, 8, 9]), st.just(1))


@pytest.mark.parametrize(("dtype", "precision"), exact_sums.PRECISIONS)
@settings(max_examples=40)
@given(exact_sums.convolutions(CHANNELS, gaps=False), st.integers(0, 2**32 - 1))
def test_it_is_as_exact_as_any_sum(dtype, precision, shapes, seed):
    exact_sums.check(exact_sums.by_x, "narrow", narrow, MINE, shapes, seed, dtype, precision)


FEW = st.tuples(st.sampled_from([1, 2, 3, 5, 8, 12]), st.sampled_from([1, 4, 16, 33]), st.just(1))


@settings(max_examples=40)
@given(
    # Gradients with a stride take windows with gaps.
    exact_sums.convolutions(FEW).filter(lambda drawn: max(drawn[3]["stride"]) > 1),
    st.integers(0, 2**32 - 1),
)
def test_so_are_gradients_with_a_stride(shapes, seed):
    exact_sums.check(
        exact_sums.by_x, "narrow", narrow, MINE, shapes, seed, "float32", precision=2e-6
    )


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_bias_and_a_relu_are_computed_with_it_and_so_is_the_gradient(
    whatever_the_shape, monkeypatch, dtype
):
    exact_sums.check_what_follows((7, 16, 5), dtype, monkeypatch)


def test_so_is_a_result_that_is_too_large_for_the_caches():
    draw = np.random.default_rng(0)
    images = exact_sums.images_beyond_caches(40 * 41 * 42 * 32 * 4)
    x, kernel = draw.normal(size=(images, 40, 41, 42, 1)), draw.normal(size=(2, 1, 2, 1, 32))
    given = jnp.asarray(x, "float32"), jnp.asarray(kernel, "float32")
    with cpu.installed(kernels=["narrow"]):
        function = functools.partial(correlate, padding=((0, 1), (0, 0), (1, 0)))
        assert cpu.explain(function, *given).rows[0].kernel == MINE
        result = np.asarray(jax.jit(function)(*given), np.float64)
    wide = np.pad(x, [(0, 0), (0, 1), (0, 0), (1, 0), (0, 0)])
    exact = sum(
        wide[:, i : i + 40, :, j : j + 42] * kernel[i, 0, j, 0] for i in (0, 1) for j in (0, 1)
    )
    assert (np.abs(result - exact) <= 2e-6 * np.abs(exact).max()).all()
