"""Whole training steps and inference: cnn_jax, flax, equinox, haiku and PyTorch.

Every contender gets the same network, weights and batches; the losses of the first steps, and the
logits of inference, are compared before anything is timed. SGD with momentum; parameters are
float32, and bfloat16 is used as its users do, by casting or autocast.
"""

from collections.abc import Sequence
from typing import Annotated, Any

import typer
from rich.table import Table

from benchmarks import command, training_pictures
from benchmarks.harness import Case, Contender, Limits, Row
from benchmarks.networks.named import FOR_TRAINING, NETWORKS
from benchmarks.report import Report, milliseconds
from benchmarks.statistics import geometric_mean, paired_ratio

_JAX = "benchmarks.steps_in_jax:prepare"
_TORCH = "benchmarks.steps_in_torch:prepare"

# What `keep_memory` asks of the C library, for a program that doesn't call it.
_KEEP_MEMORY = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(1 << 46),
    "MALLOC_TOP_PAD_": str(64 << 20),
}

CONTENDERS = (
    Contender("cnn_jax", _JAX, {"library": "cnn_jax"}),
    Contender("cnn_jax+cpu", _JAX, {"library": "cnn_jax", "cpu": "keep"}),
    Contender("cnn_jax+cpu, tuned", _JAX, {"library": "cnn_jax", "cpu": "tune"}),
    Contender("cnn_jax+cpu, memory returned", _JAX, {"library": "cnn_jax", "cpu": "return"}),
    Contender("flax", _JAX, {"library": "flax"}),
    Contender("flax+cpu", _JAX, {"library": "flax", "cpu": "keep"}),
    Contender("equinox", _JAX, {"library": "equinox"}),
    Contender("equinox+cpu", _JAX, {"library": "equinox", "cpu": "keep"}),
    Contender("haiku", _JAX, {"library": "haiku"}),
    Contender("haiku+cpu", _JAX, {"library": "haiku", "cpu": "keep"}),
    Contender("torch", _TORCH),
    Contender("torch, memory kept", _TORCH, environment=_KEEP_MEMORY),
    Contender("torch.compile", _TORCH, {"compiled": True}),
)
STOCK, INSTALLED, TORCH = "cnn_jax", "cnn_jax+cpu", "torch"

# The others add little where the libraries' programs differ little, and would take long.
_FEW = (STOCK, INSTALLED, TORCH)
_QUICK_NETWORKS = ("lenet5", "mnist", "signal")

_TOLERANCES = {"float32": 2e-3, "bfloat16": 5e-2}
MODES = ("train", "inference")
DTYPES = ("float32", "bfloat16")


def plan(
    quick: bool = False,
    networks: Sequence[str] | None = None,
    dtypes: Sequence[str] | None = None,
    modes: Sequence[str] | None = None,
    contenders: Sequence[str] | None = None,
    batch: int = 64,
) -> command.Plan:
    """Plan the benchmark; what is unknown or impossible becomes a row that says so."""
    networks = networks or (_QUICK_NETWORKS if quick else FOR_TRAINING)
    dtypes = dtypes or (("float32",) if quick else DTYPES)
    modes = modes or (("train",) if quick else MODES)
    steps = []
    for dtype in dtypes:
        for mode in modes:
            for name in networks:
                settings = {"network": name, "batch": batch, "dtype": dtype, "mode": mode}
                case = Case(f"{name}, {dtype}, {mode}", settings, _TOLERANCES.get(dtype, 1e-3))
                steps.append(command.Step(case, _contenders(settings, quick, contenders)))
    return command.Plan(
        "training",
        steps,
        tables,
        training_pictures.figures,
        Limits(turn=0.02, rounds=5, case=1.5, prepare=60)
        if quick
        else Limits(turn=0.05, rounds=9, case=6),
        {"batch": batch},
        findings,
    )


def _contenders(
    settings: dict[str, Any], quick: bool, names: Sequence[str] | None
) -> list[Contender]:
    if names:
        return command.choose(CONTENDERS, names)
    if quick:
        return command.choose(CONTENDERS, _FEW)
    if (settings["dtype"], settings["mode"]) == ("float32", "train"):
        return list(CONTENDERS)
    return command.choose(CONTENDERS, _FEW)


def findings(rows: list[Row]) -> dict[str, Any]:
    """The geometric means that summarise: installed against stock and against torch."""
    found = {}
    for dtype, mode in dict.fromkeys((r.settings["dtype"], r.settings["mode"]) for r in rows):
        timed = {
            (r.settings["network"], r.contender): r
            for r in rows
            if r.timed and (r.settings["dtype"], r.settings["mode"]) == (dtype, mode)
        }
        for other in (STOCK, TORCH):
            ratios = [
                paired_ratio(row.samples, timed[name, other].samples).value
                for (name, contender), row in timed.items()
                if contender == INSTALLED and (name, other) in timed
            ]
            if ratios:
                key = f"{dtype}, {mode}: {INSTALLED} / {other}, geometric mean"
                found[key] = round(geometric_mean(ratios), 3)
    return found


def tables(report: Report) -> list[Table]:
    """For each dtype and mode a table of times and one of first runs."""
    kinds = dict.fromkeys((row.settings["dtype"], row.settings["mode"]) for row in report.rows)
    made = []
    for dtype, mode in kinds:
        what = "a training step" if mode == "train" else "inference"
        batch = report.options["batch"]
        made.append(_times(report, dtype, mode, f"{what}, {dtype}, batch {batch}: milliseconds"))
        made.append(_first_runs(report, dtype, mode, f"{what}, {dtype}: seconds of the first run"))
    if report.findings:
        means = Table("geometric mean over the networks", "", title="in one number")
        for name, value in report.findings.items():
            means.add_row(name, f"{value:.2f}")
        made.append(means)
    return made


def _times(report: Report, dtype: str, mode: str, title: str) -> Table:
    rows = [r for r in report.rows if (r.settings["dtype"], r.settings["mode"]) == (dtype, mode)]
    networks = list(dict.fromkeys(row.settings["network"] for row in rows))
    contenders = list(dict.fromkeys(row.contender for row in rows))
    caption = "median ± half the distance of the quartiles; ~: the spread swallows the difference"
    table = Table("", *networks, title=title, caption=caption)
    by_key = {(row.settings["network"], row.contender): row for row in rows}
    for contender in contenders:
        cells = [_cell(by_key.get((name, contender))) for name in networks]
        table.add_row(contender, *cells, end_section=contender == contenders[-1])
    for over, under in ((STOCK, INSTALLED), (INSTALLED, TORCH)):
        cells = []
        for name in networks:
            a, b = by_key.get((name, over)), by_key.get((name, under))
            cells.append(ratio_text(a, b))
        table.add_row(f"{over} / {under}", *cells, style="bold")
    return table


def ratio_text(over: Row | None, under: Row | None) -> str:
    """The ratio of two rows of a case, or nothing where one has no figure."""
    if over is None or under is None or not (over.timed and under.timed):
        return ""
    return str(paired_ratio(over.samples, under.samples))


def _cell(row: Row | None) -> str:
    if row is None:
        return ""
    if not row.timed:
        return f"[red]{row.status}[/]"
    figure = milliseconds(row.spread.median).removesuffix(" ms")
    return f"{figure} ±{row.spread.relative:.0%}"


def _first_runs(report: Report, dtype: str, mode: str, title: str) -> Table:
    rows = [r for r in report.rows if (r.settings["dtype"], r.settings["mode"]) == (dtype, mode)]
    networks = list(dict.fromkeys(row.settings["network"] for row in rows))
    table = Table("", *networks, title=title, caption="tracing, compilation and the run itself")
    for contender in dict.fromkeys(row.contender for row in rows):
        seconds = [
            row.facts.get("first_run_seconds") if row is not None and row.timed else None
            for row in (report.row(f"{name}, {dtype}, {mode}", contender) for name in networks)
        ]
        table.add_row(contender, *["" if s is None else f"{s:.2f}" for s in seconds])
    return table


def main(
    quick: command.Quick = False,
    network_names: Annotated[
        list[str] | None, typer.Option("--network", help="Only these; may be repeated.")
    ] = None,
    dtype: Annotated[list[str] | None, typer.Option(help="float32 or bfloat16.")] = None,
    mode: Annotated[list[str] | None, typer.Option(help="train or inference.")] = None,
    contender: command.Contenders = None,
    batch: Annotated[int, typer.Option(help="Examples in a batch.")] = 64,
    out: command.Out = None,
    compare: command.Compare = None,
    threads: command.Threads = None,
    overwrite: command.Overwrite = False,
) -> None:
    """Time training steps and inference of whole networks in several libraries."""
    command.refuse_unknown("network", network_names, NETWORKS)
    command.refuse_unknown("dtype", dtype, DTYPES)
    command.refuse_unknown("mode", mode, MODES)
    made = plan(quick, network_names, dtype, mode, contender, batch)
    command.carry_out(made, command.Options(quick, out, compare, threads, overwrite))


if __name__ == "__main__":
    typer.run(main)
