"""Checkpoints: which are kept, which is the best, and what is not read."""

import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import cnn_jax as cnn
from cnn_jax.train import Checkpoints, Moment, State, Underway
from cnn_jax.train.parameters import DamagedError

OPTIMIZER = optax.chain(optax.clip(1.0), optax.adam(0.1))


def underway(step, key=0):
    params = {"dense_0": {"kernel": jnp.full((2, 3), float(step)), "none": jnp.zeros((0, 2))}}
    state = State(jnp.asarray(step, jnp.int32), params, OPTIMIZER.init(params), jax.random.key(key))
    return Underway(state, {"loss": jnp.asarray(0.5, jnp.float32)})


def moment(step, accuracy=None, loss=0.0):
    record = None
    if accuracy is not None:
        record = {"epoch": 1, "validation_accuracy": accuracy, "validation_loss": loss}
    return Moment(1, underway(step), 2.5, record)


def history(moment):
    return [] if moment.record is None else [moment.record]


def steps(paths):
    return [int(path.name[-7:]) for path in paths]


def test_the_last_and_the_best_are_kept(tmp_path):
    checkpoints = Checkpoints(tmp_path / "checkpoints", keep=2)
    assert checkpoints.newest(underway(0)) == (None, [])
    assert checkpoints.best() is None
    expected = [
        (moment(1), [1]),
        (moment(2, 0.5, 1.0), [2, 1]),
        (moment(3, 0.9, 0.2), [3, 2]),
        (moment(4, 0.9, 0.3), [4, 3]),
        (moment(5), [5, 4, 3]),
        (moment(6, math.nan, math.nan), [6, 5, 3]),
        (moment(7, 0.9, 0.1), [7, 6]),
        (moment(8, 0.1, 2.0), [8, 7]),
        (moment(9, 0.1, 2.0), [9, 8, 7]),
    ]
    for moment_, left in expected:
        checkpoints.save(moment_, history(moment_))
        assert steps(checkpoints.paths()) == left
    best = checkpoints.best()
    assert best is not None
    assert steps([best]) == [7]
    assert not [path for path in checkpoints.folder.iterdir() if path.name.startswith(".")]

    # Another process sees the same, and reads what was written.
    again = Checkpoints(tmp_path / "checkpoints", keep=1)
    assert again.best() == best
    found, complaints = again.newest(jax.eval_shape(lambda: underway(0)))
    assert found is not None
    assert complaints == []
    assert found.history == [{"epoch": 1, "validation_accuracy": 0.1, "validation_loss": 2.0}]
    written = underway(9)
    assert jax.tree.structure(found.underway) == jax.tree.structure(written)
    assert jnp.array_equal(found.underway.state.key, written.state.key)
    plain = (found.underway.state.params, found.underway.state.optimizer_state)
    jax.tree.map(
        np.testing.assert_array_equal, plain, (written.state.params, written.state.optimizer_state)
    )
    params = again.load_parameters(jax.eval_shape(lambda: written.state.params), best=True)
    assert float(params["dense_0"]["kernel"][0, 0]) == 7.0


def test_what_was_cut_off_is_removed(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    path = checkpoints.save(moment(1), [])
    assert checkpoints.load(path, underway(0)).seconds == 2.5
    (tmp_path / ".step-0000002.1234abcd").mkdir()
    (tmp_path / ".step-0000002.1234abcd" / "manifest.json").write_text("{")
    assert steps(checkpoints.paths()) == [1]
    checkpoints.tidy()
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_leaves_those_that_are_there(tmp_path, monkeypatch):
    checkpoints = Checkpoints(tmp_path, keep=1)
    path = checkpoints.save(moment(1), [])

    def fail(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("cnn_jax.train.parameters.write_json", fail)
    with pytest.raises(OSError, match="No space left on device"):
        checkpoints.save(moment(2), [])
    assert list(tmp_path.iterdir()) == [path]


def test_others_are_refused(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    path = checkpoints.save(moment(1), [])
    params = {"dense_0": {"kernel": jnp.zeros((2, 4)), "none": jnp.zeros((0, 2))}}
    other = underway(0)
    other = Underway(
        State(other.state.step, params, OPTIMIZER.init(params), other.state.key), other.sums
    )
    found = "float32[2,3]"
    name = "state/optimizer_state/1/0/mu/dense_0/kernel"
    message = f"{path}: of another model: expected float32[2,4] as {name}, found {found}"
    with pytest.raises(ValueError, match=rf"^{re.escape(message)}$"):
        checkpoints.newest(other)
    with pytest.raises(ValueError, match=r": expected float32\[2,4\] as dense_0/kernel, found"):
        checkpoints.load_parameters(params)
    (path / "manifest.json").write_text('{"arrays": {"a": "__import__"}, "files": {}}')
    with pytest.raises(
        DamagedError, match=r"manifest\.json: damaged: expected a list of arrays and checksums"
    ):
        checkpoints.load_parameters(params)
    with pytest.raises(FileNotFoundError, match="there is no best checkpoint"):
        checkpoints.load_parameters(params, best=True)
    with pytest.raises(ValueError, match="checkpoints: keep must be at least 1, not 0"):
        Checkpoints(tmp_path, keep=0)


def test_a_run_that_has_not_ended_has_the_parameters_of_its_newest_checkpoint(tmp_path):
    run = cnn.train.new_run(
        tmp_path / "run",
        {"model": {"name": "small", "classes": 2}, "input_shape": [8, 8, 1], "class_names": "ab"},
    )
    expected = jax.eval_shape(lambda k: cnn.models.small(2).init(k, (8, 8, 1)), jax.random.key(0))
    for step in (1, 2):
        params = jax.tree.map(lambda leaf, step=step: jnp.full(leaf.shape, float(step)), expected)
        state = State(jnp.asarray(step, jnp.int32), params, (), jax.random.key(0))
        record = {"epoch": step, "validation_accuracy": 1 - step / 4, "validation_loss": 0.0}
        Checkpoints(run.checkpoints).save(Moment(step, Underway(state, {}), 0.0, record), [record])
    for best, value in ((False, 2.0), (True, 1.0)):
        params = cnn.train.load(run.path, best=best).params
        assert {float(x) for leaf in jax.tree.leaves(params) for x in leaf.ravel()[:1]} == {value}
