"""Convolutions by Winograd's method: which are computed so, how exactly, and to the same end."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax

from cnn_jax import cpu
from cnn_jax.cpu import fused_convolution, native_library, winograd


def layer(x, kernel, padding=((1, 1), (1, 1)), pictures="NHWC", window="HWIO"):
    return lax.conv_general_dilated(
        x, kernel, (1, 1), padding, dimension_numbers=(pictures, window, pictures)
    )


def all_three(x, kernel, weight, **keywords):
    value, pullback = jax.vjp(lambda x, k: layer(x, k, **keywords), x, kernel)
    return value, *pullback(weight)


def kernels_of(size=8, channels=64, batch=64, dtype="float32", **installed):
    x = jax.ShapeDtypeStruct((batch, size, size, channels), dtype)
    kernel = jax.ShapeDtypeStruct((3, 3, channels, 64), dtype)
    with cpu.installed(**installed):
        rows = cpu.explain(jax.grad(lambda *a: layer(*a).sum(), (0, 1)), x, kernel).rows
    return [row.kernel for row in rows]


def take_all(patch: pytest.MonkeyPatch) -> None:
    """Have every convolution that the method can compute computed by it."""
    patch.setattr(winograd, "_fewest_channels", lambda layer: 0)
    patch.setattr(winograd, "_FEWEST_TILES", 0)
    patch.setattr(winograd, "_LEAST_FILLED", 0)


@pytest.fixture
def however_small(native, monkeypatch):
    take_all(monkeypatch)
    with cpu.installed(kernels=["winograd"], strict=True):
        yield


def test_wide_layers_are_computed_by_it(native, monkeypatch):
    monkeypatch.setattr(native_library, "has_matrix_units", lambda: False)
    assert kernels_of() == ["Winograd"] * 3
    assert kernels_of(channels=48) == ["oneDNN"] * 3
    # Implicit products take some of these.
    others = ["winograd", "onednn", "xla"]
    assert kernels_of(batch=2, kernels=others) == ["oneDNN"] * 3
    assert kernels_of(size=3, kernels=others) == ["oneDNN"] * 3
    assert "Winograd" not in kernels_of(dtype="bfloat16")
    assert kernels_of(kernels=["onednn", "xla"]) == ["oneDNN"] * 3


def test_beside_matrix_units_narrower_ones_are_too(native, monkeypatch):
    monkeypatch.setattr(native_library, "has_matrix_units", lambda: True)
    assert kernels_of(size=16, channels=40) == ["Winograd"] * 3
    assert kernels_of(size=16, channels=24) == ["Winograd", "oneDNN", "Winograd"]
    assert "Winograd" not in kernels_of(size=16, channels=20)


@settings(max_examples=25)
@given(
    st.integers(1, 3),
    st.tuples(st.integers(1, 7), st.integers(1, 7)),
    st.tuples(st.sampled_from([1, 3, 16, 17, 70]), st.sampled_from([1, 2, 16, 65])),
    st.lists(st.integers(0, 2), min_size=4, max_size=4),
    st.sampled_from([("NHWC", "HWIO"), ("NCHW", "OIHW"), ("NHWC", "OIHW"), ("NCHW", "HWIO")]),
    st.integers(0, 2**32 - 1),
)
def test_it_is_as_exact_as_a_direct_sum(batch, size, channels, padding, layout, seed):
    pads = ((padding[0], padding[1]), (padding[2], padding[3]))
    result = tuple(n + sum(pad) - 2 for n, pad in zip(size, pads, strict=True))
    if min(result) < 1:
        return
    shapes = {"N": batch, "H": size[0], "W": size[1], "C": channels[0], "O": channels[1]}
    window = {"H": 3, "W": 3, "I": channels[0], "O": channels[1]}
    out = {"N": batch, "H": result[0], "W": result[1], "C": channels[1]}
    draw = np.random.default_rng(seed)
    arrays = [
        draw.normal(size=[sizes[axis] for axis in axes])
        for sizes, axes in ((shapes, layout[0]), (window, layout[1]), (out, layout[0]))
    ]

    def compute(dtype):
        with jax.enable_x64(dtype == "float64"):
            given = [jnp.asarray(array, dtype) for array in arrays]
            function = functools.partial(
                all_three, padding=pads, pictures=layout[0], window=layout[1]
            )
            return [np.asarray(array) for array in jax.jit(function)(*given)]

    with cpu.uninstalled():
        exact = compute("float64")
        direct = compute("float32")
    with pytest.MonkeyPatch.context() as patch:
        take_all(patch)
        # Where an element of the kernel meets padding alone, XLA's own rule stays.
        with cpu.installed(kernels=["winograd"]):
            mine = compute("float32")
    for truth, other, got in zip(exact, direct, mine, strict=True):
        scale = np.abs(truth).max()
        allowed = 4 * np.abs(other - truth).max() + 1e-6 * scale
        assert np.abs(got - truth).max() <= allowed


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
@pytest.mark.parametrize("operand", [0, 1, 2])
def test_what_is_not_finite_reaches_the_same_results(however_small, wrong, operand):
    draw = np.random.default_rng(0)
    shapes = (2, 7, 6, 5), (3, 3, 5, 4), (2, 7, 6, 4)
    arrays = [draw.normal(size=shape).astype(np.float32) for shape in shapes]
    arrays[operand][1, 2, 1, 3] = wrong
    mine = jax.jit(all_three)(*arrays)
    with cpu.uninstalled():
        theirs = jax.jit(all_three)(*arrays)
    for got, expected in zip(mine, theirs, strict=True):
        np.testing.assert_array_equal(np.isfinite(got), np.isfinite(expected))


def test_the_same_numbers_give_the_same_bits(native):
    draw = np.random.default_rng(0)
    shapes = (16, 12, 12, 64), (3, 3, 64, 64), (16, 12, 12, 64)
    arrays = [jnp.asarray(draw.normal(size=shape), jnp.float32) for shape in shapes]
    with cpu.installed():
        compute = jax.jit(all_three)
        assert {row.kernel for row in cpu.explain(all_three, *arrays).rows} == {"Winograd"}
        first = jax.tree.map(np.asarray, compute(*arrays))
        for _ in range(5):
            jax.tree.map(np.testing.assert_array_equal, compute(*arrays), first)


def two_layers(x, kernel, bias, again, weight, **layout):
    # XLA chooses the order in memory of all but a program's arguments.
    y = jax.nn.relu(layer(2 * x, kernel, **layout) + bias)
    return y, layer(y, again, **layout) * weight


def gradients(arrays, **layout):
    """Of two layers, a bias and a ReLU between them: what the first makes, and all gradients."""

    def loss(arrays):
        y, z = two_layers(*arrays, **layout)
        return z.sum(), y

    return jax.value_and_grad(loss, has_aux=True)(arrays)


@settings(max_examples=25)
@given(
    st.sampled_from([1, 2, 5, 40]),
    st.tuples(st.integers(2, 9), st.integers(2, 9)),
    st.tuples(st.sampled_from([4, 5, 16, 65]), st.sampled_from([4, 17, 64])),
    st.sampled_from([("NHWC", "HWIO"), ("NCHW", "OIHW")]),
    st.integers(0, 2**32 - 1),
)
def test_a_bias_and_a_relu_go_into_it(batch, size, channels, layout, seed):
    picture = {"N": batch, "H": size[0], "W": size[1], "C": channels[0]}
    window = {"H": 3, "W": 3, "I": channels[0], "O": channels[1]}
    again = window | {"I": channels[1], "O": channels[0]}
    row = {axis: channels[1] if axis == "C" else 1 for axis in layout[0]}
    shapes = [(picture, 0), (window, 1), (row, 0), (again, 1), (picture, 0)]
    draw = np.random.default_rng(seed)
    arrays = [
        jnp.asarray(draw.normal(size=[sizes[axis] for axis in layout[which]]), jnp.float32)
        for sizes, which in shapes
    ]
    compute = functools.partial(gradients, pictures=layout[0], window=layout[1])
    with pytest.MonkeyPatch.context() as patch:
        take_all(patch)
        patch.setattr(fused_convolution, "_FEWEST_ELEMENTS", 1)
        with cpu.installed(kernels=["winograd"]):
            expected = jax.jit(compute)(arrays)
        with cpu.installed(kernels=["winograd", "pooling"]):
            lowered = jax.jit(compute).lower(arrays)
            numbers = re.findall(r"dense<\[\d+, (\d), (\d), (\d),", lowered.as_text())
            got = lowered.compile()(arrays)
    # What is computed of the result: nothing, the positive part, or what a ReLU lets through.
    forward, back = ("0", "1", "1"), ("1", "1", "2")
    assert {forward, back} <= set(numbers)
    for mine, other in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        # The sums of a bias's gradient are taken in another order.
        scale = max(1, np.abs(other).max())
        np.testing.assert_allclose(mine, other, rtol=0, atol=1e-5 * scale)
