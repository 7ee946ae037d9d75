"""Training steps and inference in PyTorch, eager and compiled, each in its faster memory format."""

import itertools
import os
import shutil
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch  # pyright: ignore[reportMissingImports]

from benchmarks.job import Job, MissingError
from benchmarks.networks.channels_first import first
from benchmarks.networks.description import Network, batches
from benchmarks.networks.named import network
from benchmarks.networks.of_torch import build
from benchmarks.steps import COMPARED_STEPS, LEARNING_RATE, MOMENTUM

TRIALS = 4


def use_threads() -> None:
    """As many threads as the process was given, whatever the library's own idea is."""
    if "OMP_NUM_THREADS" in os.environ:
        torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))


def memory_formats(rank: int) -> dict[str, Any]:
    """The formats to choose from for arrays of this spatial rank, by name."""
    formats = {"contiguous": torch.contiguous_format}
    last = {2: torch.channels_last, 3: torch.channels_last_3d}
    if rank in last:
        formats["channels_last"] = last[rank]
    return formats


def prepare(case: Mapping[str, Any], compiled: bool = False) -> Job:
    """Prepare a step or an inference in the memory format that is faster without compilation."""
    if compiled and not (shutil.which("g++") or os.environ.get("CXX")):
        raise MissingError("torch.compile needs a C++ compiler such as g++")
    use_threads()
    described = network(case["network"], **case.get("sizes", {}))
    make = _training if case["mode"] == "train" else _inference
    formats = memory_formats(described.rank)
    jobs = {name: make(case, described, chosen, False) for name, chosen in formats.items()}
    name = fastest({name: job.run for name, job in jobs.items()})
    job = make(case, described, formats[name], True) if compiled else jobs[name]
    return Job(job.run, job.results, {**job.facts, "memory_format": name})


def fastest(runs: Mapping[str, Callable[[], object]]) -> str:
    """The name of what runs fastest, in turns."""
    if len(runs) == 1:
        return next(iter(runs))
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(TRIALS):
        for name, run in runs.items():
            started = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - started)
    return min(times, key=lambda name: min(times[name]))


def _model(
    described: Network, memory_format: Any, compiled: bool
) -> tuple[torch.nn.Module, Callable[[torch.Tensor], torch.Tensor]]:
    """Return the module and what is called, which is the same unless it is compiled."""
    model: Any = build(described)
    if described.rank > 1:
        model = model.to(memory_format=memory_format)
    if not compiled:
        return model, model
    torch.compiler.reset()
    return model, torch.compile(model)


def _data(
    case: Mapping[str, Any], described: Network, memory_format: torch.memory_format
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    return [
        (
            torch.from_numpy(first(x)).contiguous(memory_format=memory_format),
            torch.from_numpy(labels).long(),
        )
        for x, labels in batches(described, case["batch"])
    ]


def _autocast(case: Mapping[str, Any]) -> Any:
    return torch.autocast("cpu", torch.bfloat16, enabled=case["dtype"] == "bfloat16")


def _training(
    case: Mapping[str, Any], described: Network, memory_format: Any, compiled: bool
) -> Job:
    model, forward = _model(described, memory_format, compiled)
    # The fused form is the fastest on CPUs; it computes the same.
    optimizer = torch.optim.SGD(model.parameters(), LEARNING_RATE, momentum=MOMENTUM, fused=True)
    following = itertools.cycle(_data(case, described, memory_format))

    def run() -> torch.Tensor:
        x, labels = next(following)
        optimizer.zero_grad(set_to_none=True)
        with _autocast(case):
            logits = forward(x)
        loss = torch.nn.functional.cross_entropy(logits.float(), labels)
        loss.backward()
        optimizer.step()
        return loss.detach()

    started = time.perf_counter()
    losses = [run()]
    facts = {"first_run_seconds": time.perf_counter() - started}
    losses += [run() for _ in range(COMPARED_STEPS - 1)]
    return Job(run, {"losses": np.array([float(loss) for loss in losses])}, facts)


def _inference(
    case: Mapping[str, Any], described: Network, memory_format: Any, compiled: bool
) -> Job:
    model, forward = _model(described, memory_format, compiled)
    model.eval()
    images = itertools.cycle([x for x, _ in _data(case, described, memory_format)])

    def run() -> torch.Tensor:
        with torch.inference_mode(), _autocast(case):
            return forward(next(images)).float()

    started = time.perf_counter()
    logits = run().numpy()
    facts = {"first_run_seconds": time.perf_counter() - started}
    return Job(run, {"logits": logits}, facts)
