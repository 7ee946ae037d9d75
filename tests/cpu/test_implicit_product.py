"""Convolutions as implicit matrix products: which are, how exactly, and to the same end."""

import functools
import re

import exact_sums
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from channels_last import correlate
from hypothesis import event, given, settings
from hypothesis import strategies as st

from cnn_jax import cpu
from cnn_jax.cpu import fused_convolution, implicit_product, native_library

pytestmark = pytest.mark.usefixtures("avx512")

MINE = "implicit product"


def kernels_of(size, channels, window=3, dtype="float32", installed=None, batch=16, **keywords):
    rank, (inputs, outputs) = len(size), channels
    x = jax.ShapeDtypeStruct((batch, *size, inputs), dtype)
    inputs //= keywords.get("groups", 1)
    kernel = jax.ShapeDtypeStruct((*(window,) * rank, inputs, outputs), dtype)

    def gradient(x, kernel):
        return jax.grad(lambda x: correlate(x, kernel, **keywords).sum())(x)

    with cpu.installed(**(installed or {})):
        # A gradient alone leaves the value out.
        return [
            cpu.explain(function, x, kernel).rows[-1].kernel
            for function in (functools.partial(correlate, **keywords), gradient)
        ]


@pytest.fixture(autouse=True)
def _without_matrix_units(monkeypatch):
    # Winograd's method takes some of these layers beside them.
    monkeypatch.setattr(native_library, "has_matrix_units", lambda: False)


@pytest.fixture
def whatever_the_shape(monkeypatch):
    """Everything that the method can compute is computed by it."""
    monkeypatch.setattr(implicit_product, "wins", lambda convolution: True)
    # Of the poolings' family is what follows a convolution, too.
    with cpu.installed(kernels=["implicit", "pooling"]):
        yield


def test_layers_with_a_stride_or_short_rows_or_few_outputs_are_computed_by_it():
    assert kernels_of((12, 12), (32, 64), stride=2) == [MINE, MINE]
    assert kernels_of((20,), (32, 64), stride=3) == [MINE, MINE]
    assert kernels_of((9, 9, 9), (32, 64), stride=2) == [MINE, MINE]
    assert kernels_of((40, 4), (32, 64), padding=1) == [MINE, MINE]
    assert kernels_of((64, 64), (128, 3), padding=1) == [MINE, "oneDNN"]
    assert kernels_of((64, 64), (3, 128), padding=1) == ["oneDNN", MINE]
    assert kernels_of((64, 64), (128, 8), padding=1)[0] == MINE


def test_strided_gradients_of_many_channels_are_computed_by_it():
    assert kernels_of((60, 60), (256, 1), stride=2)[1] == MINE
    assert kernels_of((60, 60), (256, 8), window=1, stride=2)[1] == MINE
    assert kernels_of((14, 14), (32, 64), window=1, stride=2)[1] == MINE
    assert kernels_of((60, 60), (32, 32), window=1, stride=2)[1] != MINE
    assert kernels_of((60, 60), (64, 8), stride=2, dilation=2)[1] == MINE
    assert kernels_of((60, 60), (96, 96), stride=2)[1] == MINE
    assert kernels_of((60, 60), (32, 96), stride=2)[1] == "oneDNN"
    assert kernels_of((60,), (32, 32), stride=3, groups=4)[1] == MINE
    assert kernels_of((60,), (32, 32), stride=2, groups=4)[1] == "oneDNN"


def test_layers_with_few_positions_beside_their_kernel_are_computed_by_it():
    assert kernels_of((9, 9), (128, 96), batch=1, padding=1)[0] == MINE
    assert kernels_of((9, 9), (128, 512), batch=1, stride=2)[0] == MINE
    assert kernels_of((5, 5, 5), (128, 96), batch=1, padding=1)[0] == MINE
    assert kernels_of((9, 9), (512, 48), 5, batch=1, padding=1)[0] != MINE
    assert kernels_of((9, 9), (512, 96), 1, batch=1)[0] != MINE
    assert kernels_of((40, 40), (128, 96), batch=1, padding=1)[0] != MINE


def test_small_layers_are_computed_by_it():
    assert kernels_of((8, 8), (32, 32), padding=1) == [MINE, MINE]


def test_it_stands_in_where_onednn_has_no_kernel_of_its_own():
    # One that copies every window, for a dilation with a stride; and none that is fast.
    assert kernels_of((300,), (20, 64), stride=3, dilation=2)[1] == MINE
    assert kernels_of((64, 3), (16, 12), padding=1)[0] == MINE


def test_other_layers_are_not():
    assert kernels_of((32, 32), (32, 64), padding=1) == ["oneDNN"] * 2
    assert kernels_of((60, 60), (32, 64), stride=2) == ["oneDNN"] * 2
    assert kernels_of((12, 12), (3, 64), stride=2)[0] == "oneDNN"
    assert kernels_of((32, 32), (128, 3), window=1) == ["matrix product", "oneDNN"]
    assert kernels_of((12, 12), (32, 64), stride=2, dtype="bfloat16") == ["oneDNN"] * 2
    assert MINE not in kernels_of((12, 12), (32, 64), stride=2, installed={"kernels": ["onednn"]})


# Pieces of the work have up to 240 positions, tiles of them 6 to 14. Many channels fill the cache,
# so that the window's elements, or blocks of columns, are taken in turns.
GROUPS = st.sampled_from([1, 1, 1, 2, 3])
FEW = st.tuples(
    st.sampled_from([1, 2, 7, 16, 40]), st.sampled_from([1, 3, 16, 17, 40, 64, 150]), GROUPS
)
MANY = st.sampled_from([(700, 80, 1), (2100, 130, 1), (150, 260, 1)])


@settings(max_examples=60)
@given(
    exact_sums.convolutions(FEW | MANY, (1, 5, 13, 61, 500), (1, 2, 3, 5)),
    st.integers(0, 2**32 - 1),
)
def test_it_is_as_exact_as_any_sum(shapes, seed):
    *sizes, keywords = shapes
    draw = np.random.default_rng(seed)
    arrays = [draw.normal(size=size) for size in sizes]

    def computed(dtype):
        with jax.enable_x64(dtype == "float64"):
            function = jax.jit(functools.partial(exact_sums.by_x, **keywords))
            given = [jnp.asarray(array, dtype) for array in arrays]
            return [np.asarray(array) for array in function(*given)]

    with cpu.uninstalled():
        exact, direct = computed("float64"), computed("float32")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(implicit_product, "wins", lambda convolution: True)
        with cpu.installed(kernels=["implicit"]):
            mine = computed("float32")
            rows = cpu.explain(functools.partial(exact_sums.by_x, **keywords), *arrays).rows
    event(f"{sum(row.kernel == MINE for row in rows)} of {len(rows)} are implicit products")
    for sums, theirs, value in zip(exact, direct, mine, strict=True):
        allowed = 4 * np.abs(theirs - sums).max() + 1e-6 * np.abs(sums).max()
        assert np.abs(value - sums).max() <= allowed


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
@pytest.mark.parametrize("operand", [0, 1, 2])
def test_what_is_not_finite_reaches_the_same_results(whatever_the_shape, wrong, operand):
    draw = np.random.default_rng(0)
    arrays = [draw.normal(size=size) for size in ((2, 7, 6, 5), (3, 3, 5, 20), (2, 4, 3, 20))]
    arrays[operand][1, 2, 1, 3] = wrong
    arrays = [jnp.asarray(array, jnp.float32) for array in arrays]
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
    x, kernel, weight = jnp.ones((2, 8, 9, 8)), jnp.ones((1, 1, 8, 20)), jnp.ones((2, 3, 3, 20))
    function = functools.partial(exact_sums.by_x, stride=3)
    assert [row.kernel for row in cpu.explain(function, x, kernel, weight).rows] == [MINE, MINE]
    _, gradient = jax.jit(function)(x, kernel, weight)
    expected = np.zeros((2, 8, 9, 8))
    expected[:, ::3, ::3] = 20
    np.testing.assert_array_equal(gradient, expected)


def two_layers(x, first, bias, second):
    hidden = jax.nn.relu(correlate(x, first, padding=1) + bias)
    return correlate(hidden, second, padding=1)


def test_a_bias_and_a_relu_are_computed_with_it_and_so_is_the_gradient(
    whatever_the_shape, monkeypatch
):
    draw = np.random.default_rng(0)
    sizes = (8, 40, 4, 16), (3, 3, 16, 40), (1, 1, 1, 40), (3, 3, 40, 24)
    arrays = [jnp.asarray(draw.normal(size=size), jnp.float32) for size in sizes]
    gradient = jax.grad(lambda *a: (two_layers(*a) ** 2).sum(), (0, 1, 2, 3))

    def computed():
        jax.clear_caches()
        lowered = jax.jit(gradient).lower(*arrays)
        configurations = re.findall(r"configuration = dense<\[(.*?)\]>", lowered.as_text())
        numbers = [list(map(int, text.split(","))) for text in configurations]
        return lowered.compile()(*arrays), [c[3] for c in numbers if c[2] == 3]

    monkeypatch.setattr(fused_convolution, "_FEWEST_ELEMENTS", 1)
    with_it, epilogues = computed()
    assert set(epilogues) == {0, 1, 2}
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
sizes = (64, 15, 15, 32), (3, 3, 32, 64), (64, 8, 8, 64)
x, kernel, dy = (jnp.asarray(draw.normal(size=size), jnp.float32) for size in sizes)

@jax.jit
def both(x, kernel, dy):
    def result(x):
        padding = ((1, 1), (1, 1))
        numbers = ("NHWC", "HWIO", "NHWC")
        return lax.conv_general_dilated(x, kernel, (2, 2), padding, dimension_numbers=numbers)
    value, pullback = jax.vjp(result, x)
    return value, *pullback(dy)

assert [row.kernel for row in cpu.explain(both, x, kernel, dy).rows] == ["implicit product"] * 2
results = {tuple(np.asarray(a).tobytes() for a in both(x, kernel, dy)) for _ in range(5)}
print(len(results), hash(results.pop()))
"""


def test_the_same_numbers_give_the_same_bits_on_any_number_of_threads(same_bits):
    same_bits(_BITS)
