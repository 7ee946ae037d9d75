"""`cnn-jax sweep`: a ranking, and the best network as a run of its own."""

import json
import os
import re
import subprocess
import sys

import pytest
from PIL import Image

import cnn_jax as cnn
from cnn_jax import cli

QUICK = (
    "sweep",
    "--no-cpu-kernels",
    "--epochs",
    "2",
    "--batch-size",
    "256",
    "--schedule",
    "constant",
    "--warmup",
    "0",
)


def test_a_sweep_is_ranked_and_its_best_is_a_run(tmp_path, linear_network, capsys):
    out = tmp_path / "sweep"
    arguments = ["--learning-rates", "0.001,0.1,1e30", "--seeds", "0:1", "--out", str(out)]
    arguments += ["--no-pictures"]
    assert cli.main([*QUICK, *arguments]) == 0
    shown = capsys.readouterr().out
    assert "diverged" in shown
    assert "over the seeds" in shown
    assert sorted(path.name for path in out.iterdir()) == ["best", "sweep.json", "sweep.png"]
    with Image.open(out / "sweep.png") as picture:
        assert min(picture.size) > 100
    found = json.loads((out / "sweep.json").read_text())
    assert found["status"] == "finished"
    assert [member["learning_rate"] for member in found["members"]] == [
        *(0.1, 0.1, 0.001, 0.001, 1e30, 1e30)
    ]
    accuracies = [member["history"][-1]["validation_accuracy"] for member in found["members"][:4]]
    assert accuracies == sorted(accuracies, reverse=True)
    assert found["members"][-1]["history"][-1]["validation_loss"] is None
    # The best one is whole: its parameters give its numbers.
    run = cnn.train.load(out / "best")
    _, held_out = cnn.data.split(cnn.data.digits())
    metrics = cnn.train.evaluate(run.classifier, run.params, held_out)
    assert float(metrics["accuracy"]) == pytest.approx(accuracies[0], abs=1e-6)
    assert "Learning curves" in (out / "best" / "report.html").read_text(encoding="utf-8")
    assert run.config["settings"]["learning_rate"] == 0.1
    assert run.config["settings"]["seed"] == found["members"][0]["seed"]


def test_it_takes_the_options_that_refusals_of_data_advise(tmp_path, linear_network, capsys):
    for name in ("cat", "dog"):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for i in range(5):
            size = (6 + i, 5)
            Image.new("RGBA", size, (40 * i, 3, 3, 128)).save(tmp_path / "pets" / name / f"{i}.png")
    arguments = ["--data", str(tmp_path / "pets"), "--out", str(tmp_path / "sweep"), "-q"]
    arguments += ["--learning-rates", "0.1", "--seeds", "0", "--no-pictures", "--augment", "none"]
    assert cli.main([*QUICK, *arguments]) == 2
    assert capsys.readouterr().err.endswith("(--background does so)\n")
    arguments += ["--background", "1"]
    assert cli.main([*QUICK, *arguments]) == 2
    assert capsys.readouterr().err.endswith("(--resize and --channels do so)\n")
    assert cli.main([*QUICK, *arguments, "--resize", "6", "--channels", "1", "--nesterov"]) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--learning-rates", "0.1,fast"],
            "--learning-rates: expected numbers above 0 such as 0.01,0.1, or LOW:HIGH:COUNT such "
            "as 0.01:0.3:4, not '0.1,fast'",
        ),
        (["-l", "0.1:0.01:3"], "--learning-rates: expected numbers above 0"),
        (["-l", "nan"], "--learning-rates: expected numbers above 0"),
        (
            ["--seeds", "1,-2"],
            "--seeds: expected whole numbers from 0 to 4294967295 such as 0,1,2, or FIRST:LAST "
            "such as 0:3, not '1,-2'",
        ),
        (["--seeds", "3:1"], "--seeds: expected whole numbers"),
        (["--optimizer", "adam", "--momentum", "0.9"], "optimizer: adam takes no momentum"),
        (["--model", "vgg"], "model: unknown name 'vgg'"),
    ],
)
def test_wrong_options_are_one_line_and_leave_nothing(
    tmp_path, complaint, linear_network, arguments, message
):
    said = complaint(*QUICK, "--out", tmp_path / "sweep", *arguments, status=2)
    assert said.startswith(message)
    assert list(tmp_path.iterdir()) == []


CODE = """
import cnn_jax as cnn
from cnn_jax.cli import main
assert "small" in cnn.train.MODELS
cnn.models.small = lambda classes: cnn.serial(cnn.flatten, cnn.dense(classes))
raise SystemExit(main())
"""


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="needs two cores")
def test_each_core_is_a_device(tmp_path):
    environment = {k: v for k, v in os.environ.items() if k not in ("XLA_FLAGS", "OMP_NUM_THREADS")}
    done = subprocess.run(
        [sys.executable, "-c", CODE, *QUICK, "-l", "0.1", "--seeds", "0:1", "--no-pictures"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "2 times on 2 cpu devices" in done.stdout
    (folder,) = (tmp_path / "sweeps").iterdir()
    assert re.fullmatch(r"\d{4}-\d\d-\d\d-\d{6}", folder.name)


def test_a_folder_that_is_there_stays(tmp_path, complaint):
    (tmp_path / "mine").touch()
    assert complaint(*QUICK, "--out", tmp_path, status=1) == (
        f"{tmp_path}: there already; a sweep needs a new folder"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_all_diverged(tmp_path, complaint, linear_network):
    out = tmp_path / "sweep"
    arguments = ("-q", "--learning-rates", "1e30", "--seeds", "0", "--out", out)
    assert complaint(*QUICK, *arguments, status=1) == (
        f"every training diverged; try lower --learning-rates. See {out}"
    )
    assert sorted(path.name for path in out.iterdir()) == ["sweep.json", "sweep.png"]
