"""Depthwise convolutions along rows: which are, how exactly, and to the same end."""

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
from cnn_jax.cpu import depthwise, fused_convolution, native_library

pytestmark = pytest.mark.usefixtures("avx512")

MINE = "depthwise rows"


def correlate(x, kernel, **keywords):
    """Each channel by itself."""
    return channels_last.correlate(x, kernel, groups=x.shape[-1], **keywords)


def kernels_of(size, channels, window=3, dtype="float32", **keywords):
    """Those of the result, of the gradient by x, and of that by the kernel."""
    kernel, keywords = (*(window,) * len(size), 1, channels), {"groups": channels, **keywords}
    return channels_last.kernels_of((4, *size, channels), kernel, dtype, **keywords)


@pytest.fixture
def whatever_the_shape(monkeypatch):
    """Everything that the method can compute is computed by it."""
    monkeypatch.setattr(depthwise, "wins", depthwise.helps)
    # Of the poolings' family is what follows a convolution, too.
    with cpu.installed(kernels=["depthwise", "pooling"]):
        yield


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_those_in_1_and_3_dimensions_are_computed_by_it(dtype):
    assert kernels_of((300,), 32, dtype=dtype, padding=1) == [MINE] * 3
    assert kernels_of((300,), 32, dtype=dtype, stride=3) == [MINE] * 3
    assert kernels_of((9, 9, 9), 32, dtype=dtype, padding=1) == [MINE] * 3


def test_in_bfloat16_they_are_from_two_channels_on():
    assert kernels_of((300,), 2, padding=1, dtype="bfloat16") == [MINE] * 3
    assert kernels_of((9, 9, 9), 2, padding=1, dtype="bfloat16") == [MINE] * 3
    assert kernels_of((30, 30), 2, window=7, padding=3, dtype="bfloat16")[2] == MINE
    assert MINE not in kernels_of((300,), 4, padding=1)


def test_in_2_dimensions_those_are_for_which_onednn_has_no_kernel_of_its_own():
    assert kernels_of((30, 30), 32, padding=1) == ["oneDNN"] * 3
    assert kernels_of((30, 30), 32, padding=1, stride=2) == ["oneDNN"] * 3
    assert kernels_of((30, 30), 32, padding=2, dilation=2) == ["oneDNN", MINE, MINE]
    assert kernels_of((30, 30), 32, window=7, padding=3) == ["oneDNN", "oneDNN", MINE]
    assert kernels_of((30, 4), 32, padding=1)[:2] == [MINE, MINE]
    assert kernels_of((30, 30), 32, padding=1, stride=2, dtype="bfloat16")[1] == MINE


def test_so_are_those_whose_result_is_large(monkeypatch):
    monkeypatch.setattr(native_library, "kept_in_caches", lambda: 10 << 20)
    assert kernels_of((120, 120), 64, padding=1) == [MINE, MINE, "oneDNN"]
    assert kernels_of((120, 120), 64, window=5, padding=2)[:2] == [MINE, MINE]
    assert kernels_of((240, 240), 64, padding=1, stride=2)[:2] == ["oneDNN", MINE]
    assert MINE not in kernels_of((120, 120), 63, padding=1)
    assert MINE not in kernels_of((170, 170), 64, padding=1, dtype="bfloat16")


def test_beside_matrix_units_so_are_short_rows_in_bfloat16(monkeypatch):
    monkeypatch.setattr(native_library, "has_matrix_units", lambda: True)
    half = functools.partial(kernels_of, (30, 14), 32, dtype="bfloat16")
    assert half(padding=1)[:2] == ["oneDNN", MINE]
    assert half(window=5, padding=2)[:2] == [MINE, MINE]
    assert half(padding=1, stride=2)[0] == "oneDNN"
    assert kernels_of((30, 15), 32, padding=1, dtype="bfloat16")[1] == "oneDNN"


def test_others_are_not():
    assert MINE not in kernels_of((300,), 3)
    assert MINE not in kernels_of((300,), 32, window=1)
    assert MINE not in kernels_of((300,), 32, dtype="float16")


# Long rows are taken in segments of up to 128 positions, tiles of them have up to 8; blocks have 16
# or 32 channels.
CHANNELS = st.tuples(st.just(1), st.just(1), st.sampled_from([2, 15, 16, 17, 32, 33, 48, 65, 200]))


@pytest.mark.parametrize(("dtype", "precision"), exact_sums.PRECISIONS)
@settings(max_examples=40)
@given(exact_sums.convolutions(CHANNELS), st.integers(0, 2**32 - 1))
def test_it_is_as_exact_as_any_sum(dtype, precision, shapes, seed):
    exact_sums.check(
        exact_sums.by_both, "depthwise", depthwise, MINE, shapes, seed, dtype, precision, lost=2e-6
    )


@pytest.mark.parametrize(("dtype", "precision"), exact_sums.PRECISIONS)
def test_so_is_a_result_that_is_too_large_for_the_caches(dtype, precision):
    draw = np.random.default_rng(0)
    kernel = jnp.asarray(draw.normal(size=(3, 1, 64)), dtype)
    images = exact_sums.images_beyond_caches(6000 * 64 * kernel.dtype.itemsize)
    x = jnp.asarray(draw.normal(size=(images, 6000, 64)).astype("float32"), dtype)
    with cpu.installed(kernels=["depthwise"]):
        function = functools.partial(correlate, padding=1)
        assert cpu.explain(function, x, kernel).rows[0].kernel == MINE
        result = np.asarray(jax.jit(function)(x, kernel), np.float64)
    wide = np.pad(np.asarray(x, np.float64), [(0, 0), (1, 1), (0, 0)])
    exact = sum(wide[:, i : i + 6000] * np.asarray(kernel[i], np.float64) for i in range(3))
    assert (np.abs(result - exact) <= precision * np.abs(exact) + 2e-6 * np.abs(exact).max()).all()


def test_sums_without_a_product_are_zero(whatever_the_shape):
    # Between the windows and past the last one, and elements that meet padding alone.
    x, kernel, weight = jnp.ones((2, 8, 9, 20)), jnp.ones((1, 1, 1, 20)), jnp.ones((2, 3, 3, 20))
    function = functools.partial(exact_sums.by_both, stride=3, groups=20)
    assert {row.kernel for row in cpu.explain(function, x, kernel, weight).rows} == {MINE}
    _, gradient, _ = jax.jit(function)(x, kernel, weight)
    expected = np.zeros((2, 8, 9, 20))
    expected[:, ::3, ::3] = 1
    np.testing.assert_array_equal(gradient, expected)


def two_layers(x, first, bias, second):
    hidden = jax.nn.relu(correlate(x, first, padding=1) + bias)
    return correlate(hidden, second, padding=1)


@pytest.mark.parametrize("size", [(40, 4), (4, 300)])
def test_a_bias_and_a_relu_are_computed_with_it_and_so_is_the_gradient(
    whatever_the_shape, monkeypatch, size
):
    draw = np.random.default_rng(0)
    sizes = (8, *size, 40), (3, 3, 1, 40), (1, 1, 1, 40), (3, 3, 1, 40)
    arrays = [jnp.asarray(draw.normal(size=size), jnp.float32) for size in sizes]
    gradient = jax.grad(lambda *a: (two_layers(*a) ** 2).sum(), (0, 1, 2, 3))
    monkeypatch.setattr(fused_convolution, "_FEWEST_ELEMENTS", 1)
    jax.clear_caches()
    lowered = jax.jit(gradient).lower(*arrays)
    assert lowered.as_text().count("cnn_jax_convolution") >= 5
    assert "stablehlo.maximum" not in lowered.as_text()
    with_it = lowered.compile()(*arrays)
    with cpu.uninstalled():
        without = jax.jit(gradient)(*arrays)
    for a, b in zip(with_it, without, strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5 * np.abs(b).max())


_BITS = """
import jax, jax.numpy as jnp, numpy as np
from jax import lax
from cnn_jax import cpu

cpu.install(keep_memory=False)
draw = np.random.default_rng(0)
sizes = (16, 900, CHANNELS), (5, 1, CHANNELS), (16, 898, CHANNELS)
x, kernel, dy = (jnp.asarray(draw.normal(size=size), jnp.float32) for size in sizes)

@jax.jit
def all_of_it(x, kernel, dy):
    def result(x, kernel):
        return lax.conv_general_dilated(
            x, kernel, (1,), [(1, 1)], dimension_numbers=("NWC", "WIO", "NWC"),
            feature_group_count=CHANNELS)
    value, pullback = jax.vjp(result, x, kernel)
    return value, *pullback(dy)

rows = cpu.explain(all_of_it, x, kernel, dy).rows
assert [row.kernel for row in rows] == ["depthwise rows"] * 3
results = {tuple(np.asarray(a).tobytes() for a in all_of_it(x, kernel, dy)) for _ in range(5)}
print(len(results), hash(results.pop()))
"""


@pytest.mark.parametrize("channels", ["64", "70"])
def test_the_same_numbers_give_the_same_bits_on_any_number_of_threads(same_bits, channels):
    same_bits(_BITS.replace("CHANNELS", channels))
