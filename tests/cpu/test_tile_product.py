"""Convolutions in bfloat16 by matrix units: which are, how exactly, and to the same end."""

import functools

import channels_last
import exact_sums
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax

from cnn_jax import cpu
from cnn_jax.cpu import implicit_product, native_library

MINE = "implicit product"


@pytest.fixture(autouse=True)
def _with_matrix_units(native):
    if not native_library.has_matrix_units():
        pytest.skip("this processor has no matrix units for bfloat16")


@pytest.fixture
def whatever_the_shape(monkeypatch):
    """Everything that the method can compute is computed by it."""
    monkeypatch.setattr(implicit_product, "wins", lambda convolution: True)
    # Of the poolings' family is what follows a convolution, too.
    with cpu.installed(kernels=["implicit", "pooling"]):
        yield


def kernels_of(size, channels, window=3, dtype="bfloat16", batch=8, **keywords):
    """That of the result, and of the gradient by x."""
    inputs = channels[0] // keywords.get("groups", 1)
    kernel = (*(window,) * len(size), inputs, channels[1])
    return channels_last.kernels_of((batch, *size, channels[0]), kernel, dtype, **keywords)[:2]


def test_layers_with_enough_channels_are_computed_by_it():
    assert kernels_of((28, 28), (64, 64), padding=1) == [MINE, MINE]
    assert kernels_of((28, 28), (48, 16), padding=1) == [MINE, "oneDNN"]
    assert kernels_of((28, 28), (16, 48), padding=1) == ["oneDNN", MINE]
    assert kernels_of((500,), (64, 96), 5) == [MINE, MINE]
    assert kernels_of((12, 12, 12), (64, 64), padding=1) == [MINE, MINE]
    assert kernels_of((28, 28), (64, 64), stride=2) == [MINE, MINE]
    assert kernels_of((28, 28), (256, 256), groups=2, padding=1) == [MINE, MINE]


def test_gradients_with_a_stride_are_with_fewer():
    assert kernels_of((28, 28), (8, 16), stride=2)[1] == MINE
    assert kernels_of((28, 28), (128, 128), groups=8, stride=2)[1] == MINE
    assert MINE not in kernels_of((28, 28), (4, 16), stride=2)


def test_other_layers_are_not():
    assert MINE not in kernels_of((28, 28), (128, 128), 1)
    assert MINE not in kernels_of((28, 28), (32, 32), padding=1)
    assert MINE not in kernels_of((28, 28), (256, 256), groups=4, padding=1)
    assert MINE not in kernels_of((28, 28), (64, 64), dtype="float32", padding=1)
    # Of 8 by 8 places 2 by 2 are positions.
    assert kernels_of((8, 8), (64, 64), 7)[0] != MINE
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(native_library, "has_matrix_units", lambda: False)
        assert MINE not in kernels_of((28, 28), (64, 64), padding=1)


# Tiles are 16 positions by 16 columns, two by two of them, and 32 numbers deep.
CHANNELS = st.tuples(
    st.sampled_from([1, 3, 16, 31, 32, 33, 64, 96, 260]),
    st.sampled_from([1, 5, 16, 17, 32, 40, 64, 100]),
    st.sampled_from([1, 1, 1, 2, 3]),
)


@settings(max_examples=60)
@given(
    exact_sums.convolutions(CHANNELS, (1, 5, 13, 129, 2000), (1, 2, 3, 5)),
    st.integers(0, 2**32 - 1),
)
def test_it_is_as_exact_as_any_sum(shapes, seed):
    exact_sums.check(
        exact_sums.by_x,
        "implicit",
        implicit_product,
        MINE,
        shapes,
        seed,
        *exact_sums.PRECISIONS[1],
    )


@pytest.mark.parametrize("channels", [(64, 96, 32), (40, 24, 16)])
def test_a_bias_and_a_relu_are_computed_with_it_and_so_is_the_gradient(
    whatever_the_shape, monkeypatch, channels
):
    exact_sums.check_what_follows(channels, "bfloat16", monkeypatch)


def test_channels_that_come_first_and_kernels_in_any_order_are_computed_by_it(whatever_the_shape):
    draw = np.random.default_rng(0)
    x = jnp.asarray(draw.integers(-2, 3, (3, 40, 11, 12)), "bfloat16")
    kernel = jnp.asarray(draw.integers(-1, 2, (3, 2, 24, 40)), "bfloat16")
    weight = jnp.asarray(draw.integers(-2, 3, (3, 24, 11, 6)), "bfloat16")

    def both(x, kernel, weight, order):
        def convolve(x):
            return lax.conv_general_dilated(
                x, kernel, (1, 2), ((1, 1), (0, 1)), dimension_numbers=("NCHW", order, "NCHW")
            )

        value, pullback = jax.vjp(convolve, x)
        return value, *pullback(weight)

    with cpu.uninstalled():
        arrays = (array.astype("float32") for array in (x, kernel, weight))
        expected = jax.jit(both, static_argnums=3)(*arrays, "HWOI")
    for order in ("HWOI", "HWIO", "OIHW", "IOHW"):
        axes = ["HWOI".index(axis) for axis in order]
        moved = jnp.transpose(kernel, axes)
        function = functools.partial(both, order=order)
        assert [row.kernel for row in cpu.explain(function, x, moved, weight).rows] == [MINE, MINE]
        computed = jax.jit(function)(x, moved, weight)
        for a, b in zip(computed, expected, strict=True):
            np.testing.assert_array_equal(a, b.astype("bfloat16"))


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
@pytest.mark.parametrize("operand", [0, 1, 2])
def test_what_is_not_finite_reaches_the_same_results(whatever_the_shape, wrong, operand):
    draw = np.random.default_rng(0)
    arrays = [draw.normal(size=size) for size in ((2, 7, 6, 5), (3, 3, 5, 20), (2, 4, 3, 20))]
    arrays[operand][1, 2, 1, 3] = wrong
    arrays = [jnp.asarray(array, "bfloat16") for array in arrays]
    function = functools.partial(exact_sums.by_x, stride=2, padding=1)
    assert [row.kernel for row in cpu.explain(function, *arrays).rows] == [MINE, MINE]
    mine = jax.jit(function)(*arrays)
    with cpu.uninstalled():
        theirs = jax.jit(function)(*arrays)
    for a, b in zip(mine, theirs, strict=True):
        # A weight beside the padding meets a row of zeros in both.
        np.testing.assert_array_equal(np.isfinite(a), np.isfinite(b))


def test_sums_without_a_product_are_zero(whatever_the_shape):
    # Between the windows, and past the last one.
    x, kernel, weight = (
        jnp.ones(size, "bfloat16") for size in ((2, 8, 9, 8), (1, 1, 8, 20), (2, 3, 3, 20))
    )
    function = functools.partial(exact_sums.by_x, stride=3)
    assert [row.kernel for row in cpu.explain(function, x, kernel, weight).rows] == [MINE, MINE]
    _, gradient = jax.jit(function)(x, kernel, weight)
    expected = np.zeros((2, 8, 9, 8))
    expected[:, ::3, ::3] = 20
    np.testing.assert_array_equal(gradient.astype("float32"), expected)


_BITS = """
import jax, jax.numpy as jnp, numpy as np
from jax import lax
from cnn_jax import cpu

cpu.install(keep_memory=False)
draw = np.random.default_rng(0)
sizes = (16, 15, 15, 64), (3, 3, 64, 96), (16, 15, 15, 96)
x, kernel, dy = (jnp.asarray(draw.normal(size=size), jnp.bfloat16) for size in sizes)

@jax.jit
def both(x, kernel, dy):
    def result(x):
        padding = ((1, 1), (1, 1))
        numbers = ("NHWC", "HWIO", "NHWC")
        return lax.conv_general_dilated(x, kernel, (1, 1), padding, dimension_numbers=numbers)
    value, pullback = jax.vjp(result, x)
    return value, *pullback(dy)

assert [row.kernel for row in cpu.explain(both, x, kernel, dy).rows] == ["implicit product"] * 2
results = {tuple(np.asarray(a).tobytes() for a in both(x, kernel, dy)) for _ in range(5)}
print(len(results), hash(results.pop()))
"""


def test_the_same_numbers_give_the_same_bits_on_any_number_of_threads(same_bits):
    same_bits(_BITS)
