"""The loop of a training: wherever it pauses, stops and goes on, the numbers are the same."""

from contextlib import closing

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import cnn_jax as cnn
from cnn_jax.train import Loop, evaluate, evaluate_batches
from cnn_jax.train import feed as feeds

SHAPE = (4, 4, 1)
SIZE, BATCH, EPOCHS = 30, 4, 3  # 8 steps an epoch, the last of 2 examples


def pictures(size, seed=0):
    random = np.random.default_rng(seed)
    images = random.standard_normal((size, *SHAPE)).astype(np.float32)
    return cnn.data.Dataset(images, random.integers(0, 3, size).astype(np.int32), ("a", "b", "c"))


def loop(streamed):
    data, validation = pictures(SIZE), pictures(10, seed=1)
    if streamed:
        data, validation = cnn.data.InMemory(data), cnn.data.InMemory(validation)
    model = cnn.serial(cnn.flatten, cnn.dropout(0.2), cnn.dense(3))
    optimizer = cnn.train.optimizer("adamw", 0.01)
    return Loop(
        *(model, optimizer, data, validation),
        epochs=EPOCHS,
        batch_size=BATCH,
        key=jax.random.key(3),
        augment=cnn.data.random_shift(1),
    )


def bits(tree):
    plain = jax.tree.map(
        lambda leaf: (
            jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf
        ),
        tree,
    )
    return [leaf.tobytes() for leaf in jax.tree.leaves(jax.device_get(plain))]


def timeless(record):
    return {name: x for name, x in record.items() if name != "seconds"}


@pytest.mark.parametrize(("streamed", "most"), [(False, 0), (True, 16), (True, 3)])
def test_pauses_and_new_starts_change_nothing(streamed, most, monkeypatch):
    """Stopped at every place where it can be, and gone on with by a fresh loop.

    Streamed batches are read one by one, or in blocks that the epoch does not divide into.
    """
    monkeypatch.setattr(feeds, "FIRST_STRETCH", 3)
    monkeypatch.setattr(feeds, "MOST_IN_BLOCK", most)
    whole = loop(streamed)
    moments = [
        (m.epoch, int(m.underway.state.step), bits(m.underway), m.record)
        for m in whole.run(first=0)
    ]
    assert [(epoch, step) for epoch, step, _, _ in moments] == [(1, 8), (2, 16), (3, 24)]

    # A pause of no time at all stops after each first stretch; twice a fresh loop goes on.
    records, places, start, elapsed, restarts = {}, [], None, 0.0, [4, 13]
    while not places or places[-1] < 24:
        with closing(loop(streamed).run(start, first=0, elapsed=elapsed, pause=0.0)) as run:
            for moment in run:
                places.append(int(moment.underway.state.step))
                if moment.record is not None:
                    records[moment.epoch] = moment.record
                # What a checkpoint keeps is what the arrays hold, so a copy stands for one.
                start = jax.tree.map(jnp.copy, moment.underway)
                elapsed = 0.0 if moment.record else moment.seconds
                if restarts and places[-1] >= restarts[0] and places[-1] % 8:
                    restarts.pop(0)
                    break
    assert not restarts
    assert places[-1] == 24
    assert any(place % 8 for place in places)
    assert start is not None
    assert bits(start) == moments[-1][2]
    for epoch, _, _, record in moments:
        assert record is not None
        assert timeless(records[epoch]) == timeless(record)
        assert records[epoch]["seconds"] > 0


def test_the_loop_in_memory_is_the_epoch_of_make_epoch():
    one = loop(streamed=False)
    moment = next(one.run(first=0))
    epoch = cnn.train.make_epoch(
        one.model, one.optimizer, batch_size=BATCH, augment=cnn.data.random_shift(1)
    )
    state, metrics = epoch(one.first(), pictures(SIZE))
    assert bits(state) == bits(moment.underway.state)
    assert moment.record is not None
    assert moment.record["train_loss"] == pytest.approx(float(metrics["loss"]), rel=1e-6)


def test_streamed_examples_come_once_an_epoch_and_are_measured_exactly():
    """Every example is learned from, the last of the smaller batch too, and weighs the same.

    A network without layers is judged by the pictures themselves; nothing moves but the mean.
    """
    images = np.arange(SIZE, dtype=np.float32).reshape(-1, 1, 1, 1)
    data = cnn.data.InMemory(
        cnn.data.Dataset(images, np.arange(SIZE, dtype=np.int32) % 2, ("a", "b"))
    )
    model = cnn.serial(cnn.flatten)
    _, history = cnn.train.fit(
        *(model, optax.sgd(0.1), data, data),
        epochs=2,
        batch_size=BATCH,
        key=jax.random.key(0),
        loss=lambda outputs, labels: outputs[:, 0],
        measures={"label": lambda outputs, labels: labels.astype(outputs.dtype)},
    )
    for record in history:
        for part in ("train", "validation"):
            assert record[f"{part}_loss"] == pytest.approx((SIZE - 1) / 2)
            assert record[f"{part}_label"] == pytest.approx(0.5)


def test_batches_are_measured_as_the_whole():
    data = pictures(10)
    model = cnn.serial(cnn.flatten, cnn.dense(3))
    params = model.init(jax.random.key(0), SHAPE)
    with cnn.data.stream(cnn.data.InMemory(data), 4, seed=None) as batches:
        metrics = evaluate_batches(model, params, batches)
    expected = evaluate(model, params, data)
    assert {name: float(x) for name, x in metrics.items()} == pytest.approx(
        {name: float(x) for name, x in expected.items()}, rel=1e-6
    )
    plain = evaluate_batches(model, params, [(data.images, data.labels)])
    assert float(plain["loss"]) == pytest.approx(float(expected["loss"]), rel=1e-6)
    with pytest.raises(ValueError, match=r"\Aevaluate_batches: there are no batches\Z"):
        evaluate_batches(model, params, [])


def test_a_picture_that_cannot_be_read_ends_the_training():
    class Broken(cnn.data.InMemory):
        def read(self, indices):
            raise ValueError("cat/7.png: the picture is cut off")

    model = cnn.serial(cnn.flatten, cnn.dense(3))
    with pytest.raises(ValueError, match=r"\Acat/7\.png: the picture is cut off"):
        cnn.train.fit(
            *(model, optax.sgd(0.1), Broken(pictures(8))),
            epochs=1,
            batch_size=4,
            key=jax.random.key(0),
        )
