"""`cnn-jax sweep`: its options. `commands.sweep_job` does the work."""

import math
from pathlib import Path
from typing import Annotated

import typer

from cnn_jax.commands.errors import UserError
from cnn_jax.commands.settings import Settings

_SWEEP, _DATA, _NETWORK, _OPTIMISER, _OUTPUT = (
    *("What is varied", "Data", "Network and run", "Optimiser", "Output"),
)
_default = Settings()


def sweep(
    learning_rates: Annotated[
        str,
        typer.Option(
            "--learning-rates",
            "-l",
            metavar="RATES",
            help="The largest learning rates, separated by commas, or LOW:HIGH:COUNT for so many "
            "with equal ratios.",
            rich_help_panel=_SWEEP,
        ),
    ] = "0.01,0.03,0.1,0.3",
    seeds: Annotated[
        str,
        typer.Option(
            "--seeds",
            "-s",
            metavar="SEEDS",
            help="The seeds, separated by commas, or FIRST:LAST. Each rate is tried with each.",
            rich_help_panel=_SWEEP,
        ),
    ] = "0,1",
    at_once: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="How many trainings a device computes at the same time. "
            "[dim]\\[default: all, but 1 for each core of a CPU][/dim]",
            min=1,
            rich_help_panel=_SWEEP,
        ),
    ] = None,
    data: Annotated[
        str,
        typer.Option(
            metavar="PATH|NAME",
            help="What to learn from: whatever cnn-jax train takes.",
            rich_help_panel=_DATA,
        ),
    ] = _default.data,
    held_out: Annotated[
        float,
        typer.Option(
            metavar="SHARE",
            help="The share that is held out, where the data has no validation part.",
            rich_help_panel=_DATA,
        ),
    ] = _default.held_out,
    resize: Annotated[
        int | None,
        typer.Option(
            metavar="PIXELS",
            help="Resize the pictures to this many pixels a side.",
            min=1,
            rich_help_panel=_DATA,
        ),
    ] = _default.resize,
    channels: Annotated[
        int | None,
        typer.Option(metavar="1|3", help="Read as grey or as colour.", rich_help_panel=_DATA),
    ] = _default.channels,
    augment: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Change the pictures at random in each step.",
            rich_help_panel=_DATA,
        ),
    ] = _default.augment,
    model: Annotated[
        str,
        typer.Option(
            "--model",
            "-m",
            metavar="NAME",
            help="An architecture of cnn_jax.models.",
            rich_help_panel=_NETWORK,
        ),
    ] = _default.model,
    epochs: Annotated[
        int,
        typer.Option("--epochs", "-e", metavar="N", min=1, rich_help_panel=_NETWORK),
    ] = _default.epochs,
    batch_size: Annotated[
        int,
        typer.Option("--batch-size", "-b", metavar="N", min=1, rich_help_panel=_NETWORK),
    ] = _default.batch_size,
    cpu_kernels: Annotated[
        bool,
        typer.Option(help="Run on the faster CPU kernels.", rich_help_panel=_NETWORK),
    ] = _default.cpu_kernels,
    dtype: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="What the network computes in: float32 or bfloat16.",
            rich_help_panel=_NETWORK,
        ),
    ] = _default.dtype,
    optimizer: Annotated[
        str,
        typer.Option(metavar="NAME", help="As in cnn-jax train.", rich_help_panel=_OPTIMISER),
    ] = _default.optimizer,
    momentum: Annotated[
        float | None, typer.Option(metavar="SHARE", rich_help_panel=_OPTIMISER)
    ] = _default.momentum,
    weight_decay: Annotated[
        float, typer.Option(metavar="RATE", rich_help_panel=_OPTIMISER)
    ] = _default.weight_decay,
    clip: Annotated[
        float | None, typer.Option(metavar="NORM", rich_help_panel=_OPTIMISER)
    ] = _default.clip,
    schedule: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="How the learning rate falls: constant, linear, cosine or exponential.",
            rich_help_panel=_OPTIMISER,
        ),
    ] = _default.schedule,
    warmup: Annotated[
        float,
        typer.Option(
            metavar="SHARE",
            help="The share of the run in which the learning rate first rises from 0.",
            rich_help_panel=_OPTIMISER,
        ),
    ] = _default.warmup,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="FOLDER",
            help="A new folder. [dim]\\[default: sweeps/ and the date and time][/dim]",
            rich_help_panel=_OUTPUT,
        ),
    ] = None,
    pictures: Annotated[
        bool,
        typer.Option(
            help="Draw what the best network has learned, and its mistakes.",
            rich_help_panel=_OUTPUT,
        ),
    ] = _default.pictures,
    quiet: Annotated[
        bool,
        typer.Option("--quiet", "-q", help="Print errors alone.", rich_help_panel=_OUTPUT),
    ] = _default.quiet,
) -> None:
    """Train a network with many learning rates and seeds at once, and rank them.

    All of them are trained in one program, side by side on the cores or on the accelerator. The
    folder holds every number (sweep.json), a plot (sweep.png) and the best network as a run of its
    own (best/), for cnn-jax evaluate, predict and export.

    Ctrl-C stops after the epoch that is running and keeps what was learned; twice stops at once.
    """
    rates = parse_rates(learning_rates)
    chosen = parse_seeds(seeds)

    from cnn_jax.commands.sweep_job import run_sweep

    settings = Settings(
        data=data,
        held_out=held_out,
        resize=resize,
        channels=channels,
        augment=augment,
        model=model,
        dtype=dtype,
        optimizer=optimizer,
        momentum=momentum,
        weight_decay=weight_decay,
        clip=clip,
        schedule=schedule,
        warmup=warmup,
        epochs=epochs,
        batch_size=batch_size,
        cpu_kernels=cpu_kernels,
        out=out,
        pictures=pictures,
        quiet=quiet,
    )
    raise typer.Exit(run_sweep(settings, rates, chosen, at_once))


def parse_rates(text: str) -> list[float]:
    """Read learning rates.

    >>> parse_rates("0.1, 0.02"), parse_rates("0.01:1:3")
    ([0.1, 0.02], [0.01, 0.1, 1.0])
    """
    expected = (
        f"--learning-rates: expected numbers above 0 such as 0.01,0.1, or LOW:HIGH:COUNT such as "
        f"0.01:0.3:4, not {text!r}"
    )
    try:
        if ":" in text:
            low, high, count = text.split(":")
            first, last, steps = float(low), float(high), int(count) - 1
            if steps < 1 or not first < last:
                raise ValueError
            rates = [
                float(f"{first * (last / first) ** (i / steps):.6g}") for i in range(steps + 1)
            ]
        else:
            rates = [float(part) for part in text.split(",")]
    except (ValueError, ZeroDivisionError, OverflowError):
        raise UserError(expected, 2) from None
    if not all(math.isfinite(rate) and rate > 0 for rate in rates):
        raise UserError(expected, 2)
    return list(dict.fromkeys(rates))


def parse_seeds(text: str) -> list[int]:
    """Read seeds.

    >>> parse_seeds("7,3"), parse_seeds("0:3")
    ([7, 3], [0, 1, 2, 3])
    """
    try:
        if ":" in text:
            first, last = map(int, text.split(":"))
            seeds = list(range(first, last + 1)) if last - first < 10**6 else []
        else:
            seeds = [int(part) for part in text.split(",")]
    except ValueError:
        seeds = []
    if not seeds or min(seeds) < 0 or max(seeds) >= 2**32:
        raise UserError(
            f"--seeds: expected whole numbers from 0 to {2**32 - 1} such as 0,1,2, or FIRST:LAST "
            f"such as 0:3, not {text!r}",
            2,
        )
    return list(dict.fromkeys(seeds))
