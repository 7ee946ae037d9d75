"""`cnn-jax evaluate`: how good a trained network is, class by class."""

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cnn_jax.commands.errors import asked_for
from cnn_jax.commands.options import AsJson, BatchSize, Best, CpuKernels, RunOrFile

if TYPE_CHECKING:
    import numpy as np

_MOST_COLUMNS = 20


def evaluate(
    run: RunOrFile,
    data: Annotated[
        str | None,
        typer.Option(
            metavar="PATH|NAME",
            help="Other data than the run's own: whatever cnn-jax train takes.",
            show_default=False,
        ),
    ] = None,
    part: Annotated[
        str | None,
        typer.Option(
            metavar="PART",
            help="train, validation or test. [dim]\\[default: test where there is one, else what "
            "the run held out; of other data without parts, all][/dim]",
        ),
    ] = None,
    best: Best = False,
    batch_size: BatchSize = 256,
    as_json: AsJson = False,
    cpu_kernels: CpuKernels = True,
) -> None:
    """Measure a trained network: accuracy, loss, each class, and which is taken for which."""
    from cnn_jax.commands.kernels import install_kernels

    install_kernels(cpu_kernels)

    from cnn_jax.commands.material import open_parts
    from cnn_jax.commands.opened import logits_of, open_run, settings_of, source_for

    opened = open_run(run, best)
    with asked_for():
        if data is not None:
            source, part = source_for(opened, data, part)
        elif "settings" not in opened.config:
            raise ValueError(f"{run}: a file of parameters has no data of its own; pass --data")
        else:
            sources = open_parts(settings_of(opened))
            if part is None:
                part = "test" if "test" in sources else "validation"
            if part not in sources:
                raise ValueError(
                    f"--part: the run's data has no part {part!r}; it has {', '.join(sources)}"
                )
            source = sources[part]
        logits = logits_of(opened, source, batch_size)
        found = measure(source.labels, logits, opened.class_names)
    name = data if data is not None else settings_of(opened).data
    if as_json:
        print(json.dumps({"run": str(run), "data": name, "part": part, **asdict(found)}, indent=2))
    else:
        show(found, f"{run} on {name} ({part})")


@dataclass(frozen=True)
class ClassMeasures:
    """`examples` of this true class; `recall` is the share of them that was found, `precision` the
    share of right ones among what was called so; None where there is nothing to take a share of.
    """

    name: str
    examples: int
    recall: float | None
    precision: float | None


@dataclass(frozen=True)
class Measures:
    """What `cnn-jax evaluate` measures; `confusion[i][j]` counts class `i` taken for class `j`."""

    examples: int
    accuracy: float
    loss: float
    classes: list[ClassMeasures]
    confusion: list[list[int]]


def measure(labels: "np.ndarray", logits: "np.ndarray", class_names: tuple[str, ...]) -> Measures:
    """Return the measures of `logits: [n, classes]` for the true `labels: int[n]`.

    >>> import numpy as np
    >>> logits = np.array([[2.0, 0.0], [0.0, 2.0], [1.0, 0.0]])
    >>> found = measure(np.array([0, 1, 1]), logits, ("cat", "dog"))
    >>> round(found.accuracy, 3), found.confusion
    (0.667, [[1, 0], [1, 1]])
    >>> found.classes[0]
    ClassMeasures(name='cat', examples=1, recall=1.0, precision=0.5)
    """
    import numpy as np

    logits = np.asarray(logits, np.float64)
    shifted = logits - logits.max(axis=1, keepdims=True)
    own = shifted[np.arange(len(labels)), labels]
    loss = np.mean(np.log(np.exp(shifted).sum(axis=1)) - own)
    confusion = np.zeros((len(class_names), len(class_names)), int)
    np.add.at(confusion, (labels, logits.argmax(axis=1)), 1)
    right, given, called = confusion.diagonal(), confusion.sum(axis=1), confusion.sum(axis=0)

    def share(part: Any, whole: Any) -> float | None:
        return float(part / whole) if whole else None

    return Measures(
        len(labels),
        float(right.sum() / len(labels)),
        float(loss),
        [
            ClassMeasures(
                name, int(given[k]), share(right[k], given[k]), share(right[k], called[k])
            )
            for k, name in enumerate(class_names)
        ],
        confusion.tolist(),
    )


def show(found: Measures, title: str) -> None:
    """Print the measures as tables."""
    from rich import box
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console(highlight=False)
    console.print(f"[bold]{escape(title)}[/bold]", soft_wrap=True)
    wrong = found.examples - round(found.accuracy * found.examples)
    console.print(
        f"accuracy [bold]{found.accuracy:.2%}[/bold] ({wrong} of {found.examples:,} wrong), "
        f"loss {found.loss:.4f}",
        soft_wrap=True,
    )
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("class", overflow="fold")
    for header in ("examples", "found", "of those called so, right"):
        table.add_column(header, justify="right")
    table.add_column("most often taken for", overflow="fold")
    for k, one in enumerate(found.classes):
        others = [(count, j) for j, count in enumerate(found.confusion[k]) if j != k and count]
        count, j = max(others, default=(0, 0), key=lambda other: (other[0], -other[1]))
        table.add_row(
            escape(one.name),
            f"{one.examples:,}",
            _percent(one.recall),
            _percent(one.precision),
            f"{escape(found.classes[j].name)} ({count})" if count else "",
        )
    console.print(table)
    if len(found.classes) <= _MOST_COLUMNS:
        matrix = Table(
            box=box.SIMPLE_HEAD,
            title="true class (row) taken for (column)",
            title_justify="left",
            padding=(0, 0, 0, 1),
        )
        matrix.add_column("")
        for one in found.classes:
            matrix.add_column(escape(one.name), justify="right", no_wrap=True)
        for k, one in enumerate(found.classes):
            cells = [
                f"[green]{count}[/green]" if j == k else f"[bold red]{count}[/bold red]"
                for j, count in enumerate(found.confusion[k])
            ]
            shown = zip(found.confusion[k], cells, strict=True)
            matrix.add_row(escape(one.name), *[cell if count else "·" for count, cell in shown])
        console.print(matrix)


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{share:.1%}"
