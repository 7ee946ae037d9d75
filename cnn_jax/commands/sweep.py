"""`cnn-jax sweep`: its options. `commands.sweep_job` does the work."""

import math
from pathlib import Path
from typing import Annotated

import typer

from cnn_jax.commands import training_options as option
from cnn_jax.commands.errors import UserError
from cnn_jax.commands.settings import Settings

_SWEEP = "What is varied"
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
    data: option.Data = _default.data,
    held_out: option.HeldOut = _default.held_out,
    split_seed: option.SplitSeed = _default.split_seed,
    resize: option.Resize = _default.resize,
    channels: option.Channels = _default.channels,
    background: option.Background = _default.background,
    labels: option.Labels = _default.labels,
    normalise: option.Normalise = _default.normalise,
    augment: option.Augment = _default.augment,
    model: option.Model = _default.model,
    epochs: option.Epochs = _default.epochs,
    batch_size: option.BatchSize = _default.batch_size,
    dtype: option.Dtype = _default.dtype,
    cpu_kernels: option.CpuKernels = _default.cpu_kernels,
    optimizer: option.Optimizer = _default.optimizer,
    momentum: option.Momentum = _default.momentum,
    nesterov: option.Nesterov = _default.nesterov,
    weight_decay: option.WeightDecay = _default.weight_decay,
    clip: option.Clip = _default.clip,
    schedule: option.Schedule = _default.schedule,
    warmup: option.Warmup = _default.warmup,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="FOLDER",
            help="A new folder. [dim]\\[default: sweeps/ and the date and time][/dim]",
            rich_help_panel=option.OUTPUT,
        ),
    ] = None,
    pictures: Annotated[
        bool,
        typer.Option(
            help="Draw what the best network has learned, and its mistakes.",
            rich_help_panel=option.OUTPUT,
        ),
    ] = _default.pictures,
    quiet: option.Quiet = _default.quiet,
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
        split_seed=split_seed,
        resize=resize,
        channels=channels,
        background=background,
        labels=labels,
        normalise=normalise,
        augment=augment,
        model=model,
        dtype=dtype,
        optimizer=optimizer,
        momentum=momentum,
        nesterov=nesterov,
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
