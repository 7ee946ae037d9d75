"""Steps, epochs and evaluation: each against the same mathematics done the plain way."""

import logging
import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import monitoring

import cnn_jax as cnn
from cnn_jax.train.batch import plan
from cnn_jax.train.step import shuffle_key

SHAPE = (6, 6, 1)


def exactly(message):
    """A pattern for the whole message; JAX may append a note of its own on lines below."""
    return rf"\A{re.escape(message)}(\n|\Z)"


def pictures(size, seed=0):
    random = np.random.default_rng(seed)
    images = random.standard_normal((size, *SHAPE)).astype(np.float32)
    labels = random.integers(0, 3, size).astype(np.int32)
    return cnn.data.Dataset(images, labels, ("a", "b", "c"))


def network(dropout=True):
    drops = (cnn.dropout(0.4),) if dropout else ()
    return cnn.serial(
        *(cnn.conv(4, 3), cnn.relu, cnn.max_pool(2), cnn.flatten), *drops, cnn.dense(3)
    )


def same(left, right, rtol=1e-5, atol=1e-6):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=atol), left, right)


def copied(tree):
    return jax.tree.map(jnp.copy, tree)


class Compilations:
    """Counts the programs that XLA compiles while it is listened to."""

    def __init__(self):
        self.count = 0
        monitoring.register_event_duration_secs_listener(self)

    def __call__(self, event, duration_secs, **kwargs):
        self.count += event == "/jax/core/compile/backend_compile_duration"


def test_step_is_gradient_descent_on_the_mean_loss():
    """One step of plain SGD, worked in NumPy for a linear model."""
    data = pictures(7)
    model = cnn.serial(cnn.flatten, cnn.dense(3))
    optimizer = optax.sgd(0.5)
    state = cnn.train.create(model, optimizer, jax.random.key(1), SHAPE)
    before = jax.tree.map(np.asarray, copied(state.params))["dense_0"]
    state, metrics = cnn.train.make_step(model, optimizer)(state, data[:2])

    x = data.images.reshape(7, -1).astype(np.float64)
    logits = x @ before["kernel"] + before["bias"]
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    one_hot = np.eye(3)[data.labels]
    assert metrics["loss"] == pytest.approx(-np.log((p * one_hot).sum(axis=1)).mean(), rel=1e-5)
    assert metrics["accuracy"] == pytest.approx((p.argmax(axis=1) == data.labels).mean())
    after = state.params["dense_0"]
    same(after["kernel"], before["kernel"] - 0.5 * x.T @ (p - one_hot) / 7, 1e-4)
    same(after["bias"], before["bias"] - 0.5 * (p - one_hot).mean(axis=0), 1e-4)
    assert int(state.step) == 1


def test_step_donates_its_state():
    model, optimizer = network(), optax.sgd(0.1, momentum=0.9)
    state = cnn.train.create(model, optimizer, jax.random.key(0), SHAPE)
    cnn.train.make_step(model, optimizer)(state, pictures(4)[:2])
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(state.params))


def test_weights_weigh_the_mean_and_zero_leaves_no_trace():
    model, optimizer = network(dropout=False), optax.sgd(0.1)
    step = cnn.train.make_step(model, optimizer)
    state = cnn.train.create(model, optimizer, jax.random.key(0), SHAPE)
    data = pictures(5)
    twice = np.array([0, 1, 1, 2, 2, 2])
    repeated, means = step(copied(state), (data.images[twice], data.labels[twice]))
    weights = np.array([1, 2, 3, 0, 0], np.float32)
    # What weighs nothing may be anything that stays finite.
    data.images[3:] = 1e3
    weighted, weighted_means = step(state, cnn.train.Batch(data.images, data.labels, weights))
    same(repeated.params, weighted.params)
    same(means, weighted_means)


@pytest.mark.parametrize("size", [8, 10, 3])
def test_epoch_equals_a_python_loop_of_steps(size):
    """Batches of 4: one that divides, one with a smaller last batch, one smaller than a batch.

    The network has dropout and the pictures are shifted, so the random numbers must agree too.
    """
    model, data = network(), pictures(size)
    optimizer = cnn.train.optimizer("sgd", 0.2, weight_decay=0.01)
    augment = cnn.data.random_shift(1)
    state = cnn.train.create(model, optimizer, jax.random.key(3), SHAPE)
    step = cnn.train.make_step(model, optimizer, augment=augment)
    epoch = cnn.train.make_epoch(model, optimizer, batch_size=4, augment=augment)

    looped, losses, rights = copied(state), [], []
    for _ in range(2):
        order = np.asarray(jax.random.permutation(shuffle_key(looped), size))
        assert sorted(order) == list(range(size))
        totals = np.zeros(2)
        for chosen in np.split(order, range(4, size, 4)):
            looped, metrics = step(looped, (data.images[chosen], data.labels[chosen]))
            totals += len(chosen) * np.array([metrics["loss"], metrics["accuracy"]])
        losses.append(totals[0] / size)
        rights.append(totals[1] / size)

    for loss, right in zip(losses, rights, strict=True):
        state, metrics = epoch(state, data)
        assert metrics["loss"] == pytest.approx(loss, rel=1e-5)
        assert metrics["accuracy"] == pytest.approx(right, abs=1e-6)
    assert int(state.step) == int(looped.step) == 2 * math.ceil(size / 4)
    same(state.params, looped.params)
    same(state.optimizer_state, looped.optimizer_state)


def test_epochs_shuffle_anew_and_can_keep_the_order():
    model = cnn.serial(cnn.flatten, cnn.dense(3))
    seen = []

    def note(outputs, labels):
        jax.debug.callback(lambda labels: seen.extend(labels.tolist()), labels, ordered=False)
        return jnp.zeros(len(labels))

    data = pictures(6)._replace(labels=np.arange(6, dtype=np.int32), class_names=tuple("abcdef"))
    model = cnn.serial(cnn.flatten, cnn.dense(6))
    optimizer = optax.sgd(0.1)
    orders = {}
    for shuffle in (True, False):
        state = cnn.train.create(model, optimizer, jax.random.key(0), SHAPE)
        epoch = cnn.train.make_epoch(
            model, optimizer, batch_size=6, shuffle=shuffle, measures={"note": note}
        )
        for number in range(2):
            seen.clear()
            state, metrics = epoch(state, data)
            jax.block_until_ready(metrics)
            jax.effects_barrier()
            orders[shuffle, number] = list(seen)
    assert orders[False, 0] == orders[False, 1] == list(range(6))
    assert sorted(orders[True, 0]) == sorted(orders[True, 1]) == list(range(6))
    assert orders[True, 0] != orders[True, 1]
    assert orders[True, 0] != list(range(6))


def test_filling_up_repeats_true_examples_with_weight_zero():
    indices, weights = plan(jnp.array([4, 2, 0, 1, 3]), 3)
    assert indices.tolist() == [[4, 2, 0], [1, 3, 4]]
    assert weights.tolist() == [[1, 1, 1], [1, 1, 0]]


def test_evaluate_and_predict_are_exact_over_an_uneven_last_batch():
    model, data = network(), pictures(11)
    params = model.init(jax.random.key(0), SHAPE)
    logits = np.asarray(model.apply(params, data.images), np.float64)  # without rng: no dropout
    expected = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(11), data.labels]
    for batch_size in (4, 11, 64):
        metrics = cnn.train.evaluate(model, params, data, batch_size=batch_size)
        assert metrics["loss"] == pytest.approx(expected.mean(), rel=1e-5)
        assert metrics["accuracy"] == pytest.approx((logits.argmax(axis=1) == data.labels).mean())
        outputs = cnn.train.predict(model, params, data.images, batch_size=batch_size)
        same(outputs, logits)


def test_bytes_are_scaled_to_one():
    model, data = network(), pictures(6)
    as_bytes = np.random.default_rng(0).integers(0, 256, data.images.shape).astype(np.uint8)
    scaled = (as_bytes / 255).astype(np.float32)
    optimizer = optax.sgd(0.1)
    step = cnn.train.make_step(model, optimizer)
    state = cnn.train.create(model, optimizer, jax.random.key(0), SHAPE)
    from_bytes, _ = step(copied(state), (as_bytes, data.labels))
    from_floats, _ = step(state, (scaled, data.labels))
    same(from_bytes.params, from_floats.params)
    same(
        cnn.train.predict(model, from_floats.params, as_bytes),
        cnn.train.predict(model, from_floats.params, scaled),
    )


def test_other_losses_and_measures():
    """Regression: a loss of one's own, no accuracy, labels of any shape."""
    model = cnn.serial(cnn.flatten, cnn.dense(2))
    images = pictures(9).images
    targets = images.reshape(9, -1)[:, :2]
    optimizer = optax.adam(0.05)
    epoch = cnn.train.make_epoch(
        model,
        optimizer,
        lambda outputs, labels: optax.squared_error(outputs, labels).sum(axis=-1),
        batch_size=4,
        measures={},
    )
    state = cnn.train.create(model, optimizer, jax.random.key(0), SHAPE)
    losses = []
    for _ in range(30):
        state, metrics = epoch(state, (images, targets))
        assert list(metrics) == ["loss"]
        losses.append(float(metrics["loss"]))
    assert losses[-1] < losses[0] / 20


def test_bfloat16_networks_have_float32_losses():
    model = cnn.serial(cnn.flatten, cnn.dense(3, dtype=jnp.bfloat16))
    optimizer = optax.sgd(0.1)
    state = cnn.train.create(model, optimizer, jax.random.key(0), SHAPE)
    data = pictures(5)
    images = jnp.asarray(data.images, jnp.bfloat16)
    state, metrics = cnn.train.make_step(model, optimizer)(state, (images, data.labels))
    assert metrics["loss"].dtype == jnp.float32
    assert state.params["dense_0"]["kernel"].dtype == jnp.bfloat16


def test_nothing_compiles_after_the_first_epoch_and_an_epoch_is_one_dispatch(caplog):
    model, data, held_out = network(), pictures(10), pictures(7, seed=1)
    optimizer = cnn.train.optimizer("sgd", cnn.train.schedule("cosine", 0.1, 20, warmup_steps=3))
    compilations = Compilations()
    counts = [
        compilations.count
        for _ in cnn.train.iterate(
            model, optimizer, data, held_out, epochs=4, batch_size=4, key=jax.random.key(0)
        )
    ]
    assert counts[0] >= 3  # create, the epoch, the evaluation
    assert counts == [counts[0]] * 4

    # Every dispatch of a compiled program looks itself up here; a warm epoch does so once.
    state = cnn.train.create(model, optimizer, jax.random.key(0), SHAPE)
    epoch = cnn.train.make_epoch(model, optimizer, batch_size=4)
    on_device = jax.device_put(data[:2])
    with jax.log_compiles(), caplog.at_level(logging.DEBUG):
        state, _ = epoch(state, on_device)
        caplog.clear()
        state, _ = epoch(state, on_device)
        cnn.train.evaluate(model, state.params, jax.device_put(held_out[:2]), batch_size=4)
    assert not [record for record in caplog.records if "ompil" in record.getMessage()]
    closed = jax.make_jaxpr(lambda state: epoch(state, on_device))(state)
    assert [equation.primitive.name for equation in closed.eqns] == ["jit"]


def test_create_takes_one_new_key():
    for key, shown in ((0, "0"), (jax.random.split(jax.random.key(0)), "key<fry>[2]")):
        message = f"create: key must be one random key such as jax.random.key(0), not {shown}"
        with pytest.raises(TypeError, match=exactly(message)):
            cnn.train.create(network(), optax.sgd(0.1), key, SHAPE)  # pyright: ignore[reportArgumentType]


def test_create_compiles_once_for_all_seeds():
    model, optimizer = network(), optax.sgd(0.1)
    cnn.train.create(model, optimizer, jax.random.key(0), SHAPE)
    key = jax.random.key(1)
    compilations = Compilations()
    state = cnn.train.create(model, optimizer, key, SHAPE)
    assert compilations.count == 0
    expected = jax.jit(lambda key: cnn.train.create(model, optimizer, key, SHAPE))(key)
    for leaf, other in zip(
        jax.tree.leaves(state.params), jax.tree.leaves(expected.params), strict=True
    ):
        np.testing.assert_allclose(leaf, other, rtol=1e-6)


def test_create_and_step_work_under_vmap_and_jit():
    """Several seeds at once learn as they do one by one."""
    model, optimizer, data = network(), optax.sgd(0.1, momentum=0.9), pictures(4)
    step = cnn.train.make_step(model, optimizer)

    def learn(key):
        state, metrics = step(cnn.train.create(model, optimizer, key, SHAPE), data[:2])
        return state.params, metrics

    keys = jax.random.split(jax.random.key(5), 2)
    together = jax.jit(jax.vmap(learn))(keys)
    same(jax.tree.map(lambda leaf: leaf[1], together), learn(keys[1]))


def step_with(loss=cnn.train.cross_entropy, batch=None, **options):
    model, optimizer = cnn.serial(cnn.flatten, cnn.dense(3)), optax.sgd(0.1)
    step = cnn.train.make_step(model, optimizer, loss, **options)
    state = cnn.train.create(model, optimizer, jax.random.key(0), SHAPE)
    return step(state, batch or pictures(4)[:2])


def test_step_errors():
    message = "loss: it must return one value for each example, shape [4], but it returned shape []"
    with pytest.raises(ValueError, match=exactly(message)):
        step_with(lambda outputs, labels: cnn.train.cross_entropy(outputs, labels).mean())
    message = (
        "step: images must have shape [n, *spatial, channels] and labels [n] with n at least 1, "
        "not [4, 6, 6, 1] and [3]"
    )
    with pytest.raises(ValueError, match=exactly(message)):
        step_with(batch=(pictures(4).images, pictures(3).labels))
    with pytest.raises(TypeError, match=exactly("make_step: loss must be a function, not 'mse'")):
        step_with("mse")
    with pytest.raises(ValueError, match=exactly("make_step: measures may not be called loss")):
        step_with(measures={"loss": cnn.train.accuracy})


def test_batch_size_errors():
    model, optimizer = network(), optax.sgd(0.1)
    message = "make_epoch: batch_size must be at least 1, not 0"
    with pytest.raises(ValueError, match=exactly(message)):
        cnn.train.make_epoch(model, optimizer, batch_size=0)
    with pytest.raises(TypeError, match=exactly("evaluate: batch_size must be an int, not 2.5")):
        cnn.train.evaluate(model, {}, pictures(3), batch_size=2.5)  # pyright: ignore[reportArgumentType]
    message = (
        "predict: images must have shape [n, *spatial, channels] with n at least 1, "
        "not [0, 6, 6, 1]"
    )
    with pytest.raises(ValueError, match=exactly(message)):
        cnn.train.predict(model, {}, pictures(3).images[:0])
