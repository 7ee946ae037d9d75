"""`cnn-jax predict`: classes of picture files, and files that are none."""

import json

import jax
import numpy as np
import pytest
from PIL import Image

import cnn_jax as cnn
from cnn_jax import cli

PREDICT = ("predict", "--no-cpu-kernels")


@pytest.fixture
def pictures(tmp_path):
    """Five digits, a subfolder, a file that is no picture, a transparent one, and notes."""
    folder = tmp_path / "pictures"
    (folder / "deeper").mkdir(parents=True)
    levels = np.rint(np.asarray(cnn.data.digits().images[:5, ..., 0]) * 255).astype(np.uint8)
    for i in range(5):
        Image.fromarray(levels[i]).save(folder / ("deeper" if i == 4 else "") / f"{i}.png")
    (folder / "bad.png").write_bytes(b"no picture")
    Image.new("RGBA", (9, 9), (1, 2, 3, 4)).save(folder / "clear[red].png")
    (folder / "notes.txt").write_text("notes")
    return folder


def test_probabilities_are_those_of_the_network(digits_run, pictures, capsys):
    files = [str(pictures / f"{i}.png") for i in range(4)]
    assert cli.main([*PREDICT, str(digits_run), *files, "--json", "--top", "10"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["picture"] for line in lines] == files
    run = cnn.train.load(digits_run)
    assert run.normalisation is not None
    x = (np.rint(np.asarray(cnn.data.digits().images[:4]) * 255) / 255).astype(np.float32)
    logits = np.asarray(run.model.apply(run.params, cnn.data.normalise(run.normalisation, x)))
    chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    for line, own in zip(lines, chances, strict=True):
        order = [int(entry["class"]) for entry in line["classes"]]
        assert order == np.argsort(-own).tolist()
        shares = [entry["probability"] for entry in line["classes"]]
        np.testing.assert_allclose(shares, own[order], rtol=1e-4, atol=1e-6)


def test_bad_pictures_do_not_stop_the_rest(digits_run, pictures, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    arguments = [pictures, tmp_path / "empty", tmp_path / "none.png"]
    arguments = [*PREDICT, str(digits_run), *map(str, arguments), "--json"]
    assert cli.main(arguments) == 1
    out, err = capsys.readouterr()
    assert err == "cnn-jax: error: 4 of 9 pictures could not be read\n"
    lines = [json.loads(line) for line in out.splitlines()]
    names = ["0.png", "1.png", "2.png", "3.png", "bad.png", "clear[red].png", "deeper/4.png"]
    assert [line["picture"] for line in lines] == [
        *(str(pictures / name) for name in names),
        *(str(tmp_path / "empty"), str(tmp_path / "none.png")),
    ]
    assert {
        line["picture"].rsplit("/", 1)[1]: line["error"] for line in lines if "error" in line
    } == {
        "bad.png": "not a picture: expected one of PNG, JPEG, BMP, GIF, TIFF, WEBP, PPM",
        "clear[red].png": (
            "the picture has transparent pixels: pass --background, such as 1.0 for white"
        ),
        "empty": "no pictures in it; expected .png, .jpg, .jpeg, .bmp, .gif, .tif, .tiff, .webp, "
        ".pbm, .pgm, .ppm",
        "none.png": "no such file or folder",
    }
    assert all(len(line["classes"]) == 3 for line in lines if "error" not in line)


def test_a_table_for_people(digits_run, pictures, capsys, monkeypatch):
    monkeypatch.chdir(pictures.parent)  # names so short that the table need not fold them
    arguments = [*PREDICT, str(digits_run), pictures.name, "--background", "1"]
    assert cli.main(arguments) == 1
    shown = capsys.readouterr().out
    assert "clear[red].png" in shown
    assert shown.count("%") >= 6 * 3
    assert "not a picture" in shown


def test_runs_that_can_not_see_pictures(digits_run, complaint, tmp_path):
    path = tmp_path / "signals"
    config = {"model": {"name": "signal_net", "classes": 2}, "input_shape": [16, 1]}
    run = cnn.train.new_run(path, {**config, "class_names": ["a", "b"]})
    run.save_parameters(cnn.models.signal_net(2).init(jax.random.key(0), (16, 1)))
    assert complaint(*PREDICT, path, "x.png", status=1) == (
        f"{path}: the run was trained on arrays of shape [16, 1]; expected one trained on "
        "grey or colour pictures"
    )
    (digits_run / "config.json").write_text("{")
    assert complaint(*PREDICT, digits_run, "x.png", status=1).startswith(
        f"{digits_run / 'config.json'}: damaged: expected a run's configuration ("
    )
