"""Installed kernels under sharding, export, loops and threads."""

import concurrent.futures

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import NamedSharding, PartitionSpec

from cnn_jax import cpu
from cnn_jax.cpu import native_library

X = jnp.asarray(np.random.default_rng(0).normal(size=(4, 9, 9, 3)), jnp.float32)
KERNEL = jnp.asarray(np.random.default_rng(1).normal(size=(3, 3, 3, 5)), jnp.float32)


def correlate(x, kernel):
    return lax.conv_general_dilated(
        x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def network(kernel, x):
    y = jax.nn.relu(correlate(x, kernel))
    y = lax.reduce_window(y, -jnp.inf, lax.max, (1, 3, 3, 1), (1, 2, 2, 1), "SAME")
    return jnp.sum(jnp.sin(y))


@pytest.fixture
def expected():
    return jax.jit(jax.grad(network, (0, 1)))(KERNEL, X)


def close(mine, theirs):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), mine, theirs)


def mesh():
    if jax.device_count() < 2:
        pytest.skip("needs two devices")
    return jax.make_mesh((2,), ("batch",), axis_types=(jax.sharding.AxisType.Auto,))


def test_a_sharded_program_stays_partitioned_and_correct(expected):
    sharding = NamedSharding(mesh(), PartitionSpec("batch"))
    cpu.install(keep_memory=False)
    x = jax.device_put(X, sharding)
    compiled = jax.jit(jax.grad(network, (0, 1))).lower(KERNEL, x).compile()
    assert native_library.TARGET not in (compiled.as_text() or "")
    got = compiled(KERNEL, x)
    assert got[1].sharding.is_equivalent_to(sharding, X.ndim)
    close(got, expected)


def test_inside_shard_map_each_device_calls_the_library(native, expected):
    def local(kernel, x):
        by_kernel, by_x = jax.grad(network, (0, 1))(kernel, x)
        return lax.psum(by_kernel, "batch"), by_x

    batch, whole = PartitionSpec("batch"), PartitionSpec()
    sharded = jax.jit(
        jax.shard_map(
            local,
            mesh=mesh(),
            in_specs=(whole, batch),
            out_specs=(whole, batch),
            check_vma=False,
        )
    )
    cpu.install(keep_memory=False)
    assert native_library.TARGET in sharded.lower(KERNEL, X).as_text()
    close(sharded(KERNEL, X), expected)


def test_an_exported_program_needs_no_library(expected):
    cpu.install(keep_memory=False)
    exported = jax.export.export(jax.jit(jax.grad(network, (0, 1))))(KERNEL, X)
    assert native_library.TARGET not in exported.mlir_module()
    cpu.uninstall()
    close(exported.call(KERNEL, X), expected)


def test_loops_rematerialisation_and_donation(native):
    def rounds(x, kernel):
        body = jax.checkpoint(lambda x, _: (jnp.tanh(correlate(x, kernel[..., :3])), None))
        return jnp.sum(lax.scan(body, x, length=4)[0] ** 2)

    stock = jax.jit(jax.grad(rounds, (0, 1)))(X, KERNEL)
    cpu.install(keep_memory=False)
    close(jax.jit(jax.grad(rounds, (0, 1)), donate_argnums=0)(jnp.array(X), KERNEL), stock)


def test_eight_threads_at_once(native, expected):
    cpu.install(keep_memory=False)
    function = jax.jit(jax.grad(network, (0, 1)))

    def work(size):
        close(function(KERNEL, X), expected)
        x = jnp.ones((2, size, size, 3))
        return float(jnp.sum(jax.jit(correlate)(x, KERNEL)))

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        got = list(pool.map(work, [5 + i % 7 for i in range(80)]))
    cpu.uninstall()
    for size, value in zip([5, 6, 7], got[:3], strict=True):
        stock = jnp.sum(correlate(jnp.ones((2, size, size, 3)), KERNEL))
        np.testing.assert_allclose(value, stock, rtol=1e-4)
