"""Runs an unmodified program with the CPU kernels installed: `python -m cnn_jax.cpu script.py`."""

import argparse
import runpy
import sys

from cnn_jax import cpu
from cnn_jax.cpu.settings import FAMILIES


def main(arguments: list[str] | None = None) -> None:
    """Install, then run a script or a module as `python` itself would."""
    parser = argparse.ArgumentParser(
        prog="python -m cnn_jax.cpu",
        description="Run a Python program with faster CPU kernels for JAX.",
        usage="%(prog)s [options] (script.py | -m module) [arguments of the program ...]",
    )
    parser.add_argument(
        "--kernels", help=f"families to use, separated by commas, of {', '.join(FAMILIES)}"
    )
    parser.add_argument(
        "--strict", action="store_true", default=None, help="make a fallback an error"
    )
    parser.add_argument(
        "--compare", action="store_true", default=None, help="check each result against XLA's own"
    )
    parser.add_argument(
        "--return-memory", action="store_true", help="give freed memory back to the system"
    )
    parser.add_argument(
        "--tune", action="store_true", default=None, help="time the kernels for each operation"
    )
    parser.add_argument(
        "--tune-file", metavar="FILE.jsonl", help="the same, and keep what was measured there"
    )
    parser.add_argument("--explain", action="store_true", help="print the status at the end")
    parser.add_argument("-m", dest="module", action="store_true", help="run a module")
    parser.add_argument("program", help="the script, or the module's name with -m")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="arguments of the program")
    options = parser.parse_args(arguments)

    try:
        cpu.install(
            kernels=None if options.kernels is None else options.kernels.split(","),
            strict=options.strict,
            compare=options.compare,
            keep_memory=False if options.return_memory else None,
            tune=options.tune_file or options.tune,
        )
    except (TypeError, ValueError) as error:
        parser.error(str(error))

    sys.argv = [options.program, *options.arguments]
    try:
        if options.module:
            runpy.run_module(options.program, run_name="__main__", alter_sys=True)
        else:
            # As `python script.py` does: its folder comes first on the path.
            import pathlib

            sys.path[0] = str(pathlib.Path(options.program).resolve().parent)
            runpy.run_path(options.program, run_name="__main__")
    finally:
        if options.explain:
            print(cpu.status(), file=sys.stderr)


if __name__ == "__main__":
    main()
