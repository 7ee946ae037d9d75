"""Single layers: JAX's own kernels, those of `cnn_jax.cpu`, and PyTorch's.

Forward, input gradient and kernel gradient; beside the times stand the rates, as parts of the
best large matrix product and of the memory bandwidth that were measured in the same run.
"""

import dataclasses
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from rich.table import Table

from benchmarks import command, kernel_pictures
from benchmarks.command import Step
from benchmarks.harness import Case, Contender, Limits, Row
from benchmarks.layer import CONV_PASSES, POOL_PASSES, QUICK_TABLE, TABLE, Layer, draw
from benchmarks.report import Report, milliseconds
from benchmarks.statistics import geometric_mean, paired_ratio
from benchmarks.training import ratio_text

STOCK, INSTALLED, TUNED, TORCH = "stock", "cpu", "cpu, tuned", "torch"
CONTENDERS = (
    Contender(STOCK, "benchmarks.kernels_in_jax:prepare"),
    Contender(INSTALLED, "benchmarks.kernels_in_jax:prepare", {"cpu": "keep"}),
    Contender(TUNED, "benchmarks.kernels_in_jax:prepare", {"cpu": "tune"}),
    Contender("cpu, memory returned", "benchmarks.kernels_in_jax:prepare", {"cpu": "return"}),
    Contender(TORCH, "benchmarks.kernels_in_torch:prepare"),
)
_USUAL = (STOCK, INSTALLED, TORCH)
_PRODUCTS = (
    Contender("matrix product, jax", "benchmarks.kernels_in_jax:prepare_product"),
    Contender("matrix product, cpu", "benchmarks.kernels_in_jax:prepare_product", {"cpu": "keep"}),
    Contender("matrix product, torch", "benchmarks.kernels_in_torch:prepare_product"),
    Contender("matrix product, numpy", "benchmarks.kernels_in_numpy:prepare_product"),
)
_TRIADS = (
    Contender("a + s b, jax", "benchmarks.kernels_in_jax:prepare_triad"),
    Contender("a + s b, torch", "benchmarks.kernels_in_torch:prepare_triad"),
)

_ITEMSIZES = {"float32": 4, "bfloat16": 2}
_TOLERANCES = {"float32": 1e-4, "bfloat16": 3e-2}

# Beyond these a row is listed as lost, if the spread does not swallow it.
_MOST_TO_STOCK, _MOST_TO_TORCH = 1.05, 1.1


def plan(
    quick: bool = False,
    layers: Sequence[str] | None = None,
    dtypes: Sequence[str] | None = None,
    passes: Sequence[str] | None = None,
    contenders: Sequence[str] | None = None,
    random: int = 0,
    seed: int = 0,
) -> command.Plan:
    """Plan the benchmark; `random` draws so many layers in place of the table's."""
    dtypes = dtypes or (("float32",) if quick or random else ("float32", "bfloat16"))
    usual = (STOCK, INSTALLED) if random else _USUAL
    chosen = command.choose(CONTENDERS, contenders or usual)
    if random:
        layers = [*(layers or ()), *(layer.text for layer in draw(random, seed))]
    texts = layers or (QUICK_TABLE if quick else TABLE)
    steps = [
        step for d in dtypes for text in texts for step in _layer_steps(text, d, passes, chosen)
    ]
    rates = [step for dtype in dtypes for step in _rate_steps(dtype, quick)]
    limits = Limits(turn=0.02, rounds=9, case=1.0)
    if quick or random:
        limits = dataclasses.replace(limits, turn=0.015, rounds=5, case=0.5)
    return command.Plan(
        "kernels-random" if random else "kernels",
        [*(_named(rates, "at the start")), *steps, *(_named(rates, "at the end"))],
        tables,
        kernel_pictures.figures,
        limits,
        {"seed": seed} if random else {},
        findings,
        again=(lambda rows: _doubtful(rows, steps)) if random else lambda rows: (),
        again_limits=Limits(turn=0.06, rounds=21, case=12),
    )


def _layer_steps(
    text: str, dtype: str, passes: Sequence[str] | None, contenders: Sequence[Contender]
) -> list[Step]:
    """Every pass of a layer; a text that is no layer makes one step, whose rows will say so."""
    try:
        layer = Layer.parse(text)
        text, possible = layer.text, layer.passes
    except ValueError:
        possible = ("forward",)
    known = (*CONV_PASSES, *POOL_PASSES)
    chosen = [p for p in passes or possible if p in possible or p not in known]
    return [
        Step(
            Case(
                f"{text}, {dtype}, {which}",
                {"layer": text, "dtype": dtype, "pass": which},
                _TOLERANCES.get(dtype, 1e-4),
            ),
            contenders,
        )
        for which in chosen
    ]


def _rate_steps(dtype: str, quick: bool) -> list[Step]:
    sizes = (1024, 2048) if quick else (1024, 2048, 4096)
    steps = [
        Step(
            Case(f"product of {n}x{n}, {dtype}", {"rate": dtype, "size": n, "dtype": dtype}, tol),
            _PRODUCTS,
        )
        for n in sizes
        for tol in [_TOLERANCES.get(dtype, 1e-4)]
    ]
    if dtype == "float32":
        count = (64 if quick else 256) << 18
        case = Case(f"a + s b of {4 * count >> 20} MB", {"rate": "memory", "size": count})
        steps.append(Step(case, _TRIADS))
    return steps


def _named(steps: Sequence[Step], when: str) -> list[Step]:
    """The same measured twice, so that a machine that slows down is noticed."""
    return [
        dataclasses.replace(
            step, case=dataclasses.replace(step.case, name=f"{step.case.name}, {when}")
        )
        for step in steps
    ]


def _doubtful(rows: list[Row], steps: Sequence[Step]) -> list[Step]:
    """The steps where the installed kernels seem to lose: measured again, longer."""
    losing = {loss["case"] for loss in findings(rows).get("lost", []) if loss["to"] == STOCK}
    return [step for step in steps if step.case.name in losing]


def rates(rows: Sequence[Row]) -> dict[str, float]:
    """The best FLOP/s of a matrix product by dtype, and the best bytes/s as 'memory'."""
    best: dict[str, float] = {}
    for row in rows:
        if row.timed and "rate" in row.settings:
            kind, size = row.settings["rate"], row.settings["size"]
            work = 12 * size if kind == "memory" else 2 * size**3
            best[kind] = max(best.get(kind, 0.0), work / row.spread.median)
    return best


def findings(rows: list[Row]) -> dict[str, Any]:
    """The machine's rates, the geometric means, and every row that the installed kernels lose."""
    best = rates(rows)
    found: dict[str, Any] = {
        f"{kind}, {'GB/s' if kind == 'memory' else 'GFLOP/s'}": round(rate / 1e9, 1)
        for kind, rate in best.items()
    }
    timed = {(row.case, row.contender): row for row in rows if row.timed}
    lost = []
    for mine in (INSTALLED, TUNED):
        for other, most in ((STOCK, _MOST_TO_STOCK), (TORCH, _MOST_TO_TORCH)):
            ratios = []
            for (case, contender), row in timed.items():
                if contender != mine or (case, other) not in timed:
                    continue
                ratio = paired_ratio(row.samples, timed[case, other].samples)
                ratios.append(ratio.value)
                if ratio.value > most and ratio.clear:
                    value = round(ratio.value, 2)
                    lost.append({"case": case, "by": mine, "to": other, "ratio": value})
            if ratios:
                found[f"{mine} / {other}, geometric mean"] = round(geometric_mean(ratios), 3)
                found[f"{mine} / {other}, largest"] = round(max(ratios), 3)
    found["lost"] = sorted(lost, key=lambda loss: -loss["ratio"])
    return found


def tables(report: Report) -> list[Table]:
    """A table for each dtype, one of the rates, and one of what was lost."""
    layer_rows = [row for row in report.rows if "layer" in row.settings]
    dtypes = list(dict.fromkeys(row.settings["dtype"] for row in layer_rows))
    random = report.benchmark == "kernels-random"
    made = [] if random else [_table(report, dtype) for dtype in dtypes]
    summary = Table("", "", title="in short")
    for name, value in report.findings.items():
        if name != "lost":
            summary.add_row(name, f"{value:g}")
    made.append(summary)
    if report.findings.get("lost"):
        title = "where the installed kernels lose"
        lost = Table("case", "contender", "slower than", "times", title=title)
        for loss in report.findings["lost"]:
            lost.add_row(loss["case"], loss["by"], loss["to"], f"{loss['ratio']:.2f}")
        made.append(lost)
    return made


def _table(report: Report, dtype: str) -> Table:
    rows = [r for r in report.rows if "layer" in r.settings and r.settings["dtype"] == dtype]
    contenders = list(dict.fromkeys(row.contender for row in rows))
    best = rates(report.rows)
    table = Table(
        "layer",
        "pass",
        *contenders,
        f"{STOCK} / {INSTALLED}",
        f"{INSTALLED} / {TORCH}",
        "GFLOP/s",
        "of product",
        "of memory",
        "kernel",
        title=f"{dtype}: milliseconds, and the rates of {INSTALLED}",
        caption="~: the spread swallows the difference; % are parts of the machine's best rates",
    )
    by_key = {(row.case, row.contender): row for row in rows}
    previous = None
    for case in dict.fromkeys(row.case for row in rows):
        mine = [by_key.get((case, name)) for name in contenders]
        settings = next(row for row in mine if row is not None).settings
        name = settings["layer"] if settings["layer"] != previous else ""
        previous = settings["layer"]
        stock, installed, torch = (by_key.get((case, n)) for n in (STOCK, INSTALLED, TORCH))
        ratios = [ratio_text(stock, installed), ratio_text(installed, torch)]
        cells = [_milliseconds(row) for row in mine]
        table.add_row(name, settings["pass"], *cells, *ratios, *_rates(installed, best))
    return table


def _milliseconds(row: Row | None) -> str:
    if row is None:
        return ""
    if not row.timed:
        return f"[red]{row.status}[/]"
    return milliseconds(row.spread.median).removesuffix(" ms")


def _rates(row: Row | None, best: dict[str, float]) -> list[str]:
    if row is None or not row.timed:
        return ["", "", "", ""]
    layer, dtype, which = (row.settings[name] for name in ("layer", "dtype", "pass"))
    layer = Layer.parse(layer)
    flops = layer.flops(which) / row.spread.median
    moved = layer.bytes(which, _ITEMSIZES[dtype]) / row.spread.median
    return [
        f"{flops / 1e9:.0f}",
        f"{flops / best[dtype]:.0%}" if dtype in best else "",
        f"{moved / best['memory']:.0%}" if "memory" in best else "",
        str(row.facts.get("kernel", "")),
    ]


def main(
    quick: command.Quick = False,
    layer: Annotated[
        list[str] | None,
        typer.Option(help="Such as 'conv 3x3 32->64 14x14 batch=64 stride=2'; may be repeated."),
    ] = None,
    dtype: Annotated[list[str] | None, typer.Option(help="float32 or bfloat16.")] = None,
    only: Annotated[
        list[str] | None, typer.Option("--pass", help="Such as 'forward' or 'kernel gradient'.")
    ] = None,
    contender: command.Contenders = None,
    random: Annotated[
        int, typer.Option(min=0, help="Draw so many layers, and compare stock and installed.")
    ] = 0,
    seed: Annotated[int, typer.Option(help="For --random.")] = 0,
    out: command.Out = None,
    compare: command.Compare = None,
    threads: command.Threads = None,
    overwrite: command.Overwrite = False,
) -> None:
    """Time single layers with JAX's own kernels, with those of cnn_jax.cpu, and in PyTorch."""
    made = plan(quick, layer, dtype, only, contender, random, seed)
    command.carry_out(made, command.Options(quick, out, compare, threads, overwrite))


if __name__ == "__main__":
    typer.run(main)
