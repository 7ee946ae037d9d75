"""The commands: what they write, what they refuse, and that a bad row does not stop them."""

import dataclasses
import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import typer
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from benchmarks import command, kernels, naive, scaling, training
from benchmarks.harness import Case, Limits
from benchmarks.report import Report

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def plan(contender):
    contenders = [contender("good"), contender("bad", off=1.0)]
    case = Case("case", {"n": 1})
    return command.Plan(
        "kernels",
        [command.Step(case, contenders)],
        lambda report: [Table(f"rows: {len(report.rows)}")],
        lambda report: {"kernels": Figure()},
        Limits(turn=0.002, rounds=3),
        findings=lambda rows: {"timed": sum(row.timed for row in rows)},
    )


@pytest.fixture
def console():
    return Console(file=io.StringIO(), width=200)


def test_a_plan_leaves_report_picture_and_tables(plan, console, tmp_path):
    out = tmp_path / "new" / "folder"
    report = command.carry_out(plan, command.Options(out=out), console)
    assert sorted(p.name for p in out.iterdir()) == ["kernels.json", "kernels.png"]
    assert Report.read(out / "kernels.json") == report
    assert [row.status for row in report.rows] == ["ok", "wrong"]
    assert report.findings == {"timed": 1}
    assert report.machine["versions"]["numpy"]
    assert report.machine["threads"] >= 1
    text = console.file.getvalue()
    assert "rows: 2" in text
    assert "wrong: y: differs by up to 1" in text


def test_nothing_is_overwritten_unasked(plan, console, tmp_path):
    command.carry_out(plan, command.Options(out=tmp_path), console)
    before = (tmp_path / "kernels.json").read_bytes()
    with pytest.raises(typer.BadParameter, match="exists; choose another --out"):
        command.carry_out(plan, command.Options(out=tmp_path), console)
    assert (tmp_path / "kernels.json").read_bytes() == before
    command.carry_out(plan, command.Options(out=tmp_path, overwrite=True), console)
    assert (tmp_path / "kernels.json").read_bytes() != before


def test_comparison_with_an_older_report(plan, console, tmp_path):
    command.carry_out(plan, command.Options(out=tmp_path / "old"), console)
    slower = dataclasses.replace(
        plan.steps[0].contenders[0], options={"seconds": 0.03}, name="good"
    )
    step = dataclasses.replace(plan.steps[0], contenders=[slower])
    options = command.Options(out=tmp_path / "new", compare=tmp_path / "old")
    command.carry_out(dataclasses.replace(plan, steps=[step]), options, console)
    text = console.file.getvalue()
    assert "changes since" in text
    assert "not measured" in text  # The contender that was left out this time.


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threads": 0}, "--threads is 0; this process may use 1 to"),
        ({"threads": 10_000}, "--threads is 10000"),
        ({"compare": Path("none.json")}, "none.json can't be read"),
        ({"out": Path(__file__)}, "is a file; it must be a folder"),
    ],
)
def test_bad_options_are_refused_before_measuring(plan, console, options, message):
    with pytest.raises(typer.BadParameter, match=message):
        command.carry_out(plan, command.Options(**options), console)
    assert "kernels" not in console.file.getvalue()


def test_a_report_of_another_benchmark_is_no_comparison(plan, console, tmp_path):
    Report("naive", {}, {}).write(tmp_path / "kernels.json")
    options = command.Options(compare=tmp_path, out=tmp_path / "new")
    with pytest.raises(typer.BadParameter, match="a report of 'naive', not of 'kernels'"):
        command.carry_out(plan, options, console)


def test_what_would_take_too_long_is_skipped(plan, contender, console, tmp_path):
    slow = contender("slow", seconds=0.02)
    steps = [
        command.Step(Case(f"size {n}", {}), [slow], series="s", work=n, longest=0.5)
        for n in (1, 2, 100)
    ]
    report = command.carry_out(
        dataclasses.replace(plan, steps=steps), command.Options(out=tmp_path), console
    )
    assert [row.status for row in report.rows] == ["ok", "ok", "skipped"]
    assert report.rows[2].message.startswith("one run would take about ")


def test_doubtful_rows_are_measured_again(plan, console, tmp_path):
    again = dataclasses.replace(
        plan, again=lambda rows: plan.steps, again_limits=Limits(turn=0.002, rounds=7)
    )
    report = command.carry_out(again, command.Options(out=tmp_path), console)
    assert [len(row.samples) for row in report.rows] == [7, 0]


@pytest.mark.parametrize("make", [naive.plan, kernels.plan, training.plan, scaling.plan])
def test_plans(make):
    whole, quick = make(), make(quick=True)
    names = [step.case.name for step in whole.steps]
    assert len(set(names)) == len(names)
    assert 0 < len(quick.steps) < len(whole.steps)
    for step in whole.steps:
        contenders = [contender.name for contender in step.contenders]
        assert len(set(contenders)) == len(contenders)
    with pytest.raises(typer.BadParameter, match="unknown contender 'nobody'"):
        make(contenders=["nobody"])


def test_an_impossible_case_makes_a_row_and_the_command_ends_well(tmp_path):
    out = tmp_path / "out"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "benchmarks.training", "--quick", "--out", str(out)),
            *("--network", "lenet5", "--contender", "cnn_jax", "--batch", "-1"),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    (row,) = Report.read(out / "training.json").rows
    assert row.status == "failed"
    assert row.message == "ValueError: negative dimensions are not allowed"
    assert "negative dimensions" in done.stdout


@pytest.mark.parametrize(
    ("benchmark", "option", "name", "kind"),
    [
        ("scaling", "--axis", "colour", "axis"),
        ("training", "--network", "lenet", "network"),
        ("training", "--dtype", "float64", "dtype"),
        ("training", "--mode", "play", "mode"),
    ],
)
def test_a_wrong_option_is_told_in_one_line(benchmark, option, name, kind):
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{benchmark}", option, name],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 2
    assert f"unknown {kind} '{name}'" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_interrupt_keeps_what_was_measured(tmp_path):
    """The command is ended once the first of two cases is through."""
    out = tmp_path / "out"
    script = tmp_path / "script.py"
    script.write_text(_INTERRUPTED)
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{Path(__file__).parent}"}
    process = subprocess.Popen(
        [sys.executable, str(script), str(out), str(tmp_path / "pids")],
        env=environment,
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    while not (tmp_path / "pids").exists() and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 130
    report = Report.read(out / "kernels.json")
    assert report.interrupted
    assert [row.status for row in report.rows] == ["ok"]


_INTERRUPTED = """
import sys
from pathlib import Path
import typer
from benchmarks import command
from benchmarks.harness import Case, Contender, Limits

def main(out: Path, pids: Path) -> None:
    steps = [
        command.Step(Case("first", {}), [Contender("a", "misbehaving:honest")]),
        command.Step(Case("second", {"pids": str(pids)}), [Contender("b", "misbehaving:hang")]),
    ]
    limits = Limits(turn=0.002, rounds=3)
    plan = command.Plan("kernels", steps, lambda report: [], lambda report: {}, limits)
    command.carry_out(plan, command.Options(out=out))

typer.run(main)
"""
