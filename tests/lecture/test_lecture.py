"""The lecture as a whole: which parts run, what is printed and written, and what is refused."""

import errno
import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image
from rich.console import Console

from cnn_jax import cli, lecture

QUICK = ["pooling", "correlation-2d"]
ALL_PARTS = (
    "pictures, correlation-1d, correlation-2d, channels, pooling, architecture, "
    "backpropagation, why-convolution"
)


def transcript(names, out=None, encoding="utf-8"):
    written = io.TextIOWrapper(io.BytesIO(), encoding=encoding, newline="\n")
    results = lecture.run(names, out, Console(file=written, width=80))
    written.seek(0)
    return results, written.read()


def test_there_is_a_module_for_every_part():
    assert ", ".join(lecture.PARTS) == ALL_PARTS
    for name in lecture.PARTS:
        module = lecture.part(name)
        assert all(callable(getattr(module, step)) for step in ("compute", "board", "figures"))


def test_parts_run_once_each_in_the_order_asked_for():
    results, text = transcript(["pooling", "correlation-2d", "pooling"])
    assert list(results) == QUICK
    assert text.index("5. Max-pooling\n") < text.index("3. Correlation in two dimensions\n")
    assert text.count("5. Max-pooling") == 1
    # Wider than the console: matrices must not be broken into pieces.
    assert "⎡ ┌─────────┐            ⎤" in text
    assert max(map(len, text.split("\n"))) > 80


def test_all_parts_run_where_none_is_named(monkeypatch):
    class Part:
        def compute(self):
            return 1

        def board(self, result):
            return "board"

        def figures(self, result):
            return {}

    monkeypatch.setattr(lecture, "part", lambda name: Part())
    assert list(transcript([])[0]) == list(lecture.PARTS)


def test_a_terminal_without_unicode_gets_ascii():
    _, text = transcript(QUICK, encoding="ascii")
    assert "| -2  -7  -2  -4   1 |" in text
    assert "?" not in text


def test_figures_are_written_whole(tmp_path):
    folder = tmp_path / "new" / "figures"
    _, text = transcript(QUICK, folder)
    names = ["3-correlation-2d.png", "5-pooling.png"]
    assert sorted(path.name for path in folder.iterdir()) == names
    for name in names:
        with Image.open(folder / name) as image:
            image.load()
            assert image.format == "PNG"
            assert image.width > 600
            assert np.asarray(image.convert("L")).std() > 20  # not blank
        assert f"figure: {folder / name}" in text
    before = (folder / names[0]).read_bytes()
    transcript(QUICK, folder)  # again: the same figures take their place
    assert (folder / names[0]).read_bytes() == before


def test_an_unknown_part_lists_the_parts_before_anything_runs(tmp_path):
    with pytest.raises(ValueError, match="there is no part") as caught:
        transcript(["pooling", "nonsense"], tmp_path / "figures")
    assert str(caught.value) == f"lecture: there is no part 'nonsense'; the parts are {ALL_PARTS}"
    assert not (tmp_path / "figures").exists()


def test_a_folder_that_is_a_file(tmp_path):
    file = tmp_path / "file"
    file.write_text("kept")
    for folder, reason in ((file, "File exists"), (file / "below", "Not a directory")):
        with pytest.raises(OSError, match="cannot write") as caught:
            transcript(QUICK, folder)
        assert str(caught.value) == f"lecture: cannot write figures to {folder}: {reason}"
    assert file.read_text() == "kept"


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="there is no /proc")
@pytest.mark.parametrize("folder", ["/proc", "/proc/figures"])
def test_a_folder_that_nobody_can_write_to(folder):
    with pytest.raises(OSError, match=f"lecture: cannot write figures to {folder}: "):
        transcript(QUICK, folder)


def test_a_disk_that_fills_up_leaves_nothing_half_written(tmp_path, monkeypatch):
    transcript(["pooling"], tmp_path)
    before = (tmp_path / "5-pooling.png").read_bytes()

    def full(figure, path, **_):
        Path(path).write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Figure, "savefig", full)
    with pytest.raises(OSError, match="No space left") as caught:
        transcript(["pooling"], tmp_path)
    path = tmp_path / "5-pooling.png"
    assert str(caught.value) == f"lecture: cannot write figures to {path}: No space left on device"
    assert [file.name for file in tmp_path.iterdir()] == ["5-pooling.png"]
    assert path.read_bytes() == before


def test_the_command(tmp_path, capsys):
    assert cli.main(["lecture", "pooling", "--out", str(tmp_path)]) == 0
    assert (tmp_path / "5-pooling.png").exists()
    assert "stride 3" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nonsense"], f"there is no part 'nonsense'; the parts are {ALL_PARTS}"),
        (["pooling", "--out", "{file}"], "cannot write figures to {file}: File exists"),
    ],
)
def test_the_command_complains_in_one_line(tmp_path, capsys, arguments, message):
    file = tmp_path / "file"
    file.touch()
    assert cli.main(["lecture", *(word.format(file=file) for word in arguments)]) != 0
    said = capsys.readouterr()
    assert said.err == f"cnn-jax: error: lecture: {message.format(file=file)}\n"
    assert said.out == ""


def test_as_a_module():
    command = [sys.executable, "-m", "cnn_jax.lecture", "nonsense"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert done.stdout == ""
    assert "the parts are pictures, correlation-1d" in done.stderr
    assert done.stderr.count("\n") == 1
