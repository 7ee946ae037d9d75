"""The command `cnn-jax`."""

import inspect
import sys
import warnings
from collections.abc import Sequence
from typing import Annotated

import typer

from cnn_jax import __version__
from cnn_jax.commands.errors import UserError, describe
from cnn_jax.commands.evaluate import evaluate
from cnn_jax.commands.export import export
from cnn_jax.commands.info import info
from cnn_jax.commands.lecture import lecture
from cnn_jax.commands.predict import predict
from cnn_jax.commands.report import report
from cnn_jax.commands.runs import runs
from cnn_jax.commands.sweep import sweep
from cnn_jax.commands.train import train


def _unwrapped(docstring: str) -> str:
    """Join the lines of each paragraph, so that help is wrapped to the terminal alone."""
    paragraphs = inspect.cleandoc(docstring).split("\n\n")
    return "\n\n".join(p if p.startswith(" ") else p.replace("\n", " ") for p in paragraphs)


app = typer.Typer(
    name="cnn-jax",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Convolutional neural networks in JAX: train them, look into them, learn from them.",
)
for command in (train, evaluate, predict, runs, report, sweep, export, lecture, info):
    app.command(help=_unwrapped(command.__doc__ or ""))(command)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"cnn_jax {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", help="Show the version.", is_eager=True, callback=_print_version),
    ] = False,
) -> None: ...


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status: 0, 1 (it failed) or 2 (wrong usage).

    An error that the user can put right is one line on standard error.
    """
    # Pictures of a size that pillow warns of are refused with an error of our own, in one line.
    warnings.filterwarnings("ignore", message="Image size .* exceeds limit")
    command = typer.main.get_command(app)
    try:
        status = command.main(
            args=None if arguments is None else list(arguments),
            prog_name="cnn-jax",
            standalone_mode=False,
        )
    except UserError as error:
        return _complain(str(error), error.status)
    except typer.TyperException as error:
        return _complain(error.format_message().replace(": Value error, ", ": "), error.exit_code)
    except OSError as error:
        return _complain(describe(error), 1)
    except (KeyboardInterrupt, typer.Abort):
        return _complain("interrupted", 130)
    return status if isinstance(status, int) else 0


def _complain(message: str, status: int) -> int:
    if message:
        print(f"cnn-jax: error: {' '.join(message.split())}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
