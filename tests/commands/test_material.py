"""People's own pictures through the command: every kind learned from, every fault one line."""

import json
import re
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

import cnn_jax as cnn
from cnn_jax import cli
from cnn_jax.commands.material import material
from cnn_jax.commands.settings import Settings

RANDOM = np.random.default_rng(0)
QUICK = ["train", "-q", "--no-cpu-kernels", "--no-pictures", "--epochs", "1", "--batch-size", "16"]


@pytest.fixture(autouse=True)
def quick_network(monkeypatch):
    monkeypatch.setattr(
        cnn.models, "small", lambda classes: cnn.serial(cnn.flatten, cnn.dense(classes))
    )


def pictures(size, *shape):
    return RANDOM.integers(0, 256, (size, *shape), np.uint8)


def idx(folder, size=40):
    folder.mkdir()
    cnn.data.write_idx(folder / "train-images-idx3-ubyte.gz", pictures(size, 6, 6))
    cnn.data.write_idx(folder / "train-labels-idx1-ubyte.gz", np.arange(size, dtype=np.uint8) % 3)
    return folder


def npz(path, **changes):
    arrays = {
        "train_images": pictures(40, 6, 6, 3),
        "train_labels": np.arange(40) % 4,
        "val_images": pictures(12, 6, 6, 3),
        "val_labels": np.arange(12) % 4,
        "test_images": pictures(20, 6, 6, 3),
        "test_labels": np.arange(20) % 3,
    }
    np.savez(path, **(arrays | changes))
    return path


def folder(path, sizes=((5, 5),), form="RGB"):
    for label in ("cat", "dog"):
        (path / label).mkdir(parents=True)
        for number in range(10):
            height, width = sizes[number % len(sizes)]
            channels = {"RGB": (3,), "RGBA": (4,), "L": ()}[form]
            picture = Image.fromarray(pictures(1, height, width, *channels)[0])
            picture.save(path / label / f"{number}.png")
    return path


def cifar(path):
    path.mkdir()
    for name in (*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"):
        records = pictures(10, 1 + 3072)
        records[:, 0] %= 10
        (path / name).write_bytes(records.tobytes())
    (path / "batches.meta.txt").write_text("\n".join("abcdefghij"))
    return path


def complaint(capsys, arguments, status):
    assert cli.main(arguments) == status
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1, captured.err
    return captured.err.removeprefix("cnn-jax: error: ").rstrip("\n")


@pytest.mark.parametrize("streamed", [False, True])
def test_parts_of_their_own_are_used(tmp_path, streamed):
    out = tmp_path / "run"
    data = npz(tmp_path / "data.npz")
    options = ["--stream"] if streamed else ["--in-memory"]
    assert cli.main([*QUICK, *options, "--data", str(data), "--out", str(out)]) == 0
    run = cnn.train.load(out)
    assert run.config["examples"] == {"train": 40, "held_out": 12}
    assert run.config["settings"]["data"] == str(data.resolve())
    assert run.class_names == ("0", "1", "2", "3")
    assert run.result is not None
    test = cnn.data.load(data, "test", class_names=run.class_names)
    metrics = cnn.train.evaluate(run.classifier, run.params, test)
    assert run.result["test_accuracy"] == pytest.approx(float(metrics["accuracy"]))
    assert run.result["test_loss"] == pytest.approx(float(metrics["loss"]), rel=1e-5)
    assert run.result["test_examples"] == 20


@pytest.mark.parametrize(
    ("make", "options", "shape", "held_out"),
    [
        (idx, ("--resize", "9"), (9, 9, 1), 8),
        (cifar, ("--augment", "crop:0.7,flip,cutout:4", "--dtype", "bfloat16"), (32, 32, 3), 10),
        (folder, ("--channels", "1", "--held-out", "0.5"), (5, 5, 1), 10),
        (
            lambda path: folder(path, ((5, 5), (7, 4)), "RGBA"),
            ("--resize", "6", "--background", "1", "--stream"),
            (6, 6, 3),
            4,
        ),
    ],
)
def test_every_kind_is_learned_from(tmp_path, make, options, shape, held_out):
    data, out = make(tmp_path / "data"), tmp_path / "run"
    assert cli.main([*QUICK, *options, "--data", str(data), "--out", str(out)]) == 0
    run = cnn.train.load(out)
    assert run.shape == shape
    assert run.config["examples"]["held_out"] == held_out
    assert len(run.history) == 1
    assert run.apply(np.zeros(shape, np.uint8)).shape == (len(run.class_names),)


def test_the_normalisation_is_of_the_training_part_alone(tmp_path):
    bright = np.full((12, 6, 6, 3), 255, np.uint8)
    data = npz(
        tmp_path / "data.npz", val_images=bright, test_images=bright[:3], test_labels=[0] * 3
    )
    for stream in (False, True):
        found = material(Settings(data=str(data), stream=stream))
        assert found.normalisation is not None
        train = cnn.data.load(data).images.astype(np.float64) / 255
        np.testing.assert_allclose(found.normalisation.mean, train.mean((0, 1, 2)), rtol=1e-6)
        np.testing.assert_allclose(found.normalisation.std, train.std((0, 1, 2)), rtol=1e-6)
    assert material(Settings(data=str(data), normalise=False)).normalisation is None


def truncated(path):
    idx(path)
    cnn.data.write_idx(path / "train-images-idx3-ubyte", pictures(40, 6, 6))
    (path / "train-images-idx3-ubyte.gz").unlink()
    whole = (path / "train-images-idx3-ubyte").read_bytes()
    (path / "train-images-idx3-ubyte").write_bytes(whole[:-1])
    return path


def wrong_magic(path):
    truncated(path)
    (path / "train-images-idx3-ubyte").write_bytes(b"\x89PNG" + bytes(100))
    return path


def empty_class(path):
    folder(path)
    (path / "owl").mkdir()
    return path


def one_class(path):
    (path / "owl").mkdir(parents=True)
    Image.new("L", (4, 4)).save(path / "owl" / "1.png")
    return path


def bomb(path, side=60_000):
    """A picture that says of itself that it has `side` squared pixels."""
    folder(path)
    name = path / "cat" / "0.png"
    content = bytearray(name.read_bytes())
    content[16:24] = struct.pack(">II", side, side)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    name.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("make", "status", "message"),
    [
        (lambda path: path, 1, "data: no such file or folder; expected a .npz file, an IDX file"),
        (truncated, 2, r"train-images-idx3-ubyte: expected 1440 bytes .*, but there are 1439"),
        (wrong_magic, 2, r"train-images-idx3-ubyte: not an IDX file: it begins with 89 50"),
        (lambda path: npz(path.with_suffix(".npz"), train_labels=np.arange(40) - 1), 2, "label -1"),
        (
            lambda path: npz(path.with_suffix(".npz"), val_labels=np.arange(12)),
            2,
            r"label 4 of example 4 is out of range; expected 0\.\.3 for 4 classes",
        ),
        (
            lambda path: folder(path, ((5, 5), (7, 4))),
            2,
            r"cat/1\.png: the picture is 7 x 4 x 3, but .*cat/0\.png is 5 x 5 x 3; .*"
            r"\(--resize and --channels do so\)",
        ),
        (lambda path: folder(path, form="RGBA"), 2, r"0\.png: .*\(--background does so\)"),
        (empty_class, 2, "owl: the class 'owl' has no pictures: there is nothing; expected files"),
        (
            bomb,
            2,
            r"cat/0\.png: the picture is too large: it claims 3600000000 pixels; expected at most "
            r"\d+ \(PIL\.Image\.MAX_IMAGE_PIXELS\)$",
        ),
        (
            lambda path: bomb(path, 10_000),
            2,
            r"cat/0\.png: the picture is too large: it claims 10000 x 10000 pixels; expected",
        ),
        (
            one_class,
            2,
            "data: there is one class, 'owl'; expected two or more to tell apart$",
        ),
        (
            lambda path: npz(path.with_suffix(".npz"), test_images=pictures(20, 6, 5, 3)),
            2,
            "the test part has pictures of 6 x 5 x 3, the train part of 6 x 6 x 3; all must",
        ),
    ],
)
def test_what_is_wrong_is_one_line_and_leaves_nothing(tmp_path, capsys, make, status, message):
    data, out = make(tmp_path / "data"), tmp_path / "run"
    said = complaint(capsys, [*QUICK, "--data", str(data), "--out", str(out)], status)
    assert re.search(message, said), said
    assert str(data) in said
    assert not out.exists()


def test_a_picture_that_cannot_be_read_while_streaming(tmp_path, capsys):
    """It is met in the middle of the training, and what was learned before is kept."""
    data, out = folder(tmp_path / "data"), tmp_path / "run"
    (data / "dog" / "7.png").write_bytes(b"no picture")
    arguments = [*QUICK, "--stream", "--no-normalise", "--data", str(data), "--out", str(out)]
    said = complaint(capsys, arguments, 1)
    assert said.startswith(f"{data / 'dog' / '7.png'}: ")
    assert said.endswith(f"; what the run has so far is in {out}")
    assert json.loads((out / "config.json").read_text())["format"]
    folder(tmp_path / "again")
    (tmp_path / "again" / "dog" / "7.png").rename(data / "dog" / "7.png")
    assert cli.main(["train", "--resume", str(out)]) == 0
    assert cnn.train.load(out).result is not None
