"""`cnn-jax evaluate`: the numbers of the run's own data and of other data."""

import json

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import (
    accuracy_score,
    confusion_matrix,
    log_loss,
    precision_score,
    recall_score,
)

import cnn_jax as cnn
from cnn_jax import cli
from cnn_jax.commands.evaluate import measure


def evaluated(capsys, *arguments):
    assert cli.main(["evaluate", *map(str, arguments), "--no-cpu-kernels", "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_measures_are_those_of_scikit_learn():
    random = np.random.default_rng(0)
    logits = random.normal(size=(60, 4)) * [3, 3, 3, 0] - [0, 0, 0, 99]  # none is called 'd'
    labels = random.integers(0, 3, 60)
    labels[0] = 2
    found = measure(labels, logits, ("a", "b", "c", "d"))
    chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    called = logits.argmax(axis=1)
    assert found.accuracy == pytest.approx(accuracy_score(labels, called))
    assert found.loss == pytest.approx(log_loss(labels, chances, labels=range(4)))
    assert found.confusion == confusion_matrix(labels, called, labels=range(4)).tolist()
    for k in range(3):
        one = found.classes[k]
        scores = [
            score(labels, called, labels=[k], average="macro")
            for score in (recall_score, precision_score)
        ]
        assert [one.recall, one.precision] == pytest.approx(scores)
        assert one.examples == np.sum(labels == k)
    assert (found.classes[3].recall, found.classes[3].precision) == (None, None)


def test_own_data_gives_the_numbers_of_the_training(digits_run, capsys):
    last = cnn.train.load(digits_run).history[-1]
    found = evaluated(capsys, digits_run)
    assert (found["part"], found["examples"]) == ("validation", 359)
    assert found["accuracy"] == pytest.approx(last["validation_accuracy"], abs=1e-6)
    assert found["loss"] == pytest.approx(last["validation_loss"], rel=1e-4)
    assert evaluated(capsys, digits_run, "--part", "train", "--batch-size", "7")["examples"] == 1438
    assert cli.main(["evaluate", str(digits_run), "--no-cpu-kernels"]) == 0
    shown = capsys.readouterr().out
    assert f"accuracy {last['validation_accuracy']:.2%}" in shown
    assert "true class (row)" in shown


def test_pictures_of_some_classes_are_matched_by_name(digits_run, tmp_path, capsys):
    """A folder with the classes 3 and 7 alone, larger than the run's pictures, and in colour."""
    digits = cnn.data.digits()
    for digit in (3, 7):
        (tmp_path / "new" / str(digit)).mkdir(parents=True)
        for i in np.flatnonzero(np.asarray(digits.labels) == digit)[:5]:
            levels = np.rint(np.asarray(digits.images[i, ..., 0]) * 255).astype(np.uint8)
            picture = Image.fromarray(levels).resize((16, 16), Image.Resampling.NEAREST)
            picture.convert("RGB").save(tmp_path / "new" / str(digit) / f"{i}.png")
    found = evaluated(capsys, digits_run, "--data", tmp_path / "new")
    assert [one["examples"] for one in found["classes"]] == [0, 0, 0, 5, 0, 0, 0, 5, 0, 0]
    assert found["accuracy"] >= 0.9


def test_wrong_data_and_runs_are_one_line(digits_run, tmp_path, complaint):
    def said(*arguments, status=2):
        return complaint("evaluate", *arguments, "--no-cpu-kernels", status=status)

    assert said(tmp_path, status=1) == f"{tmp_path}: not a run folder; expected config.json in it"
    assert said(tmp_path / "none", status=1) == (
        f"{tmp_path / 'none'}: no such folder; expected the folder of a run"
    )
    (tmp_path / "notes.txt").touch()
    assert said(tmp_path / "notes.txt", status=1) == (
        f"{tmp_path / 'notes.txt'}: not a run; expected the folder of one, or a .safetensors file "
        "that cnn-jax export made"
    )
    assert said(digits_run, "--part", "test") == (
        "--part: the run's data has no part 'test'; it has train, validation"
    )
    assert said(digits_run, "--data", tmp_path / "none", status=1).startswith(
        f"{tmp_path / 'none'}: no such file or folder; expected"
    )
    (tmp_path / "new" / "cat").mkdir(parents=True)
    Image.new("L", (8, 8)).save(tmp_path / "new" / "cat" / "1.png")
    assert said(digits_run, "--data", tmp_path / "new") == (
        f"{tmp_path / 'new'}: the class 'cat' is not one of the run's, which are "
        "0, 1, 2, 3, 4, 5, 6, 7, 8, 9"
    )
    np.savez(
        tmp_path / "wide.npz", images=np.zeros((2, 8, 8, 3), np.uint8), labels=np.array([0, 1])
    )
    assert said(digits_run, "--data", tmp_path / "wide.npz") == (
        f"{tmp_path / 'wide.npz'}: the pictures are 8 x 8 x 3; expected 8 x 8 x 1, as the run's are"
    )
