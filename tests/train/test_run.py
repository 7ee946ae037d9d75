"""Run folders: whole files or none, nothing overwritten, and everything comes back."""

import errno
import json
import math
import os
import re
import subprocess

import jax
import numpy as np
import pytest

import cnn_jax as cnn
from cnn_jax import files

CONFIG = {
    "model": {"name": "small", "classes": 2},
    "input_shape": [8, 8, 1],
    "class_names": ["cat", "dog"],
}


def exactly(message):
    return rf"\A{re.escape(message)}\Z"


def parameters(seed=0):
    """Any numbers of the right shapes: drawing them by `init` would take longer than the test."""
    random = np.random.default_rng(seed)
    init = cnn.models.small(2).init
    shapes = jax.eval_shape(lambda key: init(key, (8, 8, 1)), jax.random.key(0))
    return jax.tree.map(lambda leaf: random.random(leaf.shape).astype(leaf.dtype), shapes)


def finished(path, seed=0):
    run = cnn.train.new_run(path, CONFIG)
    run.add_record({"epoch": 1, "train_loss": 0.5})
    run.add_record({"epoch": 2, "train_loss": math.nan})
    run.save_parameters(parameters(seed))
    run.finish({"status": "finished"})
    return run


def names(path):
    return sorted(file.name for file in path.iterdir())


def test_a_run_comes_back_as_it_was(tmp_path):
    written = finished(tmp_path / "a" / "run")
    run = cnn.train.load(tmp_path / "a" / "run")
    assert written.path == run.path
    assert names(run.path) == ["config.json", "metrics.jsonl", "parameters", "result.json"]
    assert names(tmp_path / "a") == ["run"]
    assert run.class_names == ("cat", "dog")
    assert run.shape == (8, 8, 1)
    assert run.history == [{"epoch": 1, "train_loss": 0.5}, {"epoch": 2, "train_loss": None}]
    assert run.result == {"status": "finished"}
    jax.tree.map(np.testing.assert_array_equal, run.params, parameters())
    logits = cnn.train.predict(run.model, run.params, np.ones((3, 8, 8, 1), np.float32))
    assert logits.shape == (3, 2)


def test_parameters_can_be_written_again(tmp_path):
    run = finished(tmp_path / "run")
    run.save_parameters(parameters(1))
    jax.tree.map(np.testing.assert_array_equal, cnn.train.load(run.path).params, parameters(1))
    assert names(run.path) == ["config.json", "metrics.jsonl", "parameters", "result.json"]


def test_an_unfinished_run_has_no_result(tmp_path):
    run = finished(tmp_path / "run")
    (run.path / "result.json").unlink()
    assert cnn.train.load(run.path).result is None


def test_an_existing_run_is_kept_unless_asked(tmp_path):
    path = tmp_path / "run"
    finished(path)
    before = (path / "metrics.jsonl").read_text()
    message = (
        f"{path}: a run is there already; choose another folder, or replace it (--overwrite, in "
        "Python overwrite=True)"
    )
    for make in (cnn.train.check_new, lambda path: cnn.train.new_run(path, CONFIG)):
        with pytest.raises(FileExistsError, match=exactly(message)):
            make(path)
    assert (path / "metrics.jsonl").read_text() == before
    cnn.train.new_run(path, CONFIG, overwrite=True)
    assert names(path) == ["config.json", "metrics.jsonl"]
    assert (path / "metrics.jsonl").read_text() == ""
    assert names(tmp_path) == ["run"]


def test_other_folders_and_files_are_never_overwritten(tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("years of work")
    message = f"{tmp_path / 'thesis'}: the folder is not empty and holds no run; choose another"
    with pytest.raises(FileExistsError, match=exactly(message)):
        cnn.train.new_run(tmp_path / "thesis", CONFIG, overwrite=True)
    file = tmp_path / "thesis" / "chapter.txt"
    message = f"{file}: a file is in the way; a run needs a folder of its own"
    with pytest.raises(NotADirectoryError, match=exactly(message)):
        cnn.train.new_run(file, CONFIG, overwrite=True)
    assert file.read_text() == "years of work"


def test_an_empty_folder_and_a_link_to_one_are_taken(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "empty")
    cnn.train.new_run(tmp_path / "link", CONFIG)
    assert names(tmp_path / "empty") == ["config.json", "metrics.jsonl"]
    assert (tmp_path / "link").is_symlink()


def refuse(*arguments, **options):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_leaves_no_half_made_run(tmp_path, monkeypatch):
    monkeypatch.setattr(files.Path, "write_text", refuse)
    with pytest.raises(OSError, match="No space left on device") as caught:
        cnn.train.new_run(tmp_path / "run", CONFIG)
    # The message names what was asked for, not what was hidden on the way to it.
    assert caught.value.filename == str(tmp_path / "run" / "config.json")
    assert names(tmp_path) == []


def test_errors_that_only_orbax_sees_are_named(tmp_path, monkeypatch):
    """Where a quota, say, leaves less than the disk's free space."""
    from orbax.checkpoint import StandardCheckpointer

    def save(*arguments, **options):
        raise ValueError("RESOURCE_EXHAUSTED: Error writing; and much more")

    monkeypatch.setattr(StandardCheckpointer, "save", save)
    run = cnn.train.new_run(tmp_path / "run", CONFIG)
    with pytest.raises(OSError, match="No space left on device") as caught:
        run.save_parameters({"kernel": np.ones(3)})
    assert caught.value.filename == str(run.path / "parameters")
    assert names(run.path) == ["config.json", "metrics.jsonl"]


def test_a_failed_overwrite_leaves_the_old_run(tmp_path, monkeypatch):
    finished(tmp_path / "run")
    before = names(tmp_path / "run")
    monkeypatch.setattr(files.Path, "touch", refuse)
    with pytest.raises(OSError, match="No space left on device"):
        cnn.train.new_run(tmp_path / "run", CONFIG, overwrite=True)
    assert names(tmp_path / "run") == before
    assert names(tmp_path) == ["run"]


@pytest.fixture
def tiny_disk(tmp_path):
    """A file system of 200 KiB, where the system allows a test to make one."""
    path = tmp_path / "disk"
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(path)]
    try:
        allowed = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        allowed = False
    if not allowed:
        pytest.skip("making a small file system needs root")
    yield path
    subprocess.run(["umount", str(path)], check=True)


def test_a_truly_full_disk_keeps_what_was_whole(tiny_disk, capfd):
    run = cnn.train.new_run(tiny_disk / "run", CONFIG)
    run.add_record({"epoch": 1})
    before = names(run.path)
    with pytest.raises(OSError, match="No space left on device") as caught:
        run.save_parameters({"kernel": np.random.default_rng(0).random((400, 400))})
    assert caught.value.filename == str(run.path / "parameters")
    assert names(run.path) == before
    assert capfd.readouterr() == ("", "")

    def fill():
        with open(tiny_disk / "filler", "wb", buffering=0) as file:
            for _ in range(1000):
                file.write(b"x" * 512)

    def go_on():
        for epoch in range(2, 2000):
            run.add_record({"epoch": epoch, "padding": "x" * 100})

    with pytest.raises(OSError, match="No space left"):
        fill()
    with pytest.raises(OSError, match=r"No space left|only part of a line"):
        go_on()
    lines = (run.path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == list(range(1, len(lines) + 1))


def test_damaged_runs_are_refused(tmp_path):
    path = finished(tmp_path / "run").path
    config = path / "config.json"
    good = config.read_text()

    def refused(message):
        with pytest.raises(ValueError, match=message) as error:
            cnn.train.load(path)
        assert "\n" not in str(error.value)

    config.write_text(good[: len(good) // 2])
    refused(rf"\A{re.escape(str(config))}: damaged: expected a run's configuration \(")
    config.write_text("[1]")
    refused(r"config\.json: expected a run's configuration of format 'cnn_jax run 1'\Z")
    config.write_text(good.replace('"small"', '"__import__"'))
    refused(r"config\.json: no usable model in it: model: unknown name '__import__'; the models")
    config.write_text(good.replace('"model"', '"modell"'))
    refused(r"config\.json: no usable model in it: expected 'model'\Z")

    config.write_text(good.replace('"classes": 2', '"classes": 5'))
    refused(
        r"parameters: of another model: expected float32\[5\] as dense_0/bias, "
        r"found float32\[2\]\Z"
    )
    config.write_text(good.replace('"small"', '"signal_net"').replace("8,\n    8", "28"))
    refused(
        r"parameters: of another model: expected float32\[\d+\] as conv_0/bias, found nothing\Z"
    )
    config.write_text(good)

    (path / "metrics.jsonl").write_text('{"epoch": 1}\n{"epo')
    refused(r"metrics\.jsonl: damaged: expected one JSON object on each line \(")
    (path / "metrics.jsonl").write_text("")
    cnn.train.load(path)

    # One byte changed anywhere, a file missing, a file too many.
    manifest = path / "parameters" / "manifest.json"
    data = max((path / "parameters").rglob("*"), key=lambda file: file.stat().st_size)
    bytes_before = data.read_bytes()
    changed = bytearray(bytes_before)
    changed[len(changed) // 2] ^= 1
    data.write_bytes(changed)
    changed = "is not as it was written; expected the file that manifest.json lists"
    refused(rf"parameters: damaged: .* {changed}\Z")
    data.unlink()
    refused(rf"parameters: damaged: .* {changed}\Z")
    data.write_bytes(bytes_before)
    (path / "parameters" / "more").write_text("")
    refused(rf"parameters: damaged: more {changed}\Z")
    (path / "parameters" / "more").unlink()
    cnn.train.load(path)
    manifest.write_text("[]")
    refused(r"manifest\.json: damaged: expected a list of arrays and checksums\Z")
    manifest.unlink()
    refused(r"parameters: damaged, or no parameters: expected manifest\.json in it\Z")


def test_folders_without_a_run_or_without_parameters(tmp_path):
    message = f"{tmp_path}: not a run folder; expected config.json in it"
    with pytest.raises(FileNotFoundError, match=exactly(message)):
        cnn.train.load(tmp_path)
    cnn.train.new_run(tmp_path / "run", CONFIG)
    path = tmp_path / "run" / "parameters"
    message = f"{path}: no parameters; expected the folder that a run has at its end"
    with pytest.raises(FileNotFoundError, match=exactly(message)):
        cnn.train.load(tmp_path / "run")


def test_every_model_can_be_made_by_name():
    assert {"small", "lenet5", "resnet"} <= set(cnn.train.MODELS)
    for name in cnn.train.MODELS:
        assert isinstance(cnn.train.make_model(name, 3), cnn.Layer)
    message = f"model: unknown name 'vgg99'; the models are {', '.join(cnn.train.MODELS)}"
    with pytest.raises(ValueError, match=exactly(message)):
        cnn.train.make_model("vgg99", 3)
