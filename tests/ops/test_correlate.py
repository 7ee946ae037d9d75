"""What sets correlation apart: precision, adjointness, flipping, empty batches, rank four."""

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import op_cases
import pytest

from cnn_jax import ops, reference


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_is_accumulated_in_float32(dtype: str) -> None:
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.standard_normal((1, 16, 16, 64)), dtype)
    kernel = jnp.asarray(rng.standard_normal((5, 5, 64, 1)), dtype)
    got = ops.correlate(x, kernel)
    want = reference.correlate(np.asarray(x), np.asarray(kernel))
    assert got.dtype == dtype
    unit = float(jnp.finfo(dtype).eps) / 2
    slack = 1e-5 * np.max(np.abs(want))
    assert np.all(np.abs(np.asarray(got, np.float64) - want) <= unit * np.abs(want) + slack)


def test_half_precision_gradients_have_its_dtype_and_are_accumulated_in_float32() -> None:
    x = jnp.ones((1, 64, 64, 1), jnp.bfloat16)
    kernel = jnp.ones((1, 1, 1, 1), jnp.bfloat16)

    def total(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return jnp.sum(ops.correlate(x, kernel).astype(jnp.float32))

    by_x, by_kernel = jax.grad(total, (0, 1))(x, kernel)
    assert by_x.dtype == by_kernel.dtype == jnp.bfloat16
    assert float(by_kernel[0, 0, 0, 0]) == 64 * 64


@pytest.mark.parametrize("rank", [1, 2, 3])
@hypothesis.settings(max_examples=15)
@hypothesis.given(data=st.data())
def test_transpose_is_the_adjoint_of_correlate(rank: int, data: st.DataObject) -> None:
    """`<correlate(y), x> = <y, correlate_transpose(x)>` for every `y` of the transpose's shape."""
    draw = data.draw
    call = draw(op_cases.transposed_calls(rank))
    rng = np.random.default_rng(draw(op_cases.seeds))
    x, kernel = (rng.standard_normal(shape) for shape in call.shapes[:2])
    how = {key: value for key, value in call.how.items() if key != "output_padding"}
    groups = how["groups"]
    *window, _, features = kernel.shape
    # Within a group inputs and outputs change places; the groups stay where they are.
    swapped = kernel.reshape(*window, -1, groups, features // groups)
    swapped = np.swapaxes(swapped, -1, -3).reshape(*window, features // groups, -1)
    with jax.enable_x64(True):
        transposed = np.asarray(ops.correlate_transpose(x, kernel, **call.how))
        y = rng.standard_normal(transposed.shape)
        correlated = np.asarray(ops.correlate(y, swapped, **how))
    assert correlated.shape == x.shape
    np.testing.assert_allclose(np.vdot(correlated, x), np.vdot(y, transposed), atol=1e-10)


def test_transpose_in_one_group_is_the_gradient_of_correlate() -> None:
    rng = np.random.default_rng(0)
    y = jnp.asarray(rng.standard_normal((8, 8, 2)), jnp.float32)
    kernel = jnp.asarray(rng.standard_normal((3, 3, 2, 5)), jnp.float32)
    how = {"stride": 2, "padding": "SAME"}
    z, pull = jax.vjp(lambda y: ops.correlate(y, kernel, **how), y)
    got = ops.correlate_transpose(z, jnp.swapaxes(kernel, -1, -2), **how)
    np.testing.assert_allclose(got, pull(z)[0], rtol=1e-5, atol=1e-5)


def test_same_transposes_to_stride_times_the_input_even_where_windows_leave_gaps() -> None:
    y = ops.correlate_transpose(jnp.ones((3, 1)), jnp.ones((1, 1, 1)), stride=3, padding="SAME")
    assert y[:, 0].tolist() == [1, 0, 0, 1, 0, 0, 1, 0, 0]


def test_shapes_on_which_xla_aborts_by_itself() -> None:
    """A window and a stride of two without padding, beside an axis shorter than the window."""
    rng = np.random.default_rng(0)
    x, kernel = rng.standard_normal((1, 3, 1)), rng.standard_normal((3, 2, 1, 2))
    how = {"stride": (1, 2), "padding": 1}
    want = reference.correlate_transpose(x, kernel, **how)
    x, kernel = np.float32(x), np.float32(kernel)
    np.testing.assert_allclose(ops.correlate_transpose(x, kernel, **how), want, atol=1e-5)

    swapped = np.swapaxes(kernel, -1, -2)
    y, pull = jax.vjp(lambda z: ops.correlate(z, swapped, **how), np.float32(want))
    want = reference.correlate_transpose(y, kernel, **how)
    np.testing.assert_allclose(pull(y)[0], want, rtol=1e-5, atol=1e-4)


def test_convolve_multiplies_polynomials() -> None:
    first, second = np.array([1, 2, 3]), np.array([4, 0, 5])
    got = ops.convolve(first[:, None], second[:, None, None], padding="FULL")[:, 0]
    np.testing.assert_array_equal(got, np.polymul(first, second))


def test_causal_outputs_see_nothing_later() -> None:
    x = jnp.arange(1.0, 13.0).reshape(12, 1)
    kernel = jnp.ones((3, 1, 1))

    def output(x: jax.Array) -> jax.Array:
        return ops.correlate(x, kernel, padding="CAUSAL", dilation=2)[:, 0]

    jacobian = np.asarray(jax.jacfwd(output)(x))[..., 0]
    assert jacobian.shape == (12, 12)
    assert not np.any(np.triu(jacobian, 1))
    assert np.all(np.diag(jacobian) == 1)


def test_four_spatial_dimensions() -> None:
    rng = np.random.default_rng(0)
    x, kernel = rng.integers(-4, 5, (2, 3, 3, 3, 3, 2)), rng.integers(-4, 5, (2, 2, 2, 2, 2, 3))
    got = ops.correlate(np.float32(x), np.float32(kernel), stride=(1, 2, 1, 2), padding="SAME")
    want = reference.correlate(x, kernel, stride=(1, 2, 1, 2), padding="SAME")
    np.testing.assert_array_equal(got, want)


def test_an_empty_batch_gives_an_empty_batch() -> None:
    kernel = np.ones((3, 3, 1, 2), np.float32)
    assert ops.correlate(np.ones((0, 5, 5, 1), np.float32), kernel).shape == (0, 3, 3, 2)
    assert ops.correlate(np.ones((2, 0, 5, 5, 1), np.float32), kernel).shape == (2, 0, 3, 3, 2)


def test_shapes_without_arrays() -> None:
    assert ops.correlate_shape((2, 4, 9, 8, 6), (3, 3, 3, 4), stride=2, groups=2) == (2, 4, 4, 3, 4)
    assert ops.correlate_transpose_shape((5, 2), (4, 2, 3), stride=3, output_padding=2) == (18, 3)
    with pytest.raises(ValueError, match="in 1 group") as caught:
        ops.correlate_shape((8, 8, 6), (3, 3, 4, 16))
    assert str(caught.value) == (
        "correlate: kernel has 4 input channels per group, but x has 6 channels in 1 group "
        "(x: [8,8,6], kernel: [3,3,4,16])"
    )
