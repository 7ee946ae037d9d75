"""The work of `cnn-jax train`: data and model, the epochs, and what is kept of them."""

import math
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import jax
from rich.console import Console

from cnn_jax import data as datasets
from cnn_jax import train as training
from cnn_jax.commands.errors import UserError, asked_for, describe
from cnn_jax.commands.info import versions
from cnn_jax.commands.interrupt import stop_requests
from cnn_jax.commands.kernels import install_kernels
from cnn_jax.commands.material import Material, material
from cnn_jax.commands.settings import Settings
from cnn_jax.commands.show import epoch_bar, print_result, print_start
from cnn_jax.data import Normalisation
from cnn_jax.layers import Layer
from cnn_jax.train import Progress, RunWriter, State


class Job(NamedTuple):
    """A training that is ready to begin: all that was asked for is known to be possible."""

    classifier: Layer
    material: Material
    parameters: int
    epochs: Iterator[Progress]


class Outcome(NamedTuple):
    """How a training ended."""

    state: State
    history: list[dict[str, float]]
    stopped: bool


def run_job(settings: Settings) -> int:
    """Train as `settings` say and return the exit status.

    Raises `UserError` where what was asked for can't be done. Until the training is ready to begin,
    nothing is written.
    """
    start = time.perf_counter()
    console = Console(quiet=settings.quiet, highlight=False)
    out = settings.out or _fresh_folder()
    with asked_for():
        training.check_new(out, overwrite=settings.overwrite)
    kernels = install_kernels(settings.cpu_kernels)
    with asked_for():
        job = _prepare(settings)
    with asked_for():
        run = training.new_run(
            out, _configuration(settings, job, kernels), overwrite=settings.overwrite
        )
    print_start(console, settings, job.material, job.parameters, kernels)
    try:
        outcome = _train(console, settings, job, run)
        result = _keep(settings, job, run, outcome, start)
    except OSError as error:
        raise UserError(f"{describe(error)}; what the run has so far is in {run.path}") from error
    print_result(console, run.path, result, outcome.history)
    return 130 if outcome.stopped else 0  # 130 is what shells expect after Ctrl-C


def _prepare(settings: Settings) -> Job:
    _check_share("held_out", settings.held_out, above=True)
    _check_share("warmup", settings.warmup, above=False)
    augment = datasets.augmentation(settings.augment)
    found = material(settings)
    learn = found.learn
    model = training.make_model(settings.model, len(learn.class_names))
    classifier = training.classifier(model, found.normalisation)
    steps = settings.epochs * math.ceil(len(learn.labels) / settings.batch_size)
    options: dict[str, Any] = {"nesterov": True} if settings.nesterov else {}
    optimizer = training.optimizer(
        settings.optimizer,
        training.schedule(
            settings.schedule,
            settings.learning_rate,
            steps,
            warmup_steps=min(round(settings.warmup * steps), steps - 1),
        ),
        momentum=settings.momentum,
        weight_decay=settings.weight_decay,
        clip=settings.clip,
        **options,
    )
    key = jax.random.key(settings.seed)
    try:
        expected = jax.eval_shape(lambda key: model.init(key, learn.shape), key)
    except ValueError as error:
        raise ValueError(
            f"--model {settings.model} does not fit pictures of {_size(learn.shape)}: {error} "
            "(--resize 28 enlarges them)"
        ) from error
    epochs = training.iterate(
        classifier,
        optimizer,
        learn,
        found.validation,
        epochs=settings.epochs,
        batch_size=settings.batch_size,
        key=key,
        augment=augment,
    )
    parameters = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(expected))
    return Job(classifier, found, parameters, epochs)


def _train(console: Console, settings: Settings, job: Job, run: RunWriter) -> Outcome:
    history: list[dict[str, float]] = []
    state = None
    with stop_requests() as stop, epoch_bar(console, settings.epochs) as show:
        for progress in job.epochs:
            run.add_record(progress.record)
            history.append(progress.record)
            show(progress.record)
            state = progress.state
            if not math.isfinite(progress.record["train_loss"]):
                raise UserError(
                    f"the training diverged in epoch {progress.epoch} (the loss is "
                    f"{progress.record['train_loss']}); try a --learning-rate below "
                    f"{settings.learning_rate:g}. The metrics so far are in {run.path}"
                )
            if stop.is_set():
                break
    assert state is not None  # there is at least one epoch
    return Outcome(state, history, stopped=len(history) < settings.epochs)


def _keep(
    settings: Settings, job: Job, run: RunWriter, outcome: Outcome, start: float
) -> dict[str, Any]:
    params = outcome.state.params
    run.save_parameters(params)
    if settings.pictures:
        from cnn_jax.commands.pictures import draw_pictures

        draw_pictures(run, job.classifier, params, job.material.validation, outcome.history)
    last = outcome.history[-1]
    result = {
        "status": "stopped" if outcome.stopped else "finished",
        "epochs": len(outcome.history),
        "held_out_accuracy": last["validation_accuracy"],
        "held_out_loss": last["validation_loss"],
        "held_out_examples": len(job.material.validation.labels),
        "train_accuracy": last["train_accuracy"],
        "train_loss": last["train_loss"],
        "seconds": round(time.perf_counter() - start, 3),
    }
    run.finish(result)
    return result


def _configuration(settings: Settings, job: Job, kernels: str) -> dict[str, Any]:
    learn = job.material.learn
    return {
        "created": datetime.now().astimezone().isoformat(timespec="seconds"),
        "model": {"name": settings.model, "classes": len(learn.class_names)},
        "input_shape": list(learn.shape),
        "class_names": list(learn.class_names),
        "normalisation": _as_lists(job.material.normalisation),
        "parameters": job.parameters,
        "examples": {"train": len(learn.labels), "held_out": len(job.material.validation.labels)},
        "settings": settings.to_json(),
        "versions": versions(),
        "devices": [str(device) for device in jax.devices()],
        "kernels": kernels,
    }


def _as_lists(normalisation: Normalisation | None) -> dict[str, list[float]] | None:
    if normalisation is None:
        return None
    return {name: [float(x) for x in value] for name, value in normalisation._asdict().items()}


def _fresh_folder() -> Path:
    name = datetime.now().strftime("%Y-%m-%d-%H%M%S")
    path = Path("runs", name)
    number = 2
    while path.exists():
        path = Path("runs", f"{name}-{number}")
        number += 1
    return path


def _check_share(name: str, value: float, *, above: bool) -> None:
    if not (0 <= value < 1) or (above and value == 0):
        least = "above 0" if above else "of at least 0"
        raise ValueError(f"{name} must be a share {least} and below 1, not {value}")


def _size(shape: tuple[int, ...]) -> str:
    return f"{' x '.join(map(str, shape[:-1]))} pixels"
