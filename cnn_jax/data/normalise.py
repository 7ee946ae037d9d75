"""Normalisation of pictures by what is learned from the training part."""

from collections.abc import Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from cnn_jax.data.dataset import Dataset
from cnn_jax.data.source import BLOCK, InMemory, Source


class Normalisation(NamedTuple):
    """The mean and the standard deviation of each channel, `float32[channels]` both.

    They are of pictures in 0 to 1: uint8 pictures count as divided by 255. Two plain arrays, to be
    stored with the parameters of the model that was trained with them.
    """

    mean: np.ndarray | jax.Array
    std: np.ndarray | jax.Array


def learn_normalisation(
    data: Dataset | Source, *, sample: int | None = None, seed: int = 0
) -> Normalisation:
    """Return the mean and the standard deviation of each channel over all pixels of all pictures.

        mean_c = sum x_c / N        std_c = sqrt(sum (x_c - mean_c)^2 / N)

    Give it the training part alone. A channel that never changes gets `std` 1. It is computed in
    float64, and for uint8 pictures exactly. `sample` looks only at that many pictures, drawn by
    `seed`, which is enough for large data that must be decoded.

    Raises `ValueError` for a sample that is not positive, besides what reading raises.

    >>> import cnn_jax as cnn
    >>> train, test = cnn.data.split(cnn.data.digits())
    >>> mean, std = learn_normalisation(train)
    >>> mean.shape, round(float(mean[0]), 2), round(float(std[0]), 2)
    ((1,), 0.31, 0.38)
    """
    if sample is not None and sample < 1:
        raise ValueError(f"learn_normalisation: sample must be at least 1, not {sample}")
    source = InMemory(data) if isinstance(data, Dataset) else data
    order = np.arange(len(source.labels))
    if sample is not None and sample < len(order):
        order = np.sort(np.random.RandomState(seed).permutation(len(order))[:sample])
    channels = source.shape[-1]
    moments = _of_levels if source.dtype == np.uint8 else _of_floats
    mean, variance = moments(_blocks(source, order), channels)
    std = np.sqrt(variance)
    # A channel of one value comes out as rounding noise, not always as 0.
    constant = std <= 1e-7 * np.maximum(1, np.abs(mean))
    return Normalisation(mean.astype(np.float32), np.where(constant, 1, std).astype(np.float32))


def normalise(normalisation: Normalisation, images: ArrayLike) -> jax.Array:
    """Return `(images - mean) / std`, for `images: [*batch, *spatial, channels]`.

    Floats keep their dtype; uint8 pictures become float32 and are divided by 255 first. Pure JAX,
    for use inside a jitted function; put it after augmentation, so that what augmentation fills
    with zero is black.

    Raises `ValueError` where the number of channels differs.

    >>> learned = Normalisation(np.array([0.5], np.float32), np.array([0.25], np.float32))
    >>> normalise(learned, np.array([[[0.25], [1.0]]], np.float32)).ravel()
    Array([-1.,  2.], dtype=float32)
    """
    x = jnp.asarray(images)
    if x.dtype == jnp.uint8:
        x = x.astype(jnp.float32) / 255.0
    mean, std = _like(normalisation, x)
    return (x - mean) / std


def denormalise(normalisation: Normalisation, images: ArrayLike) -> jax.Array:
    """Return `images * std + mean`: what `normalise` was given, as floats."""
    x = jnp.asarray(images)
    mean, std = _like(normalisation, x)
    return x * std + mean


def _like(normalisation: Normalisation, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    mean, std = (jnp.asarray(value, x.dtype) for value in normalisation)
    if mean.ndim != 1 or mean.shape != std.shape or x.ndim < 1 or x.shape[-1] != mean.shape[0]:
        raise ValueError(
            f"normalise: images have shape {list(x.shape)}, but the normalisation is for "
            f"{mean.shape[0] if mean.ndim else 0} channels"
        )
    form = (1,) * (x.ndim - 1) + mean.shape
    return mean.reshape(form), std.reshape(form)


def _blocks(source: Source, order: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, len(order), BLOCK):
        yield source.read(order[start : start + BLOCK]).reshape(-1, source.shape[-1])


def _of_levels(blocks: Iterator[np.ndarray], channels: int) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and variance by counting each of the 256 levels."""
    counts = np.zeros((channels, 256), np.int64)
    for block in blocks:
        for channel in range(channels):
            counts[channel] += np.bincount(block[:, channel], minlength=256)
    levels = np.arange(256) / 255
    shares = counts / counts.sum(axis=1, keepdims=True)
    mean = shares @ levels
    return mean, np.sum(shares * (levels - mean[:, None]) ** 2, axis=1)


def _of_floats(blocks: Iterator[np.ndarray], channels: int) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and variance, joining those of the blocks.

    T. Chan, G. Golub and R. LeVeque, 'Updating formulae and a pairwise algorithm for computing
    sample variances', 1979.
    """
    count, mean, squares = 0, np.zeros(channels), np.zeros(channels)
    for block in blocks:
        x = block.astype(np.float64)
        block_mean = x.mean(axis=0)
        difference = block_mean - mean
        total = count + len(x)
        squares += ((x - block_mean) ** 2).sum(axis=0) + difference**2 * count * len(x) / total
        mean += difference * len(x) / total
        count = total
    return mean, squares / count
