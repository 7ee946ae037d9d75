"""The harness notices every way in which a contender can fail, and goes on with the others."""

import dataclasses
import os
import sys
import time

import numpy as np
import pytest

from benchmarks.harness import Case, difference

CASE = Case("case", {"n": 1}, tolerance=1e-3)


def test_honest_contenders_are_timed_in_every_round(harness, contender):
    slow = contender("slow", seconds=0.02)
    rows = harness.measure(CASE, [contender("quick"), slow])
    assert [row.status for row in rows] == ["ok", "ok"]
    assert [len(row.samples) for row in rows] == [3, 3]
    assert rows[0].spread.median < 0.02 <= rows[1].spread.median
    assert rows[0].facts["compile_seconds"] == 0.5
    assert rows[0].settings == {"n": 1}


@pytest.mark.parametrize(
    ("function", "options", "message"),
    [
        ("honest", {"off": 0.1}, "y: differs by up to 0.1 where the largest magnitude is 11"),
        ("wrong_shape", {}, "y: shape [4, 3] instead of [3, 4]"),
        ("not_finite", {}, "y: not all numbers are finite"),
        ("one_result_short", {}, "returns [] instead of ['y']"),
    ],
)
def test_wrong_numbers_are_detected_before_timing(harness, contender, function, options, message):
    bad = contender("bad", function, **options)
    first, second = harness.measure(CASE, [contender("good"), bad])
    assert first.timed
    assert second.status == "wrong"
    assert second.message == f"{message} (against good)"
    assert second.samples == []


def test_small_differences_are_no_error(harness, contender):
    rows = harness.measure(CASE, [contender("good"), contender("rounded", off=5e-3)])
    assert [row.status for row in rows] == ["ok", "ok"]


def test_the_majority_is_believed_unless_a_truth_is_named(harness, contender):
    contenders = [contender("odd", off=1.0), contender("good"), contender("too")]
    assert [r.status for r in harness.measure(CASE, contenders)] == ["wrong", "ok", "ok"]
    named = dataclasses.replace(CASE, truth="odd")
    assert [r.status for r in harness.measure(named, contenders)] == ["ok", "wrong", "wrong"]


def test_failures_are_told_and_the_rest_goes_on(harness, contender):
    functions = {
        "refuse": ("failed", "ValueError: can't do {'n': 1}"),
        "refuse_when_run": ("failed", "RuntimeError: out of luck"),
        "segfault": ("failed", "its process was ended by SIGSEGV"),
        "exit_when_run": ("failed", "its process ended with status 3: last words"),
        "missing_module": ("missing", "needs no_such_module: pip install '.[benchmarks]'"),
        "missing_tool": ("missing", "needs a compiler"),
    }
    contenders = [contender("good"), *(contender(name, name) for name in functions)]
    rows = harness.measure(CASE, [*contenders, contender("no such", "nonsense")])
    assert rows[0].timed
    assert [(row.status, row.message) for row in rows[1:-1]] == list(functions.values())
    assert rows[-1].status == "failed"
    assert rows[-1].message.startswith("AttributeError: ")
    again = harness.measure(CASE, contenders[:3])
    assert [row.status for row in again] == ["ok", "failed", "failed"]


def test_what_hangs_is_ended_with_all_that_it_started(harness, contender, tmp_path):
    pids = tmp_path / "pids"
    case = Case("case", {"pids": str(pids)})
    harness.limits = dataclasses.replace(harness.limits, prepare=5, run=1)
    contenders = [
        contender("good"),
        contender("hung", "hang"),
        contender("later", "hang_when_run"),
    ]
    rows = harness.measure(case, contenders)
    assert [row.status for row in rows] == ["ok", "hung", "hung"]
    assert rows[1].message == "no answer within 5 s"
    assert rows[2].message == "no answer within 1 s"
    for pid in map(int, pids.read_text().split()):
        _assert_gone(pid)


def test_prints_do_not_disturb(harness, contender):
    (row,) = harness.measure(CASE, [contender("talkative", "talkative")])
    assert row.timed


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs CPU affinity")
def test_all_are_pinned_alike_and_ended_in_the_end(harness, contender):
    rows = harness.measure(CASE, [contender("a", "pinned"), contender("b", "pinned")])
    for row in rows:
        assert row.facts["cpus"] == harness.cpus
        assert row.facts["threads"] == str(len(harness.cpus))
    assert rows[0].facts["pid"] != rows[1].facts["pid"]
    harness.restart()
    for row in rows:
        _assert_gone(row.facts["pid"])


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_peak_memory_is_that_of_the_run(harness, contender):
    contenders = [
        contender("small", "greedy", megabytes=8),
        contender("large", "greedy", megabytes=200),
    ]
    small, large = harness.measure(CASE, contenders, memory=True)
    assert 150 << 20 < large.peak_bytes - small.peak_bytes < 250 << 20
    (again,) = harness.measure(CASE, contenders[:1], memory=True)
    assert again.peak_bytes < 120 << 20


def test_rounds_end_when_the_time_is_used_up(harness, contender):
    harness.limits = dataclasses.replace(harness.limits, rounds=50, case=0.0)
    (row,) = harness.measure(CASE, [contender("slow", seconds=0.01)])
    assert len(row.samples) == harness.limits.fewest_rounds


def test_difference_is_relative_to_the_largest_magnitude():
    truth = np.array([1e-6, 100.0])
    assert difference(np.array([1e-3, 100.0]), truth, 1e-4) is None
    assert difference(np.array([0.0, 100.1]), truth, 1e-4) is not None
    assert difference(np.zeros((0, 2)), np.zeros((0, 2)), 1e-4) is None
    assert difference(np.zeros(2), np.zeros(2), 1e-4) is None


def _assert_gone(pid: int) -> None:
    """Wait a moment for the process to end; a zombie that nobody has collected has ended too."""
    for _ in range(100):
        try:
            os.kill(pid, 0)
            with open(f"/proc/{pid}/stat") as file:
                if file.read().rsplit(")", 1)[1].split()[0] == "Z":
                    return
        except (ProcessLookupError, FileNotFoundError):
            return
        time.sleep(0.05)
    pytest.fail(f"process {pid} is still there")
