"""Computing in bfloat16 with parameters in float32, and layers in wrappings."""

import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import cnn_jax as cnn
from cnn_jax.plots.feature_maps import activations

SHAPE = (8, 8, 1)


def network():
    return cnn.serial(
        *(cnn.conv(4, 3, stride=2), cnn.relu, cnn.flatten, cnn.dropout(0.5), cnn.dense(3))
    )


def rounded(tree):
    return jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), tree)


def test_it_computes_in_the_short_format_and_learns_in_the_long_one():
    plain = network()
    model = cnn.mixed_precision(plain)
    params = model.init(jax.random.key(0), SHAPE)
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}
    x = jnp.asarray(np.random.default_rng(0).standard_normal((4, *SHAPE)), jnp.float32)
    labels = jnp.array([0, 1, 2, 0], jnp.int32)

    # What comes out is what the plain model makes of rounded numbers, to the last bit.
    expected = jax.jit(plain.apply)(rounded(params), rounded(x))
    assert expected.dtype == jnp.bfloat16
    outputs = jax.jit(model.apply)(params, x)
    assert outputs.dtype == jnp.float32
    np.testing.assert_array_equal(outputs, expected.astype(jnp.float32))
    assert not np.array_equal(outputs, jax.jit(plain.apply)(params, x))

    # Gradients arrive in float32, near those of float32, and dropout still has its key.
    def loss(params, model):
        return cnn.train.cross_entropy(model.apply(params, x), labels).mean()

    short, long = (jax.jit(jax.grad(partial(loss, model=each)))(params) for each in (model, plain))
    for one, other in zip(jax.tree.leaves(short), jax.tree.leaves(long), strict=True):
        assert one.dtype == jnp.float32
        assert np.linalg.norm(one - other) < 0.05 * np.linalg.norm(other) + 1e-3
    masked = jax.jit(model.apply)(params, x, rng=jax.random.key(1))
    assert not np.array_equal(masked, outputs)

    step = cnn.train.make_step(model, optax.sgd(1e-5))
    state = cnn.train.create(model, optax.sgd(1e-5), jax.random.key(0), SHAPE)
    before = jax.tree.map(np.asarray, jax.tree.map(jnp.copy, state.params))
    state, metrics = step(state, (x, labels))
    assert metrics["loss"].dtype == jnp.float32
    # A change too small for bfloat16 is not lost.
    kernel = state.params["conv_0"]["kernel"]
    assert kernel.dtype == jnp.float32
    assert not np.array_equal(kernel, before["conv_0"]["kernel"])
    np.testing.assert_array_equal(rounded(kernel), rounded(jnp.asarray(before["conv_0"]["kernel"])))


def test_a_wrapped_model_shows_its_layers():
    data = cnn.data.digits()
    plain = network()
    model = cnn.train.classifier(plain, cnn.data.learn_normalisation(data), "bfloat16")
    params = model.init(jax.random.key(0), SHAPE)
    assert list(model.children) == list(plain.children)
    pictures = data.images[:2]
    outputs = activations(model, params, pictures)
    assert outputs["conv_0"].dtype == jnp.bfloat16
    np.testing.assert_array_equal(
        outputs["dense_0"].astype(jnp.float32), model.apply(params, pictures)
    )


@pytest.mark.parametrize("dtype", ["int32", "short", 7])
def test_other_dtypes_are_refused(dtype):
    message = (
        f"mixed_precision: dtype must be a floating-point dtype such as bfloat16, not {dtype!r}"
    )
    with pytest.raises(TypeError, match=re.escape(message)):
        cnn.mixed_precision(network(), dtype)
