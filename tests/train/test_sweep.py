"""Each member of a sweep is trained as it would be alone."""

import jax
import numpy as np
import optax
import pytest

import cnn_jax as cnn
from cnn_jax import train as training
from cnn_jax.train.sweep import member, sweep

LEARN, HELD_OUT = cnn.data.split(
    cnn.data.Dataset(*cnn.data.digits().take(np.arange(90))), (0.7, 0.3)
)
MODEL = cnn.serial(cnn.conv(4, 3, stride=2), cnn.relu, cnn.flatten, cnn.dropout(0.2), cnn.dense(10))
RATES, SEEDS = [0.02, 0.1, 0.1], [0, 0, 5]
STEPS = 6
OPTIONS = {"epochs": 2, "batch_size": 21, "augment": cnn.data.augmentation("shift")}


def optimizer(rate):
    schedule = training.schedule("cosine", 1.0, STEPS, warmup_steps=1)
    return training.optimizer(
        "sgd", lambda step: rate * schedule(step), weight_decay=1e-3, clip=5.0
    )


@pytest.fixture(scope="module")
def alone():
    ends = []
    for rate, seed in zip(RATES, SEEDS, strict=True):
        own = training.optimizer(
            "sgd",
            training.schedule("cosine", rate, STEPS, warmup_steps=1),
            weight_decay=1e-3,
            clip=5.0,
        )
        key = jax.random.key(seed)
        ends.append(training.fit(MODEL, own, LEARN, HELD_OUT, key=key, **OPTIONS))
    return ends


@pytest.mark.parametrize("at_once", [None, 2])
def test_members_are_as_if_trained_alone(alone, at_once):
    """Over two devices: one has two members, the other one and a repeated one."""
    ends = list(
        sweep(
            MODEL,
            optimizer,
            LEARN,
            HELD_OUT,
            learning_rates=RATES,
            seeds=SEEDS,
            at_once=at_once,
            **OPTIONS,
        )
    )
    assert [end.epoch for end in ends] == [1, 2]
    assert all(len(end.records) == 3 for end in ends)
    for i, (state, history) in enumerate(alone):
        mine = member(ends[-1].states, i)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5),
            (mine.params, mine.optimizer_state),
            (state.params, state.optimizer_state),
        )
        assert int(mine.step) == int(state.step) == STEPS
        for record, end in zip(history, ends, strict=True):
            wanted = {name: value for name, value in record.items() if name != "seconds"}
            assert end.records[i] == pytest.approx(wanted, rel=1e-4, abs=1e-5)
    assert ends[-1].records[1] != ends[-1].records[2]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"seeds": [1]},
            "sweep: learning_rates and seeds must be of one length of at least 1, not 3 and 1",
        ),
        (
            {"seeds": [], "learning_rates": []},
            "sweep: learning_rates and seeds must be of one length of at least 1, not 0 and 0",
        ),
        (
            {"learning_rates": [0.1, float("nan"), 0.1]},
            "sweep: learning_rate must be a finite number above 0, not nan",
        ),
        ({"at_once": 0}, "sweep: at_once must be at least 1 or None, not 0"),
        ({"epochs": 0}, "sweep: epochs must be at least 1, not 0"),
        (
            {"validation": HELD_OUT._replace(images=HELD_OUT.images[:, 1:])},
            "sweep: validation has images of shape [7, 8, 1], data [8, 8, 1]; they must have the "
            "same shape",
        ),
    ],
)
def test_wrong_arguments(options, message):
    given = {"learning_rates": RATES, "seeds": SEEDS, "epochs": 1, "batch_size": 8, **options}
    with pytest.raises(ValueError, match=r"^sweep: ") as caught:
        sweep(MODEL, optax.sgd, LEARN, **given)
    assert str(caught.value) == message
