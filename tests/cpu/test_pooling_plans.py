"""Which poolings the native library gets, and what is taken where it does not."""

import dataclasses

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import NamedSharding, PartitionSpec

from cnn_jax import cpu
from cnn_jax.cpu import native_library, pooling, pooling_native
from cnn_jax.cpu.pooling_native import Kind
from cnn_jax.cpu.pooling_window import Window


def pool(x, *, channels_first: bool = False):
    size = (1, 1, 2, 2) if channels_first else (1, 2, 2, 1)
    return lax.reduce_window(x, -jnp.inf, lax.max, size, size, "VALID")


def window_on(shape, *pooled: int, size: int = 2, stride: int = 2) -> Window:
    return Window(
        tuple(shape),
        tuple(size if axis in pooled else 1 for axis in range(len(shape))),
        tuple(stride if axis in pooled else 1 for axis in range(len(shape))),
        ((0, 0),) * len(shape),
        (1,) * len(shape),
    )


_FEW = "fewer than 4 neighbours in memory are pooled alike"
_LARGE = "a size is too large for the native kernels"
REFUSED = [
    (window_on((4, 16, 16, 8), 1, 2), "float16", "float32 and bfloat16, not float16"),
    (window_on((4, 16, 16, 8), 1, 2), "float64", "float32 and bfloat16, not float64"),
    (window_on((4, 16, 16, 8), 1, 2), "int32", "float32 and bfloat16, not int32"),
    (window_on((4, 16, 16, 8)), "float32", "the window is a single element"),
    (window_on((4, 8, 16, 16), 2, 3), "float32", _FEW),
    (window_on((8, 16, 16, 3), 1, 2), "float32", _FEW),
    (window_on((4, 4, 4, 4, 16, 8), 1, 4), "float32", "its windows lie on more than three axes"),
    (window_on((4, 8, 8, 8), 1, 2), "float32", "the array is small"),
    (window_on((4, 80, 80, 8), 1, 2, size=65), "float32", _LARGE),
    (window_on((4, 80, 80, 8), 1, stride=2**31), "float32", _LARGE),
    (window_on((4, 80, 2**31, 8), 1), "float32", _LARGE),
    (
        dataclasses.replace(
            window_on((4, 80, 80, 8), 1, stride=2**31 - 1),
            padding=((0, 0), (2**32, 0), (0, 0), (0, 0)),
        ),
        "float32",
        _LARGE,
    ),
]


@pytest.mark.parametrize(("window", "dtype", "why"), REFUSED)
def test_what_the_library_is_not_for_has_a_reason(native, window, dtype, why):
    made = pooling_native.plan(Kind.LARGEST, window, jnp.dtype(dtype))
    assert isinstance(made, str)
    assert made.endswith(why)


def test_a_relu_that_is_not_worth_it_is_left_alone(native):
    worth = pooling_native.relu((64, 64, 8), np.dtype("float32"))
    assert worth is not None
    assert worth.is_relu
    for shape, dtype in [
        ((64, 63, 8), "float32"),
        ((64, 64, 8), "float16"),
        ((9**5, 3), "float32"),
    ]:
        assert pooling_native.relu(shape, np.dtype(dtype)) is None


def kernels_of(function, *shapes, dtype="float32"):
    given_ = [jax.ShapeDtypeStruct(shape, dtype) for shape in shapes]
    with cpu.installed(keep_memory=False):
        return [row.kernel for row in cpu.explain(function, *given_).rows]


def gradient_of_pool(x, **keywords):
    return jax.grad(lambda x: jnp.sum(jnp.sin(pool(x, **keywords))))(x)


def test_explain_names_the_kernel_and_what_is_taken_in_its_place(native):
    def kernels(shape, dtype="float32", **keywords):
        return kernels_of(lambda x: gradient_of_pool(x, **keywords), shape, dtype=dtype)

    there = pooling_native.KERNEL
    slices = ["slices", "first-match mask"]
    assert kernels((4, 16, 16, 8)) == kernels((4, 16, 16, 8), "bfloat16") == [there, there]
    assert kernels((4, 8, 8, 8)) == slices
    assert kernels((4, 16, 16, 8), "float16") == slices
    assert kernels((4, 8, 16, 16), channels_first=True) == slices


def test_without_the_library_slices_are_taken(monkeypatch):
    def missing():
        raise native_library.NativeLibraryError("gone")

    monkeypatch.setattr(native_library, "load", missing)
    made = pooling_native.plan(Kind.SUM, window_on((4, 16, 16, 8), 1, 2), np.dtype("float32"))
    assert made == "the native library is missing; see status()"
    assert pooling_native.relu((64, 64, 8), np.dtype("float32")) is None
    assert kernels_of(pool, (4, 16, 16, 8)) == ["slices"]


def test_smallest_elements_and_their_gradients_are_left_to_slices(native):
    def smallest(x):
        return lax.reduce_window(x, jnp.inf, lax.min, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")

    def loss(x):
        return jnp.sum(jnp.sin(smallest(x)))

    kernels = kernels_of(jax.grad(loss), (4, 16, 16, 8))
    assert kernels == ["slices", "first-match mask"]


X = jnp.asarray(np.random.default_rng(0).normal(size=(4, 16, 16, 8)), jnp.float32)


def test_partitioned_and_exported_programs_have_no_call_of_the_library(native):
    expected = jax.jit(gradient_of_pool)(X)
    with cpu.installed(keep_memory=False):
        assert native_library.POOLING_TARGET in jax.jit(gradient_of_pool).lower(X).as_text()
        exported = jax.export.export(jax.jit(gradient_of_pool))(X)
        assert native_library.POOLING_TARGET not in exported.mlir_module()
        if jax.device_count() > 1:
            mesh = jax.make_mesh((2,), ("batch",), axis_types=(jax.sharding.AxisType.Auto,))
            split = jax.device_put(X, NamedSharding(mesh, PartitionSpec("batch")))
            compiled = jax.jit(gradient_of_pool).lower(split).compile()
            assert native_library.POOLING_TARGET not in (compiled.as_text() or "")
            np.testing.assert_array_equal(compiled(split), expected)
        np.testing.assert_array_equal(jax.jit(gradient_of_pool)(X), expected)
    np.testing.assert_array_equal(exported.call(X), expected)


def test_a_pooling_that_is_everything_is_left_to_xla(native):
    parameters = {
        "window_dimensions": (1, 16, 16, 1),
        "window_strides": (1, 1, 1, 1),
        "padding": ((0, 0),) * 4,
    }
    aval = jax.ShapeDtypeStruct((4, 16, 16, 8), jnp.float32)
    assert pooling.choose(lax.reduce_window_max_p, [aval], parameters).plan is None
