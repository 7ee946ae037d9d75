"""Arguments and options that several commands have."""

from pathlib import Path
from typing import Annotated

import typer

RunFolder = Annotated[
    Path, typer.Argument(metavar="RUN", help="The folder of a run that cnn-jax train made.")
]
RunOrFile = Annotated[
    Path,
    typer.Argument(
        metavar="RUN",
        help="The folder of a run that cnn-jax train made, or a .safetensors file that cnn-jax "
        "export made of one.",
    ),
]
Best = Annotated[
    bool,
    typer.Option(
        "--best",
        help="Use the parameters after the epoch of the highest accuracy held out, not the last.",
    ),
]
BatchSize = Annotated[
    int,
    typer.Option("--batch-size", "-b", metavar="N", help="Pictures computed at a time.", min=1),
]
CpuKernels = Annotated[bool, typer.Option(help="Run on the faster CPU kernels.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for other programs.")]
