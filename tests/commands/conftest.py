"""A run folder as `cnn-jax train` leaves one, made in a moment, and errors of commands."""

import jax
import numpy as np
import optax
import pytest

import cnn_jax as cnn
from cnn_jax import cli
from cnn_jax import train as training


@pytest.fixture
def complaint(capsys):
    """Run a command that must fail with a status, and return the one line that it says."""

    def run(*arguments, status):
        assert cli.main([str(argument) for argument in arguments]) == status
        captured = capsys.readouterr()
        assert captured.err.count("\n") == 1, captured.err
        assert captured.err.startswith("cnn-jax: error: ")
        return captured.err.removeprefix("cnn-jax: error: ").rstrip("\n")

    return run


def linear(classes=10):
    """A network without convolutions, which takes no time to compile."""
    return cnn.serial(cnn.flatten, cnn.dense(classes))


@pytest.fixture
def linear_network(monkeypatch):
    """Put a linear network in the place of the small one."""
    monkeypatch.setattr(cnn.models, "small", linear)


@pytest.fixture(scope="session")
def _trained():
    learn, held_out = cnn.data.split(cnn.data.digits())
    normalisation = cnn.data.learn_normalisation(learn)
    classifier = training.classifier(linear(), normalisation)
    options = {"epochs": 2, "batch_size": 64, "key": jax.random.key(0)}
    state, history = training.fit(classifier, optax.sgd(0.05), learn, held_out, **options)
    return state.params, history, normalisation


@pytest.fixture
def digits_run(_trained, tmp_path, linear_network):
    """The folder of a linear network that was trained on the digits."""
    params, history, normalisation = _trained
    path = tmp_path / "runs" / "digits"
    run = training.new_run(
        path,
        {
            "created": "2026-01-02T03:04:05+00:00",
            "model": {"name": "small", "classes": 10},
            "input_shape": [8, 8, 1],
            "class_names": [str(digit) for digit in range(10)],
            "normalisation": {
                name: np.asarray(x).tolist() for name, x in normalisation._asdict().items()
            },
            "parameters": 650,
            "settings": {"data": "digits", "optimizer": "sgd", "learning_rate": 0.05, "seed": 0},
        },
    )
    for record in history:
        run.add_record(record)
    run.save_parameters(params)
    run.finish({"status": "finished", "epochs": 2, "seconds": 1.5})
    return path
