"""Whole trainings: reproducible, resumable, and able to learn."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import cnn_jax as cnn

SHAPE = (4, 4, 1)


def exactly(message):
    return rf"\A{re.escape(message)}(\n|\Z)"


def stripes(size, seed=0):
    """Pictures of upright and level stripes: classes that a dense layer can't miss."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 2, size).astype(np.int32)
    stripe = np.array([1.0, 0, 1, 0], np.float32)
    upright = np.broadcast_to(stripe, (4, 4))
    images = np.where(labels[:, None, None], upright, upright.T)
    images = images + 0.1 * random.standard_normal((size, 4, 4))
    return cnn.data.Dataset(images[..., None].astype(np.float32), labels, ("level", "upright"))


MODEL = cnn.serial(cnn.flatten, cnn.dropout(0.2), cnn.dense(2))
OPTIMIZER = optax.sgd(0.3, momentum=0.9)


def fit(**changes):
    arguments = {"epochs": 3, "batch_size": 8, "key": jax.random.key(0), **changes}
    return cnn.train.fit(MODEL, OPTIMIZER, stripes(30), stripes(20, seed=1), **arguments)


def bits(state):
    return [leaf.tobytes() for leaf in jax.tree.leaves(jax.device_get(state.params))]


def test_fit_learns_and_repeats_itself_bit_for_bit():
    seen = []
    first = fit(callbacks=[seen.append])
    again, other = fit(), fit(key=jax.random.key(1))
    assert first.history[-1]["validation_accuracy"] == 1.0
    assert first.history[-1]["train_loss"] < first.history[0]["train_loss"]
    assert [progress.record for progress in seen] == first.history
    assert [(progress.epoch, progress.epochs) for progress in seen] == [(1, 3), (2, 3), (3, 3)]
    assert list(first.history[0]) == [
        "epoch",
        "seconds",
        "train_accuracy",
        "train_loss",
        "validation_accuracy",
        "validation_loss",
    ]
    assert all(type(value) in (int, float) for value in first.history[0].values())
    assert int(first.state.step) == 3 * 4
    assert bits(first.state) == bits(again.state) != bits(other.state)
    timeless = [
        [{k: v for k, v in record.items() if k != "seconds"} for record in run.history]
        for run in (first, again)
    ]
    assert timeless[0] == timeless[1]

    # Going on from a state is the same as never having stopped, and leaves that state alone.
    halfway = fit(epochs=1)
    resumed = fit(epochs=2, state=halfway.state)
    assert bits(resumed.state) == bits(first.state)
    assert not halfway.state.step.is_deleted()


def test_without_validation_only_training_is_reported():
    _, history = cnn.train.fit(
        MODEL, OPTIMIZER, stripes(8), epochs=1, batch_size=8, key=jax.random.key(0)
    )
    assert list(history[0]) == ["epoch", "seconds", "train_accuracy", "train_loss"]


def test_an_exception_from_a_callback_ends_the_training():
    def stop(progress):
        raise StopAsyncIteration(progress.epoch)

    with pytest.raises(StopAsyncIteration, match="1"):
        fit(callbacks=[stop])


@pytest.mark.parametrize(
    ("changes", "kind", "message"),
    [
        ({"epochs": 0}, ValueError, "fit: epochs must be at least 1, not 0"),
        ({"batch_size": -1}, ValueError, "fit: batch_size must be at least 1, not -1"),
        (
            {"key": 7},
            TypeError,
            "fit: key must be one random key such as jax.random.key(0), not 7",
        ),
    ],
)
def test_fit_errors(changes, kind, message):
    with pytest.raises(kind, match=exactly(message)):
        fit(**changes)


def test_fit_wants_data_of_one_kind():
    other = cnn.data.Dataset(np.zeros((2, 5, 4, 1), np.float32), np.zeros(2, np.int32), ("a",))
    message = (
        "fit: validation has images of shape [5, 4, 1] and 1 classes, data [4, 4, 1] and 2; "
        "they must have the same shape and classes"
    )
    with pytest.raises(ValueError, match=exactly(message)):
        cnn.train.iterate(
            MODEL, OPTIMIZER, stripes(8), other, epochs=1, batch_size=8, key=jax.random.key(0)
        )
    broken = stripes(8)
    broken.images[3] = np.nan
    with pytest.raises(ValueError, match="images must be finite, but 1 of 8"):
        cnn.train.iterate(MODEL, OPTIMIZER, broken, epochs=1, batch_size=8, key=jax.random.key(0))


PARAMS = {"kernel": jnp.full((2, 2), 2.0), "bias": jnp.full(2, 3.0)}
GRADIENT = jax.tree.map(jnp.ones_like, PARAMS)


@pytest.mark.parametrize("name", cnn.train.OPTIMIZERS)
def test_every_listed_optimizer_takes_a_step_downhill(name):
    optimizer = cnn.train.optimizer(name, 0.1)

    def model_loss(params, x, *, rng=None):
        return jnp.broadcast_to(sum(leaf.sum() for leaf in params.values()), (1, 1))

    # The loss is the sum of all parameters, so the gradient is one everywhere.
    model = cnn.Layer(lambda key, shape: PARAMS, model_loss)
    update = cnn.train.make_step(model, optimizer, lambda y, labels: y[:, 0], measures={})
    state = cnn.train.create(model, optimizer, jax.random.key(0), (1,))
    for _ in range(3):  # some of them do nothing at first
        state, _ = update(state, (jnp.ones((1, 1)), jnp.zeros(1, jnp.int32)))
    params = state.params
    assert all(jnp.all(params[key] < PARAMS[key]) for key in params), name


def test_common_optimizers_are_listed():
    assert {"sgd", "adam", "adamw", "lion", "rmsprop", "lamb"} <= set(cnn.train.OPTIMIZERS)


def step(name, params=PARAMS, gradient=GRADIENT, steps=1, **options):
    optimizer = cnn.train.optimizer(name, 0.1, **options)
    state = optimizer.init(params)
    for _ in range(steps):
        with jax.numpy_dtype_promotion("standard"):  # optax mixes ints and floats
            changes, state = optimizer.update(gradient, state, params)
        params = optax.apply_updates(params, changes)
    return jax.tree.map(lambda leaf: float(leaf.ravel()[0]), params)


def test_sgd_with_momentum_decay_and_clipping_by_hand():
    # v = 0.9 v + g; p -= 0.1 v: changes of 0.1 and 0.19.
    assert step("sgd", steps=2) == pytest.approx({"kernel": 2 - 0.29, "bias": 3 - 0.29})
    assert step("sgd", momentum=0.0, steps=2) == pytest.approx({"kernel": 1.8, "bias": 2.8})
    # Nesterov: p -= 0.1 (g + 0.9 v), v = 1.
    assert step("sgd", nesterov=True)["bias"] == pytest.approx(3 - 0.19)
    # An L2 penalty adds 0.5 * 2 to the kernel's gradient; the bias has none.
    assert step("sgd", weight_decay=0.5) == pytest.approx({"kernel": 1.8, "bias": 2.9})
    # Six ones have norm sqrt(6).
    assert step("sgd", clip=0.6**0.5 / 10**0.5)["bias"] == pytest.approx(3 - 0.01)


def test_adamw_decays_apart_from_the_gradient():
    # The first step of Adam is the sign of the gradient; the decay is 0.1 * 0.5 * 2.
    decayed = step("adamw", weight_decay=0.5)
    assert decayed == pytest.approx({"kernel": 2 - 0.1 - 0.1, "bias": 2.9}, rel=1e-5)


@pytest.mark.parametrize(
    ("arguments", "options", "kind", "message"),
    [
        (("sgd", 0.0), {}, ValueError, "learning_rate must be a finite number above 0, not 0.0"),
        (("sgd", -1), {}, ValueError, "learning_rate must be a finite number above 0, not -1"),
        (
            ("sgd", float("nan")),
            {},
            ValueError,
            "learning_rate must be a finite number above 0, not nan",
        ),
        (
            ("sgd", 0.1),
            {"momentum": 1.0},
            ValueError,
            "momentum must be a finite number of at least 0 and below 1, not 1.0",
        ),
        (
            ("sgd", 0.1),
            {"weight_decay": float("inf")},
            ValueError,
            "weight_decay must be a finite number of at least 0, not inf",
        ),
        (
            ("sgd", 0.1),
            {"clip": 0.0},
            ValueError,
            "clip must be a finite number above 0, not 0.0",
        ),
        (
            ("sign_sgd", 0.1),
            {"momentum": 0.9},
            TypeError,
            "sign_sgd takes no momentum; it takes nothing more",
        ),
        (
            ("sgd", 0.1),
            {"b1": 0.9},
            TypeError,
            "sgd takes no b1; it takes momentum, nesterov, accumulator_dtype",
        ),
        (
            ("sgdm", 0.1),
            {},
            ValueError,
            f"unknown name 'sgdm'; the optimisers are {', '.join(cnn.train.OPTIMIZERS)}",
        ),
    ],
)
def test_optimizer_errors(arguments, options, kind, message):
    with pytest.raises(kind, match=exactly(f"optimizer: {message}")):
        cnn.train.optimizer(*arguments, **options)


@pytest.mark.parametrize(
    ("name", "middle", "end"),
    [("constant", 1, 1), ("linear", 0.5, 0), ("cosine", 0.5, 0), ("exponential", 0.1, 0.01)],
)
def test_schedules_rise_and_fall(name, middle, end):
    rate = cnn.train.schedule(name, 0.2, 100, warmup_steps=20)
    expected = [0, 0.1, 0.2, 0.2 * middle, 0.2 * end]
    steps = jnp.array([0, 10, 20, 60, 100])
    rates = [np.asarray(rate(step)) for step in steps]
    np.testing.assert_allclose(rates, expected, rtol=1e-5, atol=1e-7)
    assert rates[0].dtype == np.float32
    assert np.asarray(cnn.train.schedule(name, 0.2, 100)(0)) == pytest.approx(0.2)


def test_schedule_names_are_listed():
    assert cnn.train.SCHEDULES == ("constant", "cosine", "exponential", "linear")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("step", 0.1, 10),
            "unknown name 'step'; the schedules are constant, cosine, exponential, linear",
        ),
        (("cosine", -0.1, 10), "learning_rate must be a finite number above 0, not -0.1"),
        (("cosine", 0.1, 0), "steps must be at least 1, not 0"),
        (("cosine", 0.1, 10, 10), "warmup_steps must lie in 0..9 for 10 steps, not 10"),
    ],
)
def test_schedule_errors(arguments, message):
    name, rate, steps, *warmup = arguments
    with pytest.raises(ValueError, match=exactly(f"schedule: {message}")):
        cnn.train.schedule(name, rate, steps, warmup_steps=warmup[0] if warmup else 0)
