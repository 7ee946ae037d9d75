"""The command `cnn-jax`, as people use it: through `main`, and a few times as a real process."""

import errno
import itertools
import json
import os
import re
import signal
import subprocess
import sys

import jax
import numpy as np
import pytest
from PIL import Image

import cnn_jax as cnn
from cnn_jax import cli
from cnn_jax.train import RunWriter

PICTURES = ["confusion_matrix", "feature_maps", "filters", "learning_curves", "worst_mistakes"]
# A tenth of the data and a network of one layer's depth: what matters here is around the training.
QUICK = ["train", "--no-cpu-kernels", "--epochs", "2", "--batch-size", "256", "--held-out", "0.5"]


@pytest.fixture(autouse=True)
def quick_network(monkeypatch):
    """Put a tiny network in the place of the small one, which takes seconds to compile."""
    monkeypatch.setattr(cnn.models, "small", tiny)


def tiny(classes=10):
    """One strided convolution and a dense layer."""
    return cnn.serial(cnn.conv(4, 3, stride=2), cnn.relu, cnn.flatten, cnn.dense(classes))


def complaint(capsys, arguments, status):
    """Run a command that must fail with `status`, and return the one line that it says."""
    assert cli.main(arguments) == status
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1, captured.err
    assert captured.err.startswith("cnn-jax: error: ")
    return captured.err.removeprefix("cnn-jax: error: ").rstrip("\n")


def names(path):
    return sorted(file.name for file in path.iterdir())


def test_train_leaves_a_complete_run(tmp_path, capsys):
    out = tmp_path / "new" / "run"
    assert cli.main([*QUICK, "--out", str(out)]) == 0
    text = capsys.readouterr().out
    assert f"the run is in {out}\n" in text
    assert "899 held out" in text
    assert len(re.findall(r"^epoch +\d/2 ", text, re.MULTILINE)) == 2
    assert names(out) == [
        *("checkpoints", "config.json", "metrics.jsonl", "parameters", "pictures"),
        *("report.html", "result.json"),
    ]
    assert names(out / "pictures") == [f"{name}.png" for name in PICTURES]
    for name in PICTURES:
        with Image.open(out / "pictures" / f"{name}.png") as picture:
            assert np.asarray(picture.convert("L")).min() < 100 < min(picture.size)

    config = json.loads((out / "config.json").read_text())
    assert config["settings"]["epochs"] == 2
    assert config["examples"] == {"train": 898, "held_out": 899}
    assert config["versions"]["jax"] == jax.__version__

    # The numbers in the folder are those of the network in the folder.
    run = cnn.train.load(out)
    assert [record["epoch"] for record in run.history] == [1, 2]
    learn, held_out = cnn.data.split(cnn.data.digits(), (0.5, 0.5))
    metrics = cnn.train.evaluate(run.classifier, run.params, held_out)
    assert run.normalisation is not None
    mean, std = cnn.data.learn_normalisation(learn)
    np.testing.assert_array_equal(run.normalisation, (mean, std))
    logits = run.model.apply(run.params, (held_out.images[:5] - mean[0]) / std[0])
    np.testing.assert_allclose(run.apply(held_out.images[:5]), logits, rtol=1e-5, atol=1e-5)
    assert run.result is not None
    assert run.result["status"] == "finished"
    assert run.result["held_out_accuracy"] == pytest.approx(float(metrics["accuracy"]), abs=1e-6)
    assert run.history[-1]["validation_loss"] == pytest.approx(float(metrics["loss"]), rel=1e-4)


def test_the_same_seed_gives_the_same_run_and_another_does_not(tmp_path):
    runs = []
    for name, seed in (("first", "3"), ("again", "3"), ("other", "4")):
        arguments = [*QUICK, "-q", "--no-pictures", "--seed", seed, "--out", str(tmp_path / name)]
        assert cli.main(arguments) == 0
        assert "pictures" not in names(tmp_path / name)
        run = cnn.train.load(tmp_path / name)
        losses = [(record["train_loss"], record["validation_loss"]) for record in run.history]
        runs.append((losses, [leaf.tobytes() for leaf in jax.tree.leaves(run.params)]))
    assert runs[0] == runs[1]
    assert runs[0][0] != runs[2][0]


def test_quiet_says_nothing_and_the_default_folder_is_new(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        assert cli.main([*QUICK, "--quiet", "--no-pictures"]) == 0
    assert capsys.readouterr() == ("", "")
    assert len(names(tmp_path / "runs")) == 2
    assert all(re.match(r"\d{4}-\d\d-\d\d-\d{6}", name) for name in names(tmp_path / "runs"))


def test_options_reach_the_training(tmp_path):
    arguments = ["--optimizer", "adamw", "--learning-rate", "0.01", "--schedule", "constant"]
    arguments += ["--resize", "12", "--augment", "none", "--warmup", "0", "--clip", "1"]
    out = tmp_path / "run"
    assert cli.main([*QUICK, "-q", *arguments, "--no-pictures", "--out", str(out)]) == 0
    settings = json.loads((out / "config.json").read_text())["settings"]
    assert settings["optimizer"] == "adamw"
    assert (settings["resize"], settings["augment"], settings["clip"]) == (12, "none", 1.0)
    assert cnn.train.load(out).shape == (12, 12, 1)


def test_an_existing_run_is_an_error_and_overwrite_replaces_it(tmp_path, capsys):
    out = tmp_path / "run"
    quick = [*QUICK, "-q", "--no-pictures", "--out", str(out)]
    assert cli.main(quick) == 0
    before = (out / "metrics.jsonl").read_bytes()
    said = complaint(capsys, quick, 1)
    assert said == (
        f"{out}: a run is there already; choose another folder, or replace it (--overwrite, in "
        "Python overwrite=True)"
    )
    assert (out / "metrics.jsonl").read_bytes() == before
    assert cli.main([*quick, "--overwrite", "--seed", "5"]) == 0
    assert (out / "metrics.jsonl").read_bytes() != before
    assert names(tmp_path) == ["run"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--epochs", "0"], "Invalid value for '--epochs' / '-e': "),
        (["--epochs", "ten"], "Invalid value for '--epochs' / '-e': "),
        (["--batch-size", "-3"], "Invalid value for '--batch-size' / '-b': "),
        (["--epoch", "3"], "No such option: --epoch"),
        (["--learning-rate", "nan"], "learning_rate must be a finite number above 0, not nan"),
        (["--learning-rate", "-1"], "learning_rate must be a finite number above 0, not -1.0"),
        (["--momentum", "1.5"], "momentum must be a finite number of at least 0 and below 1"),
        (["--weight-decay", "inf"], "weight_decay must be a finite number of at least 0, not inf"),
        (["--clip", "0"], "clip must be a finite number above 0, not 0.0"),
        (["--warmup", "1"], "warmup must be a share of at least 0 and below 1, not 1.0"),
        (["--held-out", "0"], "held_out must be a share above 0 and below 1, not 0.0"),
        (["--held-out", "nan"], "held_out must be a share above 0 and below 1, not nan"),
        (["--held-out", "0.0001"], "split: fraction 0.0001 of 1797 examples leaves an empty part"),
        (["--optimizer", "sdg"], "optimizer: unknown name 'sdg'; the optimisers are ada"),
        (["--optimizer", "adam", "--momentum", "0.9"], "adam takes no momentum; it takes b1, b2"),
        (["--schedule", "step"], "schedule: unknown name 'step'; the schedules are constant"),
        (["--model", "vgg"], "model: unknown name 'vgg'; the models are "),
        (["--data", "mnits"], "dataset: unknown name 'mnits'; the data sets are "),
        (["--augment", "blur"], "augment: unknown name 'blur'; the augmentations are "),
        (
            ["--model", "lenet5"],
            "--model lenet5 does not fit pictures of 8 x 8 pixels: ",
        ),
        (["--seed", "-1"], "Invalid value for '--seed' / '-s': "),
        (["now"], "Got unexpected extra argument"),
    ],
)
def test_wrong_options_are_one_line_and_leave_nothing(tmp_path, capsys, arguments, message):
    out = tmp_path / "run"
    said = complaint(capsys, ["train", "--out", str(out), "--no-cpu-kernels", *arguments], 2)
    assert message in said
    assert names(tmp_path) == []


def test_a_wrong_command_is_one_line(capsys):
    assert "No such command 'trian'" in complaint(capsys, ["trian"], 2)


@pytest.mark.parametrize(
    ("out", "message"),
    [
        ("/dev/full", "/dev/full: a file is in the way; a run needs a folder of its own"),
        ("/dev/full/run", "/dev/full: a file is in the way; a run needs a folder of its own"),
        ("/proc/run", "/proc"),
    ],
)
def test_folders_that_cannot_be(capsys, out, message):
    said = complaint(capsys, [*QUICK, "-q", "--no-pictures", "--out", out], 1)
    assert message in said


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder(tmp_path, capsys):
    tmp_path.chmod(0o500)
    try:
        said = complaint(capsys, [*QUICK, "-q", "--out", str(tmp_path / "run")], 1)
    finally:
        tmp_path.chmod(0o700)
    assert said.endswith("Permission denied")
    assert names(tmp_path) == []


@pytest.mark.parametrize("method", ["add_record", "save_parameters", "save_picture", "finish"])
def test_a_disk_that_fills_up_on_the_way(tmp_path, capsys, monkeypatch, method):
    """What was whole stays whole, what was not is not there, and the line says where it all is."""

    def fail(*arguments, **options):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "parameters")

    out = tmp_path / "run"
    monkeypatch.setattr(RunWriter, method, fail)
    said = complaint(capsys, [*QUICK, "-q", "--out", str(out)], 1)
    assert said == (f"parameters: No space left on device; what the run has so far is in {out}")
    assert "result.json" not in names(out)
    assert json.loads((out / "config.json").read_text())["format"]
    lines = (out / "metrics.jsonl").read_text().splitlines()
    assert len(lines) == (0 if method == "add_record" else 2)
    assert not [name for name in names(out) if name.startswith(".")]


def test_a_disk_that_is_full_from_the_start(tmp_path, capsys, monkeypatch):
    def fail(*arguments, **options):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("pathlib.Path.mkdir", fail)
    said = complaint(capsys, [*QUICK, "-q", "--out", str(tmp_path / "run")], 1)
    assert said == "No space left on device"
    assert names(tmp_path) == []


def test_a_training_that_diverges_says_so(tmp_path, capsys):
    out = tmp_path / "run"
    arguments = ["--learning-rate", "1e30", "--warmup", "0", "--out", str(out)]
    said = complaint(capsys, [*QUICK, "-q", *arguments], 1)
    assert "the training diverged in epoch 1 (the loss is nan)" in said
    assert "try a --learning-rate below 1e+30" in said
    assert names(out) == ["config.json", "metrics.jsonl"]
    assert json.loads((out / "metrics.jsonl").read_text())["train_loss"] is None


def test_ctrl_c_keeps_what_was_learned(tmp_path, capsys, monkeypatch):
    record = RunWriter.add_record

    def interrupt(self, numbers):
        record(self, numbers)
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(RunWriter, "add_record", interrupt)
    out = tmp_path / "run"
    handler = signal.getsignal(signal.SIGINT)
    assert cli.main([*QUICK, "--epochs", "50", "--no-pictures", "--out", str(out)]) == 130
    said = capsys.readouterr().out
    assert f"stopped, as asked; all is saved in {out}/checkpoints/step-0000004\n" in said
    assert f"cnn-jax train --resume {out} goes on from there\n" in said
    assert names(out) == [
        "checkpoints",
        "config.json",
        "metrics.jsonl",
        "report.html",
        "result.json",
    ]
    run = cnn.train.load(out)
    assert run.result is not None
    assert (run.result["status"], run.result["epochs"]) == ("stopped", 1)
    assert len(run.history) == 1
    assert signal.getsignal(signal.SIGINT) is handler


def test_a_wrong_variable_for_the_kernels_is_one_line(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("CNN_JAX_CPU_TUNE", "sometimes")
    said = complaint(capsys, ["train", "--out", str(tmp_path / "run")], 2)
    assert said.startswith("install: CNN_JAX_CPU_TUNE is 1, 0 or a file whose name ends in .jsonl")
    assert names(tmp_path) == []


def test_info_names_versions_and_devices(capsys):
    assert cli.main(["info", "--no-cpu-kernels"]) == 0
    text = capsys.readouterr().out
    assert jax.__version__ in text
    assert "cpu" in text.lower()


def test_lecture_lists_its_parts_and_refuses_others(capsys):
    assert cli.main(["lecture", "--list"]) == 0
    assert "pooling" in capsys.readouterr().out
    assert "there is no part 'poling'" in complaint(capsys, ["lecture", "poling"], 2)


def test_help_and_version(capsys):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"cnn_jax {cnn.__version__}\n"
    assert cli.main(["train", "--help"]) == 0
    text = capsys.readouterr().out
    for option in ("--learning-rate", "--overwrite", "--held-out", "--schedule"):
        assert option in text


def test_help_is_wrapped_to_the_terminal_alone(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    assert cli.main(["train", "--help"]) == 0
    prose = capsys.readouterr().out.split("╭", maxsplit=1)[0]
    paragraphs = [part.strip().splitlines() for part in re.split(r"\n\s*\n", prose)]
    longest = max(paragraphs, key=len)
    # A line ends where the next line's first word would not fit.
    for line, following in itertools.pairwise(longest):
        assert len(line.strip()) + 1 + len(following.split()[0]) > 56, line


def test_lecture_help_names_the_parts(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    assert cli.main(["lecture", "--help"]) == 0
    text = capsys.readouterr().out
    assert "pictures, correlation-1d, correlation-2d, channels, pooling, architecture" in text


def process(*arguments, code="from cnn_jax.cli import main; raise SystemExit(main())"):
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False
    )


def test_help_does_not_wait_for_jax():
    code = """
import sys
from cnn_jax.cli import main
assert main(["train", "--help"]) == 0
assert not {"jax", "numpy", "optax", "matplotlib"} & set(sys.modules)
"""
    done = process(code=code)
    assert (done.returncode, done.stderr) == (0, "")
    assert "--learning-rate" in done.stdout


def test_a_real_process_fails_with_one_line(tmp_path):
    done = process("train", "--out", str(tmp_path / "run"), "--optimizer", "sdg")
    assert done.returncode == 2
    assert done.stdout == ""
    assert re.fullmatch(r"cnn-jax: error: optimizer: unknown name 'sdg'; [^\n]+\n", done.stderr)
    assert names(tmp_path) == []


def test_the_default_training_reaches_its_accuracy(tmp_path, monkeypatch):
    """The whole command, as typed, in a process of its own."""
    monkeypatch.undo()
    done = process("train", "--out", str(tmp_path / "run"))
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    run = cnn.train.load(tmp_path / "run")
    assert run.result is not None
    assert run.result["held_out_examples"] == 359
    assert run.result["held_out_accuracy"] >= 0.985
    assert names(tmp_path / "run" / "pictures") == [f"{name}.png" for name in PICTURES]


def test_a_network_without_convolutions_gets_the_other_pictures(tmp_path, monkeypatch):
    dense = lambda classes=10: cnn.serial(cnn.flatten, cnn.dense(classes))  # noqa: E731
    monkeypatch.setattr(cnn.models, "small", dense)
    out = tmp_path / "run"
    assert cli.main([*QUICK, "-q", "--out", str(out)]) == 0
    drawn = ["confusion_matrix.png", "learning_curves.png", "worst_mistakes.png"]
    assert names(out / "pictures") == drawn
    assert (out / "report.html").exists()


def test_the_pictures_are_of_one_example_of_each_class():
    from cnn_jax.commands.pictures import _one_of_each

    labels = np.array([3, 1, 1, 0, 2, 4, 0])
    assert _one_of_each(labels, 3).tolist() == [3, 4, 5]
