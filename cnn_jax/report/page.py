"""`report.html`: a run on one page, which needs neither a network nor a script."""

import base64
import io
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import matplotlib as mpl

import cnn_jax
from cnn_jax import plots
from cnn_jax.files import read_json, read_lines, replacing
from cnn_jax.plots.style import BLUE, FAINT, GRID, INK, ORANGE
from cnn_jax.report.style import STYLE
from cnn_jax.train.run import read_config

# What the pictures of a run folder show, in the order of the page.
_PICTURES = {
    "confusion_matrix": (
        "Confusion matrix",
        "How often the held-out pictures of each true class (row) were given each class (column).",
    ),
    "worst_mistakes": (
        "Worst mistakes",
        "The held-out pictures whose true class was given the least probability, with the three "
        "likeliest classes of each.",
    ),
    "filters": (
        "Filters",
        "The kernels of the first convolution: what it looks for in the pictures.",
    ),
    "feature_maps": (
        "Feature maps",
        "What the layers make of a few held-out pictures, on the way from pixels to classes.",
    ),
}

# The plots' colours, which the page names, so that they suit its light and its dark form.
_COLOURS = {"ink": INK, "faint": FAINT, "grid": GRID, "blue": BLUE, "orange": ORANGE}

# Nothing but what the page itself holds: no request can leave it, and nothing in it can run.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def write_report(
    folder: str | Path,
    result: Mapping[str, Any] | None = None,
    kernels: Sequence[Mapping[str, Any]] = (),
) -> Path:
    """Write `report.html` into a run folder, from what is in the folder, and return its path.

    The page is one file with its pictures inside. It shows the final numbers, learning curves, the
    pictures that the run has in `pictures/`, the epochs, the configuration and the kernels. The
    file takes the place of an older one, whole or not at all.

    - `result`: what `result.json` will hold; by default what it holds.
    - `kernels`: a row for each convolution and pooling of a training step, each a mapping with the
      same names, such as `dataclasses.asdict` of the rows of `cnn_jax.cpu.explain`.

    Raises `OSError` and `ValueError`, naming the file, where the run can't be read or the page not
    be written.

    >>> import tempfile
    >>> import cnn_jax as cnn
    >>> folder = Path(tempfile.mkdtemp(), "first")
    >>> run = cnn.train.new_run(folder, {
    ...     "model": {"name": "small", "classes": 2}, "input_shape": [8, 8, 1],
    ...     "class_names": ["cat", "<dog>"],
    ... })
    >>> page = write_report(folder).read_text(encoding="utf-8")
    >>> "&lt;dog&gt;" in page, "<dog>" in page
    (True, False)
    """
    folder = Path(folder)
    config = read_config(folder)
    history = read_lines(folder / "metrics.jsonl", "one JSON object on each line")
    if result is None and (folder / "result.json").is_file():
        result = read_json(folder / "result.json", "a run's result")
    page = render(folder, config, history, result or {}, kernels)
    path = folder / "report.html"
    with replacing(path) as hidden:
        hidden.write_text(page, encoding="utf-8")
    return path


def render(
    folder: Path,
    config: Mapping[str, Any],
    history: Sequence[Mapping[str, Any]],
    result: Mapping[str, Any],
    kernels: Sequence[Mapping[str, Any]],
) -> str:
    """Return the page as HTML."""
    settings = config.get("settings") or {}
    model, data = config["model"]["name"], settings.get("data", "")
    title = f"{model} on {Path(str(data)).name}" if data else str(model)
    sections: list[tuple[str, str]] = []
    if history:
        sections.append(("Learning curves", _curves(history)))
    for name, (heading, text) in _PICTURES.items():
        file = folder / "pictures" / f"{name}.png"
        if file.is_file():
            sections.append((heading, _picture(file, heading, text)))
    if history:
        sections.append(("Epochs", _epochs(history)))
    sections.append(("Configuration", _configuration(config)))
    sections.append(("Kernels", _kernels(config, kernels)))
    # A line breaks at spaces alone.
    links = " ".join(f'<a href="#{_anchor(name)}">{escape(name)}</a>' for name, _ in sections)
    body = "".join(
        f'<section id="{_anchor(name)}"><h2>{escape(name)}</h2>{content}</section>'
        for name, content in sections
    )
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}: {escape(folder.resolve().name)}</title>\n"
        f"<style>{STYLE}</style>\n</head>\n<body>\n<main>\n"
        f"<header><h1>{escape(title)}</h1>\n"
        f'<p class="sub">{escape(_summary(folder, config, result))}</p>\n'
        f"{_numbers(config, history, result)}</header>\n<nav>{links}</nav>\n{body}\n"
        f"<footer>Written by cnn_jax {escape(cnn_jax.__version__)}.</footer>\n"
        "</main>\n</body>\n</html>\n"
    )


def _summary(folder: Path, config: Mapping[str, Any], result: Mapping[str, Any]) -> str:
    examples = config.get("examples") or {}
    parts = [f"Run {folder.resolve().name}, {result.get('status', 'unfinished')}"]
    if config.get("created"):
        parts.append(f"begun {str(config['created']).replace('T', ' ')}")
    text = ", ".join(parts) + "."
    shape = " × ".join(map(str, config["input_shape"]))
    if examples:
        text += (
            f" {examples.get('train', 0):,} pictures of {shape} to learn from, "
            f"{examples.get('held_out', 0):,} held out, {len(config['class_names'])} classes."
        )
    return text


def _numbers(
    config: Mapping[str, Any], history: Sequence[Mapping[str, Any]], result: Mapping[str, Any]
) -> str:
    last = history[-1] if history else {}
    seconds = result.get("seconds")
    shown = {
        "accuracy held out": _percent(last.get("validation_accuracy")),
        "loss held out": _number(last.get("validation_loss")),
        "accuracy on the test part": _percent(result.get("test_accuracy")),
        "epochs": str(len(history)),
        "parameters": f"{config['parameters']:,}" if config.get("parameters") else "",
        "time": _duration(seconds) if isinstance(seconds, int | float) else "",
    }
    items = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>"
        for name, value in shown.items()
        if value
    )
    return f'<dl class="numbers">{items}</dl>\n'


def _curves(history: Sequence[Mapping[str, Any]]) -> str:
    """Return the learning curves as SVG in the colours of the page."""
    figure = plots.learning_curves(history)
    figure.suptitle("")
    buffer = io.StringIO()
    # Without dates and random ids, the same run gives the same page.
    with mpl.rc_context({"svg.hashsalt": "cnn_jax"}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    svg = text[text.index("<svg") :].replace("\n", " ")
    svg = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", svg)
    for name, colour in _COLOURS.items():
        svg = svg.replace(colour, f"var(--{name})")
    label = "Loss and accuracy over the epochs, in training and held out"
    svg = svg.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1)
    return (
        "<p class='note'>Measured after each epoch; in training, on each batch just before the "
        f"step that learns from it.</p><figure>{svg}</figure>"
    )


def _picture(file: Path, heading: str, text: str) -> str:
    data = base64.b64encode(file.read_bytes()).decode()
    return (
        f'<p class="note">{escape(text)}</p><figure class="light">'
        f'<img alt="{escape(heading)}" src="data:image/png;base64,{data}"></figure>'
    )


def _epochs(history: Sequence[Mapping[str, Any]]) -> str:
    names = list(dict.fromkeys(name for record in history for name in record))
    rows = [[_cell(name, record.get(name)) for name in names] for record in history]
    headers = [name.replace("_", " ").replace("validation", "held out") for name in names]
    table = _table(headers, rows, numeric=range(len(names)))
    if len(history) <= 12:
        return table
    return f"<details><summary>The numbers of {len(history)} epochs</summary>{table}</details>"


def _configuration(config: Mapping[str, Any]) -> str:
    rows: list[tuple[str, str]] = [
        (name.replace("_", " "), _plain(value))
        for name, value in (config.get("settings") or {}).items()
    ]
    rows.append(("classes", ", ".join(map(str, config["class_names"]))))
    if config.get("normalisation"):
        for name, values in config["normalisation"].items():
            rows.append((f"normalisation, {name}", ", ".join(f"{x:.4g}" for x in values)))
    rows += [(f"version of {name}", str(v)) for name, v in (config.get("versions") or {}).items()]
    if config.get("devices"):
        rows.append(("devices", ", ".join(map(str, config["devices"]))))
    return _table(("setting", "value"), rows, wrapped=(1,))


def _kernels(config: Mapping[str, Any], kernels: Sequence[Mapping[str, Any]]) -> str:
    said = str(config.get("kernels") or "XLA's own")
    text = f'<p class="note">{escape(said)}</p>'
    if not kernels:
        return text
    headers = list(kernels[0])
    numeric = [i for i, name in enumerate(headers) if isinstance(kernels[0][name], int | float)]
    rows = [[_cell(name, row[name]) for name in headers] for row in kernels]
    return (
        f"{text}<p>The convolutions and poolings of one training step, with the kernel that each "
        f"was given and why.</p>{_table(headers, rows, numeric=numeric)}"
    )


def _table(
    headers: Sequence[str],
    rows: Iterable[Sequence[str]],
    numeric: Iterable[int] = (),
    wrapped: Iterable[int] = (),
) -> str:
    kinds = dict.fromkeys(numeric, ' class="n"') | dict.fromkeys(wrapped, ' class="w"')
    head = "".join(
        f'<th scope="col"{kinds.get(i, "")}>{escape(name)}</th>' for i, name in enumerate(headers)
    )
    body = "".join(
        "<tr>"
        + "".join(f"<td{kinds.get(i, '')}>{escape(cell)}</td>" for i, cell in enumerate(row))
        + "</tr>"
        for row in rows
    )
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return f'<div class="wide">{table}</div>'


def _cell(name: str, value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return _percent(value) if name.endswith("accuracy") else _number(value)
    return f"{value:,}" if isinstance(value, int) else str(value)


def _plain(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "–", True: "yes", False: "no"}[value]
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _percent(value: Any) -> str:
    return f"{value:.2%}" if isinstance(value, int | float) and math.isfinite(value) else ""


def _number(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, int | float) and math.isfinite(value) else ""


def _duration(seconds: float) -> str:
    """Write a time as people say it.

    >>> _duration(7.25), _duration(95), _duration(7325)
    ('7.2 s', '1 min 35 s', '2 h 2 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes = int(seconds // 60)
    if minutes < 60:
        return f"{minutes} min {int(seconds % 60)} s"
    return f"{minutes // 60} h {minutes % 60} min"


def _anchor(heading: str) -> str:
    return heading.lower().replace(" ", "-")
