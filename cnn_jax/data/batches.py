"""Batches one after another, for training loops written by hand."""

from collections.abc import Iterator

import numpy as np

from cnn_jax.data.dataset import Dataset


def batches(
    data: Dataset, batch_size: int, *, seed: int | None = None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield `(images[b, ...], labels[b])` until every example has come once.

    The last batch holds what is left and may be smaller. With a `seed` the order is shuffled,
    without one it is the data set's. `cnn.train.make_epoch` keeps the whole epoch on the device,
    which is faster, but for convolutions on a CPU only with `cnn_jax.cpu` installed: XLA's own
    gradients of convolutions are slow inside its loops.

    Raises `ValueError` for a batch size that is not positive.

    >>> import cnn_jax as cnn
    >>> [len(labels) for images, labels in batches(cnn.data.digits(), 500, seed=0)]
    [500, 500, 500, 297]
    """
    if batch_size < 1:
        raise ValueError(f"batches: batch_size must be at least 1, not {batch_size}")
    # Iterating over device arrays would copy and compile for each batch; NumPy views cost nothing.
    images, labels = np.asarray(data.images), np.asarray(data.labels)
    order = (
        np.arange(data.size) if seed is None else np.random.default_rng(seed).permutation(data.size)
    )
    return (
        (images[chosen], labels[chosen])
        for chosen in (order[i : i + batch_size] for i in range(0, data.size, batch_size))
    )
