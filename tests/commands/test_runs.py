"""`cnn-jax runs`: runs side by side, damaged ones among them."""

import json
import re
import shutil

import pytest

from cnn_jax import cli


@pytest.fixture
def folder(digits_run):
    """Three whole runs, an unfinished, two damaged ones, and folders that are none."""
    runs = digits_run.parent
    for name, accuracy, created in (("better", 0.99, "2026-03"), ("worse", 0.5, "2026-04")):
        shutil.copytree(digits_run, runs / name)
        record = {"epoch": 1, "validation_accuracy": accuracy, "validation_loss": 1 - accuracy}
        (runs / name / "metrics.jsonl").write_text(json.dumps(record) + "\n")
        config = json.loads((runs / name / "config.json").read_text())
        (runs / name / "config.json").write_text(json.dumps({**config, "created": created}))
    for name in ("unfinished", "cut [bold]", "foreign"):
        shutil.copytree(digits_run, runs / name)
    (runs / "unfinished" / "result.json").unlink()
    (runs / "unfinished" / "metrics.jsonl").write_text("")
    (runs / "cut [bold]" / "metrics.jsonl").write_text('{"epoch": 1')
    (runs / "foreign" / "config.json").write_text('["something else"]')
    (runs / "notes").mkdir()
    (runs / "file").touch()
    return runs


def listed(capsys, *arguments):
    assert cli.main(["runs", *map(str, arguments), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_the_best_come_first_and_the_damaged_last(folder, capsys):
    rows = listed(capsys, folder)
    assert [row["run"] for row in rows] == [
        *("better", "digits", "worse", "unfinished", "cut [bold]", "foreign")
    ]
    assert [row["status"] for row in rows] == [
        *("finished", "finished", "finished", "unfinished", "damaged", "damaged")
    ]
    better, digits = rows[:2]
    assert (better["accuracy"], better["epochs"], better["data"]) == (0.99, 1, "digits")
    assert (digits["learning_rate"], digits["parameters"], digits["seconds"]) == (0.05, 650, 1.5)
    damaged = "damaged: expected one JSON object on each line ("
    assert rows[4]["error"].startswith(f"{folder}/cut [bold]/metrics.jsonl: {damaged}")
    wanted = "expected a run's configuration of format 'cnn_jax run 1'"
    assert rows[5]["error"] == f"{folder}/foreign/config.json: {wanted}"


def test_the_best_of_a_sweep_is_found(folder, capsys):
    (folder / "sweep").mkdir()
    (folder / "better").rename(folder / "sweep" / "best")
    assert listed(capsys, folder)[0]["run"] == "sweep/best"


def test_other_orders_and_a_single_run(folder, capsys):
    def names(*arguments):
        return [row["run"] for row in listed(capsys, folder, *arguments)][:4]

    assert names("--sort", "created") == ["worse", "better", "digits", "unfinished"]
    assert names("--sort", "name") == ["better", "digits", "unfinished", "worse"]
    assert names("--sort", "loss")[0] == "better"
    assert [row["run"] for row in listed(capsys, folder / "worse")] == ["worse"]


def test_the_table_names_every_run(folder, capsys):
    assert cli.main(["runs", str(folder)]) == 0
    shown = capsys.readouterr().out
    for name in ("better", "digits", "worse", "unfinished", "foreign", "99.00%", "50.00%"):
        assert name in shown
    assert (
        f"cut [bold]: {folder}/cut [bold]/metrics.jsonl: damaged: expected one JSON object" in shown
    )


def test_the_table_fits_a_narrow_terminal(folder, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    config = json.loads((folder / "better" / "config.json").read_text())
    settings = {**config["settings"], "data": "/home/somebody/pictures/of/pets"}
    (folder / "better" / "config.json").write_text(json.dumps({**config, "settings": settings}))
    assert cli.main(["runs", str(folder)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"better +finished +small +pets +0.05 +0 +1 +99.00% +\d\.\d{4}", lines[2])


def test_no_runs(tmp_path, complaint):
    assert complaint("runs", tmp_path, status=1) == (
        f"{tmp_path}: there are no runs in it; cnn-jax train makes one"
    )
    assert complaint("runs", tmp_path / "none", status=1) == (
        f"{tmp_path / 'none'}: no such folder; cnn-jax train makes runs in runs/"
    )
