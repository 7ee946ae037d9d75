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


_FOUR_DEVICES = """
import jax, jax.numpy as jnp, numpy as np
from jax import lax
from jax.sharding import NamedSharding, PartitionSpec as P
from cnn_jax import cpu
from cnn_jax.cpu import native_library

assert jax.device_count() == 4

def network(kernel, x):
    y = jax.nn.relu(lax.conv_general_dilated(
        x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")))
    y = lax.reduce_window(y, -jnp.inf, lax.max, (1, 3, 3, 1), (1, 2, 2, 1), "SAME")
    return jnp.sum(jnp.sin(y))

gradient = jax.grad(network, (0, 1))
draw = np.random.default_rng(0)
x, kernel = (draw.normal(size=s).astype("float32") for s in [(4, 9, 9, 3), (3, 3, 3, 6)])
stock = jax.jit(gradient)(kernel, x)
mesh = jax.make_mesh((2, 2), ("batch", "features"), axis_types=(jax.sharding.AxisType.Auto,) * 2)

def check(got):
    for mine, theirs in zip(got, stock, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-4)

cpu.install(keep_memory=False)
for of_kernel, of_x in [
    (P(None, None, None, "features"), P("batch")),
    (P(), P(("batch", "features"))),
    (P(), P(None, None, None, None)),
]:
    kernel_there = jax.device_put(kernel, NamedSharding(mesh, of_kernel))
    x_there = jax.device_put(x, NamedSharding(mesh, of_x))
    compiled = jax.jit(gradient).lower(kernel_there, x_there).compile()
    assert native_library.TARGET not in compiled.as_text()
    check(compiled(kernel_there, x_there))

def local(kernel, x):
    by_kernel, by_x = gradient(kernel, x)
    return lax.psum(by_kernel, "batch"), lax.psum(by_x, "features")

each = P(None, None, None, "features"), P("batch")
mapped = jax.jit(jax.shard_map(local, mesh=mesh, in_specs=each, out_specs=each, check_vma=False))
assert (native_library.TARGET in mapped.lower(kernel, x).as_text()) == bool(cpu.status().native)
check(mapped(kernel, x))
# On one of the devices alone the library is called again.
alone = jax.device_put((kernel, x), jax.devices()[3])
check(jax.jit(gradient)(*alone))
print("done")
"""


def test_four_devices_in_a_square(run_alone):
    flags = "--xla_force_host_platform_device_count=4"
    assert run_alone(_FOUR_DEVICES, XLA_FLAGS=flags, JAX_PLATFORMS="cpu") == "done\n"


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
    given = jnp.array(X)
    compiled = jax.jit(jax.grad(rounds, (0, 1)), donate_argnums=0).lower(given, KERNEL).compile()
    assert native_library.TARGET in (compiled.as_text() or "")
    close(compiled(given, KERNEL), stock)
    assert given.is_deleted()


def test_a_result_does_not_overwrite_the_donated_input_that_it_is_made_of(native):
    # The same shape in and out, so that XLA may give the library one array for both.
    square = jnp.asarray(np.random.default_rng(2).normal(size=(5, 5, 3, 3)), jnp.float32)
    stock = correlate(X, square)
    cpu.install(keep_memory=False)
    for _ in range(3):
        given = jnp.array(X)
        close(jax.jit(correlate, donate_argnums=0)(given, square), stock)
        assert given.is_deleted()


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
