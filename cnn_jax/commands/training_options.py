"""The options that `cnn-jax train` and `cnn-jax sweep` have in common."""

from typing import Annotated

import typer

DATA, NETWORK, OPTIMISER, OUTPUT = "Data", "Network and run", "Optimiser", "Output"
"""The panels of the commands' help."""

Data = Annotated[
    str,
    typer.Option(
        "--data",
        "-d",
        metavar="NAME|PATH",
        help="The pictures: digits (the default, nothing is fetched); mnist, fashion-mnist, "
        "cifar10 or cifar100 (fetched at first use); or a path: a folder with a folder of "
        "pictures for each class, IDX files, CIFAR's files, or a .npz file.",
        rich_help_panel=DATA,
    ),
]
HeldOut = Annotated[
    float,
    typer.Option(
        metavar="SHARE",
        help="The share of the examples that is held out to measure the accuracy on, where "
        "the data has no validation part of its own.",
        rich_help_panel=DATA,
    ),
]
SplitSeed = Annotated[
    int,
    typer.Option(
        metavar="SEED",
        help="Which examples are held out; it does not depend on --seed.",
        min=0,
        max=2**32 - 1,
        rich_help_panel=DATA,
    ),
]
Resize = Annotated[
    int | None,
    typer.Option(
        metavar="PIXELS",
        help="Resize the pictures to this many pixels a side, for larger networks and for "
        "folders of pictures of several sizes.",
        min=1,
        rich_help_panel=DATA,
    ),
]
Channels = Annotated[
    int | None,
    typer.Option(
        metavar="1|3",
        help="For folders of pictures: read them all as grey (1) or as colour (3).",
        rich_help_panel=DATA,
    ),
]
Background = Annotated[
    float | None,
    typer.Option(
        metavar="LEVEL",
        help="For folders of pictures: the grey behind transparent pixels, from 0 (black) to "
        "1 (white).",
        rich_help_panel=DATA,
    ),
]
Labels = Annotated[
    str,
    typer.Option(
        metavar="KIND",
        help="For CIFAR-100: fine (100 classes) or coarse (20).",
        rich_help_panel=DATA,
    ),
]
Normalise = Annotated[
    bool,
    typer.Option(
        help="Shift and scale each channel to mean 0 and deviation 1, as learned from the "
        "pictures that are trained on.",
        rich_help_panel=DATA,
    ),
]
Augment = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="Change the pictures at random in each step: shift, flip, crop or cutout, several "
        "with commas between, or none. A number says how much: shift:2 moves by up to two "
        "pixels, crop:0.7 keeps at least that share of each side, cutout:4 blanks 4 x 4 "
        "pixels.",
        rich_help_panel=DATA,
    ),
]
Model = Annotated[
    str,
    typer.Option(
        "--model",
        "-m",
        metavar="NAME",
        help="An architecture of cnn_jax.models, such as small, lenet5 or resnet.",
        rich_help_panel=NETWORK,
    ),
]
Epochs = Annotated[
    int,
    typer.Option(
        "--epochs",
        "-e",
        metavar="N",
        help="How often to go through the training examples.",
        min=1,
        rich_help_panel=NETWORK,
    ),
]
BatchSize = Annotated[
    int,
    typer.Option(
        "--batch-size",
        "-b",
        metavar="N",
        help="How many examples each step learns from.",
        min=1,
        rich_help_panel=NETWORK,
    ),
]
Dtype = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="What the network computes in: float32 or bfloat16. Parameters and the loss are "
        "float32 either way.",
        rich_help_panel=NETWORK,
    ),
]
CpuKernels = Annotated[
    bool,
    typer.Option(help="Run on the faster CPU kernels.", rich_help_panel=NETWORK),
]
Optimizer = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="sgd, adamw, or any other optimiser of optax by its name.",
        rich_help_panel=OPTIMISER,
    ),
]
Momentum = Annotated[
    float | None,
    typer.Option(
        metavar="SHARE",
        help="The share of the last change that each step keeps. "
        "[dim]\\[default: 0.9 for sgd][/dim]",
        rich_help_panel=OPTIMISER,
    ),
]
Nesterov = Annotated[
    bool,
    typer.Option("--nesterov", help="Use Nesterov's form of momentum.", rich_help_panel=OPTIMISER),
]
WeightDecay = Annotated[
    float,
    typer.Option(
        metavar="RATE",
        help="Pulls kernels, not biases, towards zero: an L2 penalty with sgd, decoupled with "
        "adamw and the like.",
        rich_help_panel=OPTIMISER,
    ),
]
Clip = Annotated[
    float | None,
    typer.Option(
        metavar="NORM",
        help="Scale gradients down to this norm where they are larger.",
        rich_help_panel=OPTIMISER,
    ),
]
Schedule = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="How the learning rate falls: constant, linear, cosine or exponential.",
        rich_help_panel=OPTIMISER,
    ),
]
Warmup = Annotated[
    float,
    typer.Option(
        metavar="SHARE",
        help="The share of the run in which the learning rate first rises from 0.",
        rich_help_panel=OPTIMISER,
    ),
]
Quiet = Annotated[
    bool,
    typer.Option("--quiet", "-q", help="Print errors alone.", rich_help_panel=OUTPUT),
]
