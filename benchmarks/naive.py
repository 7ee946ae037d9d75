"""Naive loops against vectorised kernels: correlation in 1-D, 2-D and 3-D, and max-pooling.

The same arithmetic as loops in Python, as jitted loops over output positions and taps, as a jitted
loop over taps, as one operation of XLA, and that operation with `cnn_jax.cpu` installed.
"""

from collections.abc import Sequence
from typing import Annotated, Any

import typer
from rich.table import Table

from benchmarks import command, naive_pictures
from benchmarks.command import Step
from benchmarks.harness import Case, Contender, Limits, Row
from benchmarks.naive_indices import PASSES, Windows
from benchmarks.report import Report, milliseconds
from benchmarks.statistics import growth

_JAX = "benchmarks.naive_in_jax:prepare"
CONTENDERS = (
    Contender("Python loops", "benchmarks.naive_in_numpy:prepare"),
    Contender("jitted loops over positions and taps", _JAX, {"form": "positions"}),
    Contender("jitted loop over taps", _JAX, {"form": "taps"}),
    Contender("one operation", _JAX, {"form": "whole"}),
    Contender("one operation, cpu installed", _JAX, {"form": "whole", "cpu": "keep"}),
)

# The side of the input by (operation, rank): up to about a million numbers.
SIZES = {
    ("correlate", 1): (32, 256, 2048, 16384, 131072, 1048576),
    ("correlate", 2): (8, 16, 32, 64, 128, 256, 512, 1024),
    ("correlate", 3): (4, 8, 16, 32, 64, 100),
    ("max_pool", 2): (8, 16, 32, 64, 128, 256, 512, 1024),
}
KINDS = {f"{operation}-{rank}d": (operation, rank) for operation, rank in SIZES}


def plan(
    quick: bool = False,
    kinds: Sequence[str] | None = None,
    sizes: Sequence[int] | None = None,
    contenders: Sequence[str] | None = None,
) -> command.Plan:
    """Plan the benchmark; sizes that can't be become rows that say so."""
    chosen = command.choose(CONTENDERS, contenders)
    steps = []
    for kind in kinds or KINDS:
        operation, rank = KINDS.get(kind, (kind, 1))
        usual = SIZES.get((operation, rank), (32,))
        for which in PASSES:
            for size in sorted(sizes or (usual[::2] if quick else usual)):
                settings = {"operation": operation, "rank": rank, "size": size, "pass": which}
                case = Case(f"{kind}, {which}, {size}", settings, 1e-3, truth="Python loops")
                longest = 0.1 if quick else 1.0
                work = _work(settings)
                series = f"{kind}, {which}"
                steps.append(Step(case, chosen, series=series, work=work, longest=longest))
    limits = Limits(turn=0.01, rounds=5 if quick else 9, case=0.3 if quick else 2.0)
    return command.Plan("naive", steps, tables, naive_pictures.figures, limits, findings=findings)


def _work(settings: dict[str, Any]) -> float:
    try:
        return Windows.of(settings).work
    except ValueError:
        return 1.0


def series(rows: Sequence[Row]) -> dict[tuple[str, int, str], dict[str, list[Row]]]:
    """The timed rows by (operation, rank, pass) and contender, in the order of sizes."""
    found: dict[tuple[str, int, str], dict[str, list[Row]]] = {}
    for row in sorted(rows, key=lambda row: row.settings["size"]):
        if row.timed:
            key = (row.settings["operation"], row.settings["rank"], row.settings["pass"])
            found.setdefault(key, {}).setdefault(row.contender, []).append(row)
    return {key: found[key] for key in sorted(found, key=lambda key: (key[2], key[0], key[1]))}


def numbers(row: Row) -> int:
    """How many numbers the input has."""
    return row.settings["size"] ** row.settings["rank"]


def findings(rows: list[Row]) -> dict[str, Any]:
    """For each series and contender: exponent, from where it holds, and compile time."""
    found = {}
    for (operation, rank, which), lines in series(rows).items():
        for contender, line in lines.items():
            fit = growth([numbers(row) for row in line], [row.spread.median for row in line])
            compiled = [
                row.facts["compile_seconds"] for row in line if "compile_seconds" in row.facts
            ]
            found[f"{operation} {rank}-D {which}, {contender}"] = {
                "exponent": round(fit.exponent, 2) if fit else None,
                "straight_from": fit.straight_from if fit else None,
                "compile_seconds": round(max(compiled), 3) if compiled else None,
            }
    return found


def tables(report: Report) -> list[Table]:
    """A table for each operation and pass."""
    return [
        _table(f"{operation} {rank}-D, {which}", key, lines, report)
        for key, lines in series(report.rows).items()
        for operation, rank, which in [key]
    ]


def _table(title: str, key: Any, lines: dict[str, list[Row]], report: Report) -> Table:
    operation, rank, which = key
    sizes = sorted({row.settings["size"] for line in lines.values() for row in line})
    caption = "milliseconds by size of the input; times faster than Python loops where both ran"
    table = Table("", *(f"{n:,}" for n in sizes), title=title, caption=caption)
    for name in ("exponent", "compile s", "faster"):
        table.add_column(name, style="bold")
    python = {row.settings["size"]: row for row in lines.get("Python loops", [])}
    for contender, line in lines.items():
        by_size = {row.settings["size"]: row for row in line}
        cells = [
            milliseconds(by_size[n].spread.median).removesuffix(" ms") if n in by_size else ""
            for n in sizes
        ]
        found = report.findings[f"{operation} {rank}-D {which}, {contender}"]
        both = [n for n in sizes if n in by_size and n in python]
        faster = (
            f"{python[both[-1]].spread.median / by_size[both[-1]].spread.median:,.0f}×"
            if both
            else ""
        )
        last = [
            "" if found[n] is None else f"{found[n]:.2f}" for n in ("exponent", "compile_seconds")
        ]
        table.add_row(contender, *cells, *last, faster)
    return table


def main(
    quick: command.Quick = False,
    kind: Annotated[
        list[str] | None, typer.Option(help=f"One of {', '.join(KINDS)}; may be repeated.")
    ] = None,
    size: Annotated[
        list[int] | None, typer.Option(help="The side of the input; may be repeated.")
    ] = None,
    contender: command.Contenders = None,
    out: command.Out = None,
    compare: command.Compare = None,
    threads: command.Threads = None,
    overwrite: command.Overwrite = False,
) -> None:
    """Time naive loops against vectorised kernels over a range of sizes."""
    made = plan(quick, kind, size, contender)
    command.carry_out(made, command.Options(quick, out, compare, threads, overwrite))


if __name__ == "__main__":
    typer.run(main)
