"""The README's Python code runs as it is printed."""

import pathlib
import re

import pytest

from cnn_jax import reference

README = (pathlib.Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (.+?)\n(.+?)(?=^## |\Z)", README, re.MULTILINE | re.DOTALL))


def run(section, **names):
    """Run a section's Python blocks one after the other, and return what they define."""
    blocks = re.findall(r"^```python\n(.+?)^```$", SECTIONS[section], re.MULTILINE | re.DOTALL)
    assert blocks
    for block in blocks:
        exec(compile(block, f"README.md, {section}", "exec"), names)
    return names


def test_a_network_in_code(capsys):
    names = run("A network in code")
    assert names["logits"].shape == (16, 10)
    assert names["y"].shape == (16, 8, 8, 12)
    assert "conv_0" in capsys.readouterr().out
    assert next(iter(names["params"])) == "conv_0"


def test_the_property_test_passes_a_right_kernel_and_fails_a_wrong_one():
    section = "Test your own kernel against the reference"

    def right(x, kernel, stride):
        return reference.correlate(x, kernel, stride=stride)

    def wrong(x, kernel, stride):
        return reference.convolve(x, kernel, stride=stride)

    run(section, my_kernel=right)["test_my_kernel"]()
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        run(section, my_kernel=wrong)["test_my_kernel"]()
