"""`cnn-jax train`: its options. `commands.job` does the work."""

from pathlib import Path
from typing import Annotated

import typer

from cnn_jax.commands.errors import UserError
from cnn_jax.commands.settings import Settings

_DATA, _NETWORK, _OPTIMISER = "Data", "Network and run", "Optimiser"
_CHECKPOINTS, _OUTPUT = "Checkpoints", "Output"
_WITH_RESUME = ("checkpoint_minutes", "keep", "pictures", "tensorboard", "quiet")
_default = Settings()


def train(
    context: typer.Context,
    data: Annotated[
        str,
        typer.Option(
            "--data",
            "-d",
            metavar="NAME|PATH",
            help="The pictures: digits (the default, nothing is fetched); mnist, fashion-mnist, "
            "cifar10 or cifar100 (fetched at first use); or a path: a folder with a folder of "
            "pictures for each class, IDX files, CIFAR's files, or a .npz file.",
            rich_help_panel=_DATA,
        ),
    ] = _default.data,
    held_out: Annotated[
        float,
        typer.Option(
            metavar="SHARE",
            help="The share of the examples that is held out to measure the accuracy on, where "
            "the data has no validation part of its own.",
            rich_help_panel=_DATA,
        ),
    ] = _default.held_out,
    split_seed: Annotated[
        int,
        typer.Option(
            metavar="SEED",
            help="Which examples are held out; it does not depend on --seed.",
            min=0,
            max=2**32 - 1,
            rich_help_panel=_DATA,
        ),
    ] = _default.split_seed,
    resize: Annotated[
        int | None,
        typer.Option(
            metavar="PIXELS",
            help="Resize the pictures to this many pixels a side, for larger networks and for "
            "folders of pictures of several sizes.",
            min=1,
            rich_help_panel=_DATA,
        ),
    ] = _default.resize,
    channels: Annotated[
        int | None,
        typer.Option(
            metavar="1|3",
            help="For folders of pictures: read them all as grey (1) or as colour (3).",
            rich_help_panel=_DATA,
        ),
    ] = _default.channels,
    background: Annotated[
        float | None,
        typer.Option(
            metavar="LEVEL",
            help="For folders of pictures: the grey behind transparent pixels, from 0 (black) to "
            "1 (white).",
            rich_help_panel=_DATA,
        ),
    ] = _default.background,
    labels: Annotated[
        str,
        typer.Option(
            metavar="KIND",
            help="For CIFAR-100: fine (100 classes) or coarse (20).",
            rich_help_panel=_DATA,
        ),
    ] = _default.labels,
    normalise: Annotated[
        bool,
        typer.Option(
            help="Shift and scale each channel to mean 0 and deviation 1, as learned from the "
            "pictures that are trained on.",
            rich_help_panel=_DATA,
        ),
    ] = _default.normalise,
    stream: Annotated[
        bool | None,
        typer.Option(
            "--stream/--in-memory",
            help="Read pictures from disk as they are needed, or all of them into memory first. "
            "[dim]\\[default: stream what fills a quarter of the memory][/dim]",
            rich_help_panel=_DATA,
        ),
    ] = _default.stream,
    workers: Annotated[
        int,
        typer.Option(
            metavar="N",
            help="How many processes read and decode streamed pictures; 0 does it in threads, "
            "which is best where nothing has to be decoded.",
            min=0,
            rich_help_panel=_DATA,
        ),
    ] = _default.workers,
    augment: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Change the pictures at random in each step: shift, flip, crop or cutout, several "
            "with commas between, or none. A number says how much: shift:2 moves by up to two "
            "pixels, crop:0.7 keeps at least that share of each side, cutout:4 blanks 4 x 4 "
            "pixels.",
            rich_help_panel=_DATA,
        ),
    ] = _default.augment,
    model: Annotated[
        str,
        typer.Option(
            "--model",
            "-m",
            metavar="NAME",
            help="An architecture of cnn_jax.models, such as small, lenet5 or resnet.",
            rich_help_panel=_NETWORK,
        ),
    ] = _default.model,
    epochs: Annotated[
        int,
        typer.Option(
            "--epochs",
            "-e",
            metavar="N",
            help="How often to go through the training examples.",
            min=1,
            rich_help_panel=_NETWORK,
        ),
    ] = _default.epochs,
    batch_size: Annotated[
        int,
        typer.Option(
            "--batch-size",
            "-b",
            metavar="N",
            help="How many examples each step learns from.",
            min=1,
            rich_help_panel=_NETWORK,
        ),
    ] = _default.batch_size,
    seed: Annotated[
        int,
        typer.Option(
            "--seed",
            "-s",
            metavar="SEED",
            help="Decides the initial parameters, the order of the examples and dropout.",
            min=0,
            max=2**32 - 1,
            rich_help_panel=_NETWORK,
        ),
    ] = _default.seed,
    dtype: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="What the network computes in: float32 or bfloat16. Parameters and the loss are "
            "float32 either way.",
            rich_help_panel=_NETWORK,
        ),
    ] = _default.dtype,
    cpu_kernels: Annotated[
        bool,
        typer.Option(help="Run on the faster CPU kernels.", rich_help_panel=_NETWORK),
    ] = _default.cpu_kernels,
    optimizer: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="sgd, adamw, or any other optimiser of optax by its name.",
            rich_help_panel=_OPTIMISER,
        ),
    ] = _default.optimizer,
    learning_rate: Annotated[
        float,
        typer.Option(
            "--learning-rate",
            "-l",
            metavar="RATE",
            help="The largest learning rate of the run.",
            rich_help_panel=_OPTIMISER,
        ),
    ] = _default.learning_rate,
    momentum: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE",
            help="The share of the last change that each step keeps. "
            "[dim]\\[default: 0.9 for sgd][/dim]",
            rich_help_panel=_OPTIMISER,
        ),
    ] = _default.momentum,
    nesterov: Annotated[
        bool,
        typer.Option(
            "--nesterov", help="Use Nesterov's form of momentum.", rich_help_panel=_OPTIMISER
        ),
    ] = _default.nesterov,
    weight_decay: Annotated[
        float,
        typer.Option(
            metavar="RATE",
            help="Pulls kernels, not biases, towards zero: an L2 penalty with sgd, decoupled with "
            "adamw and the like.",
            rich_help_panel=_OPTIMISER,
        ),
    ] = _default.weight_decay,
    clip: Annotated[
        float | None,
        typer.Option(
            metavar="NORM",
            help="Scale gradients down to this norm where they are larger.",
            rich_help_panel=_OPTIMISER,
        ),
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
            rich_help_panel=_OUTPUT,
        ),
    ] = _default.out,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite",
            help="Replace the run that is in the folder already.",
            rich_help_panel=_OUTPUT,
        ),
    ] = _default.overwrite,
    pictures: Annotated[
        bool,
        typer.Option(help="Draw curves, filters, maps and mistakes.", rich_help_panel=_OUTPUT),
    ] = _default.pictures,
    tensorboard: Annotated[
        bool,
        typer.Option(
            "--tensorboard",
            help="Write event files for TensorBoard, too, to tensorboard/ in the run folder.",
            rich_help_panel=_OUTPUT,
        ),
    ] = _default.tensorboard,
    quiet: Annotated[
        bool,
        typer.Option("--quiet", "-q", help="Print errors alone.", rich_help_panel=_OUTPUT),
    ] = _default.quiet,
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
