"""What is asked of every method that adds up a convolution's products: that its sums are exact."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from channels_last import correlate
from hypothesis import assume, event
from hypothesis import strategies as st

from cnn_jax import cpu
from cnn_jax.cpu import fused_convolution, native_library

# Of numbers in each type: rounding follows each of them.
PRECISIONS = [("float32", 2e-6), ("bfloat16", 2**-8)]


@st.composite
def convolutions(draw, channels, lengths=(1, 5, 13, 129, 500), windows=(1, 2, 3, 5, 7), gaps=True):
    """The shapes of x, of a kernel and of the result, and how they are correlated.

    `channels` draws the inputs and outputs of a group, and the groups. A window's rows have gaps
    only where there may be `gaps`.
    """
    rank = draw(st.integers(1, 3))

    def sizes(*choices: int) -> tuple[int, ...]:
        return tuple(draw(st.sampled_from(choices)) for _ in range(rank))

    size = sizes(*{1: lengths, 2: (1, 2, 5, 9, 40), 3: (1, 3, 6, 11)}[rank])
    window, dilation = sizes(*windows), sizes(1, 1, 2, 7)
    if not gaps:
        dilation = (*dilation[1:], 1)
    reach = [(w - 1) * d for w, d in zip(window, dilation, strict=True)]
    padding = tuple((draw(st.integers(0, r)), draw(st.integers(0, r))) for r in reach)
    inputs, outputs, groups = draw(channels)
    x = draw(st.sampled_from([1, 2, 5])), *size, inputs * groups
    kernel = *window, inputs, outputs * groups
    keywords = {
        "stride": sizes(1, 1, 2, 3, 9),
        "padding": padding,
        "dilation": dilation,
        "groups": groups,
    }
    result = jax.eval_shape(
        functools.partial(correlate, **keywords),
        *(jax.ShapeDtypeStruct(shape, "float32") for shape in (x, kernel)),
    ).shape
    assume(min(result) > 0)
    assume(np.prod(result) * np.prod(window) * inputs < 100_000_000)
    assume(max(map(np.prod, (x, kernel, result))) < 1_000_000)
    return x, kernel, result, keywords


def images_beyond_caches(image: int) -> int:
    """How many images, of so many bytes, are a result that is stored past the caches."""
    kept = native_library.kept_in_caches()
    if kept > 100 << 20:
        pytest.skip("this processor's caches keep results of 100 MB")
    return kept // image + 2


def by_x(x, kernel, weight, **keywords):
    """The result, and the gradient by x of its sum with these weights."""
    value, pullback = jax.vjp(lambda x: correlate(x, kernel, **keywords), x)
    return value, *pullback(weight)


def by_both(x, kernel, weight, **keywords):
    """The result, and the gradients of its sum with these weights."""
    value, pullback = jax.vjp(functools.partial(correlate, **keywords), x, kernel)
    return value, *pullback(weight)


def check(function, family, rules, mine, shapes, seed, dtype, precision, lost=4e-6, exactly=None):
    """Whatever the family can compute, and so is computed by the kernel `mine`, is exact.

    `rules` is the module that says where the family wins, if it has one. What sums may have `lost`
    follows the largest of them. `exactly` is the function for XLA to compute, where it goes wrong
    with the other.
    """
    *sizes, keywords = shapes
    draw = np.random.default_rng(seed)
    arrays = [jnp.asarray(draw.normal(size=size), dtype) for size in sizes]
    exactly = functools.partial(exactly or function, **keywords)
    function = functools.partial(function, **keywords)
    with cpu.uninstalled(), jax.enable_x64(True):
        exact = jax.jit(exactly)(*(jnp.asarray(array, jnp.float64) for array in arrays))
        exact = [np.asarray(array) for array in exact]
    with pytest.MonkeyPatch.context() as patch:
        if rules is not None:
            patch.setattr(rules, "wins", lambda convolution: True)
        with cpu.installed(kernels=[family]):
            computed = jax.jit(function)(*arrays)
            rows = cpu.explain(function, *arrays).rows
    event(f"{sum(row.kernel == mine for row in rows)} of {len(rows)} by {mine}")
    for sums, value in zip(exact, computed, strict=True):
        allowed = precision * np.abs(sums) + lost * np.abs(sums).max()
        assert (np.abs(np.asarray(value, np.float64) - sums) <= allowed).all()


def two_layers(x, first, bias, second):
    """A ReLU between two convolutions."""
    hidden = jax.nn.relu(correlate(x, first, padding=1) + bias)
    return correlate(hidden, second, padding=1)


def check_what_follows(channels, dtype, monkeypatch):
    """A bias and a ReLU are computed with a convolution, and so is the gradient through them."""
    inputs, hidden, outputs = channels
    sizes = (8, 20, 30, inputs), (3, 3, inputs, hidden), (1, 1, 1, hidden)
    check_gradients_that_follow((*sizes, (3, 3, hidden, outputs)), dtype, monkeypatch)


def check_gradients_that_follow(shapes, dtype, monkeypatch):
    """The same of a picture, a kernel, a bias and a second kernel of these shapes."""
    draw = np.random.default_rng(0)
    # Sums of small integers are exact, so that no ReLU hangs on a rounding.
    arrays = [jnp.asarray(draw.integers(-1, 2, shape), dtype) for shape in shapes]
    gradient = jax.grad(lambda *a: two_layers(*a).sum(), (0, 1, 2, 3))
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
