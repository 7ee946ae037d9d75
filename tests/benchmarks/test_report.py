"""Reports survive the way to a file and back, and changes between two are found."""

import json

import pytest

from benchmarks.harness import Row
from benchmarks.report import Report, changes, problems


def row(contender="a", samples=(1.0, 1.1, 0.9), case="case", **more):
    return Row(case, contender, {"n": 1}, samples=list(samples), **more)


def report(*rows):
    return Report("kernels", {"processor": "x"}, {"quick": True}, list(rows), findings={"f": 1})


def test_a_report_is_read_as_it_was_written(tmp_path):
    path = tmp_path / "kernels.json"
    failed = row("b", (), status="failed", message="no")
    written = report(row(peak_bytes=5, facts={"kernel": "k"}), failed)
    written.write(path)
    assert Report.read(path) == written
    assert [p.name for p in tmp_path.iterdir()] == ["kernels.json"]
    first, second = json.loads(path.read_text())["rows"]
    assert first["milliseconds"] == {"median": 1000.0, "quartiles": [950.0, 1050.0]}
    assert "milliseconds" not in second


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not JSON"),
        ("[]", "is not a benchmark's report of format 1"),
        ('{"format": 7}', "is not a benchmark's report of format 1"),
        ('{"format": 1}', "is not a whole report"),
        ('{"format": 1, "rows": [{}]}', "is not a whole report"),
    ],
)
def test_other_files_are_refused(tmp_path, text, message):
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        Report.read(path)
    with pytest.raises(ValueError, match="can't be read"):
        Report.read(tmp_path / "none.json")


def test_changes():
    old = report(row("same"), row("slower"), row("gone"), row("broken"))
    new = report(
        row("same", (1.05, 0.95, 1.0)),
        row("slower", (3.0, 3.3, 2.7)),
        row("broken", (), status="wrong", message="differs"),
        row("new"),
    )
    found = {change.contender: change for change in changes(old, new)}
    assert (found["same"].clear, found["same"].ratio) == (False, 1.0)
    assert found["slower"].clear
    assert found["slower"].ratio == pytest.approx(3.0)
    assert (found["slower"].old, found["slower"].new) == ("1,000 ms", "3,000 ms")
    assert (found["gone"].new, found["gone"].clear) == ("not measured", True)
    assert (found["new"].old, found["new"].clear) == ("not measured", True)
    assert (found["broken"].new, found["broken"].clear) == ("wrong", True)


def test_problems_of_a_kind_are_told_once():
    rows = [
        row("torch", (), f"case {i}", status="missing", message="needs torch") for i in range(5)
    ]
    told = problems([row(), *rows])
    assert told == [("torch", "missing: needs torch", "case 0, case 1, case 2 and 2 more")]
