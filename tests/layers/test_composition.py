"""Layers made of layers: names, keys, shortcuts, and all of JAX's transformations."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import cnn_jax as cnn

KEY = jax.random.key(0)
X = jnp.asarray(np.random.default_rng(0).normal(size=(3, 6, 6, 1)), jnp.float32)


def network(*extra):
    return cnn.serial(
        *(cnn.conv(4, 3), cnn.relu, *extra, cnn.max_pool(2)),
        *(cnn.residual(cnn.serial(cnn.conv(4, 3, padding="SAME"), cnn.relu)), cnn.flatten),
        cnn.dense(3),
    )


def test_a_layer_is_a_pair():
    init, apply = cnn.dense(2)
    assert apply(init(KEY, (3,)), jnp.zeros(3)).shape == (2,)
    assert cnn.Layer._fields == ("init", "apply")


def test_children_are_named_by_kind_and_position_among_the_kind():
    assert list(network(cnn.dropout(0.1), cnn.relu).children) == [
        *("conv_0", "relu_0", "dropout_0", "relu_1", "max_pool_0"),
        *("residual_0", "flatten_0", "dense_0"),
    ]
    named = cnn.serial(cnn.relu, stem=cnn.relu, **{"the head": cnn.dense(2)})
    assert list(named.children) == ["relu_0", "stem", "the head"]


def test_parameters_are_nested_dicts_without_empty_ones():
    params = network(cnn.dropout(0.1)).init(KEY, (6, 6, 1))
    assert jax.tree.map(jnp.shape, params) == {
        "conv_0": {"kernel": (3, 3, 1, 4), "bias": (4,)},
        "residual_0": {"body": {"conv_0": {"kernel": (3, 3, 4, 4), "bias": (4,)}}},
        "dense_0": {"kernel": (16, 3), "bias": (3,)},
    }
    assert cnn.serial(cnn.relu, cnn.serial(cnn.flatten)).init(KEY, (2, 2, 1)) == {}


def test_serial_applies_in_order():
    model = network()
    params = model.init(KEY, (6, 6, 1))
    y = X
    for name, child in model.children.items():
        y = child.apply(params.get(name, {}), y)
    np.testing.assert_allclose(model.apply(params, X), y, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(cnn.serial().apply({}, X), X)


def test_initial_parameters_depend_on_key_and_name_alone():
    params, again = (network().init(KEY, (6, 6, 1)) for _ in range(2))
    longer = network(cnn.dropout(0.5), cnn.relu).init(KEY, (6, 6, 1))
    jax.tree.map(np.testing.assert_array_equal, params, again)
    jax.tree.map(np.testing.assert_array_equal, params, longer)
    other = network().init(jax.random.key(1), (6, 6, 1))
    assert not np.array_equal(params["conv_0"]["kernel"], other["conv_0"]["kernel"])
    twins = cnn.serial(cnn.dense(3), cnn.dense(3)).init(KEY, (3,))
    assert not np.array_equal(twins["dense_0"]["kernel"], twins["dense_1"]["kernel"])


def test_raw_keys_work_as_typed_ones_do():
    raw = network().init(jax.random.PRNGKey(0), (6, 6, 1))
    jax.tree.map(np.testing.assert_array_equal, raw, network().init(KEY, (6, 6, 1)))


def test_every_dropout_draws_for_itself():
    model = cnn.serial(cnn.dropout(0.5), inner=cnn.serial(cnn.dropout(0.5)))
    masks = [
        np.asarray(layer.apply({}, jnp.ones(256), rng=KEY)) != 0
        for layer in (model, cnn.serial(cnn.dropout(0.5)))
    ]
    assert 0.1 < masks[0].mean() < 0.4
    assert 0.3 < masks[1].mean() < 0.7


def test_residual_adds_and_projects():
    double = cnn.activation(lambda x: 2 * x, "double")
    np.testing.assert_array_equal(cnn.residual(double).apply({}, X), 3 * X)
    block = cnn.residual(cnn.dense(2), cnn.dense(2))
    params = block.init(KEY, (3,))
    assert sorted(params) == ["body", "shortcut"]
    x = jnp.ones((5, 3))
    expected = x @ params["body"]["kernel"] + x @ params["shortcut"]["kernel"]
    np.testing.assert_allclose(block.apply(params, x), expected, rtol=1e-5)


def test_models_compose_with_every_transformation():
    model = network(cnn.dropout(0.25))
    params = jax.jit(model.init, static_argnums=1)(KEY, (6, 6, 1))
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=1e-6),
        params,
        model.init(KEY, (6, 6, 1)),
    )
    y = model.apply(params, X)
    np.testing.assert_allclose(jax.jit(model.apply)(params, X), y, rtol=1e-4, atol=1e-5)

    def loss(params, x):
        return jnp.square(model.apply(params, x, rng=KEY)).sum()

    gradient = jax.jit(jax.grad(loss))(params, X)
    assert jax.tree.structure(gradient) == jax.tree.structure(params)
    direction = jax.tree.map(jnp.ones_like, params)
    _, slope = jax.jvp(lambda params: loss(params, X), (params,), (direction,))
    np.testing.assert_allclose(slope, optax.tree.vdot(gradient, direction), rtol=1e-3)


def test_ensembles_are_a_vmap_over_keys():
    model = network()
    keys = jax.random.split(KEY, 3)
    ensemble = jax.vmap(lambda key: model.init(key, (6, 6, 1)))(keys)
    together = jax.vmap(model.apply, in_axes=(0, None))(ensemble, X)
    for i in range(3):
        alone = model.apply(model.init(keys[i], (6, 6, 1)), X)
        np.testing.assert_allclose(together[i], alone, rtol=1e-4, atol=1e-5)


def test_children_can_be_replaced_and_rewrapped():
    calls = []

    def spy(name, layer):
        def apply(params, x, *, rng=None):
            calls.append(name)
            return layer.apply(params, x, rng=rng)

        return cnn.Layer(layer.init, apply, layer.kind)

    model = network()
    params = model.init(KEY, (6, 6, 1))
    watched = model.map_children(spy)
    np.testing.assert_array_equal(watched.apply(params, X), model.apply(params, X))
    assert calls == list(model.children)
    assert cnn.relu.map_children(spy) is cnn.relu
    residual = cnn.residual(cnn.relu).map_children(lambda name, layer: cnn.tanh)
    np.testing.assert_allclose(residual.apply({}, X), X + jnp.tanh(X))


def test_names_reach_the_compiled_program():
    model = cnn.serial(stem=cnn.serial(cnn.dense(2)))
    params = model.init(KEY, (3,))
    text = jax.jit(model.apply).lower(params, jnp.zeros(3)).as_text(debug_info=True)
    assert "stem/dense_0" in text


def test_people_s_own_layers_take_part():
    def init(key, shape):
        return {"scale": jnp.full((1,), 3.0)}

    def apply(params, x, *, rng=None):
        return x * params["scale"][0]

    model = cnn.serial(cnn.Layer(init, apply), cnn.Layer(init, apply, "scale"))
    params = model.init(KEY, (2,))
    assert sorted(params) == ["layer_0", "scale_0"]
    np.testing.assert_array_equal(model.apply(params, jnp.ones(2)), [9, 9])


@pytest.mark.parametrize("steps", [60])
def test_a_network_learns(steps):
    model = network(cnn.dropout(0.1))
    labels = jnp.arange(3)
    params = model.init(KEY, (6, 6, 1))
    optimiser = optax.sgd(0.05, momentum=0.9)

    def loss(params, rng):
        logits = model.apply(params, X, rng=rng)
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    def step(carry, rng):
        params, state = carry
        value, gradient = jax.value_and_grad(loss)(params, rng)
        updates, state = optimiser.update(gradient, state, params)
        return (optax.apply_updates(params, updates), state), value

    keys = jax.random.split(KEY, steps)
    (params, _), losses = jax.lax.scan(step, (params, optimiser.init(params)), keys)
    assert losses[-1] < losses[0] / 10
    np.testing.assert_array_equal(model.apply(params, X).argmax(-1), labels)
