"""What a training shows on the terminal."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from cnn_jax.commands.material import Material
from cnn_jax.commands.pixel_range import ADVICE, is_unit, written
from cnn_jax.commands.settings import Settings
from cnn_jax.train import Checkpoint

Record = Mapping[str, float]


def print_start(
    console: Console,
    settings: Settings,
    material: Material,
    parameters: int,
    kernels: str,
) -> None:
    """Say what is about to be trained on what."""
    learn, held_out = material.learn, material.validation
    size = " x ".join(map(str, learn.shape))
    console.print(
        f"[bold]{settings.model}[/bold] with {parameters:,} parameters on "
        f"[bold]{settings.data}[/bold]: {len(learn.labels):,} pictures of {size} to learn from, "
        f"{len(held_out.labels):,} held out, {len(learn.class_names)} classes",
        soft_wrap=True,
    )
    if not is_unit(material.pixel_range):
        console.print(
            f"[yellow]the pictures are floats from {written(material.pixel_range)}: cnn-jax "
            f"predict will not take picture files for this run ({ADVICE})[/yellow]",
            soft_wrap=True,
        )
    console.print(f"[dim]kernels: {kernels}[/dim]", soft_wrap=True)


@contextmanager
def epoch_bar(console: Console, epochs: int) -> Iterator[Callable[[Record], None]]:
    """Give a function that shows an epoch's numbers: on a live bar, or as lines in a log."""
    if not console.is_terminal:
        start = time.perf_counter()

        def show_line(record: Record) -> None:
            seconds = time.perf_counter() - start
            line = f"epoch {record['epoch']:>3}/{epochs}  {seconds:6.1f} s  {_numbers(record)}"
            console.print(line, soft_wrap=True)

        yield show_line
        return
    columns = (
        TextColumn("epoch"),
        MofNCompleteColumn(),
        BarColumn(bar_width=None),
        TextColumn("{task.fields[numbers]}"),
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    with Progress(*columns, console=console, expand=True) as progress:
        task = progress.add_task("train", total=epochs, numbers="[dim]compiling[/dim]")

        def show_bar(record: Record) -> None:
            progress.update(task, completed=record["epoch"], numbers=_numbers(record))

        yield show_bar


def print_resumed(
    console: Console, found: Checkpoint | None, complaints: Sequence[str], changed: Sequence[str]
) -> None:
    """Say from where the training goes on, and what stands against its being as it was."""
    for complaint in complaints:
        console.print(f"[yellow]{escape(complaint)}[/yellow]", soft_wrap=True)
    for change in changed:
        console.print(f"[yellow]not as when the run began: {escape(change)}[/yellow]")
    if found is None:
        console.print("the run has no checkpoint yet: starting at its beginning")
    else:
        where = f"step {int(found.underway.state.step):,}, after {_epochs(len(found.history))}"
        console.print(f"going on from {found.path} ({where})", soft_wrap=True)


def print_stopped(console: Console, path: Path, checkpoint: Path) -> None:
    """Say where a training that was asked to stop is kept."""
    console.print(
        f"stopped, as asked; all is saved in {checkpoint}\n"
        f"[bold]cnn-jax train --resume {path}[/bold] goes on from there",
        soft_wrap=True,
    )


def print_result(
    console: Console, path: Path, result: Mapping[str, Any], history: Sequence[Record]
) -> None:
    """Print the final table and where the run is."""
    if not history:
        return
    last = history[-1]
    table = Table(title=f"After {_epochs(len(history))}", title_style="bold", title_justify="left")
    table.add_column("")
    table.add_column("training", justify="right")
    table.add_column("held out", justify="right", style="bold")
    table.add_row("accuracy", f"{last['train_accuracy']:.2%}", f"{last['validation_accuracy']:.2%}")
    table.add_row("loss", f"{last['train_loss']:.4f}", f"{last['validation_loss']:.4f}")
    examples = result["held_out_examples"]
    wrong = round((1 - last["validation_accuracy"]) * examples)
    table.add_row("mistakes", "", f"{wrong} of {examples}")
    if "test_accuracy" in result:
        table.add_row("test", "", f"{result['test_accuracy']:.2%} of {result['test_examples']:,}")
    console.print(table)
    training = sum(record["seconds"] for record in history)
    console.print(
        f"{result['seconds']:.1f} s in all, {training:.1f} s of them training "
        f"(the first epoch, with compilation, {history[0]['seconds']:.1f} s)",
        soft_wrap=True,
    )
    console.print(f"the run is in [bold]{path}[/bold]", soft_wrap=True)


def _epochs(count: int) -> str:
    return f"{count} epoch{'' if count == 1 else 's'}"


def _numbers(record: Record) -> str:
    return (
        f"loss {record['train_loss']:.4f}, held out {record['validation_loss']:.4f}  "
        f"accuracy held out {record['validation_accuracy']:.2%}"
    )
