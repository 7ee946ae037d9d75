"""A picture as a list of features x1..xd, and back."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from cnn_jax.images.checks import as_array


def to_features(pictures: Any, rank: int = 3) -> Any:
    """Turn each picture into its features x1..xd in reading order: `[*batch, d]`.

    A picture is the last `rank` dimensions: 3 for `[h, w, c]`, 2 for `[h, w]`. Features run along
    the rows from the top left, as one reads, and within a pixel through its channels: of a picture
    `[h, w]`, x1 is the top left, xw the top right and xd, `d = h * w`, the bottom right.

    Raises:
        ValueError: the array has fewer than `rank` dimensions.

    >>> from cnn_jax import images
    >>> images.to_features([[1, 0], [0, 1], [1, 1]], rank=2)
    array([1, 0, 0, 1, 1, 1])
    """
    x = as_array("to_features", "pictures", pictures)
    if rank < 1 or x.ndim < rank:
        raise ValueError(
            f"to_features: pictures must have rank={rank} dimensions or more, got shape {x.shape}"
        )
    batch, picture = x.shape[: x.ndim - rank], x.shape[x.ndim - rank :]
    return x.reshape(*batch, math.prod(picture))


def from_features(features: Any, shape: Sequence[int]) -> Any:
    """Turn features `[*batch, d]` back into pictures `[*batch, *shape]`.

    Raises:
        ValueError: a picture of that shape does not have `d` features.

    >>> from cnn_jax import images
    >>> images.from_features([1, 2, 3, 4, 5, 6], (2, 3))
    array([[1, 2, 3],
           [4, 5, 6]])
    """
    x = as_array("from_features", "features", features)
    wanted = math.prod(shape)
    if x.ndim < 1 or x.shape[-1] != wanted or any(size < 0 for size in shape):
        raise ValueError(
            f"from_features: pictures of shape {tuple(shape)} have {wanted} features, "
            f"got shape {x.shape}"
        )
    return x.reshape(*x.shape[:-1], *shape)
