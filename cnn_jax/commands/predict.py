"""`cnn-jax predict`: what a trained network sees in pictures."""

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from cnn_jax.commands.errors import UserError, describe
from cnn_jax.commands.options import Best, CpuKernels, RunOrFile

if TYPE_CHECKING:
    import numpy as np

    from cnn_jax.train import Run

_BLOCK = 64


class Prediction(NamedTuple):
    """The likeliest classes of a picture with their probabilities, or why there are none."""

    path: str
    classes: list[tuple[str, float]]
    error: str | None = None


def predict(
    run: RunOrFile,
    pictures: Annotated[
        list[Path],
        typer.Argument(
            metavar="PICTURES...", help="Picture files, and folders of them to any depth."
        ),
    ],
    top: Annotated[
        int, typer.Option("--top", "-k", metavar="N", help="How many classes to name.", min=1)
    ] = 3,
    best: Best = False,
    background: Annotated[
        float | None,
        typer.Option(
            metavar="LEVEL",
            help="What lies behind transparent pixels, from 0 (black) to 1 (white). "
            "[dim]\\[default: as in the run][/dim]",
            min=0,
            max=1,
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a line of JSON for each picture.")
    ] = False,
    cpu_kernels: CpuKernels = True,
) -> None:
    """Name the likeliest classes of pictures, with their probabilities.

    Pictures are converted and resized as those of the run were. One that can't be read has a line
    that says why, does not stop the others, and makes the exit status 1.
    """
    from cnn_jax.commands.kernels import install_kernels

    install_kernels(cpu_kernels)

    from cnn_jax.commands.opened import open_run, settings_of
    from cnn_jax.commands.pixel_range import ADVICE, is_unit, pixel_range_in, written

    opened = open_run(run, best)
    if len(opened.shape) != 3 or opened.shape[-1] not in (1, 3):
        raise UserError(
            f"{run}: the run was trained on arrays of shape {list(opened.shape)}; expected one "
            "trained on grey or colour pictures"
        )
    values = pixel_range_in(opened.config)
    if not is_unit(values):
        data = opened.config.get("settings", {}).get("data")
        raise UserError(
            f"{run}: the run was trained on floats from {written(values)}"
            f"{f' ({data})' if data else ''}, but picture files give 0 to 1; train on pictures "
            f"that are alike: {ADVICE}"
        )
    if background is None:
        background = settings_of(opened).background
    predictions = predictions_of(opened, list(find(pictures)), top, background)
    failed = total = 0
    if as_json:
        for one in predictions:
            total, failed = total + 1, failed + bool(one.error)
            print(json.dumps(_as_json(one), ensure_ascii=False), flush=True)
    else:
        shown = list(predictions)
        total, failed = len(shown), sum(bool(one.error) for one in shown)
        show(shown)
    if failed:
        raise UserError(f"{failed} of {total} pictures could not be read")


def find(paths: Sequence[Path]) -> Iterator[Prediction]:
    """Yield the files to read, those in folders by their names, and an error for empty folders."""
    from cnn_jax import images

    for path in paths:
        if not path.is_dir():
            yield Prediction(str(path), [])
            continue
        empty = True
        for here, folders, names in os.walk(path):
            folders.sort()
            for name in sorted(names):
                if name.lower().endswith(images.SUFFIXES) and not name.startswith("."):
                    empty = False
                    yield Prediction(os.path.join(here, name), [])
        if empty:
            yield Prediction(
                str(path), [], f"no pictures in it; expected {', '.join(images.SUFFIXES)}"
            )


def predictions_of(
    run: "Run", wanted: Sequence[Prediction], top: int, background: float | None
) -> Iterator[Prediction]:
    """Yield a prediction for each wanted picture, in order, computing block by block."""
    import jax
    import numpy as np

    from cnn_jax import train as training

    # Blocks of one size, so that one program serves them all.
    size = min(_BLOCK, max(len(wanted), 1))
    for start in range(0, len(wanted), size):
        block = wanted[start : start + size]
        read = [_read(one, run.shape, background) for one in block]
        pictures = np.zeros((size, *run.shape), np.uint8)
        for place, found in enumerate(read):
            if not isinstance(found, str):
                pictures[place] = found
        logits = training.predict(run.classifier, run.params, pictures, batch_size=size)
        probabilities = np.asarray(jax.nn.softmax(logits))
        for one, found, shares in zip(block, read, probabilities, strict=False):
            if isinstance(found, str):
                yield one._replace(error=found)
                continue
            order = np.argsort(-shares, kind="stable")[:top]
            classes = [(run.class_names[k], float(shares[k])) for k in order]
            yield one._replace(classes=classes)


def _read(
    wanted: Prediction, shape: tuple[int, ...], background: float | None
) -> "np.ndarray | str":
    """Return the picture in 256 levels, as folders of pictures are read, or what is wrong."""
    import numpy as np

    from cnn_jax import images

    if wanted.error is not None:
        return wanted.error
    height, width, channels = shape
    try:
        picture = images.read(
            wanted.path, channels=channels, size=(height, width), background=background
        )
    except FileNotFoundError:
        return "no such file or folder"
    except OSError as error:
        return describe(error).removeprefix(f"{wanted.path}: ")
    except ValueError as error:
        message = " ".join(str(error).split()).removeprefix(f"{wanted.path}: ")
        return message.replace("pass background", "pass --background")
    return np.rint(picture * 255).astype(np.uint8)


def _as_json(one: Prediction) -> dict[str, Any]:
    if one.error is not None:
        return {"picture": one.path, "error": one.error}
    classes = [{"class": name, "probability": share} for name, share in one.classes]
    return {"picture": one.path, "classes": classes}


def show(predictions: Sequence[Prediction]) -> None:
    """Print a table with a line for each picture."""
    from rich import box
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("picture", overflow="fold")
    table.add_column("class", style="bold", overflow="fold")
    table.add_column("", justify="right")
    table.add_column("otherwise", overflow="fold", style="dim")
    for one in predictions:
        if one.error is not None:
            table.add_row(escape(one.path), "[red]–[/red]", "", f"[red]{escape(one.error)}[/red]")
            continue
        (first, share), *others = one.classes
        rest = ", ".join(f"{name} {other:.1%}" for name, other in others)
        table.add_row(escape(one.path), escape(first), f"{share:.1%}", escape(rest))
    Console(highlight=False).print(table)
