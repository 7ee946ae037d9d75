"""Random changes to training pictures that leave their class as it is.

Each is a pure function of a key and a batch, made to run inside the jitted training step; pass it
as `augment=` to `cnn.train.fit`, `make_epoch` or `make_step`.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

Augment = Callable[[jax.Array, jax.Array], jax.Array]
"""`(key, images[b, ...]) -> images[b, ...]`."""


def random_shift(pixels: int = 1) -> Augment:
    """Return a function that moves every picture by up to `pixels` in each direction.

    For `images: [b, *spatial, channels]`; each picture moves by whole pixels, independently along
    each spatial dimension, all distances from `-pixels` to `pixels` being equally likely. What
    comes in from outside is zero.

    Raises `ValueError` for a negative number of pixels.

    >>> images = jnp.ones((3, 8, 8, 1))
    >>> moved = random_shift(1)(jax.random.key(0), images)
    >>> moved.shape, sorted({float(x) for x in moved.ravel()})
    ((3, 8, 8, 1), [0.0, 1.0])
    """
    if pixels < 0:
        raise ValueError(f"random_shift: pixels must be at least 0, not {pixels}")

    def shift(key: jax.Array, images: jax.Array) -> jax.Array:
        rank = images.ndim - 2
        border = [(0, 0), *[(pixels, pixels)] * rank, (0, 0)]
        padded = jnp.pad(images, border)
        starts = jax.random.randint(key, (len(images), rank), 0, 2 * pixels + 1, jnp.int32)

        def cut(picture: jax.Array, start: jax.Array) -> jax.Array:
            return jax.lax.dynamic_slice(picture, (*start, 0), images.shape[1:])

        return jax.vmap(cut)(padded, starts)

    return shift


def random_flip(axis: int = -2) -> Augment:
    """Return a function that mirrors every picture with probability one half.

    `axis` is the axis to mirror: -2, the default, swaps left and right in
    `[b, h, w, channels]`.

    >>> images = jnp.arange(2.0).reshape(1, 1, 2, 1)
    >>> flips = [random_flip()(jax.random.key(i), images).ravel().tolist() for i in range(20)]
    >>> sorted(set(map(tuple, flips)))
    [(0.0, 1.0), (1.0, 0.0)]
    """

    def flip(key: jax.Array, images: jax.Array) -> jax.Array:
        mirrored = jax.random.bernoulli(key, 0.5, (len(images),) + (1,) * (images.ndim - 1))
        return jnp.where(mirrored, jnp.flip(images, axis), images)

    return flip


_BY_NAME: dict[str, Augment | None] = {
    "none": None,
    "shift": random_shift(1),
    "flip": random_flip(),
}

AUGMENTATIONS = tuple(sorted(_BY_NAME))
"""The names that `augmentation` accepts."""


def augmentation(name: str) -> Augment | None:
    """Return the augmentation called `name`: `shift` by a pixel, `flip`, or None for `none`.

    Raises `ValueError` for unknown names.

    >>> augmentation("none") is None
    True
    """
    if name not in _BY_NAME:
        raise ValueError(
            f"augment: unknown name {name!r}; the augmentations are {', '.join(AUGMENTATIONS)}"
        )
    return _BY_NAME[name]
