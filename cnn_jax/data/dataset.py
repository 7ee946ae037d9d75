"""A set of labelled pictures, and what makes one well formed."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class Dataset(NamedTuple):
    """Labelled examples, all of one shape.

    `images: [n, *spatial, channels]`, floats (the digits use 0 to 1) or uint8 (0 to 255, which the
    training functions scale to 0 to 1); `labels: int32[n]`, each the index of a class;
    `class_names[k]` is what people call class `k`.

    >>> import cnn_jax as cnn
    >>> data = cnn.data.digits()
    >>> data.images.shape, data.labels.shape, data.class_names[:3]
    ((1797, 8, 8, 1), (1797,), ('0', '1', '2'))
    """

    images: np.ndarray | jax.Array
    labels: np.ndarray | jax.Array
    class_names: tuple[str, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one picture: `(*spatial, channels)`."""
        return tuple(self.images.shape[1:])

    @property
    def size(self) -> int:
        """How many examples there are."""
        return int(self.images.shape[0])

    def take(self, indices: np.ndarray) -> "Dataset":
        """Return the examples at `indices: int[m]`, in that order."""
        return Dataset(self.images[indices], self.labels[indices], self.class_names)


def check(data: Dataset, *, name: str = "dataset") -> Dataset:
    """Return `data` unchanged, or say what is wrong with it; `name` is what messages call it.

    Raises `TypeError` for wrong dtypes and `ValueError` for wrong shapes, an empty set, labels
    outside the classes and values that are not finite.

    >>> check(Dataset(np.zeros((2, 8, 8, 1), np.float32), np.array([0, 2]), ("cat", "dog")))
    Traceback (most recent call last):
    ValueError: dataset: labels must lie in 0..1 for 2 classes, but example 1 has label 2
    """
    images, labels, class_names = data
    if not (jnp.issubdtype(images.dtype, jnp.floating) or images.dtype == np.uint8):
        raise TypeError(f"{name}: images must be floats or uint8, not {images.dtype}")
    if not jnp.issubdtype(labels.dtype, jnp.integer):
        raise TypeError(f"{name}: labels must be integers, not {labels.dtype}")
    if images.ndim < 2:
        raise ValueError(
            f"{name}: images must have shape [n, *spatial, channels], not {list(images.shape)}"
        )
    if labels.ndim != 1 or len(labels) != len(images):
        raise ValueError(
            f"{name}: labels must have shape [{len(images)}], one for each image, "
            f"not {list(labels.shape)}"
        )
    if 0 in images.shape:
        raise ValueError(f"{name}: there are no pixels in images of shape {list(images.shape)}")
    labels = np.asarray(labels)
    wrong = np.flatnonzero((labels < 0) | (labels >= len(class_names)))
    if wrong.size:
        raise ValueError(
            f"{name}: labels must lie in 0..{len(class_names) - 1} for {len(class_names)} "
            f"classes, but example {wrong[0]} has label {labels[wrong[0]]}"
        )
    if images.dtype != np.uint8:
        finite = np.isfinite(np.asarray(images, np.float32)).reshape(len(images), -1).all(axis=1)
        if not finite.all():
            first = np.flatnonzero(~finite)[0]
            raise ValueError(
                f"{name}: images must be finite, but {np.sum(~finite)} of {len(images)} hold NaN "
                f"or infinity (the first is example {first})"
            )
    return data


def resize(data: Dataset, size: int | tuple[int, ...]) -> Dataset:
    """Return `data` with every picture resized to `size` by linear interpolation.

    `size` is one length for every spatial dimension, or one for each. Networks made for larger
    pictures, such as LeNet-5, can so be trained on the 8 x 8 digits. The dtype becomes float32;
    uint8 pictures are scaled to 0 to 1.

    Raises `ValueError` for sizes that do not fit or are not positive.

    >>> import cnn_jax as cnn
    >>> resize(cnn.data.digits(), 28).images.shape
    (1797, 28, 28, 1)
    """
    rank = data.images.ndim - 2
    sizes = (size,) * rank if isinstance(size, int) else tuple(size)
    if len(sizes) != rank or any(length < 1 for length in sizes):
        raise ValueError(
            f"resize: size must be a positive int or {rank} of them for images of shape "
            f"{list(data.images.shape)}, not {size}"
        )
    images = jnp.asarray(data.images)
    images = images.astype(jnp.float32) / (255.0 if images.dtype == np.uint8 else 1.0)
    resized = jax.image.resize(images, (len(images), *sizes, images.shape[-1]), "linear")
    return data._replace(images=np.asarray(resized))
