"""Carries out a plan: progress bar, tables, JSON, pictures, and comparison with an older report."""

import contextlib
import dataclasses
import datetime
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from matplotlib.figure import Figure
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from benchmarks import machine
from benchmarks.harness import Case, Contender, Harness, Limits, Row
from benchmarks.report import Report, changes, problems

Quick = Annotated[bool, typer.Option("--quick", help="Fewer cases and rounds.")]
Out = Annotated[
    Path | None,
    typer.Option(help="Folder for JSON and pictures; by default a new one in runs/benchmarks."),
]
Compare = Annotated[
    Path | None, typer.Option(help="An older JSON report, or a folder of them, to compare with.")
]
Threads = Annotated[
    int | None, typer.Option(help="How many CPUs every contender may use; all by default.")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace reports in --out.")]
Contenders = Annotated[
    list[str] | None, typer.Option("--contender", help="Only these contenders; may be repeated.")
]


@dataclasses.dataclass(frozen=True)
class Options:
    """What all commands have in common."""

    quick: bool = False
    out: Path | None = None
    compare: Path | None = None
    threads: int | None = None
    overwrite: bool = False


@dataclasses.dataclass(frozen=True)
class Step:
    """A case with its contenders.

    Steps of one `series` come with growing `work`: a contender for which a step would, after its
    last one, take more than `longest` seconds for each run is skipped.
    """

    case: Case
    contenders: Sequence[Contender]
    memory: bool = False
    fresh: bool = False  # new processes for this step
    warm_up: Case | None = None  # done before it and not reported
    series: str | None = None
    work: float = 0.0
    longest: float = 2.0


@dataclasses.dataclass(frozen=True)
class Plan:
    """A benchmark: what to measure, and how to show it."""

    benchmark: str
    steps: Sequence[Step]
    tables: Callable[[Report], Sequence[Table]]
    figures: Callable[[Report], dict[str, Figure]]
    limits: Limits = dataclasses.field(default_factory=Limits)
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    findings: Callable[[list[Row]], dict[str, Any]] = lambda rows: {}
    # Steps to repeat after all others, with these limits; their rows replace the first ones.
    again: Callable[[list[Row]], Sequence[Step]] = lambda rows: ()
    again_limits: Limits = dataclasses.field(default_factory=Limits)


def carry_out(plan: Plan, options: Options, console: Console | None = None) -> Report:
    """Measure, write, print and compare.

    Raises:
        typer.BadParameter: an option that can't be followed, before anything is measured.
    """
    console = console or new_console()
    check([plan], options)
    cpus = machine.choose_cpus(options.threads)
    old = _old_report(plan, options)
    folder = options.out or default_folder()
    report = Report(plan.benchmark, machine.describe(cpus), _recorded(plan, options))
    console.print(f"[bold]{plan.benchmark}[/]: {machine.summary(report.machine)}")
    load = report.machine["load"]
    if load is not None and load > 0.5:
        console.print(f"[yellow]other programs are at work (load {load}): expect noise[/]")
    started = time.monotonic()
    with _terminated_as_interrupted():
        try:
            with Harness(cpus, plan.limits) as harness, _progress(console) as progress:
                _measure(plan, harness, report.rows, progress)
        except KeyboardInterrupt:
            report.interrupted = True
            console.print("[yellow]interrupted; what was measured is kept[/]")
    report.seconds = round(time.monotonic() - started, 1)
    report.machine["load_at_end"] = machine.load()
    report.findings = plan.findings(report.rows)
    _show(plan, report, folder, old, console)
    if report.interrupted:
        raise typer.Exit(130)
    return report


def check(plans: Sequence[Plan], options: Options) -> None:
    """Raise `typer.BadParameter` for what would fail after measuring, or overwrite a report."""
    folder = options.out
    if folder is not None and folder.exists() and not folder.is_dir():
        raise typer.BadParameter(f"--out {folder} is a file; it must be a folder")
    try:
        machine.choose_cpus(options.threads)
        for plan in plans:
            _old_report(plan, options)
            path = (folder or Path()) / f"{plan.benchmark}.json"
            if folder is not None and path.exists() and not options.overwrite:
                raise ValueError(f"{path} exists; choose another --out, or --overwrite it")
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


def new_console() -> Console:
    """A console whose tables are not squeezed where the output is no terminal."""
    console = Console()
    return console if console.is_terminal else Console(width=160)


def choose(contenders: Sequence[Contender], names: Sequence[str] | None) -> list[Contender]:
    """The contenders of these names; all by default.

    Raises:
        typer.BadParameter: an unknown name.
    """
    if not names:
        return list(contenders)
    known = {contender.name: contender for contender in contenders}
    refuse_unknown("contender", names, known)
    return [known[name] for name in dict.fromkeys(names)]


def refuse_unknown(kind: str, names: Iterable[str] | None, known: Iterable[str]) -> None:
    """Refuse names that are not known, before anything is measured.

    Raises:
        typer.BadParameter: an unknown name.
    """
    known = list(known)
    for name in names or ():
        if name not in known:
            raise typer.BadParameter(f"unknown {kind} {name!r}; there are {', '.join(known)}")


def _measure(plan: Plan, harness: Harness, rows: list[Row], progress: Progress) -> None:
    task = progress.add_task(plan.benchmark, total=len(plan.steps))
    last: dict[tuple[str, str], tuple[float, float]] = {}
    for step in plan.steps:
        rows += _one(step, harness, last, lambda text: progress.update(task, description=text))
        progress.advance(task)
    again = plan.again(rows)
    if again:
        progress.update(task, total=len(plan.steps) + len(again))
        harness.limits = plan.again_limits
        for step in again:
            new = _one(step, harness, last, lambda text: progress.update(task, description=text))
            keys = {(row.case, row.contender) for row in new}
            rows[:] = [row for row in rows if (row.case, row.contender) not in keys] + new
            progress.advance(task)
    progress.update(task, description=plan.benchmark)


def _one(
    step: Step,
    harness: Harness,
    last: dict[tuple[str, str], tuple[float, float]],
    describe: Callable[[str], object],
) -> list[Row]:
    """Measure a step; `last` has the work and seconds of each contender's last step in a series."""
    if step.fresh:
        harness.restart()
    if step.warm_up is not None:
        harness.measure(step.warm_up, step.contenders, progress=describe)
    taking_part, skipped = [], []
    for contender in step.contenders:
        work, seconds = last.get((step.series or "", contender.name), (1.0, 0.0))
        expected = seconds * step.work / work
        if step.series and expected > step.longest:
            row = Row(step.case.name, contender.name, dict(step.case.settings), "skipped")
            row.message = f"one run would take about {expected:.0f} s"
            if expected < 10:
                row.message = f"one run would take about {expected:.1f} s"
            skipped.append(row)
        else:
            taking_part.append(contender)
    rows = harness.measure(step.case, taking_part, memory=step.memory, progress=describe)
    for row in rows:
        if row.timed and step.series:
            last[step.series, row.contender] = (step.work, row.spread.median)
    return rows + skipped


def _show(plan: Plan, report: Report, folder: Path, old: Report | None, console: Console) -> None:
    path = folder / f"{plan.benchmark}.json"
    folder.mkdir(parents=True, exist_ok=True)
    report.write(path)
    written = [path]
    for table in plan.tables(report):
        console.print(table)
    trouble = problems(report.rows)
    if trouble:
        console.print(_problem_table(trouble))
    if any(row.timed for row in report.rows):
        for name, figure in plan.figures(report).items():
            written.append(folder / f"{name}.png")
            figure.savefig(written[-1])
    if old is not None:
        console.print(_change_table(old, report))
        if old.machine.get("processor") != report.machine["processor"]:
            console.print("[yellow]the older report is from another processor[/]")
    console.print(f"{report.seconds:.0f} s; written: {', '.join(map(str, written))}")


def _problem_table(trouble: Sequence[tuple[str, str, str]]) -> Table:
    table = Table("contender", "what happened", "where", title="without a figure")
    for row in trouble:
        table.add_row(*row)
    return table


def _change_table(old: Report, new: Report) -> Table:
    """Only what can be told from noise, the largest changes first."""
    found = changes(old, new)
    shown = [change for change in found if change.clear]
    same = len(found) - len(shown)
    title = f"changes since {old.machine.get('time', 'then')}; {same} rows within the spread"
    table = Table("case", "contender", "then", "now", "now / then", title=title)
    for change in sorted(shown, key=lambda change: -(change.ratio or float("inf"))):
        ratio = "" if change.ratio is None else f"{change.ratio:.2f}"
        colour = "" if change.ratio is None else ("red" if change.ratio > 1 else "green")
        table.add_row(
            change.case, change.contender, change.old, change.new, ratio, style=colour or None
        )
    return table


def _old_report(plan: Plan, options: Options) -> Report | None:
    if options.compare is None:
        return None
    path = options.compare
    if path.is_dir():
        path = path / f"{plan.benchmark}.json"
    old = Report.read(path)
    if old.benchmark != plan.benchmark:
        raise ValueError(f"{path} is a report of {old.benchmark!r}, not of {plan.benchmark!r}")
    return old


def default_folder() -> Path:
    """A folder named by the time."""
    return Path("runs/benchmarks") / datetime.datetime.now().strftime("%Y-%m-%d-%H%M%S")


def _recorded(plan: Plan, options: Options) -> dict[str, Any]:
    limits = dataclasses.asdict(plan.limits)
    return {"quick": options.quick, "limits": limits, **plan.options}


@contextlib.contextmanager
def _progress(console: Console) -> Iterator[Progress]:
    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}", markup=False),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        yield progress


@contextlib.contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """Let a request to end go the way of an interrupt, so that no process is left behind."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
