"""Time and peak memory of a training step against batch, picture size, channels and depth."""

from collections.abc import Sequence
from typing import Annotated, Any

import typer
from rich.table import Table

from benchmarks import command, scaling_pictures
from benchmarks.command import Step
from benchmarks.harness import Case, Contender, Limits, Row
from benchmarks.report import Report, milliseconds
from benchmarks.statistics import Growth, growth

CONTENDERS = (
    Contender("cnn_jax", "benchmarks.steps_in_jax:prepare", {"library": "cnn_jax"}),
    Contender(
        "cnn_jax+cpu", "benchmarks.steps_in_jax:prepare", {"library": "cnn_jax", "cpu": "keep"}
    ),
    Contender(
        "cnn_jax+cpu, memory returned",
        "benchmarks.steps_in_jax:prepare",
        {"library": "cnn_jax", "cpu": "return"},
    ),
    Contender("torch", "benchmarks.steps_in_torch:prepare"),
)

# `depth` 3x3 convolutions of `channels` on pictures of side `size`; each axis varies one number.
BASE = {"batch": 16, "size": 32, "channels": 32, "depth": 4}
AXES = {
    "batch": (1, 2, 4, 8, 16, 32, 64, 128),
    "size": (8, 16, 32, 64, 128),
    "channels": (4, 8, 16, 32, 64, 128),
    "depth": (1, 2, 4, 8, 16),
}


def plan(
    quick: bool = False,
    axes: Sequence[str] | None = None,
    contenders: Sequence[str] | None = None,
) -> command.Plan:
    """Plan the benchmark.

    Raises:
        typer.BadParameter: an unknown axis.
    """
    for axis in axes or ():
        if axis not in AXES:
            raise typer.BadParameter(f"unknown axis {axis!r}; the axes are {', '.join(AXES)}")
    chosen = command.choose(CONTENDERS, contenders)
    if quick and not contenders:
        chosen = command.choose(CONTENDERS, ("cnn_jax", "cnn_jax+cpu"))
    steps = []
    for axis in axes or AXES:
        values = AXES[axis][1:-1:2] if quick else AXES[axis]
        for i, value in enumerate(values):
            steps.append(_step(axis, value, chosen, fresh=i == 0, longest=0.3 if quick else 1.0))
    limits = Limits(turn=0.03, rounds=7, case=3.0)
    if quick:
        limits = Limits(turn=0.01, rounds=3, case=0.5, prepare=60)
    return command.Plan(
        "scaling",
        steps,
        tables,
        scaling_pictures.figures,
        limits,
        {"base": BASE},
        findings,
    )


def _step(
    axis: str, value: int, contenders: Sequence[Contender], fresh: bool, longest: float
) -> Step:
    sizes = {**BASE, axis: value}
    settings = {
        "axis": axis,
        "value": value,
        "network": "plain",
        "sizes": {name: sizes[name] for name in ("size", "channels", "depth")},
        "batch": sizes["batch"],
        "dtype": "float32",
        "mode": "train",
    }
    work = sizes["batch"] * sizes["size"] ** 2 * sizes["channels"] ** 2 * sizes["depth"]
    smallest = {**settings, "sizes": {"size": 8, "channels": 4, "depth": 1}, "batch": 1}
    return Step(
        Case(f"{axis} {value}", settings, 2e-3),
        contenders,
        memory=True,
        fresh=fresh,
        # What a library needs to do anything at all is no part of the growth.
        warm_up=Case("start", smallest, 2e-3) if fresh else None,
        series=axis,
        work=work,
        longest=longest,
    )


def lines(rows: Sequence[Row]) -> dict[str, dict[str, list[Row]]]:
    """The timed rows by axis and contender, in the order of the axis."""
    found: dict[str, dict[str, list[Row]]] = {}
    for row in rows:
        if row.timed:
            found.setdefault(row.settings["axis"], {}).setdefault(row.contender, []).append(row)
    for by_contender in found.values():
        for line in by_contender.values():
            line.sort(key=lambda row: row.settings["value"])
    return found


def working_bytes(line: Sequence[Row]) -> list[tuple[int, int]]:
    """(value, peak memory beyond what the process held after the smallest network)."""
    before = [row.facts.get("resident_bytes_before") for row in line]
    if not line or before[0] is None:
        return []
    return [
        (row.settings["value"], max(1, row.peak_bytes - before[0]))
        for row in line
        if row.peak_bytes is not None
    ]


def time_growth(line: Sequence[Row]) -> Growth | None:
    """How time grows along a line."""
    return growth([row.settings["value"] for row in line], [row.spread.median for row in line])


def memory_growth(line: Sequence[Row]) -> Growth | None:
    """How memory grows along a line."""
    points = working_bytes(line)
    return growth([value for value, _ in points], [size for _, size in points])


def findings(rows: list[Row]) -> dict[str, Any]:
    """The exponents, and from where each straight line holds."""
    found = {}
    for axis, by_contender in lines(rows).items():
        for contender, line in by_contender.items():
            for what, fit in (("time", time_growth(line)), ("memory", memory_growth(line))):
                if fit is not None:
                    found[f"{what} against {axis}, {contender}"] = {
                        "exponent": round(fit.exponent, 2),
                        "straight_from": fit.straight_from,
                    }
    return found


def tables(report: Report) -> list[Table]:
    """A table for each axis: milliseconds and megabytes."""
    made = []
    for axis, by_contender in lines(report.rows).items():
        rows = [row for line in by_contender.values() for row in line]
        values = sorted({row.settings["value"] for row in rows})
        rest = ", ".join(f"{name} {value}" for name, value in BASE.items() if name != axis)
        table = Table(
            f"{axis}:",
            "",
            *map(str, values),
            "exponent",
            "straight from",
            title=f"a training step against {axis} ({rest})",
            caption="MB: peak beyond what the process held after the smallest network",
        )
        for contender, line in by_contender.items():
            times = {
                row.settings["value"]: milliseconds(row.spread.median).removesuffix(" ms")
                for row in line
            }
            sizes = {value: f"{size / 2**20:,.0f}" for value, size in working_bytes(line)}
            for name, unit, cells, fit in (
                (contender, "ms", times, time_growth(line)),
                ("", "MB", sizes, memory_growth(line)),
            ):
                last = [f"{fit.exponent:.2f}", f"{fit.straight_from:g}"] if fit else ["", ""]
                table.add_row(name, unit, *[cells.get(value, "") for value in values], *last)
        made.append(table)
    return made


def main(
    quick: command.Quick = False,
    axis: Annotated[
        list[str] | None, typer.Option(help=f"One of {', '.join(AXES)}; may be repeated.")
    ] = None,
    contender: command.Contenders = None,
    out: command.Out = None,
    compare: command.Compare = None,
    threads: command.Threads = None,
    overwrite: command.Overwrite = False,
) -> None:
    """Measure time and peak memory of a training step against four sizes."""
    made = plan(quick, axis, contender)
    command.carry_out(made, command.Options(quick, out, compare, threads, overwrite))


if __name__ == "__main__":
    typer.run(main)
