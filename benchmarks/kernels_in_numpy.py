"""The machine's rate in NumPy, whose matrix product comes from a BLAS of its own."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmarks.job import Job, MissingError


def prepare_product(case: Mapping[str, Any]) -> Job:
    """Prepare a product of two square matrices."""
    if case["dtype"] != "float32":
        raise MissingError("NumPy has no bfloat16")
    random = np.random.default_rng(0)
    a, b = (random.standard_normal((case["size"],) * 2, np.float32) for _ in "ab")
    out = np.empty_like(a)
    np.matmul(a, b, out=out)
    return Job(lambda: np.matmul(a, b, out=out), {"corner": out[:8, :8].copy()})
