"""The work of `cnn-jax sweep`: the trainings, their ranking, and what is kept of them."""

import contextlib
import itertools
import math
import os
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import jax
import optax
from rich import box
from rich.console import Console
from rich.table import Table

from cnn_jax import data as datasets
from cnn_jax import plots
from cnn_jax import train as training
from cnn_jax.commands.configuration import configuration, last_measured
from cnn_jax.commands.errors import UserError, asked_for, describe
from cnn_jax.commands.folders import fresh_folder
from cnn_jax.commands.info import versions
from cnn_jax.commands.interrupt import stop_requests
from cnn_jax.commands.kernels import install_kernels
from cnn_jax.commands.material import Material, material
from cnn_jax.commands.page import write_page
from cnn_jax.commands.pictures import draw_pictures
from cnn_jax.commands.settings import DTYPES, Settings
from cnn_jax.commands.show import epoch_bar
from cnn_jax.data import Dataset
from cnn_jax.files import replacing, write_json
from cnn_jax.train import SweepProgress

FORMAT = "cnn_jax sweep 1"

_SHOWN = 30


class Member(NamedTuple):
    """One training of a sweep, with its numbers epoch by epoch."""

    learning_rate: float
    seed: int
    history: list[dict[str, float]]

    @property
    def diverged(self) -> bool:
        """Whether the numbers are lost."""
        return not math.isfinite(self.history[-1]["validation_loss"])

    @property
    def rank(self) -> tuple[bool, float, float]:
        """Sorts the best first: by held-out accuracy, then by loss; what diverged comes last."""
        last = self.history[-1]
        if self.diverged:
            return True, 0.0, 0.0
        return False, -last["validation_accuracy"], last["validation_loss"]

    def to_json(self) -> dict[str, Any]:
        """Return what `sweep.json` holds of it; numbers that are not finite become null."""
        history = [
            {name: value if math.isfinite(value) else None for name, value in record.items()}
            for record in self.history
        ]
        return {**self._asdict(), "history": history}


def run_sweep(
    settings: Settings, learning_rates: Sequence[float], seeds: Sequence[int], at_once: int | None
) -> int:
    """Train each learning rate with each seed and return the exit status.

    Raises `UserError` where what was asked for can't be done. Until the trainings are ready to
    begin, nothing is written.
    """
    start = time.perf_counter()
    console = Console(quiet=settings.quiet, highlight=False)
    out = settings.out or fresh_folder("sweeps")
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise UserError(f"{out}: there already; a sweep needs a new folder")
    pairs = list(itertools.product(learning_rates, seeds))
    _make_devices_of_cores(len(pairs))
    kernels = install_kernels(settings.cpu_kernels)
    with asked_for():
        found, epochs = _prepare(settings, pairs, at_once)
        out.mkdir(parents=True, exist_ok=True)
    devices = min(len(pairs), jax.local_device_count())
    console.print(
        f"[bold]{settings.model}[/bold] on [bold]{settings.data}[/bold], {len(pairs)} times on "
        f"{devices} {jax.default_backend()} device{'s' if devices > 1 else ''}: learning rates "
        f"{', '.join(f'{rate:g}' for rate in learning_rates)}; seeds {', '.join(map(str, seeds))}",
        soft_wrap=True,
    )
    console.print(f"[dim]kernels: {kernels}[/dim]", soft_wrap=True)
    config = {
        "created": datetime.now().astimezone().isoformat(timespec="seconds"),
        "versions": versions(),
        "devices": [str(device) for device in jax.local_devices()[:devices]],
        "kernels": kernels,
    }
    try:
        members, last = _train(console, settings, epochs, pairs, out, config)
        with replacing(out / "sweep.png") as hidden:
            plots.sweep([member._asdict() for member in members]).savefig(hidden, format="png")
        best = min(range(len(members)), key=lambda i: members[i].rank)
        if members[best].diverged:
            raise UserError(f"every training diverged; try lower --learning-rates. See {out}")
        _keep(out / "best", settings, found, last, members[best], best, kernels)
    except OSError as error:
        raise UserError(f"{describe(error)}; what the sweep has so far is in {out}") from error
    _show(console, members)
    stopped = last.epoch < settings.epochs
    console.print(
        f"{time.perf_counter() - start:.1f} s in all; the sweep is in [bold]{out}[/bold], the best "
        f"network in [bold]{out / 'best'}[/bold]{' (stopped early, as asked)' if stopped else ''}",
        soft_wrap=True,
    )
    return 130 if stopped else 0


def _train(
    console: Console,
    settings: Settings,
    epochs: Iterator[SweepProgress],
    pairs: Sequence[tuple[float, int]],
    out: Path,
    config: Mapping[str, Any],
) -> tuple[list[Member], SweepProgress]:
    members = [Member(rate, seed, []) for rate, seed in pairs]
    varied = ("learning_rate", "seed")
    fixed = {name: value for name, value in settings.to_json().items() if name not in varied}
    start, progress = time.perf_counter(), None
    with stop_requests() as stop, epoch_bar(console, settings.epochs) as show:
        for progress in epochs:
            for member, record in zip(members, progress.records, strict=True):
                member.history.append(record)
            ranked = sorted(members, key=lambda member: member.rank)
            content = {
                "format": FORMAT,
                **config,
                "settings": fixed,
                "status": "finished" if progress.epoch == settings.epochs else "unfinished",
                "seconds": round(time.perf_counter() - start, 3),
                "members": [member.to_json() for member in ranked],
            }
            write_json(out / "sweep.json", content)
            show(ranked[0].history[-1])
            if stop.is_set():
                break
    assert progress is not None  # there is at least one epoch
    return members, progress


def _make_devices_of_cores(members: int) -> None:
    """Let JAX see each core as a device that computes on one thread, unless it was told already."""
    if "xla_force_host_platform_device_count" in os.environ.get("XLA_FLAGS", ""):
        return
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity is not None else os.cpu_count() or 1
    devices = min(cores, members)
    with contextlib.suppress(RuntimeError):  # JAX has started, with the devices that it has
        jax.config.update("jax_num_cpu_devices", devices)
        os.environ.setdefault("OMP_NUM_THREADS", str(cores // devices))


def _prepare(
    settings: Settings, pairs: Sequence[tuple[float, int]], at_once: int | None
) -> tuple[Material, Iterator[SweepProgress]]:
    if settings.dtype not in DTYPES:
        raise ValueError(f"dtype must be {' or '.join(DTYPES)}, not {settings.dtype!r}")
    augment = datasets.augmentation(settings.augment)
    found = material(settings)
    learn, held_out = found.learn, found.validation
    if not isinstance(learn, Dataset) or not isinstance(held_out, Dataset):
        raise ValueError(f"{settings.data}: too large for a sweep, which keeps the data in memory")
    model = training.make_model(settings.model, len(learn.class_names))
    steps = settings.epochs * math.ceil(learn.size / settings.batch_size)
    warmup_steps = min(round(settings.warmup * steps), steps - 1)
    curve = training.schedule(settings.schedule, 1.0, steps, warmup_steps=warmup_steps)

    options: dict[str, Any] = {"nesterov": True} if settings.nesterov else {}

    def optimizer(rate: jax.Array) -> optax.GradientTransformation:
        return training.optimizer(
            settings.optimizer,
            lambda step: rate * curve(step),
            momentum=settings.momentum,
            weight_decay=settings.weight_decay,
            clip=settings.clip,
            **options,
        )

    epochs = training.sweep(
        training.classifier(model, found.normalisation, settings.dtype),
        optimizer,
        learn,
        held_out,
        learning_rates=[rate for rate, _ in pairs],
        seeds=[seed for _, seed in pairs],
        epochs=settings.epochs,
        batch_size=settings.batch_size,
        augment=augment,
        at_once=at_once,
    )
    return found, epochs


def _keep(
    path: Path,
    settings: Settings,
    found: Material,
    progress: SweepProgress,
    member: Member,
    index: int,
    kernels: str,
) -> None:
    """Keep a member as a run."""
    params = training.member(progress.states, index).params
    own = replace(settings, learning_rate=member.learning_rate, seed=member.seed)
    parameters = sum(leaf.size for leaf in jax.tree.leaves(params))
    run = training.new_run(path, configuration(own, found, parameters, kernels))
    for record in member.history:
        run.add_record(record)
    run.save_parameters(params)
    result = {
        "status": "finished" if progress.epoch == progress.epochs else "stopped",
        "epochs": progress.epoch,
        **last_measured(member.history, found),
    }
    model = training.make_model(settings.model, len(found.learn.class_names))
    classifier = training.classifier(model, found.normalisation, settings.dtype)
    if settings.pictures and isinstance(found.validation, Dataset):
        draw_pictures(run, classifier, params, found.validation, member.history)
    write_page(run, classifier, params, found.learn.shape, settings.batch_size, result)
    run.finish(result)


def _show(console: Console, members: Sequence[Member]) -> None:
    """Print the ranking, and the learning rates over their seeds."""
    ranked = sorted(members, key=lambda member: member.rank)
    table = Table(box=box.SIMPLE_HEAD)
    headers = ("rank", "learning rate", "seed", "accuracy held out", "loss held out", "training")
    for header in headers:
        table.add_column(header, justify="right")
    for place, member in enumerate(ranked[:_SHOWN], start=1):
        last = member.history[-1]
        table.add_row(
            *(str(place), f"{member.learning_rate:g}", str(member.seed)),
            "[red]diverged[/red]" if member.diverged else f"{last['validation_accuracy']:.2%}",
            f"{last['validation_loss']:.4f}",
            f"{last['train_loss']:.4f}",
        )
    console.print(table)
    if len(ranked) > _SHOWN:
        console.print(f"and {len(ranked) - _SHOWN} more in sweep.json")
    if len({member.seed for member in members}) > 1:
        console.print(_by_rate(members))


def _by_rate(members: Sequence[Member]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, title="over the seeds", title_justify="left")
    for header in ("learning rate", "accuracy, mean", "lowest", "highest"):
        table.add_column(header, justify="right")
    groups: dict[float, list[float]] = {}
    for member in members:
        value = 0.0 if member.diverged else member.history[-1]["validation_accuracy"]
        groups.setdefault(member.learning_rate, []).append(value)
    by_mean = sorted(groups.items(), key=lambda group: -statistics.mean(group[1]))
    for rate, values in by_mean:
        table.add_row(f"{rate:g}", *(f"{f(values):.2%}" for f in (statistics.mean, min, max)))
    return table
