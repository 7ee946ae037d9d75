"""`cnn-jax train`: its options. `commands.job` does the work."""

from pathlib import Path
from typing import Annotated

import typer

from cnn_jax.commands import training_options as option
from cnn_jax.commands.errors import UserError
from cnn_jax.commands.settings import Settings

_CHECKPOINTS = "Checkpoints"
_WITH_RESUME = ("checkpoint_minutes", "keep", "pictures", "tensorboard", "quiet")
_default = Settings()


def train(
    context: typer.Context,
    data: option.Data = _default.data,
    held_out: option.HeldOut = _default.held_out,
    split_seed: option.SplitSeed = _default.split_seed,
    resize: option.Resize = _default.resize,
    channels: option.Channels = _default.channels,
    background: option.Background = _default.background,
    labels: option.Labels = _default.labels,
    normalise: option.Normalise = _default.normalise,
    stream: Annotated[
        bool | None,
        typer.Option(
            "--stream/--in-memory",
            help="Read pictures from disk as they are needed, or all of them into memory first. "
            "[dim]\\[default: stream what fills a quarter of the memory][/dim]",
            rich_help_panel=option.DATA,
        ),
    ] = _default.stream,
    workers: Annotated[
        int,
        typer.Option(
            metavar="N",
            help="How many processes read and decode streamed pictures; 0 does it in threads, "
            "which is best where nothing has to be decoded.",
            min=0,
            rich_help_panel=option.DATA,
        ),
    ] = _default.workers,
    augment: option.Augment = _default.augment,
    model: option.Model = _default.model,
    epochs: option.Epochs = _default.epochs,
    batch_size: option.BatchSize = _default.batch_size,
    seed: Annotated[
        int,
        typer.Option(
            "--seed",
            "-s",
            metavar="SEED",
            help="Decides the initial parameters, the order of the examples and dropout.",
            min=0,
            max=2**32 - 1,
            rich_help_panel=option.NETWORK,
        ),
    ] = _default.seed,
    dtype: option.Dtype = _default.dtype,
    cpu_kernels: option.CpuKernels = _default.cpu_kernels,
    optimizer: option.Optimizer = _default.optimizer,
    learning_rate: Annotated[
        float,
        typer.Option(
            "--learning-rate",
            "-l",
            metavar="RATE",
            help="The largest learning rate of the run.",
            rich_help_panel=option.OPTIMISER,
        ),
    ] = _default.learning_rate,
    momentum: option.Momentum = _default.momentum,
    nesterov: option.Nesterov = _default.nesterov,
    weight_decay: option.WeightDecay = _default.weight_decay,
    clip: option.Clip = _default.clip,
    schedule: option.Schedule = _default.schedule,
    warmup: option.Warmup = _default.warmup,
    resume: Annotated[
        Path | None,
        typer.Option(
            "--resume",
            metavar="RUN",
            help="Go on with the run in this folder, with its own settings, from its newest "
            "checkpoint, as if it had never been interrupted.",
            rich_help_panel=_CHECKPOINTS,
        ),
    ] = None,
    checkpoint_minutes: Annotated[
        float,
        typer.Option(
            metavar="N",
            help="Save a checkpoint every N minutes too, besides the one after each epoch.",
            rich_help_panel=_CHECKPOINTS,
        ),
    ] = _default.checkpoint_minutes,
    keep: Annotated[
        int,
        typer.Option(
            metavar="N",
            help="How many of the last checkpoints are kept, besides the best.",
            min=1,
            rich_help_panel=_CHECKPOINTS,
        ),
    ] = _default.keep,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="FOLDER",
            help="The run folder. [dim]\\[default: runs/ and the date and time][/dim]",
            rich_help_panel=option.OUTPUT,
        ),
    ] = _default.out,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite",
            help="Replace the run that is in the folder already.",
            rich_help_panel=option.OUTPUT,
        ),
    ] = _default.overwrite,
    pictures: Annotated[
        bool,
        typer.Option(
            help="Draw curves, filters, maps and mistakes.", rich_help_panel=option.OUTPUT
        ),
    ] = _default.pictures,
    tensorboard: Annotated[
        bool,
        typer.Option(
            "--tensorboard",
            help="Write event files for TensorBoard, too, to tensorboard/ in the run folder.",
            rich_help_panel=option.OUTPUT,
        ),
    ] = _default.tensorboard,
    quiet: option.Quiet = _default.quiet,
) -> None:
    """Train a network on labelled pictures and keep the run in a folder.

    Without options it learns handwritten digits, in well under a minute on two cores. The folder
    holds the configuration (config.json), the numbers of every epoch (metrics.jsonl), the trained
    parameters and, in pictures/, learning curves, filters, feature maps, a confusion matrix and
    the worst mistakes. The same options and seed give the same network again.

    After each epoch, and every few minutes within one, everything is saved in a checkpoint.
    Ctrl-C saves one and stops; --resume goes on from the last one after that, after a crash or a
    loss of power, and ends with the same network, bit for bit.
    """
    sources = {name: context.get_parameter_source(name) for name in context.params}
    given = [name for name, source in sources.items() if source and source.name == "COMMANDLINE"]
    if resume is not None:
        for name in given:
            if name not in ("resume", *_WITH_RESUME):
                option = name.replace("_", "-")
                raise UserError(
                    f"--resume goes on with the settings of the run; --{option} can't be given", 2
                )
        from cnn_jax.commands.job import resume_job

        changes = {name: context.params[name] for name in _WITH_RESUME if name in given}
        raise typer.Exit(resume_job(resume, **changes))

    from cnn_jax.commands.job import run_job

    status = run_job(
        Settings(
            data=data,
            held_out=held_out,
            split_seed=split_seed,
            resize=resize,
            channels=channels,
            background=background,
            labels=labels,
            normalise=normalise,
            stream=stream,
            workers=workers,
            augment=augment,
            model=model,
            optimizer=optimizer,
            learning_rate=learning_rate,
            momentum=momentum,
            nesterov=nesterov,
            weight_decay=weight_decay,
            clip=clip,
            schedule=schedule,
            warmup=warmup,
            epochs=epochs,
            batch_size=batch_size,
            seed=seed,
            dtype=dtype,
            checkpoint_minutes=checkpoint_minutes,
            keep=keep,
            cpu_kernels=cpu_kernels,
            out=out,
            overwrite=overwrite,
            pictures=pictures,
            tensorboard=tensorboard,
            quiet=quiet,
        )
    )
    raise typer.Exit(status)
