"""Correlation and max-pooling as loops in Python over NumPy arrays."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmarks.job import Job
from benchmarks.naive_indices import Windows


def prepare(case: Mapping[str, Any]) -> Job:
    """Prepare a forward pass or the gradients."""
    windows = Windows.of(case)
    given = windows.arrays()
    loops = {
        ("correlate", "forward"): _correlate,
        ("correlate", "gradient"): _correlate_gradient,
        ("max_pool", "forward"): _max_pool,
        ("max_pool", "gradient"): _max_pool_gradient,
    }
    loop = loops[windows.operation, case["pass"]]
    x, kernel, dy = (given[name].ravel() for name in ("x", "kernel", "dy"))
    bases, offsets = windows.bases().tolist(), windows.offsets().tolist()
    results = loop(x, kernel, dy, bases, offsets)
    return Job(lambda: loop(x, kernel, dy, bases, offsets), results)


Results = dict[str, np.ndarray]


def _correlate(x, kernel, dy, bases, offsets) -> Results:
    y = np.zeros_like(dy)
    for p, base in enumerate(bases):
        for t, offset in enumerate(offsets):
            y[p] += x[base + offset] * kernel[t]
    return {"y": y}


def _correlate_gradient(x, kernel, dy, bases, offsets) -> Results:
    dx, dkernel = np.zeros_like(x), np.zeros_like(kernel)
    for p, base in enumerate(bases):
        for t, offset in enumerate(offsets):
            dx[base + offset] += dy[p] * kernel[t]
            dkernel[t] += dy[p] * x[base + offset]
    return {"dx": dx, "dkernel": dkernel}


def _max_pool(x, kernel, dy, bases, offsets) -> Results:
    y = np.full_like(dy, -np.inf)
    for p, base in enumerate(bases):
        for offset in offsets:
            y[p] = max(y[p], x[base + offset])
    return {"y": y}


def _max_pool_gradient(x, kernel, dy, bases, offsets) -> Results:
    dx = np.zeros_like(x)
    for p, base in enumerate(bases):
        largest = base + offsets[0]
        for offset in offsets:
            if x[base + offset] > x[largest]:
                largest = base + offset
        dx[largest] += dy[p]
    return {"dx": dx}
