"""Each layer alone: it hands every argument to its operation, and takes any batch."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cnn_jax as cnn
from cnn_jax import reference

KEY = jax.random.key(0)


def numbers(*shape, dtype=np.float32):
    return np.random.default_rng(0).normal(size=shape).astype(dtype)


def drawn(layer, shape):
    """Parameters whose biases are not zero, so that a bias left out is seen."""
    params = layer.init(KEY, shape)

    def moved(leaf):
        return leaf + 0.1 * jnp.arange(leaf.size, dtype=leaf.dtype).reshape(leaf.shape)

    return jax.tree.map(moved, params)


def wide(params):
    return {name: np.asarray(value, np.float64) for name, value in params.items()}


CONVOLUTIONS = [
    ({"window": 3}, (5, 6, 2)),
    ({"window": (3, 2), "stride": (1, 2), "padding": "SAME"}, (5, 6, 2)),
    ({"window": 3, "padding": [(1, 0), (2, 1)], "padding_mode": "reflect"}, (5, 6, 2)),
    ({"window": 2, "dilation": 2, "groups": 2, "bias": False}, (5, 6, 4)),
    ({"window": (4,), "stride": 2, "padding": 1, "padding_mode": "circular"}, (9, 3)),
    ({"window": (2, 1, 2), "groups": 2}, (3, 2, 4, 2)),
]


@pytest.mark.parametrize(("arguments", "shape"), CONVOLUTIONS)
def test_conv_is_correlation_with_its_parameters(arguments, shape):
    layer = cnn.conv(4, **arguments)
    params = drawn(layer, shape)
    assert ("bias" in params) == arguments.pop("bias", True)
    arguments.pop("window")
    x = numbers(2, *shape)
    weights = wide(params)
    expected = reference.correlate(x, weights["kernel"], weights.get("bias"), **arguments)
    np.testing.assert_allclose(layer.apply(params, x), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("arguments", "shape"),
    [
        ({"window": 2, "stride": 2}, (3, 4, 2)),
        ({"window": (3,), "stride": 2, "padding": "SAME", "output_padding": 0}, (5, 2)),
        ({"window": 3, "padding": 1, "dilation": 2, "groups": 2, "bias": False}, (5, 6, 4)),
        ({"window": 3, "stride": 2, "padding": 1, "output_padding": 1}, (3, 4, 2)),
    ],
)
def test_conv_transpose_is_the_transposed_correlation(arguments, shape):
    layer = cnn.conv_transpose(4, **arguments)
    params = drawn(layer, shape)
    arguments = {name: value for name, value in arguments.items() if name not in ("window", "bias")}
    x = numbers(*shape)
    weights = wide(params)
    expected = reference.correlate_transpose(x, weights["kernel"], weights.get("bias"), **arguments)
    np.testing.assert_allclose(layer.apply(params, x), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("multiplier", [1, 2])
def test_depthwise_convolves_each_channel_alone(multiplier):
    layer = cnn.depthwise_conv(3, multiplier=multiplier, stride=2, padding="SAME")
    params = drawn(layer, (5, 6, 3))
    x = numbers(5, 6, 3)
    weights = wide(params)
    y = layer.apply(params, x)
    for channel in range(3):
        own = slice(channel * multiplier, (channel + 1) * multiplier)
        expected = reference.correlate(
            x[..., channel : channel + 1],
            weights["kernel"][..., own],
            weights["bias"][own],
            stride=2,
            padding="SAME",
        )
        np.testing.assert_allclose(y[..., own], expected, rtol=1e-4, atol=1e-4)


def test_separable_is_one_convolution_of_a_factored_kernel():
    layer = cnn.separable_conv(5, 3, padding="SAME")
    params = layer.init(KEY, (4, 5, 2))
    assert jax.tree.map(jnp.shape, params) == {
        "depthwise": {"kernel": (3, 3, 1, 2)},
        "pointwise": {"kernel": (1, 1, 2, 5), "bias": (5,)},
    }
    depthwise = np.asarray(params["depthwise"]["kernel"], np.float64)[:, :, 0]
    pointwise = np.asarray(params["pointwise"]["kernel"], np.float64)[0, 0]
    kernel = depthwise[..., None] * pointwise
    x = numbers(4, 5, 2)
    expected = reference.correlate(x, kernel, padding="SAME")
    np.testing.assert_allclose(layer.apply(params, x), expected, rtol=1e-4, atol=1e-4)


def test_dense_multiplies_and_adds():
    layer = cnn.dense(3)
    params = drawn(layer, (4,))
    x = numbers(2, 1, 4)
    expected = x @ np.asarray(params["kernel"]) + np.asarray(params["bias"])
    np.testing.assert_allclose(layer.apply(params, x), expected, rtol=1e-5, atol=1e-5)
    assert list(cnn.dense(3, bias=False).init(KEY, (4,))) == ["kernel"]


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (
            cnn.max_pool((3, 2), stride=1, padding="SAME"),
            functools.partial(reference.max_pool, size=(3, 2), stride=1, padding="SAME"),
        ),
        (
            cnn.min_pool(2, dilation=2, stride=1),
            functools.partial(reference.min_pool, size=(2, 2), dilation=2, stride=1),
        ),
        (
            cnn.avg_pool(3, padding=1, count_include_pad=True),
            functools.partial(reference.avg_pool, size=(3, 3), padding=1, count_include_pad=True),
        ),
        (
            cnn.avg_pool((2,), padding="SAME"),
            functools.partial(reference.avg_pool, size=(2,), padding="SAME"),
        ),
        (cnn.global_max_pool(), functools.partial(reference.global_max_pool, spatial=2)),
        (cnn.global_avg_pool(1), functools.partial(reference.global_avg_pool, spatial=1)),
    ],
    ids=["max", "min", "avg", "avg_1d", "global_max", "global_avg"],
)
def test_pools_are_their_operations(layer, expected):
    x = numbers(2, 5, 6, 3)
    np.testing.assert_allclose(layer.apply({}, x), expected(x), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("rank", [0, 1, 2, 3])
def test_flatten_keeps_batches_and_reading_order(rank):
    x = np.arange(2 * 3 * 4 * 5 * 6).reshape(2, 3, 4, 5, 6)
    y = cnn.flatten_nd(rank).apply({}, jnp.asarray(x))
    np.testing.assert_array_equal(y, x.reshape(*x.shape[: 4 - rank], -1))


@pytest.mark.parametrize("groups", [1, 2, 6])
@pytest.mark.parametrize("shape", [(4, 5, 6), (7, 6)])
def test_group_norm_is_its_formula(groups, shape):
    layer = cnn.group_norm(groups, spatial=len(shape) - 1, epsilon=1e-3)
    params = drawn(layer, shape)
    x = 3 + 2 * numbers(2, *shape)
    grouped = x.astype(np.float64).reshape(2, -1, groups, 6 // groups)
    mean = grouped.mean((1, 3), keepdims=True)
    variance = grouped.var((1, 3), keepdims=True)
    expected = ((grouped - mean) / np.sqrt(variance + 1e-3)).reshape(x.shape)
    expected = expected * np.asarray(params["scale"]) + np.asarray(params["bias"])
    np.testing.assert_allclose(layer.apply(params, x), expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(layer.apply(params, x[0]), expected[0], rtol=1e-4, atol=1e-4)


def test_layer_norm_is_its_formula():
    layer = cnn.layer_norm()
    params = drawn(layer, (4, 6))
    x = 3 + 2 * numbers(2, 4, 6)
    mean, variance = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    expected = (x - mean) / np.sqrt(variance + 1e-5)
    expected = expected * np.asarray(params["scale"]) + np.asarray(params["bias"])
    np.testing.assert_allclose(layer.apply(params, x), expected, rtol=1e-4, atol=1e-4)


def test_statistics_of_bfloat16_are_taken_in_float32():
    layer = cnn.layer_norm(dtype=jnp.bfloat16)
    params = layer.init(KEY, (1024,))
    x = jnp.asarray(100 + numbers(1024), jnp.bfloat16)
    y = layer.apply(params, x)
    assert y.dtype == jnp.bfloat16
    exact = np.asarray(x, np.float64)
    expected = (exact - exact.mean()) / exact.std()
    np.testing.assert_allclose(np.asarray(y, np.float64), expected, rtol=2**-7, atol=2e-2)


LAYERS = {
    "conv": (cnn.conv(2, 2), (3, 4, 2)),
    "conv_1d": (cnn.conv(2, (2,)), (4, 2)),
    "depthwise_conv": (cnn.depthwise_conv(2), (3, 4, 2)),
    "conv_transpose": (cnn.conv_transpose(2, 2, stride=2), (2, 3, 2)),
    "dense": (cnn.dense(3), (4,)),
    "max_pool": (cnn.max_pool(2), (4, 4, 2)),
    "global_avg_pool": (cnn.global_avg_pool(), (3, 4, 2)),
    "flatten": (cnn.flatten, (3, 4, 2)),
    "group_norm": (cnn.group_norm(2), (3, 4, 2)),
    "layer_norm": (cnn.layer_norm(), (4, 2)),
    "relu": (cnn.relu, (4,)),
    "dropout": (cnn.dropout(0.5), (4,)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_any_batch_gives_each_example_s_own_result(name):
    layer, shape = LAYERS[name]
    params = drawn(layer, shape)
    x = numbers(2, 3, *shape)
    many = layer.apply(params, x)
    np.testing.assert_allclose(layer.apply(params, x[1]), many[1], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(layer.apply(params, x[1, 2]), many[1, 2], rtol=1e-5, atol=1e-5)
    mapped = jax.vmap(jax.vmap(functools.partial(layer.apply, params)))(x)
    np.testing.assert_allclose(mapped, many, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32])
@pytest.mark.parametrize("name", LAYERS)
def test_dtypes_flow_through_cast_parameters(name, dtype):
    layer, shape = LAYERS[name]
    params = jax.tree.map(lambda leaf: leaf.astype(dtype), layer.init(KEY, shape))
    y = jax.eval_shape(layer.apply, params, jax.ShapeDtypeStruct(shape, dtype))
    assert y.dtype == dtype


@pytest.mark.parametrize(
    ("layer", "function"),
    [
        (cnn.relu, lambda x: np.maximum(x, 0)),
        (cnn.tanh, np.tanh),
        (cnn.sigmoid, lambda x: 1 / (1 + np.exp(-x))),
        (cnn.silu, lambda x: x / (1 + np.exp(-x))),
        (
            cnn.gelu,
            lambda x: x / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))),
        ),
        (cnn.activation(jnp.square), np.square),
    ],
    ids=lambda value: getattr(value, "kind", ""),
)
def test_activations_are_their_formulas(layer, function):
    x = np.linspace(-3, 3, 7, dtype=np.float32)
    np.testing.assert_allclose(layer.apply({}, x), function(x), rtol=1e-5, atol=1e-6)


@given(st.floats(0.05, 0.9), st.integers(0, 2**32 - 1))
@settings(max_examples=20)
def test_dropout_keeps_the_expectation(rate, seed):
    size = 20_000
    layer = cnn.dropout(rate)
    y = np.asarray(layer.apply({}, jnp.ones(size), rng=jax.random.key(seed)))
    kept = y != 0
    np.testing.assert_allclose(y[kept], 1 / (1 - rate), rtol=1e-5)
    deviation = np.sqrt(rate * (1 - rate) / size)
    assert abs(kept.mean() - (1 - rate)) < 6 * deviation


def test_dropout_needs_a_key_and_repeats_with_it():
    layer, x = cnn.dropout(0.5), jnp.ones(64)
    np.testing.assert_array_equal(layer.apply({}, x), x)
    np.testing.assert_array_equal(cnn.dropout(0).apply({}, x, rng=KEY), x)
    first, again = (layer.apply({}, x, rng=KEY) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, layer.apply({}, x, rng=jax.random.key(1)))
    np.testing.assert_array_equal(jax.grad(lambda x: layer.apply({}, x, rng=KEY).sum())(x), first)


@pytest.mark.parametrize("layer", [cnn.conv(64, 5), cnn.conv(64, 5, groups=4), cnn.dense(400)])
def test_kernels_begin_with_variance_two_over_fan_in(layer):
    kernel = layer.init(KEY, (9, 9, 64))["kernel"]
    fan_in = kernel.size // kernel.shape[-1]
    assert abs(float(kernel.var()) * fan_in / 2 - 1) < 0.05
    assert abs(float(kernel.mean())) * np.sqrt(fan_in) < 0.05


def test_initialisers_and_dtypes_are_as_asked():
    ones = jax.nn.initializers.ones
    for layer in (
        cnn.conv(2, 2, kernel_init=ones, bias_init=ones, dtype=jnp.bfloat16),
        cnn.conv_transpose(2, 2, kernel_init=ones, bias_init=ones, dtype=jnp.bfloat16),
        cnn.depthwise_conv(2, kernel_init=ones, bias_init=ones, dtype=jnp.bfloat16),
        cnn.separable_conv(2, 2, kernel_init=ones, bias_init=ones, dtype=jnp.bfloat16),
        cnn.dense(2, kernel_init=ones, bias_init=ones, dtype=jnp.bfloat16),
    ):
        for leaf in jax.tree.leaves(layer.init(KEY, (3, 3, 2))):
            assert leaf.dtype == jnp.bfloat16
            assert (leaf == 1).all()
