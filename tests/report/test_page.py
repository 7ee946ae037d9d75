"""`report.html` is whole, holds everything it shows, and lets no name become markup."""

import base64
import json
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import jax
import pytest
from PIL import Image

import cnn_jax as cnn
from cnn_jax import cpu
from cnn_jax import train as training
from cnn_jax.commands.page import kernel_rows
from cnn_jax.report import write_report
from cnn_jax.report.style import STYLE

EVIL = ("<script>alert(1)</script>", '"><img src=http://x.y/z onerror=f()>', "caf\u00e9 & Sons")
VOID = {"meta", "img", "br"}


class Page(HTMLParser):
    """A page's elements and its text; checks that every element is closed in its turn."""

    def __init__(self, text):
        super().__init__()
        self.open, self.elements, self.text = [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture
def folder(tmp_path):
    """A run with hostile names in all places, two epochs, the second of which diverged."""
    run = training.new_run(
        tmp_path / "<i>run",
        {
            "model": {"name": "small", "classes": 3},
            "input_shape": [8, 8, 1],
            "class_names": list(EVIL),
            "parameters": 12345,
            "normalisation": {"mean": [0.5], "std": [0.25]},
            "settings": {"data": EVIL[1], "resize": None, "nesterov": False},
            "kernels": EVIL[0],
        },
    )
    numbers = {"train_loss": 0.5, "validation_loss": 0.25, "validation_accuracy": 0.975}
    run.add_record({"epoch": 1, **numbers})
    run.add_record({"epoch": 2, **numbers, "train_loss": float("nan")})
    (run.path / "pictures").mkdir()
    Image.new("L", (30, 20), 128).save(run.path / "pictures" / "filters.png")
    return run.path


def test_the_page_holds_all_it_shows_and_escapes_all_names(folder):
    kernels = [{"operation": EVIL[0], "MFLOP": "1.5", "kernel": "oneDNN"}]
    path = write_report(folder, {"status": "finished", "seconds": 75.0}, kernels)
    text = path.read_text(encoding="utf-8")
    page = Page(text)
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"script", "iframe", "object", "link", "i", "base", "form"}
    for tag, attributes in page.elements:
        assert not [name for name in attributes if name.startswith("on")], (tag, attributes)
        for name in ("src", "href", "xlink:href"):
            assert re.match(r"#|data:image/png;base64,|$", attributes.get(name, "")), attributes
    # Addresses that are only the names of XML vocabularies are never fetched.
    fetched = re.sub(r'xmlns(:xlink)?="[^"]*"|http://x\.y/z', "", text)
    assert not re.search(r"https?:|url\((?!#)|@import", fetched)
    policy = next(a["content"] for tag, a in page.elements if "http-equiv" in a)
    assert policy.startswith("default-src 'none'")
    shown = "".join(page.text)
    for name in EVIL:
        assert name in shown
    for words in ("97.50%", "12,345", "1 min 15 s", "finished", "oneDNN", "0.2500", "–"):
        assert words in shown
    (image,) = (attributes for tag, attributes in page.elements if tag == "img")
    data = base64.b64decode(image["src"].removeprefix("data:image/png;base64,"))
    assert data == (folder / "pictures" / "filters.png").read_bytes()
    assert image["alt"] == "Filters"
    svg = text[text.index("<svg") : text.index("</svg>") + 6]
    assert ElementTree.fromstring(svg).tag == "{http://www.w3.org/2000/svg}svg"
    assert "var(--ink)" in svg
    assert "#22303c" not in svg
    # Every link of the page's contents leads somewhere.
    ids = {attributes.get("id") for _, attributes in page.elements}
    links = [a["href"][1:] for tag, a in page.elements if tag == "a"]
    assert links == ["learning-curves", "filters", "epochs", "configuration", "kernels"]
    assert set(links) <= ids
    # The same run gives the same page, and an older one is replaced.
    write_report(folder, {"status": "finished", "seconds": 75.0}, kernels)
    assert path.read_text(encoding="utf-8") == text


def test_a_run_that_has_hardly_begun(folder):
    (folder / "metrics.jsonl").write_text("")
    (folder / "pictures" / "filters.png").unlink()
    page = Page(write_report(folder).read_text(encoding="utf-8"))
    assert "unfinished" in "".join(page.text)


def test_damaged_folders(folder):
    (folder / "metrics.jsonl").write_text('{"epoch": 1')
    with pytest.raises(ValueError, match="damaged: expected one JSON object") as caught:
        write_report(folder)
    assert str(caught.value).startswith(f"{folder / 'metrics.jsonl'}: ")
    assert not (folder / "report.html").exists()
    assert [path.name for path in folder.iterdir() if path.name.startswith(".")] == []


def test_kernels_are_those_that_explain_names():
    model = cnn.serial(cnn.conv(4, 3), cnn.max_pool(2), cnn.flatten, cnn.dense(2))
    params = model.init(jax.random.key(0), (8, 8, 1))
    cpu.uninstall()
    assert kernel_rows(model, params, (8, 8, 1), 16) == []
    with cpu.installed(keep_memory=False):
        rows = kernel_rows(model, params, (8, 8, 1), 16)
    operations = [row["operation"] for row in rows]
    assert operations == [
        *("convolution, forward", "max-pool", "max-pool gradient", "convolution, kernel gradient")
    ]
    assert rows[0]["shapes"] == "float32[16,8,8,1] * float32[3,3,1,4] -> float32[16,6,6,4]"
    assert json.dumps(rows)


def test_the_contents_can_break_into_lines(folder):
    text = write_report(folder).read_text(encoding="utf-8")
    assert re.search(r"<nav><a [^>]*>Learning curves</a> <a ", text)


def luminance(colour):
    """WCAG 2.2, 'relative luminance'."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_words_stand_out_from_the_paper_by_light_and_by_dark():
    light, dark = STYLE.split("@media (prefers-color-scheme: dark)")
    for theme in (light, dark):
        colours = dict(re.findall(r"--([a-z]+): (#[0-9a-f]{6})", theme))
        for paper in ("paper", "card"):
            for ink in ("ink", "soft", "faint", "accent"):
                low, high = sorted(luminance(colours[name]) for name in (paper, ink))
                assert (high + 0.05) / (low + 0.05) >= 4.5, (ink, paper)
