"""Sums in half precision, over groups of channels and over examples: not XLA's while installed."""

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax

from cnn_jax import cpu


def bias_gradient(y, weight, bias):
    """Of a layer written as any library writes it."""
    return jax.grad(lambda b: jnp.vdot(weight, y + b.reshape(1, 1, 1, -1)))(bias)


@settings(max_examples=10)
@given(
    st.sampled_from(["bfloat16", "float16"]),
    st.tuples(*[st.integers(1, 40)] * 3, st.integers(1, 9)),
    st.integers(0, 2**32 - 1),
)
def test_a_bias_gradient_is_rounded_once(dtype, shape, seed):
    draw = np.random.default_rng(seed)
    weight = jnp.asarray(draw.normal(size=shape), dtype)
    y, bias = jnp.zeros(shape, dtype), jnp.zeros(shape[-1:], dtype)
    with cpu.installed(keep_memory=False):
        got = np.asarray(jax.jit(bias_gradient)(y, weight, bias), np.float64)
    terms = np.asarray(weight, np.float64).reshape(-1, shape[-1])
    rounding = float(jnp.finfo(dtype).eps) * np.abs(terms.sum(0))
    assert (np.abs(got - terms.sum(0)) <= rounding + 1e-6 * np.abs(terms).sum(0)).all()


def test_only_half_precision_is_concerned():
    def rows(dtype, **installed):
        x = jax.ShapeDtypeStruct((2, 3, 4), dtype)
        with cpu.installed(keep_memory=False, **installed):
            return cpu.explain(lambda x: lax.reduce_sum_p.bind(x, axes=(0, 1), **extra), x).rows

    extra = {
        name: value
        for name, value in jax.make_jaxpr(lambda x: jnp.sum(x, 0))(jnp.ones((2, 2)))
        .jaxpr.eqns[-1]
        .params.items()
        if name != "axes"
    }
    (row,) = rows("bfloat16")
    assert (row.operation, row.kernel) == ("sum", "float32 sum")
    assert row.shapes == "bfloat16[2,3,4] -> bfloat16[4]"
    assert [len(rows(dtype)) for dtype in ("float16", "float32", "int32")] == [1, 0, 0]
    assert rows("bfloat16", kernels=["onednn", "pooling"]) == ()


@settings(max_examples=10)
@given(
    st.integers(1, 3),
    st.tuples(*[st.integers(30, 50)] * 2, st.integers(2, 6), st.integers(3, 16)),
    st.integers(0, 2**32 - 1),
)
def test_sums_of_groups_of_channels_are_those_of_numpy(batch, shape, seed):
    x = np.random.default_rng(seed).normal(3, 1, (batch, *shape)).astype("float32")

    def moments(x):
        return jnp.sum(x, (1, 2, 4)), jnp.sum(jnp.square(x), (1, 2, 4), keepdims=True)

    with cpu.installed(keep_memory=False):
        got = jax.jit(moments)(x)
        kernels = {row.kernel for row in cpu.explain(moments, x).rows}
    assert kernels == ({"two sums"} if x.size >= 2**15 else set())
    exact = x.astype(np.float64)
    expected = exact.sum((1, 2, 4)), np.square(exact).sum((1, 2, 4), keepdims=True)
    for mine, right in zip(got, expected, strict=True):
        np.testing.assert_allclose(mine, right, rtol=1e-5)


@settings(max_examples=10)
@given(
    st.sampled_from([(0,), (0, 1), (0, 2)]),
    st.tuples(st.integers(1, 9), st.integers(2, 5), st.just(1), st.integers(4000, 9000)),
    st.sampled_from(["float32", "bfloat16"]),
    st.integers(0, 2**32 - 1),
)
def test_sums_over_the_first_axes_are_those_of_numpy(axes, shape, dtype, seed):
    x = jnp.asarray(np.random.default_rng(seed).normal(size=shape), dtype)
    exact = np.asarray(x, np.float64)

    def totals(x):
        return jnp.sum(x, axes), jnp.sum(jnp.square(x.astype("float32")), axes, keepdims=True)

    with cpu.installed(keep_memory=False):
        got = jax.jit(totals)(x)
        kernels = [row.kernel for row in cpu.explain(totals, x.astype("float32")).rows]
    expected = exact.sum(axes), np.square(exact).sum(axes, keepdims=True)
    summed = x.size > got[0].size > 2**14 and x.size >= 2**15
    assert kernels == (["product"] * 2 if summed else [])
    for mine, right in zip(got, expected, strict=True):
        error = float(jnp.finfo(mine.dtype).eps) * np.abs(right) + 1e-5
        assert (np.abs(np.asarray(mine, np.float64) - right) <= error).all()


@pytest.mark.parametrize(
    ("shape", "axes"),
    [
        ((64, 64, 4, 17), (0, 1, 3)),  # a long last axis
        ((64, 64, 256), (1,)),
        ((64, 2**14), (0,)),  # few results
        ((64, 64, 4, 8), (0, 1)),
        ((64, 64, 4, 8), (2, 3)),
        ((64, 64, 4, 8), (0, 2, 3)),
        ((64, 64, 8, 1), (0, 1, 3)),
        ((30, 30, 4, 8), (0, 1, 3)),  # few numbers
    ],
)
def test_sums_that_xla_takes_along_memory_are_left_to_it(shape, axes):
    total = jax.jit(lambda x: jnp.sum(x, axes))
    x = jax.ShapeDtypeStruct(shape, jnp.float32)
    before = total.lower(x).as_text()
    with cpu.installed(keep_memory=False, strict=True):
        assert total.lower(x).as_text() == before


def test_sums_of_unknown_sizes_are_exported():
    (rows,) = jax.export.symbolic_shape("rows")
    x = jax.ShapeDtypeStruct((rows, 40, 4, 8), jnp.float32)
    with cpu.installed(keep_memory=False):
        exported = jax.export.export(jax.jit(lambda x: jnp.sum(x, (0, 1, 3))))(x)
    np.testing.assert_array_equal(exported.call(jnp.ones((50, 40, 4, 8))), jnp.full(4, 16_000.0))


def test_sums_in_two_steps_compose():
    x = jax.random.normal(jax.random.key(2), (3, 40, 40, 4, 8))

    def variance(x):
        return jnp.var(x, axis=(0, 1, 3))

    def probe(x):
        return jax.vmap(variance)(x), jax.jvp(jax.vmap(variance), (x,), (x,))[1]

    expected = jax.jit(probe)(x)
    gradient = jax.jit(jax.grad(lambda x: variance(x[0]).sum()))(x)
    with cpu.installed(keep_memory=False, compare=True):
        for mine, right in zip(jax.jit(probe)(x), expected, strict=True):
            np.testing.assert_allclose(mine, right, rtol=1e-5)
        mine = jax.jit(jax.grad(lambda x: variance(x[0]).sum()))(x)
    np.testing.assert_allclose(mine, gradient, atol=1e-7)


def test_other_sums_are_lowered_as_before():
    total = jax.jit(lambda x: jnp.sum(x, 0))
    x = jax.ShapeDtypeStruct((4, 5), jnp.float32)
    before = total.lower(x).as_text()
    with cpu.installed(keep_memory=False, strict=True):
        assert total.lower(x).as_text() == before


def test_sums_can_be_exported_for_several_platforms():
    def total(x):
        return jax.grad(lambda b: jnp.sum(x + jnp.broadcast_to(b, x.shape)))(x[0])

    x = jax.random.normal(jax.random.key(0), (500, 3)).astype(jnp.bfloat16)
    with cpu.installed(keep_memory=False):
        exported = jax.export.export(jax.jit(total), platforms=("cpu", "tpu"))(x)
    np.testing.assert_array_equal(exported.call(x), jnp.full(3, 500, jnp.bfloat16))


@pytest.mark.parametrize("compare", [False, True])
def test_sums_compose(compare):
    x = jax.random.normal(jax.random.key(1), (3, 40, 5)).astype(jnp.bfloat16)

    def total(x):
        return jax.grad(lambda b: jnp.vdot(x, jnp.broadcast_to(b, x.shape)))(x[0])

    expected = np.asarray(x, np.float64).sum(1)
    with cpu.installed(keep_memory=False, compare=compare):
        got = jax.jit(jax.vmap(total))(x)
        tangent = jax.jvp(jax.vmap(total), (x,), (x,))[1]
    for mine in (got, tangent):
        np.testing.assert_allclose(np.asarray(mine, np.float64), expected, rtol=8e-3, atol=1e-5)
