"""`cnn-jax runs`: the runs in a folder, side by side."""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from cnn_jax.commands.errors import UserError, asked_for
from cnn_jax.commands.options import AsJson


class Order(StrEnum):
    """What the runs can be sorted by."""

    ACCURACY = "accuracy"
    LOSS = "loss"
    CREATED = "created"
    NAME = "name"


@dataclass(frozen=True)
class Row:
    """One run; what is not known is None, and `error` says what is wrong with its folder."""

    run: str
    status: str
    model: str | None = None
    data: str | None = None
    optimizer: str | None = None
    learning_rate: float | None = None
    seed: int | None = None
    epochs: int | None = None
    accuracy: float | None = None
    loss: float | None = None
    parameters: int | None = None
    seconds: float | None = None
    created: str | None = None
    error: str | None = None


def runs(
    folder: Annotated[
        Path, typer.Argument(metavar="[FOLDER]", help="The folder of run folders.")
    ] = Path("runs"),
    sort: Annotated[
        Order, typer.Option(help="What to sort by: the best first, or the newest.")
    ] = Order.ACCURACY,
    as_json: AsJson = False,
) -> None:
    """Show the runs in a folder side by side, the best first.

    Accuracy and loss are those on held-out data after the last epoch. A folder whose files are
    damaged is listed as such.
    """
    if not folder.exists():
        raise UserError(f"{folder}: no such folder; cnn-jax train makes runs in runs/")
    with asked_for(status=1):
        rows = ordered(find(folder), sort)
    if not rows:
        raise UserError(f"{folder}: there are no runs in it; cnn-jax train makes one")
    if as_json:
        print(json.dumps([asdict(row) for row in rows], indent=2))
    else:
        show(rows)


def find(folder: Path) -> list[Row]:
    """Return a row for each run in a folder, or for the folder itself where it is a run.

    The best run of a sweep lies one folder deeper, and is found there.

    Raises `OSError` where the folder can't be read.
    """
    if (folder / "config.json").is_file():
        return [read(folder, folder.name)]
    inside = [path for path in sorted(folder.iterdir()) if _is_visible(path)]
    found = []
    for path in inside:
        deeper = [path, path / "best"]
        found += [place for place in deeper if (place / "config.json").is_file()][:1]
    return [read(path, str(path.relative_to(folder))) for path in found]


def _is_visible(path: Path) -> bool:
    return path.is_dir() and not path.name.startswith(".")


def read(path: Path, name: str) -> Row:
    """Read what a row shows of a run, without its parameters."""
    from cnn_jax.files import read_json, read_lines
    from cnn_jax.train.run import read_config, what_is_missing

    try:
        config = read_config(path)
        history = read_lines(path / "metrics.jsonl", "one JSON object on each line")
        finished = (path / "result.json").is_file()
        result = read_json(path / "result.json", "a run's result") if finished else {}
    except (OSError, ValueError) as error:
        return Row(name, "damaged", error=" ".join(str(error).split()))
    try:
        settings, last = config["settings"], history[-1] if history else {}
        return Row(
            name,
            result["status"] if finished else "unfinished",
            model=config["model"]["name"],
            data=settings["data"],
            optimizer=settings.get("optimizer"),
            learning_rate=settings.get("learning_rate"),
            seed=settings.get("seed"),
            epochs=len(history),
            accuracy=_number(last.get("validation_accuracy")),
            loss=_number(last.get("validation_loss")),
            parameters=config.get("parameters"),
            seconds=_number(result.get("seconds")) if finished else None,
            created=config.get("created"),
        )
    except (KeyError, TypeError, AttributeError) as error:
        return Row(name, "damaged", error=f"{path}: damaged: {what_is_missing(error)}")


def ordered(rows: Sequence[Row], order: Order) -> list[Row]:
    """Sort rows, those of which the number is not known last."""
    keys: dict[Order, Callable[[Row], Any]] = {
        Order.ACCURACY: lambda row: (-_or(row.accuracy, -1.0), _or(row.loss, math.inf)),
        Order.LOSS: lambda row: _or(row.loss, math.inf),
        Order.CREATED: lambda row: row.created or "",
        Order.NAME: lambda row: row.run,
    }
    ranked = sorted(rows, key=keys[order], reverse=order is Order.CREATED)
    return sorted(ranked, key=lambda row: row.status == "damaged")


def show(rows: Sequence[Row]) -> None:
    """Print the table, and below it what is wrong with damaged runs."""
    from rich import box
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    # Nine columns have to fit into 80 characters.
    table = Table(box=box.SIMPLE_HEAD, padding=0, show_edge=False)
    table.add_column("run", overflow="fold", style="bold", min_width=12)
    table.add_column("status", no_wrap=True)
    for header in ("model", "data"):
        table.add_column(header, overflow="fold")
    for header in ("rate", "seed", "epochs", "accuracy", "loss"):
        table.add_column(header, justify="right", no_wrap=True)
    for row in rows:
        if row.error is not None:
            table.add_row(escape(row.run), "[red]damaged[/red]")
            continue
        table.add_row(
            escape(row.run),
            row.status if row.status == "finished" else f"[yellow]{escape(row.status)}[/yellow]",
            escape(str(row.model)),
            escape(Path(str(row.data)).name),
            *(_text(row.learning_rate, "g"), _text(row.seed, "d"), _text(row.epochs, "d")),
            *(_text(row.accuracy, ".2%"), _text(row.loss, ".4f")),
        )
    console = Console(highlight=False)
    console.print(table)
    for row in rows:
        if row.error is not None:
            console.print(f"[red]{escape(row.run)}: {escape(row.error)}[/red]", soft_wrap=True)


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _or(value: float | None, other: float) -> float:
    return other if value is None else value


def _text(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)
