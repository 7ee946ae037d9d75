"""Sums of half-precision numbers: in float32 while installed, and all others left alone."""

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
