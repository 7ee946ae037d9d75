"""Cutting a data set into parts that stay the same from run to run."""

import math
from collections.abc import Sequence

import numpy as np

from cnn_jax.data.dataset import Dataset, check


def split(
    data: Dataset, fractions: Sequence[float] = (0.8, 0.2), *, seed: int = 0
) -> tuple[Dataset, ...]:
    """Cut `data` into disjoint parts, each with every class in its due share.

    Part `i` has `fractions[i]` of all examples, rounded, and of each class that share to within
    one or two examples. The parts depend on `seed` and the labels alone, not on the machine, the
    version of NumPy or the seed of a training run. Within a part the examples keep their order.

    Raises `ValueError` for fractions that are not positive or do not sum to 1, and where a part
    would be empty.

    >>> import cnn_jax as cnn
    >>> train, test = split(cnn.data.digits())
    >>> train.size, test.size
    (1438, 359)
    """
    check(data)
    if not fractions or not all(math.isfinite(f) and f > 0 for f in fractions):
        raise ValueError(f"split: fractions must be positive numbers, not {tuple(fractions)}")
    if not math.isclose(sum(fractions), 1.0, abs_tol=1e-6):
        raise ValueError(
            f"split: fractions must sum to 1, not {sum(fractions):.6g} ({tuple(fractions)})"
        )
    labels = np.asarray(data.labels)
    # RandomState, the old generator, is the one whose stream NumPy promises never to change.
    random = np.random.RandomState(seed)
    # Spread every class evenly over the line from 0 to 1; cutting the line then cuts every class
    # in the same proportions, and gives each part exactly its size.
    place = np.empty(data.size)
    for label in np.unique(labels):
        members = random.permutation(np.flatnonzero(labels == label))
        place[members] = (np.arange(len(members)) + random.random_sample()) / len(members)
    order = np.argsort(place, kind="stable")
    ends = np.round(np.cumsum(fractions) * data.size).astype(int)
    parts = np.split(order, ends[:-1])
    for fraction, part in zip(fractions, parts, strict=True):
        if not part.size:
            raise ValueError(
                f"split: fraction {fraction:g} of {data.size} examples leaves an empty part"
            )
    return tuple(data.take(np.sort(part)) for part in parts)
