"""Convolutions by whole rows of their windows: which are, how exactly, and to the same end."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from channels_last import correlate
from hypothesis import assume, event, given, settings
from hypothesis import strategies as st

from cnn_jax import cpu
from cnn_jax.cpu import fused_convolution, narrow

pytestmark = pytest.mark.usefixtures("avx512")

MINE = "window rows"


def value_and_gradient(x, kernel, weight, **keywords):
    """The result, and the gradient by x of its sum with these weights."""
    value, pullback = jax.vjp(lambda x: correlate(x, kernel, **keywords), x)
    return value, *pullback(weight)


def kernels_of(size, channels, window=3, dtype="float32", **keywords):
    """That of the result, and of the gradient by x."""
    x = jax.ShapeDtypeStruct((4, *size, channels[0]), dtype)
    kernel = jax.ShapeDtypeStruct((*(window,) * len(size), *channels), dtype)
    result = functools.partial(correlate, **keywords)
    # A gradient alone leaves the value out.
    gradient = jax.grad(lambda x, kernel: result(x, kernel).sum())
    with cpu.installed():
        return [cpu.explain(f, x, kernel).rows[-1].kernel for f in (result, gradient)]


@pytest.fixture
def whatever_the_shape(monkeypatch):
    """Everything that the method can compute is computed by it."""
    monkeypatch.setattr(narrow, "wins", lambda convolution: True)
    # Of the poolings' family is what follows a convolution, too.
    with cpu.installed(kernels=["narrow", "pooling"]):
        yield


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_those_with_few_results_are_computed_by_it(dtype):
    assert kernels_of((30, 30), (32, 3), dtype=dtype, padding=1) == [MINE, "oneDNN"]
    assert kernels_of((30, 30), (3, 32), dtype=dtype, padding=1) == ["oneDNN", MINE]
    assert kernels_of((28, 28), (1, 6), 5, dtype)[1] == MINE
    assert kernels_of((300,), (64, 2), dtype=dtype, stride=2)[0] == MINE
    assert kernels_of((12, 12, 12), (16, 1), dtype=dtype)[0] == MINE


def test_others_are_not():
    assert MINE not in kernels_of((30, 30), (32, 32))
    assert MINE not in kernels_of((30, 30), (4, 3))
    assert MINE not in kernels_of((30, 30), (32, 3), window=1)
    assert MINE not in kernels_of((30, 30), (32, 3), dilation=2)
    assert MINE not in kernels_of((30, 30), (3, 32), stride=2)
    assert MINE not in kernels_of((30, 30), (32, 3), dtype="float16")
    assert MINE not in kernels_of((30, 30), (32, 8), dtype="bfloat16")


@st.composite
def drawn(draw):
    """The shapes of x and of a kernel, and how they are correlated."""
    rank = draw(st.integers(1, 3))

    def sizes(*choices: int) -> tuple[int, ...]:
        return tuple(draw(st.sampled_from(choices)) for _ in range(rank))

    # Long rows are taken in segments of up to 128 positions, tiles of them have 6 to 14.
    size = sizes(*{1: (1, 5, 13, 129, 500), 2: (1, 2, 5, 9, 40), 3: (1, 3, 6, 11)}[rank])
    window, dilation = sizes(1, 2, 3, 5, 7), (*sizes(1, 1, 2, 7)[1:], 1)
    reach = [(w - 1) * d for w, d in zip(window, dilation, strict=True)]
    padding = tuple((draw(st.integers(0, r)), draw(st.integers(0, r))) for r in reach)
    inputs, outputs = draw(
        st.tuples(st.sampled_from([1, 2, 3, 7, 16, 40]), st.sampled_from([1, 3, 16, 17, 70]))
        | st.tuples(st.sampled_from([17, 40, 130]), st.sampled_from([1, 2, 3, 4, 5, 8, 9]))
    )
    x, kernel = (draw(st.sampled_from([1, 2, 5])), *size, inputs), (*window, inputs, outputs)
    keywords = {"stride": sizes(1, 1, 2, 3, 9), "padding": padding, "dilation": dilation}
    result = jax.eval_shape(
        functools.partial(correlate, **keywords),
        *(jax.ShapeDtypeStruct(shape, "float32") for shape in (x, kernel)),
    ).shape
    assume(min(result) > 0)
    assume(np.prod(result) * np.prod(window) * inputs < 50_000_000)
    assume(max(map(np.prod, (x, kernel, result))) < 1_000_000)
    return x, kernel, result, keywords


@pytest.mark.parametrize(("dtype", "precision"), [("float32", 2e-6), ("bfloat16", 2**-8)])
@settings(max_examples=40)
@given(drawn(), st.integers(0, 2**32 - 1))
def test_it_is_as_exact_as_any_sum(dtype, precision, shapes, seed):
    *sizes, keywords = shapes
    draw = np.random.default_rng(seed)
    arrays = [jnp.asarray(draw.normal(size=size), dtype) for size in sizes]
    function = functools.partial(value_and_gradient, **keywords)
    with cpu.uninstalled(), jax.enable_x64(True):
        exact = jax.jit(function)(*(jnp.asarray(array, jnp.float64) for array in arrays))
        exact = [np.asarray(array) for array in exact]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(narrow, "wins", lambda convolution: True)
        with cpu.installed(kernels=["narrow"]):
            mine = jax.jit(function)(*arrays)
            rows = cpu.explain(function, *arrays).rows
    event(f"{sum(row.kernel == MINE for row in rows)} of {len(rows)} by rows of windows")
    for sums, value in zip(exact, mine, strict=True):
        # Rounding follows each number; what sums lose, the largest.
        allowed = precision * np.abs(sums) + 4e-6 * np.abs(sums).max()
        assert (np.abs(np.asarray(value, np.float64) - sums) <= allowed).all()


def two_layers(x, first, bias, second):
    hidden = jax.nn.relu(correlate(x, first, padding=1) + bias)
    return correlate(hidden, second, padding=1)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_bias_and_a_relu_are_computed_with_it_and_so_is_the_gradient(
    whatever_the_shape, monkeypatch, dtype
):
    draw = np.random.default_rng(0)
    sizes = (8, 20, 30, 7), (3, 3, 7, 16), (1, 1, 1, 16), (3, 3, 16, 5)
    # Sums of small integers are exact, so that no ReLU hangs on a rounding.
    arrays = [jnp.asarray(draw.integers(-1, 2, size), dtype) for size in sizes]
    gradient = jax.grad(lambda x, *a: two_layers(x, *a).sum(), (0, 1, 2, 3))
    monkeypatch.setattr(fused_convolution, "_FEWEST_ELEMENTS", 1)
    jax.clear_caches()
    lowered = jax.jit(gradient).lower(*arrays)
    assert "stablehlo.maximum" not in lowered.as_text()
    with_it = lowered.compile()(*arrays)
    with cpu.uninstalled():
        # In bfloat16 XLA's own sums are far off.
        without = jax.jit(gradient)(*(array.astype("float32") for array in arrays))
    for a, b in zip(with_it, without, strict=True):
        np.testing.assert_array_equal(a, b.astype(dtype))
