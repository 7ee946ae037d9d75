"""`cnn-jax export`: a trained network for elsewhere."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from cnn_jax.commands.errors import UserError, asked_for
from cnn_jax.commands.options import Best, RunOrFile


class Format(StrEnum):
    """What can be exported."""

    STABLEHLO = "stablehlo"
    SAFETENSORS = "safetensors"


class Pixels(StrEnum):
    """What pictures an exported program takes."""

    FLOAT32 = "float32"
    UINT8 = "uint8"


class Output(StrEnum):
    """What an exported program gives."""

    LOGITS = "logits"
    PROBABILITIES = "probabilities"


def export(
    run: RunOrFile,
    form: Annotated[
        Format,
        typer.Option(
            "--format",
            "-f",
            help="stablehlo: the whole function with its parameters, which JAX alone runs. "
            "safetensors: the parameters by name.",
        ),
    ] = Format.STABLEHLO,
    best: Best = False,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="FILE",
            help="The file. [dim]\\[default: model.stablehlo or .safetensors in the run][/dim]",
        ),
    ] = None,
    platform: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Where a program will run: cpu, cuda, rocm or tpu; several times for several. "
            "[dim]\\[default: cpu, cuda and tpu][/dim]",
        ),
    ] = None,
    pixels: Annotated[
        Pixels,
        typer.Option(help="What a program takes: numbers from 0 to 1, or bytes from 0 to 255."),
    ] = Pixels.FLOAT32,
    output: Annotated[Output, typer.Option(help="What a program gives.")] = Output.LOGITS,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the files that are there already.")
    ] = False,
) -> None:
    """Write a trained network as a file for other programs.

    A stablehlo program takes any number of pictures, height by width by channels, normalises them
    as in training, and needs nothing of cnn_jax:

        program = jax.export.deserialize(open("model.stablehlo", "rb").read())
        logits = program.call(pictures)

    A file of the same name with .json behind it says what the program takes and gives. Parameters
    in safetensors have names such as conv_0.kernel, and the metadata says the rest.
    """
    import jax

    from cnn_jax import export as exporting
    from cnn_jax.commands.info import versions
    from cnn_jax.commands.opened import open_run
    from cnn_jax.commands.pixel_range import is_unit, pixel_range_in, written

    opened = open_run(run, best)
    beside = run if run.is_dir() else run.parent
    path = out if out is not None else beside / f"model.{form}"
    values = pixel_range_in(opened.config)
    metadata: dict[str, Any] = {
        "model": opened.config["model"],
        "class_names": list(opened.class_names),
        "input_shape": list(opened.shape),
        "normalisation": opened.config.get("normalisation"),
        "pixel_range": list(values),
        "versions": versions(),
    }

    def forward(pictures: jax.Array) -> jax.Array:
        logits = opened.apply(pictures)
        return jax.nn.softmax(logits) if output is Output.PROBABILITIES else logits

    with asked_for():
        if form is Format.SAFETENSORS:
            exporting.save_safetensors(path, opened.params, metadata, overwrite=overwrite)
        else:
            if pixels is Pixels.UINT8 and not is_unit(values):
                raise UserError(
                    f"--pixels uint8: the run was trained on floats from {written(values)}, and "
                    "bytes count as 0 to 1; expected float32",
                    2,
                )
            exporting.check_free(path, overwrite=overwrite)
            chosen: dict[str, Any] = {"platforms": platform} if platform else {}
            program = exporting.to_stablehlo(forward, opened.shape, dtype=pixels.value, **chosen)
            floats = "0 to 1" if is_unit(values) else written(values)
            metadata |= {"pixels": "0 to 255" if pixels is Pixels.UINT8 else floats}
            metadata |= {"output_is": output.value, "normalisation_is": "inside"}
            try:
                exporting.save_stablehlo(path, program, metadata, overwrite=overwrite)
            except ImportError as error:  # JAX writes programs with flatbuffers
                raise UserError(f"{error}: pip install flatbuffers") from error
    typer.echo(f"wrote {path} ({path.stat().st_size:,} bytes)")
