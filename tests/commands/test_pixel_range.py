"""Runs on floats that are not in 0 to 1: picture files are refused, not answered wrongly."""

import json

import numpy as np
import pytest
from PIL import Image

from cnn_jax import cli

TRAIN = ["train", "--no-cpu-kernels", "--no-pictures", "--epochs", "1", "--batch-size", "16"]
LABELS = np.arange(40) % 2
LEVELS = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 1), np.uint8)
LEVELS[0, 0, 0, 0], LEVELS[1, 0, 0, 0] = 0, 255


@pytest.fixture
def trained(tmp_path, linear_network, capsys):
    """Train on an array of pictures; return the run, its data and what was said."""

    def train(images, *options, save=np.savez):
        data, run = tmp_path / "data.npz", tmp_path / "run"
        save(data, train_images=images, train_labels=LABELS, val_images=images, val_labels=LABELS)
        arguments = [*TRAIN, "--data", str(data), "--out", str(run), *options]
        assert cli.main(arguments) == 0
        return run, data, capsys.readouterr().out

    return train


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "new" / "0" / "picture.png"
    path.parent.mkdir(parents=True)
    Image.fromarray(LEVELS[0, ..., 0]).save(path)
    return path


@pytest.mark.parametrize(
    ("images", "options", "save", "values"),
    [
        (LEVELS.astype(np.float32), ["--in-memory"], np.savez, "0 to 255"),
        (LEVELS.astype(np.float64), ["--stream", "--no-normalise"], np.savez, "0 to 255"),
        ((LEVELS / 255 - 0.5) * 4, [], np.savez_compressed, "-2 to 2"),
        (LEVELS / 255 - 0.125, [], np.savez, "-0.125 to 0.875"),
    ],
)
def test_picture_files_are_refused(trained, picture, complaint, images, options, save, values):
    run, data, said = trained(images, *options, save=save)
    expected = "expected uint8 from 0 to 255, or floats from 0 to 1"
    assert (
        f"the pictures are floats from {values}: cnn-jax predict will not take picture files for "
        f"this run ({expected})\n"
    ) in said
    assert complaint("predict", "--no-cpu-kernels", run, picture, status=1) == (
        f"{run}: the run was trained on floats from {values} ({data}), but picture files give 0 to "
        f"1; train on pictures that are alike: {expected}"
    )
    folder = picture.parents[1]
    assert complaint("evaluate", "--no-cpu-kernels", run, "--data", folder, status=2) == (
        f"{folder}: the pictures have values from 0 to 1 (uint8 divided by 255); expected "
        f"{values}, as the run's have"
    )
    assert complaint("export", run, "--pixels", "uint8", status=2) == (
        f"--pixels uint8: the run was trained on floats from {values}, and bytes count as 0 to 1; "
        "expected float32"
    )
    # The run's own data, and other data that is alike, serve.
    assert cli.main(["evaluate", "--no-cpu-kernels", str(run)]) == 0
    assert cli.main(["evaluate", "--no-cpu-kernels", str(run), "--data", str(data)]) == 0


def test_an_exported_file_remembers(trained, picture, complaint):
    run, _, _ = trained(LEVELS.astype(np.float32))
    assert cli.main(["export", str(run), "--platform", "cpu"]) == 0
    assert json.loads((run / "model.stablehlo.json").read_text())["pixels"] == "0 to 255"
    assert cli.main(["export", str(run), "--format", "safetensors"]) == 0
    file = run / "model.safetensors"
    assert complaint("predict", "--no-cpu-kernels", file, picture, status=1) == (
        f"{file}: the run was trained on floats from 0 to 255, but picture files give 0 to 1; "
        "train on pictures that are alike: expected uint8 from 0 to 255, or floats from 0 to 1"
    )


@pytest.mark.parametrize("images", [LEVELS, LEVELS.astype(np.int64), LEVELS / 255])
def test_pictures_as_files_give_them(trained, picture, complaint, tmp_path, images, capsys):
    run, _, said = trained(images)
    assert "predict" not in said
    assert json.loads((run / "config.json").read_text())["pixel_range"] == [0, 1]
    assert cli.main(["predict", "--no-cpu-kernels", str(run), str(picture)]) == 0
    capsys.readouterr()
    wrong = tmp_path / "wrong.npz"
    np.savez(wrong, images=LEVELS.astype(np.float32), labels=LABELS)
    assert complaint("evaluate", "--no-cpu-kernels", run, "--data", wrong, status=2) == (
        f"{wrong}: the pictures have values from 0 to 255; expected 0 to 1, as the run's have"
    )
