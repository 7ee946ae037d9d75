"""Programs that XLA's own rules abort on, or compute wrongly, with the kernels installed."""

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from cnn_jax import cpu


@pytest.mark.parametrize("primitive", [lax.reduce_window_max_p, lax.reduce_window_sum_p])
def test_a_pooling_of_a_scalar_is_the_scalar(primitive):
    # XLA's own rule aborts the process.
    def pool(x):
        return primitive.bind(
            x,
            window_dimensions=(),
            window_strides=(),
            padding=(),
            base_dilation=(),
            window_dilation=(),
        )

    with cpu.installed(keep_memory=False):
        value, gradient = jax.jit(jax.value_and_grad(pool))(jnp.float32(-3.5))
        _, tangent = jax.jit(lambda x: jax.jvp(pool, (x,), (2 * x,)))(jnp.float32(-3.5))
    assert (value, gradient, tangent) == (-3.5, 1.0, -7.0)
