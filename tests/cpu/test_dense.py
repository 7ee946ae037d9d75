"""Matrix products by oneDNN: which are computed so, how exactly, and to the same end."""

import concurrent.futures

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from jax import lax
from jax.sharding import NamedSharding, PartitionSpec

from cnn_jax import cpu
from cnn_jax.cpu import dense, native_library
from cnn_jax.cpu.settings import FAMILIES

ODD = (0, 1, 2, 3, 7, -1, 2**20, 2**31 - 1, 2**31, 2**63 - 1, -(2**63))


@pytest.fixture
def however_small(native, monkeypatch):
    """Every product that the library can compute is computed by it."""
    for name in ("_FEWEST", "_FEWEST_TURNED", "_FEWEST_LEFT_TURNED", "_NARROW", "_SHORT_SUM"):
        monkeypatch.setattr(dense, name, 1)
    with cpu.installed(kernels=["dense"], keep_memory=False):
        yield


def draw_normal(seed, *shapes, dtype="float32"):
    draw = np.random.default_rng(seed)
    return [jnp.asarray(draw.normal(size=shape), dtype) for shape in shapes]


def layer(kernel, bias, x):
    return jnp.tanh(jnp.dot(x, kernel) + bias.reshape(*[1] * (x.ndim - 1), -1))


def loss(kernel, bias, x):
    return jnp.sum(jnp.sin(layer(kernel, bias, x)))


def rows_of(function, *shapes, dtype="float32", kernels=FAMILIES):
    arrays = [jax.ShapeDtypeStruct(shape, dtype) for shape in shapes]
    with cpu.installed(kernels=kernels, keep_memory=False):
        return cpu.explain(function, *arrays).rows


def products_in(function, *arrays) -> int:
    return (jax.jit(function).lower(*arrays).compile().as_text() or "").count(
        f'custom_call_target="{native_library.PRODUCT_TARGET}"'
    )


def copies_in(function, *arrays) -> int:
    text = jax.jit(function).lower(*arrays).compile().as_text() or ""
    return text.count(" copy(") + text.count(" transpose(")


def test_all_three_products_of_a_wide_layer_are_listed(native):
    def total(kernel, x):
        return jnp.sum(jnp.sin(x @ kernel))

    rows = rows_of(jax.grad(total, (0, 1)), (512, 256), (64, 512))
    assert {(row.operation, row.kernel, row.flops) for row in rows} == {
        ("matrix product", "oneDNN", 2 * 512 * 256 * 64)
    }
    assert len(rows) == 3
    assert rows[0].shapes == "float32[64,512] * float32[512,256] -> float32[64,256]"


def test_only_products_of_two_matrices_that_are_worth_it_are_concerned(native):
    def listed(*shapes, function=jnp.matmul, dtype="float32", **installed):
        return len(rows_of(function, *shapes, dtype=dtype, **installed))

    wide = (64, 512), (512, 256)
    assert listed(*wide) == listed(*wide, dtype="bfloat16") == 1
    assert listed((64, 8, 512), (512, 256)) == 1
    assert listed(*wide, kernels=["onednn", "pooling"]) == 0
    # Too small, or bound by memory.
    assert listed((8, 16), (16, 10)) == 0
    assert listed((1, 4096), (4096, 4096)) == listed((4096, 4096), (4096, 1)) == 0
    assert listed((4096, 16), (16, 4096)) == 0
    # Other types and other shapes.
    assert listed(*wide, dtype="float16") == listed(*wide, dtype="int32") == 0
    assert listed((3, 64, 512), (3, 512, 256)) == 0
    assert listed((0, 512), (512, 256)) == 0

    def dot(lhs, rhs, **keywords):
        return lambda x, y: lax.dot_general(x, y, ((lhs, rhs), ((), ())), **keywords)

    def asked(x, y, **keywords):
        return lax.dot(x, y, **keywords)

    f32 = lax.DotAlgorithmPreset.F32_F32_F32
    assert listed(*wide, function=lambda x, y: asked(x, y, precision=lax.Precision.HIGHEST)) == 1
    assert listed(*wide, function=lambda x, y: asked(x, y, precision=f32)) == 0
    mixed = dot((1,), (0,), preferred_element_type=jnp.float32)
    assert listed(*wide, function=mixed, dtype="bfloat16") == 0
    assert listed(*wide, function=mixed, dtype="float16") == 0
    # The axes that are summed over must be the first or the last of each array, in order.
    pixels = (8, 9, 256), (8, 9, 512)
    assert listed(*pixels, function=dot((0, 1), (0, 1))) == 1
    assert listed(*pixels, function=dot((1, 0), (1, 0))) == 1
    assert listed((9, 8, 256), (8, 9, 512), function=dot((0, 1), (1, 0))) == 0
    assert listed((64, 512, 8), (512, 256), function=dot((1,), (0,))) == 0
    assert listed(*wide, function=lambda x, y: x[:, :1] * y[:1, :1]) == 0


def test_a_size_that_is_not_known_is_left_to_xla(native):
    (columns,) = jax.export.symbolic_shape("n")
    x = jax.ShapeDtypeStruct((columns, 512), jnp.float32)
    with cpu.installed(keep_memory=False):
        exported = jax.export.export(jax.jit(lambda x: x @ jnp.ones((512, 256))))(x)
    assert exported.call(jnp.ones((3, 512)))[0, 0] == 512


@settings(max_examples=60)
@given(
    st.sampled_from([(1,), (7,), (64,), (3, 5), (2, 3, 4)]),
    st.sampled_from([1, 2, 9, 16, 33, 100]),
    st.sampled_from([1, 3, 10, 16, 47]),
    st.booleans(),
    st.booleans(),
    st.sampled_from(["float32", "bfloat16"]),
    st.integers(0, 2**32 - 1),
)
# In parts: of rows, of columns, and with a last one that is smaller.
@example((333,), 300, 101, False, False, "float32", 0)
@example((333,), 300, 101, True, True, "float32", 0)
@example((5, 7), 500, 787, False, True, "float32", 0)
@example((35,), 500, 787, True, False, "bfloat16", 0)
@pytest.mark.usefixtures("however_small")
def test_products_are_those_of_numpy(batch, inner, columns, lhs_first, rhs_first, dtype, seed):
    draw = np.random.default_rng(seed)
    # Sums of small integers are exact, whatever their order.
    lhs = draw.integers(-2, 3, (inner, *batch) if lhs_first else (*batch, inner))
    rhs = draw.integers(-2, 3, (inner, columns) if rhs_first else (columns, inner))
    numbers = ((0 if lhs_first else len(batch),), (0 if rhs_first else 1,)), ((), ())

    def product(lhs, rhs):
        return lax.dot_general(lhs, rhs, numbers, preferred_element_type=dtype)

    arrays = jnp.asarray(lhs, dtype), jnp.asarray(rhs, dtype)
    assert products_in(product, *arrays) == 1
    got = jax.jit(product)(*arrays)
    expected = np.tensordot(lhs.astype(np.float64), rhs.astype(np.float64), numbers[0])
    assert (got.shape, got.dtype) == (expected.shape, dtype)
    np.testing.assert_array_equal(np.asarray(got), np.asarray(jnp.asarray(expected, dtype)))


def test_rounding_is_that_of_float32_sums(native):
    x, y = draw_normal(0, (64, 3000), (3000, 100))
    exact = np.asarray(x, np.float64) @ np.asarray(y, np.float64)
    terms = np.abs(np.asarray(x, np.float64)) @ np.abs(np.asarray(y, np.float64))
    with cpu.installed(keep_memory=False):
        assert products_in(jnp.matmul, x, y) == 1
        got = np.asarray(jax.jit(jnp.matmul)(x, y), np.float64)
    assert (np.abs(got - exact) <= 2e-6 * terms).all()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_what_is_not_finite_stays_so(native, monkeypatch, dtype):
    monkeypatch.setattr(dense, "_FEWEST", 1)
    monkeypatch.setattr(dense, "_SHORT_SUM", 1)
    x, y = draw_normal(1, (40, 50), (50, 33), dtype=dtype)
    x = x.at[3, 4].set(jnp.nan).at[5, 6].set(jnp.inf).at[7, 8].set(-jnp.inf).at[9, 10].set(0)
    y = y.at[10, 11].set(jnp.inf).at[12, 13].set(jnp.nan)
    stock = np.asarray(jax.jit(jnp.matmul)(x, y), np.float64)
    with cpu.installed(keep_memory=False):
        assert products_in(jnp.matmul, x, y) == 1
        got = np.asarray(jax.jit(jnp.matmul)(x, y), np.float64)
    np.testing.assert_allclose(got, stock, rtol=1e-2 if dtype == "bfloat16" else 1e-5, atol=1e-2)
    assert np.isnan(got).sum() > 33


@pytest.mark.usefixtures("however_small")
@pytest.mark.parametrize("batch", [(24,), (2, 3, 4)])
def test_the_gradients_of_a_layer(batch):
    arrays = draw_normal(2, (20, 12), (12,), (*batch, 20))
    gradient = jax.grad(loss, (0, 1, 2))
    assert products_in(gradient, *arrays) == 3
    got = jax.jit(gradient)(*arrays)
    tangent = jax.jit(lambda *a: jax.jvp(gradient, a, a)[1])(*arrays)
    with cpu.uninstalled():
        stock = jax.jit(gradient)(*arrays)
        stock_tangent = jax.jit(lambda *a: jax.jvp(gradient, a, a)[1])(*arrays)
    for mine, theirs in zip((*got, *tangent), (*stock, *stock_tangent), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.usefixtures("however_small")
@pytest.mark.parametrize("transposed", [False, True])
def test_nothing_is_transposed_for_a_product_or_after_it(transposed):
    kernel, x = draw_normal(3, (20, 12), (24, 20))
    kernel = kernel.T if transposed else kernel

    def total(kernel, x):
        return jnp.sum(jnp.sin(x @ (kernel.T if transposed else kernel)))

    def step(kernel, x):
        by_kernel, by_x = jax.grad(total, (0, 1))(kernel, x)
        return kernel - 0.5 * by_kernel, by_x

    assert products_in(step, kernel, x) == 3
    assert copies_in(step, kernel, x) == 0
    got = jax.jit(step)(kernel, x)
    with cpu.uninstalled():
        for mine, theirs in zip(got, jax.jit(step)(kernel, x), strict=True):
            np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.usefixtures("however_small")
@pytest.mark.parametrize("first_axes", [False, True])
def test_a_product_that_is_wanted_in_both_orders(first_axes):
    x, y = draw_normal(4, (16, 30) if first_axes else (30, 16), (16, 20))

    def both(x, y):
        z = lax.dot_general(x, y, (((0 if first_axes else 1,), (0,)), ((), ())))
        return z, z.T, z.T.T, z.T @ z, z.T + 1.0, jnp.sin(z), z.T.sum()

    got = jax.jit(both)(x, y)
    with cpu.uninstalled():
        for mine, theirs in zip(got, jax.jit(both)(x, y), strict=True):
            np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-3)


@pytest.mark.usefixtures("however_small")
def test_products_compose():
    kernel, bias, x = draw_normal(5, (20, 20), (20,), (24, 20))
    many = draw_normal(6, (3, 20, 20), (3, 24, 20))

    def rounds(kernel, bias, x):
        body = jax.checkpoint(lambda x, _: (layer(kernel, bias, x), None))
        return jnp.sum(lax.scan(body, x, length=4)[0] ** 2)

    functions = {
        "scan": (jax.grad(rounds, (0, 1, 2)), (kernel, bias, x)),
        "many kernels": (jax.vmap(jax.grad(loss), (0, None, None)), (many[0], bias, x)),
        "many inputs": (jax.vmap(jax.grad(loss), (None, None, 0)), (kernel, bias, many[1])),
        "many vectors": (jax.vmap(lambda row: kernel @ row), (x,)),
        "a condition": (
            lambda x: lax.cond(x[0, 0] > 0, lambda x: x @ kernel, lambda x: (kernel @ x.T).T, x),
            (x,),
        ),
    }
    assert products_in(*functions["scan"][:1], *functions["scan"][1]) >= 3
    assert products_in(functions["many vectors"][0], x) == 1
    for function, arrays in functions.values():
        got = jax.jit(function)(*arrays)
        with cpu.uninstalled():
            stock = jax.jit(function)(*arrays)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3), got, stock
        )


@pytest.mark.usefixtures("however_small")
def test_partitioned_and_exported_programs_stay_xlas():
    if jax.device_count() < 2:
        pytest.skip("needs two devices")
    mesh = jax.make_mesh((2,), ("batch",), axis_types=(jax.sharding.AxisType.Auto,))
    kernel, x = draw_normal(7, (20, 12), (24, 20))
    expected = np.asarray(x, np.float64) @ np.asarray(kernel, np.float64)

    def product(x, kernel):
        return x @ kernel

    there = jax.device_put(x, NamedSharding(mesh, PartitionSpec("batch")))
    with cpu.installed(kernels=["dense"], strict=True, keep_memory=False):
        assert products_in(product, there, kernel) == 0
        reasons = {reason for _, _, reason in cpu.status().chosen}
        assert reasons == {"it runs split over several devices by XLA's partitioner"}
        np.testing.assert_allclose(jax.jit(product)(there, kernel), expected, rtol=1e-4, atol=1e-4)
        exported = jax.export.export(jax.jit(product))(x, kernel)
        assert native_library.PRODUCT_TARGET not in exported.mlir_module()
        np.testing.assert_allclose(exported.call(x, kernel), expected, rtol=1e-4, atol=1e-4)
        batch = PartitionSpec("batch")
        each = jax.shard_map(
            lambda x: product(x, kernel), mesh=mesh, in_specs=batch, out_specs=batch
        )
        assert products_in(each, x) == 1
        np.testing.assert_allclose(jax.jit(each)(x), expected, rtol=1e-4, atol=1e-4)


def test_products_can_be_exported_for_several_platforms():
    x = jnp.arange(6.0).reshape(2, 3)
    with cpu.installed(keep_memory=False):
        for platforms in (("cpu", "tpu"), ("cuda", "cpu"), ("cpu",), ("cpu", "cuda", "tpu")):
            exported = jax.export.export(jax.jit(lambda x: x.T @ x), platforms=platforms)(x)
            np.testing.assert_array_equal(exported.call(x), np.asarray(x).T @ np.asarray(x))
        # An algorithm that no CPU has.
        tf32 = lax.DotAlgorithmPreset.TF32_TF32_F32
        product = jax.jit(lambda x: lax.dot(x.T, x, precision=tf32))
        jax.export.export(product, platforms=("cuda",))(x)
        with pytest.raises(ValueError, match="not supported by dot_general on CPU"):
            jax.export.export(product, platforms=("cpu",))(x)


@pytest.mark.usefixtures("however_small")
def test_results_can_be_compared_with_xlas(monkeypatch):
    kernel, bias, x = draw_normal(8, (20, 12), (12,), (24, 20))
    with cpu.installed(kernels=["dense"], compare=True, keep_memory=False):
        jax.block_until_ready(jax.jit(jax.grad(loss, (0, 1, 2)))(kernel, bias, x))
    call = dense.call
    monkeypatch.setattr(dense, "call", lambda p, shape: lambda x, y: 1.01 * call(p, shape)(x, y))
    with (
        cpu.installed(kernels=["dense"], compare=True, keep_memory=False),
        pytest.raises(Exception, match=r"oneDNN kernel .matrix product. and XLA's own disagree"),
    ):
        jax.block_until_ready(jax.jit(jnp.matmul)(x, kernel))


def test_eight_threads_at_once(native):
    x, y = draw_normal(9, (64, 700), (700, 300))
    expected = np.asarray(x) @ np.asarray(y)
    cpu.install(keep_memory=False)
    product = jax.jit(jnp.matmul)

    def work(columns):
        narrow = product(x, y[:, :columns])
        np.testing.assert_allclose(narrow, expected[:, :columns], rtol=1e-3, atol=1e-3)
        np.testing.assert_allclose(product(x, y), expected, rtol=1e-3, atol=1e-3)

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(work, [200 + 7 * (i % 9) for i in range(100)]))


def test_a_program_is_as_before_after_uninstall(native):
    arrays = draw_normal(10, (512, 256), (256,), (64, 512))

    def text() -> str:
        return jax.jit(jax.grad(loss, (0, 2))).lower(*arrays).as_text()

    texts = []
    for installed in (False, True, False):
        if installed:
            cpu.install(keep_memory=False)
        texts.append(text())
        cpu.uninstall()
    assert texts[0] == texts[2]
    assert texts[1].count(native_library.PRODUCT_TARGET) >= 3
    with cpu.installed(kernels=["pooling"], keep_memory=False):
        assert text() == texts[0]


def test_products_are_counted_and_stay_xlas_without_a_library(native, monkeypatch):
    x, y = draw_normal(11, (64, 512), (512, 256))
    with cpu.installed(keep_memory=False):
        jax.jit(jnp.matmul).lower(x, y)
        assert cpu.status().chosen == {("dot_general", "oneDNN", "matrix product"): 1}

    def missing(_):
        raise native_library.NativeLibraryError

    monkeypatch.setattr(native_library, "reason_against_product", missing)
    with cpu.installed(strict=True, keep_memory=False):
        assert products_in(jnp.matmul, x, y) == 0
        (row,) = cpu.explain(jnp.matmul, x, y).rows
    assert row.reason == "the native library is missing; see status()"


@pytest.mark.usefixtures("native")
@given(
    st.lists(st.sampled_from(ODD), min_size=7, max_size=7),
    st.lists(st.tuples(st.integers(0, 6), st.sampled_from(ODD)), max_size=3),
    st.integers(0, 12),
)
def test_numbers_that_fit_no_product_are_refused(numbers, changes, length):
    altered = [1, 0, 8, 9, 10, 0, 1]
    for place, number in changes:
        altered[place] = number
    for given_numbers in (numbers, altered, (altered + numbers)[:length]):
        reason = native_library.reason_against_product(tuple(given_numbers))
        assert reason is None or len(reason) > 10
        if reason is None:
            assert len(given_numbers) == 7
            assert min(given_numbers[2:5]) > 0


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ((1, 0, 4, 5, 6, 0, 0), None),
        ((1, 0, 4, 5, 7, 0, 0), "the arrays are not those of the configuration"),
        ((1, 0, 5, 4, 6, 0, 0), "the arrays are not those of the configuration"),
        ((1, 1, 4, 5, 6, 0, 0), "the arrays are not those of the configuration"),
        ((1, 2, 4, 5, 6, 0, 0), "unknown type or order"),
        ((1, 0, 4, 5, 6, 0, 2), "unknown type or order"),
        ((1, 0, 4, 0, 6, 0, 0), "a size is zero, negative or too large"),
        ((1, 0, 2**31 - 1, 2**31 - 1, 6, 0, 0), "an array is too large"),
        ((2, 0, 4, 5, 6, 0, 0), "the configuration is of another version of the library"),
        ((1, 0, 4, 5, 6, 0), "the configuration is of another version of the library"),
    ],
)
def test_a_call_with_other_arrays_is_refused(native, numbers, message):
    native_library.load()
    call = jax.ffi.ffi_call(
        native_library.PRODUCT_TARGET, jax.ShapeDtypeStruct((4, 6), jnp.float32)
    )
    arrays = jnp.ones((4, 5)), jnp.ones((5, 6))
    configuration = np.asarray(numbers, np.int64)
    if message is None:
        np.testing.assert_array_equal(call(*arrays, configuration=configuration), 5.0)
        return
    with pytest.raises(Exception, match=message):
        jax.block_until_ready(call(*arrays, configuration=configuration))
