"""Arrays that are reversed twice: not at all while installed, where the axes are the same."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from cnn_jax import cpu


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_kernel_of_an_input_gradient_is_not_reversed(dtype):
    if not cpu.status().native:
        pytest.skip("needs the native library")
    x = jax.random.normal(jax.random.key(0), (2, 9, 8, 4)).astype(dtype)
    kernel = jax.random.normal(jax.random.key(1), (3, 2, 4, 6)).astype(dtype)

    def loss(x, kernel):
        numbers = ("NHWC", "HWIO", "NHWC")
        y = lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=numbers)
        return jnp.sum(jnp.square(y.astype(jnp.float32)))

    gradient = jax.jit(jax.grad(loss))
    expected = np.asarray(gradient(x, kernel), np.float32)
    with cpu.installed(keep_memory=False):
        compiled = gradient.lower(x, kernel).compile()
    assert "reverse(" not in str(compiled.as_text())
    got = np.asarray(compiled(x, kernel), np.float32)
    tolerance = 1e-5 if dtype == "float32" else 2e-2
    np.testing.assert_allclose(got, expected, atol=tolerance * np.abs(expected).max())


def test_other_reversals_stay():
    x = jnp.arange(24.0).reshape(2, 3, 4)

    def program(x):
        once = lax.rev(x, (0, 1))
        return once, lax.rev(once, (0, 1)), lax.rev(once, (1,)), lax.rev(lax.rev(x, (1, 0)), (2,))

    with cpu.installed(keep_memory=False):
        once, twice, other, three = jax.jit(program)(x)
    x = np.asarray(x)
    np.testing.assert_array_equal(once, x[::-1, ::-1])
    np.testing.assert_array_equal(twice, x)
    np.testing.assert_array_equal(other, x[::-1])
    np.testing.assert_array_equal(three, x[::-1, ::-1, ::-1])
