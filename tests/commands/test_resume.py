"""Runs that are stopped, killed or damaged, and gone on with."""

import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

import cnn_jax as cnn
from cnn_jax import cli
from cnn_jax.commands import epochs as epochs_module
from cnn_jax.commands.lock import locked
from cnn_jax.train import Loop
from cnn_jax.train import feed as feed_module
from cnn_jax.train.parameters import save_tree

# Five epochs of eight steps.
QUICK = ["train", "--no-cpu-kernels", "--epochs", "5", "--batch-size", "128", "--held-out", "0.45"]
QUIET = [*QUICK, "-q", "--no-pictures"]
STEPS = 8


def tiny(classes=10):
    return cnn.serial(cnn.conv(4, 3, stride=2), cnn.relu, cnn.flatten, cnn.dense(classes))


@pytest.fixture(autouse=True)
def quick_network_with_many_pauses(monkeypatch):
    monkeypatch.setattr(cnn.models, "small", tiny)
    monkeypatch.setattr(feed_module, "FIRST_STRETCH", 3)
    monkeypatch.setattr(epochs_module, "PAUSE", 0.0)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that nothing interrupted."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cnn.models, "small", tiny)
        out = tmp_path_factory.mktemp("whole") / "run"
        assert cli.main([*QUIET, "--out", str(out)]) == 0
        return cnn.train.load(out)


@pytest.fixture
def interrupt_at(monkeypatch):
    """Have Ctrl-C pressed once at a step."""
    run = Loop.run

    def arrange(step):
        pressed = []

        def interrupted(self, *arguments, **options):
            for moment in run(self, *arguments, **options):
                if int(moment.underway.state.step) >= step and not pressed:
                    pressed.append(step)
                    os.kill(os.getpid(), signal.SIGINT)
                yield moment

        monkeypatch.setattr(Loop, "run", interrupted)

    return arrange


def bits(params):
    return [leaf.tobytes() for leaf in jax.tree.leaves(jax.device_get(params))]


def timeless(history):
    return [{name: x for name, x in record.items() if name != "seconds"} for record in history]


def names(path):
    return sorted(file.name for file in path.iterdir())


def checkpoints(out):
    return sorted(path.name for path in (out / "checkpoints").iterdir())


def complaint(capsys, arguments, status):
    assert cli.main(arguments) == status
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1, captured.err
    return captured.err.removeprefix("cnn-jax: error: ").rstrip("\n")


def stopped(out, interrupt_at, step, *options):
    interrupt_at(step)
    assert cli.main([*QUIET, *options, "--out", str(out)]) == 130


def same(one, other):
    assert bits(one.params) == bits(other.params)
    assert timeless(one.history) == timeless(other.history)
    assert one.result is not None
    assert one.result["status"] == "finished"


@pytest.mark.parametrize("streamed", [False, True])
def test_stopped_within_an_epoch_and_resumed(tmp_path, capsys, interrupt_at, whole, streamed):
    out = tmp_path / "run"
    options = ["--stream"] if streamed else []
    if streamed:  # its batches fall out otherwise than in memory, so it has an equal of its own
        assert cli.main([*QUIET, *options, "--out", str(tmp_path / "whole")]) == 0
        whole = cnn.train.load(tmp_path / "whole")
    interrupt_at(2 * STEPS + 1)
    assert cli.main([*QUICK, "--no-pictures", *options, "--out", str(out)]) == 130
    newest = out / "checkpoints" / checkpoints(out)[-1]
    assert int(newest.name[-7:]) % STEPS
    said = capsys.readouterr().out
    assert f"stopped, as asked; all is saved in {newest}\n" in said
    unfinished = cnn.train.load(out)
    assert unfinished.result is not None
    assert (unfinished.result["status"], len(unfinished.history)) == ("stopped", 2)

    assert cli.main(["train", "--resume", str(out)]) == 0
    assert f"going on from {newest} (step " in capsys.readouterr().out
    same(cnn.train.load(out), whole)
    assert bits(cnn.train.load(out, best=True).params)
    assert complaint(capsys, ["train", "--resume", str(out)], 2) == (
        f"{out}: the run is finished; there is nothing to resume"
    )


def test_damaged_checkpoints(tmp_path, capsys, interrupt_at, whole):
    out = tmp_path / "run"
    stopped(out, interrupt_at, 3 * STEPS)
    folder = out / "checkpoints"
    newest, older = (folder / name for name in checkpoints(out)[:-3:-1])
    data = max(
        (path for path in newest.rglob("*") if path.is_file()),
        key=lambda path: path.stat().st_size,
    )
    metrics = (out / "metrics.jsonl").read_bytes()
    saved = tmp_path / "saved"
    shutil.copytree(folder, saved)

    def refused(alter, message):
        """With this checkpoint alone the run is refused, and left as it was."""
        for path in folder.iterdir():
            if path != newest:
                shutil.rmtree(path)
        alter()
        said = complaint(capsys, ["train", "--resume", str(out)], 2)
        assert re.fullmatch(f"{newest}{message}", said)
        assert (out / "metrics.jsonl").read_bytes() == metrics
        assert names(out) == [
            "checkpoints",
            "config.json",
            "metrics.jsonl",
            "report.html",
            "result.json",
        ]
        shutil.rmtree(folder)
        shutil.copytree(saved, folder)

    alone = "; there is no other checkpoint that is whole"
    changed = "is not as it was written; expected the file that manifest.json lists"
    truncated = f": damaged: {data.relative_to(newest)} {changed}{alone}"
    refused(lambda: data.write_bytes(data.read_bytes()[:-1]), truncated)
    refused(
        lambda: (newest / "notes.json").write_text("{}"),
        f": damaged: notes.json {changed}{alone}",
    )
    refused(
        lambda: (newest / "manifest.json").unlink(),
        rf": damaged, or no parameters: expected manifest.json in it{alone}",
    )

    def from_another(model, shape):
        shutil.rmtree(newest)
        foreign = cnn.train.create(model, cnn.train.optimizer("sgd", 0.1), jax.random.key(0), shape)
        save_tree(newest, {"state": {"params": foreign.params}})

    refused(
        lambda: from_another(cnn.serial(cnn.flatten, cnn.dense(3)), (8, 8, 1)),
        r": of another model: expected uint32\[2\] as state/key, found nothing",
    )
    # The one before stands in for a damaged one.
    data.write_bytes(data.read_bytes()[:-1])
    assert cli.main(["train", "--resume", str(out)]) == 0
    said = capsys.readouterr().out
    assert f"{newest}: damaged: {data.relative_to(newest)} is not as it was written" in said
    assert f"(it is called damaged-{newest.name} now)" in said
    assert f"going on from {older} (step " in said
    same(cnn.train.load(out), whole)
    assert f"damaged-{newest.name}" in checkpoints(out)


def test_a_run_without_a_checkpoint_begins_anew(tmp_path, interrupt_at, whole, capsys):
    out = tmp_path / "run"
    stopped(out, interrupt_at, 3)
    shutil.rmtree(out / "checkpoints")
    (out / "metrics.jsonl").write_text('{"epo')  # what no run leaves, but a bad disk might
    assert cli.main(["train", "--resume", str(out), "--quiet", "--keep", "1"]) == 0
    same(cnn.train.load(out), whole)
    assert len(checkpoints(out)) <= 2


def test_what_cannot_be_resumed(tmp_path, capsys, interrupt_at):
    resume = ["train", "--resume", str(tmp_path / "run")]
    assert complaint(capsys, resume, 1) == (
        f"{tmp_path / 'run'}: no such folder; expected the folder of a run"
    )
    assert complaint(capsys, [*resume, "--epochs", "3"], 2) == (
        "--resume goes on with the settings of the run; --epochs can't be given"
    )
    pictures = np.random.default_rng(0).integers(0, 256, (40, 6, 6, 1), np.uint8)
    data = tmp_path / "data.npz"
    np.savez(data, images=pictures, labels=np.arange(40) % 2)
    interrupt_at(1)
    out = tmp_path / "run"
    arguments = [*QUIET, "--data", str(data), "--batch-size", "4", "--out", str(out)]
    assert cli.main(arguments) == 130

    with locked(out):
        assert complaint(capsys, resume, 1) == f"{out}: another process is training in it"

    np.savez(data, images=pictures, labels=np.arange(40) % 4 // 2)
    said = complaint(capsys, resume, 2)
    assert said.startswith(f"{data}: the data is not what it was when {out} began: expected labels")
    np.savez(data, images=pictures[:30], labels=np.arange(30) % 2)
    said = complaint(capsys, resume, 2)
    assert "expected the numbers of pictures {'train': 22, 'held_out': 18}, found" in said
    data.unlink()
    assert complaint(capsys, resume, 1).startswith(f"{data}: no such file or folder; expected ")
    config = json.loads((out / "config.json").read_text())
    config["settings"]["epochs"] = "many"
    (out / "config.json").write_text(json.dumps(config))
    assert complaint(capsys, resume, 2) == (
        f"{out / 'config.json'}: nothing to resume by (epochs is 'many')"
    )


CHILD = """
import cnn_jax as cnn
from cnn_jax.cli import main
from cnn_jax.commands import epochs
from cnn_jax.train import MODELS, feed
assert "small" in MODELS
cnn.models.small = lambda classes: cnn.serial(cnn.flatten, cnn.dense(classes))
epochs.PAUSE, feed.FIRST_STRETCH = 0.0, 1
raise SystemExit(main())
"""


def test_killed_at_random_moments_nothing_finished_is_lost(tmp_path, monkeypatch):
    """Kill -9 while it trains and, mostly, while it saves; CNN_JAX_KILLS says how many times."""
    kills = int(os.environ.get("CNN_JAX_KILLS", "3"))
    chance = random.Random(int(os.environ.get("CNN_JAX_KILL_SEED", "0")))
    epochs = 6 * kills + 4
    killed, whole, data = tmp_path / "killed", tmp_path / "whole", tmp_path / "data.npz"
    pictures = np.random.default_rng(0).integers(0, 256, (600, 4, 4, 1), np.uint8)
    np.savez(data, images=pictures, labels=np.arange(600) % 3)
    train = [
        *QUIET,
        "--data",
        str(data),
        "--epochs",
        str(epochs),
        "--checkpoint-minutes",
        "0.0001",
        "--keep",
        "2",
    ]

    def start(*arguments):
        return subprocess.Popen([sys.executable, "-c", CHILD, *arguments], stderr=subprocess.PIPE)

    reached = []
    for _ in range(kills):
        before = visible(killed / "checkpoints")[-1:] if killed.exists() else []
        resume = ["train", "--resume", str(killed), "--quiet"]
        arguments = resume if killed.exists() else [*train, "--out", str(killed)]
        with start(*arguments) as running:
            deadline = time.monotonic() + 120
            while time.monotonic() < deadline and running.poll() is None:
                folder = killed / "checkpoints"
                if folder.exists() and visible(folder)[-1:] not in ([], before):
                    break
                time.sleep(0.01)
            time.sleep(chance.uniform(0, 0.4))
            running.kill()
            assert running.stderr is not None
            assert running.stderr.read() == b""
        # Every checkpoint is whole, and every epoch that was written down is in the newest.
        written = (killed / "metrics.jsonl").read_text()
        assert written == "" or written.endswith("\n")
        found = visible(killed / "checkpoints")
        for name in found:
            assert_whole(killed / "checkpoints" / name)
        notes = json.loads((killed / "checkpoints" / found[-1] / "notes.json").read_text())
        assert len(notes["history"]) >= len(written.splitlines())
        reached.append(found[-1])
    assert reached == sorted(set(reached))
    monkeypatch.setattr(cnn.models, "small", lambda n: cnn.serial(cnn.flatten, cnn.dense(n)))
    assert cli.main(["train", "--resume", str(killed), "-q"]) == 0
    assert cli.main([*train, "--out", str(whole)]) == 0
    expected = json.loads((whole / "result.json").read_text())
    result = json.loads((killed / "result.json").read_text())
    assert result["epochs"] == expected["epochs"] == epochs
    same(cnn.train.load(killed), cnn.train.load(whole))
    assert not [name for name in os.listdir(killed / "checkpoints") if name.startswith(".")]


def visible(folder):
    return sorted(name for name in os.listdir(folder) if not name.startswith("."))


def assert_whole(path):
    manifest = json.loads((path / "manifest.json").read_text())
    for name, checksum in manifest["files"].items():
        assert hashlib.sha256((path / name).read_bytes()).hexdigest() == checksum, name
