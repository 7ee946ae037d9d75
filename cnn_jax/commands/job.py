"""The work of `cnn-jax train`: what is to be trained, begun or resumed, and kept."""

import math
import time
from pathlib import Path
from typing import Any, NamedTuple

import jax
from rich.console import Console

from cnn_jax import data as datasets
from cnn_jax import train as training
from cnn_jax.commands.configuration import (
    check_same,
    configuration,
    last_measured,
    normalisation_of,
    what_changed,
)
from cnn_jax.commands.epochs import Outcome, Start, train_epochs
from cnn_jax.commands.errors import UserError, asked_for, describe
from cnn_jax.commands.folders import fresh_folder
from cnn_jax.commands.kernels import install_kernels
from cnn_jax.commands.lock import locked
from cnn_jax.commands.material import Material, in_memory, material
from cnn_jax.commands.page import write_page
from cnn_jax.commands.settings import DTYPES, Settings
from cnn_jax.commands.show import print_result, print_resumed, print_start, print_stopped
from cnn_jax.data import Normalisation
from cnn_jax.layers import Layer
from cnn_jax.report import check_tensorboard
from cnn_jax.train import Checkpoints, Loop, RunWriter

MOST_IN_PICTURES = 10_000
"""How many pictures of streamed data the run's pictures are drawn from."""


class Job(NamedTuple):
    """A training that is ready to begin: all that was asked for is known to be possible."""

    classifier: Layer
    material: Material
    parameters: int
    loop: Loop


def run_job(settings: Settings) -> int:
    """Train as `settings` say and return the exit status.

    Raises `UserError` where what was asked for can't be done. Until the training is ready to begin,
    nothing is written.
    """
    clock = time.perf_counter()
    console = Console(quiet=settings.quiet, highlight=False)
    out = settings.out or fresh_folder("runs")
    with asked_for():
        training.check_new(out, overwrite=settings.overwrite)
    kernels = install_kernels(settings.cpu_kernels)
    with asked_for():
        job = _prepare(settings)
    with asked_for():
        config = configuration(settings, job.material, job.parameters, kernels)
        run = training.new_run(out, config, overwrite=settings.overwrite)
    with locked(run.path):
        print_start(console, settings, job.material, job.parameters, kernels)
        return _train(console, settings, job, run, Start(), clock)


def resume_job(path: Path, **changes: Any) -> int:
    """Go on with the training in the run folder `path` from its newest checkpoint.

    `changes` are settings that leave the result as it is: what is shown, and what is kept.

    Raises `UserError` where there is no unfinished run, where it is not whole, and where its data
    is not what it was.
    """
    clock = time.perf_counter()
    with asked_for():
        run, config = training.reopen(path)
        try:
            settings = Settings(**Settings.from_json(config.get("settings")).__dict__ | changes)
            normalisation = normalisation_of(config)
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(f"{path / 'config.json'}: nothing to resume by ({error})") from error
    console = Console(quiet=settings.quiet, highlight=False)
    with locked(path):
        kernels = install_kernels(settings.cpu_kernels)
        with asked_for():
            job = _prepare(settings, normalisation)
            check_same(path, config, job.material)
            checkpoints = Checkpoints(run.checkpoints, keep=settings.keep)
            checkpoints.tidy()
            found, complaints = checkpoints.newest(job.loop.shapes())
            if found is not None:
                _check_place(found.path, int(found.underway.state.step), found.history, job)
        print_start(console, settings, job.material, job.parameters, kernels)
        print_resumed(console, found, complaints, what_changed(config, kernels))
        start = Start()
        if found is not None:
            start = Start(found.underway, found.history, found.seconds)
            # The time in all counts what earlier processes trained.
            clock -= found.seconds + sum(record["seconds"] for record in found.history)
        with asked_for():
            run.go_on(start.history)
        return _train(console, settings, job, run, start, clock)


def _prepare(settings: Settings, normalisation: Normalisation | None = None) -> Job:
    """Make everything ready; a resumed run brings the normalisation that it began with."""
    check_tensorboard(settings.tensorboard)
    _check_share("held_out", settings.held_out, above=True)
    _check_share("warmup", settings.warmup, above=False)
    if settings.dtype not in DTYPES:
        raise ValueError(f"dtype must be {' or '.join(DTYPES)}, not {settings.dtype!r}")
    if not (math.isfinite(settings.checkpoint_minutes) and settings.checkpoint_minutes > 0):
        raise ValueError(
            f"checkpoint_minutes must be a finite number above 0, not {settings.checkpoint_minutes}"
        )
    augment = datasets.augmentation(settings.augment)
    found = material(settings, normalisation)
    learn = found.learn
    model = training.make_model(settings.model, len(learn.class_names))
    classifier = training.classifier(model, found.normalisation, settings.dtype)
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
    loop = Loop(
        classifier,
        optimizer,
        learn,
        found.validation,
        epochs=settings.epochs,
        batch_size=settings.batch_size,
        key=key,
        augment=augment,
        workers=settings.workers,
    )
    parameters = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(expected))
    return Job(classifier, found, parameters, loop)


def _train(
    console: Console, settings: Settings, job: Job, run: RunWriter, start: Start, clock: float
) -> int:
    try:
        outcome = train_epochs(console, settings, job.loop, run, start)
        if outcome.stopped_at is not None:
            print_stopped(console, run.path, outcome.stopped_at)
        result = _keep(settings, job, run, outcome, clock)
    except OSError as error:
        raise UserError(f"{describe(error)}; what the run has so far is in {run.path}") from error
    print_result(console, run.path, result, outcome.history)
    return 0 if outcome.stopped_at is None else 130  # 130 is what shells expect after Ctrl-C


def _keep(
    settings: Settings, job: Job, run: RunWriter, outcome: Outcome, clock: float
) -> dict[str, Any]:
    """Keep what came out; a run that was stopped keeps its parameters in its checkpoint alone."""
    params = outcome.underway.state.params
    finished = outcome.stopped_at is None
    result: dict[str, Any] = {
        "status": "finished" if finished else "stopped",
        "epochs": len(outcome.history),
    }
    if finished:
        run.save_parameters(params)
        result |= _on_test(settings, job, params)
    if outcome.history:
        if settings.pictures:
            from cnn_jax.commands.pictures import draw_pictures

            some = in_memory(job.material.validation, MOST_IN_PICTURES)
            draw_pictures(run, job.classifier, params, some, outcome.history)
        result |= last_measured(outcome.history, job.material)
    result["seconds"] = round(time.perf_counter() - clock, 3)
    write_page(run, job.classifier, params, job.material.learn.shape, settings.batch_size, result)
    run.finish(result)
    return result


def _on_test(settings: Settings, job: Job, params: Any) -> dict[str, Any]:
    """Measure on the test part, once, where the data has one."""
    test = job.material.test
    if test is None:
        return {}
    with training.HeldOut(
        test, job.classifier, batch_size=settings.batch_size, workers=settings.workers
    ) as held_out:
        metrics = held_out.measure(params)
    return {
        "test_accuracy": float(metrics["accuracy"]),
        "test_loss": float(metrics["loss"]),
        "test_examples": len(test.labels),
    }


def _check_place(path: Path, step: int, history: list[dict[str, float]], job: Job) -> None:
    if step // job.loop.steps != len(history) or len(history) > job.loop.epochs:
        raise ValueError(
            f"{path}: not a checkpoint of this run: it has {step} steps and {len(history)} epochs, "
            f"but an epoch of the run has {job.loop.steps} steps"
        )


def _check_share(name: str, value: float, *, above: bool) -> None:
    if not (0 <= value < 1) or (above and value == 0):
        least = "above 0" if above else "of at least 0"
        raise ValueError(f"{name} must be a share {least} and below 1, not {value}")


def _size(shape: tuple[int, ...]) -> str:
    return f"{' x '.join(map(str, shape[:-1]))} pixels"
