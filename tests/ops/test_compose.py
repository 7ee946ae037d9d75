"""Every operation under every transformation of JAX, optimised as users run it."""

from collections.abc import Callable
from typing import Any

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from cnn_jax import ops

# Each takes `[batch, 6, 6, 2]`.
KERNEL = np.random.default_rng(0).standard_normal((3, 3, 2, 3)).astype(np.float32)
OPERATIONS: dict[str, Callable[[Any], Any]] = {
    "correlate": lambda x: ops.correlate(x, KERNEL, KERNEL[0, 0, 0], padding="SAME", stride=2),
    "correlate circular": lambda x: ops.correlate(x, KERNEL, padding=1, padding_mode="circular"),
    "convolve": lambda x: ops.convolve(x, KERNEL, dilation=2),
    "correlate_transpose": lambda x: ops.correlate_transpose(x, KERNEL, stride=2, padding=1),
    "max_pool": lambda x: ops.max_pool(x, 3, stride=2, padding="SAME"),
    "max_pool dilated": lambda x: ops.max_pool(x, 2, dilation=2),
    "min_pool": lambda x: ops.min_pool(x, 2),
    "avg_pool": lambda x: ops.avg_pool(x, 3, stride=2, padding="SAME"),
    "global_max_pool": lambda x: ops.global_max_pool(x),
    "global_avg_pool": lambda x: ops.global_avg_pool(x),
    "dense": lambda x: ops.dense(x, KERNEL[0, 0]),
    "relu": lambda x: ops.relu(x),
}

every_operation = pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)


def images(count: int = 4) -> np.ndarray:
    return np.random.default_rng(1).permutation(count * 72).reshape(count, 6, 6, 2) / np.float32(9)


def close(got: Any, want: Any) -> None:
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-4)


@every_operation
def test_without_jit_under_jit_vmap_and_scan(operation: Any) -> None:
    x = images()
    y = operation(x)
    close(jax.jit(operation)(x), y)
    close(jax.vmap(operation)(x), y)
    close(jax.jit(lambda x: jax.lax.scan(lambda c, one: (c, operation(one)), 0, x)[1])(x), y)


@every_operation
def test_under_shard_map(operation: Any) -> None:
    mesh = jax.make_mesh((2,), ("batch",), axis_types=(jax.sharding.AxisType.Auto,))
    spec = PartitionSpec("batch")
    x = images()

    def value_and_gradient(x: Any) -> Any:
        return operation(x), jax.grad(lambda x: jnp.sum(operation(x) ** 2))(x)

    sharded = jax.shard_map(value_and_gradient, mesh=mesh, in_specs=spec, out_specs=(spec, spec))
    want = jax.jit(value_and_gradient)(x)
    for got, expected in zip(jax.jit(sharded)(x), want, strict=True):
        close(got, expected)


@every_operation
def test_sharded_inputs_under_jit(operation: Any) -> None:
    mesh = jax.make_mesh((2,), ("batch",), axis_types=(jax.sharding.AxisType.Auto,))
    x = images()
    split = jax.device_put(x, jax.NamedSharding(mesh, PartitionSpec("batch")))
    close(jax.jit(operation)(split), operation(x))


@every_operation
def test_export_with_a_batch_size_left_open(operation: Any) -> None:
    x = images()
    shape = jax.export.symbolic_shape("batch, 6, 6, 2")
    exported = jax.export.export(jax.jit(operation))(jax.ShapeDtypeStruct(shape, x.dtype))
    close(exported.call(x[:3]), operation(x[:3]))


@every_operation
def test_hessian_is_the_same_in_every_order_of_modes(operation: Any) -> None:
    x = images(1)

    def loss(pixel: Any) -> Any:
        return jnp.sum(operation(jnp.asarray(x).at[0, 2, 3].set(pixel)) ** 2)

    def hessians(pixel: Any) -> Any:
        forward, reverse = jax.jacfwd, jax.jacrev
        orders = (reverse(reverse(loss)), forward(forward(loss)), reverse(forward(loss)))
        return jax.hessian(loss)(pixel), [hessian(pixel) for hessian in orders]

    hessian, others = jax.jit(hessians)(x[0, 2, 3])
    assert hessian.shape == (2, 2)
    for other in others:
        close(other, hessian)


@every_operation
def test_shapes_are_known_before_running(operation: Any) -> None:
    x = images()
    assert jax.eval_shape(operation, x).shape == operation(x).shape
