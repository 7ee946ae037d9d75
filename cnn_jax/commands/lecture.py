"""`cnn-jax lecture`: the worked examples."""

from pathlib import Path
from typing import Annotated

import typer

from cnn_jax.commands.errors import UserError, asked_for, describe
from cnn_jax.lecture import PARTS


def lecture(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="PART",
            help=f"The parts to work through: {', '.join(PARTS)}. All of them by default.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="FOLDER", help="Write the figures to this folder."),
    ] = None,
    list_parts: Annotated[bool, typer.Option("--list", help="List the parts and stop.")] = False,
) -> None:
    """Work through a lecture on convolutional networks, with every number computed."""
    if list_parts:
        width = max(map(len, PARTS))
        for name, title in PARTS.items():
            typer.echo(f"{name:{width}}  {title}")
        return
    from cnn_jax import lecture

    with asked_for():
        for name in names or ():
            lecture.part(name)
    try:
        lecture.run(names or (), out)
    except OSError as error:
        raise UserError(describe(error)) from error
