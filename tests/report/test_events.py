"""Event files, read back by the format's own rules: TensorFlow's records of protocol buffers."""

import json
import struct

import numpy as np
import pytest
from PIL import Image

import cnn_jax as cnn
from cnn_jax import cli
from cnn_jax.report import events


def crc32c(data):
    """The Castagnoli checksum, bit by bit (RFC 3720, appendix B.4)."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def masked(data):
    crc = crc32c(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def records(path):
    """Each record is its length, a checksum of that, its bytes, and a checksum of those."""
    data = path.read_bytes()
    while data:
        length, check = struct.unpack("<QI", data[:12])
        assert check == masked(data[:8])
        record, data = data[12 : 12 + length], data[12 + length :]
        if length < 10_000:  # the pictures would take long
            assert struct.unpack("<I", data[:4]) == (masked(record),)
        yield record
        data = data[4:]


def read(folder):
    event_pb2 = pytest.importorskip("tensorboardX.proto.event_pb2")

    scalars, texts, images = {}, {}, {}
    for path in sorted(folder.iterdir()):
        for record in records(path):
            event = event_pb2.Event.FromString(record)
            for value in event.summary.value:
                if value.HasField("simple_value"):
                    scalars.setdefault(value.tag, {})[event.step] = value.simple_value
                elif value.HasField("image"):
                    images[value.tag] = (event.step, value.image.height, value.image.width)
                else:
                    texts[value.tag] = value.tensor.string_val[0].decode()
    return scalars, texts, images


def test_events_say_what_the_run_says(tmp_path, monkeypatch):
    pytest.importorskip("tensorboardX")
    tiny = cnn.serial(cnn.conv(2, 3, stride=2), cnn.flatten, cnn.dense(10))
    monkeypatch.setattr(cnn.models, "small", lambda classes: tiny)
    out = tmp_path / "run"
    arguments = ["--no-cpu-kernels", "-q", "--epochs", "2", "--batch-size", "512"]
    assert cli.main(["train", *arguments, "--tensorboard", "--out", str(out)]) == 0
    scalars, texts, images = read(out / "tensorboard")
    run = cnn.train.load(out)
    assert set(scalars) == {
        *("loss/training", "accuracy/training", "loss/held_out", "accuracy/held_out"),
        "run/seconds",
    }
    for tag, name in (("loss/training", "train_loss"), ("loss/held_out", "validation_loss")):
        written = {record["epoch"]: np.float32(record[name]) for record in run.history}
        assert scalars[tag] == written
    (text,) = texts.values()
    assert json.loads(text)["class_names"] == list("0123456789")
    with Image.open(out / "pictures" / "filters.png") as picture:
        assert images["filters"] == (2, picture.height, picture.width)
    assert len(images) == 5


def test_without_the_package_one_line_says_how_to_get_it(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(events.importlib.util, "find_spec", lambda name: None)
    out = tmp_path / "run"
    arguments = ["--tensorboard", "--no-cpu-kernels", "--out", str(out)]
    assert cli.main(["train", *arguments]) == 2
    assert capsys.readouterr().err == (
        "cnn-jax: error: event files for TensorBoard need the package tensorboardX: "
        "pip install 'cnn-jax[tensorboard]'\n"
    )
    assert not out.exists()


def test_nothing_is_written_unasked(tmp_path):
    with events.event_log(tmp_path, wanted=False) as log:
        log({"epoch": 1, "train_loss": 0.5})
    events.add_pictures(tmp_path, 1)
    assert list(tmp_path.iterdir()) == []
