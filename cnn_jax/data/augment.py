"""Random changes to training pictures that leave their class as it is.

Each is a pure function of a key and a batch, made to run inside the jitted training step; pass it
as `augment=` to `cnn.train.fit`, `make_epoch` or `make_step`.
"""

from collections.abc import Callable
from typing import NamedTuple

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


def random_crop(share: float = 0.8) -> Augment:
    """Return a function that cuts a window out of every picture and enlarges it to full size.

    For `images: [b, *spatial, channels]`, floats. The window's sides are one random share of the
    picture's, between `share` and 1, the same for all sides so that proportions stay; its place is
    random within the picture. Values between pixels are interpolated linearly. (To move pictures
    by whole pixels over a border, which is also called cropping, use `random_shift`.)

    Raises `ValueError` for a share that is not above 0 and at most 1.

    >>> images = jnp.ones((3, 8, 8, 1))
    >>> random_crop(0.5)(jax.random.key(0), images).shape
    (3, 8, 8, 1)
    """
    if not 0 < share <= 1:
        raise ValueError(f"random_crop: share must be above 0 and at most 1, not {share}")

    def crop(key: jax.Array, images: jax.Array) -> jax.Array:
        rank = images.ndim - 2
        spatial = jnp.asarray(images.shape[1:-1], jnp.float32)
        dimensions = tuple(range(rank))

        def cut(key: jax.Array, picture: jax.Array) -> jax.Array:
            for_size, for_place = jax.random.split(key)
            side = jax.random.uniform(for_size, (), jnp.float32, share, 1.0)
            place = jax.random.uniform(for_place, (rank,), jnp.float32)
            # Pixel centres map as x -> scale * x + translation, from the picture to the result.
            scale = jnp.broadcast_to(1 / side, (rank,))
            translation = -scale * place * (1 - side) * spatial
            return jax.image.scale_and_translate(
                picture, picture.shape, dimensions, scale, translation, "linear", antialias=False
            )

        return jax.vmap(cut)(jax.random.split(key, len(images)), images)

    return crop


def random_cutout(pixels: int, fill: float = 0.0) -> Augment:
    """Return a function that blanks a square of `pixels` a side in every picture.

    For `images: [b, *spatial, channels]`. The square's middle is any pixel with equal probability,
    so the square may reach over the edge; `fill` is what it becomes in all channels. (T. DeVries
    and G. Taylor, 'Improved Regularization of Convolutional Neural Networks with Cutout', 2017.)

    Raises `ValueError` for a number of pixels that is not positive.

    >>> images = jnp.ones((1, 5, 5, 1))
    >>> random_cutout(1)(jax.random.key(0), images).sum()
    Array(24., dtype=float32)
    """
    if pixels < 1:
        raise ValueError(f"random_cutout: pixels must be at least 1, not {pixels}")

    def cut(key: jax.Array, images: jax.Array) -> jax.Array:
        batch, *spatial, _ = images.shape
        inside = jnp.ones((batch, *(1 for _ in spatial), 1), bool)
        for axis, (length, key_) in enumerate(
            zip(spatial, jax.random.split(key, len(spatial)), strict=True), start=1
        ):
            middle = jax.random.randint(key_, (batch, 1), 0, length, jnp.int32)
            place = jnp.arange(length, dtype=jnp.int32)[None] - (middle - pixels // 2)
            form = [batch] + [1] * (images.ndim - 1)
            form[axis] = length
            inside = inside & ((place >= 0) & (place < pixels)).reshape(form)
        return jnp.where(inside, jnp.asarray(fill, images.dtype), images)

    return cut


def compose(*augments: Augment) -> Augment:
    """Return a function that applies each of `augments` in turn, with a key of its own.

    >>> images = jnp.ones((3, 8, 8, 1))
    >>> compose(random_shift(1), random_flip())(jax.random.key(0), images).shape
    (3, 8, 8, 1)
    """
    for augment in augments:
        if not callable(augment):
            raise TypeError(f"compose: expected functions (key, images), not {augment!r}")

    def each(key: jax.Array, images: jax.Array) -> jax.Array:
        for number, augment in enumerate(augments):
            images = augment(jax.random.fold_in(key, number), images)
        return images

    return each


class _Named(NamedTuple):
    """An augmentation that text can ask for, and the number that it takes, if any."""

    make: Callable[..., Augment]
    number: Callable[[str], float] | None
    default: float | None = None


_BY_NAME = {
    "crop": _Named(random_crop, float, 0.8),
    "cutout": _Named(random_cutout, int),
    "flip": _Named(random_flip, None),
    "shift": _Named(random_shift, int, 1),
}

AUGMENTATIONS = tuple(sorted((*_BY_NAME, "none")))
"""The names that `augmentation` accepts."""


def augmentation(text: str) -> Augment | None:
    """Return the augmentation that `text` describes, or None for `none`.

    `text` is one name or several with commas between, applied in that order: `shift`, `flip`,
    `crop` and `cutout`. A colon and a number set how much: `shift:2` is by up to two pixels (one by
    default), `crop:0.7` keeps at least that share of each side (0.8), `cutout:4` blanks a square of
    4 pixels a side (a number is needed).

    Raises `ValueError` for unknown names, and for numbers that are missing or out of range.

    >>> augmentation("none") is None
    True
    >>> augmentation("shift:2,flip")(jax.random.key(0), jnp.ones((3, 8, 8, 1))).shape
    (3, 8, 8, 1)
    """
    if text.strip() == "none":
        return None
    augments = [_parse(part.strip()) for part in text.split(",")]
    return augments[0] if len(augments) == 1 else compose(*augments)


def _parse(part: str) -> Augment:
    name, colon, number = part.partition(":")
    named = _BY_NAME.get(name)
    if named is None:
        if name == "none":
            raise ValueError("augment: none can't stand beside other augmentations")
        raise ValueError(
            f"augment: unknown name {name!r}; the augmentations are {', '.join(AUGMENTATIONS)}"
        )
    if named.number is None:
        if colon:
            raise ValueError(f"augment: {name} takes no number, not {part!r}")
        return named.make()
    if not colon and named.default is not None:
        return named.make(named.default)
    try:
        return named.make(named.number(number))
    except ValueError as error:
        # What `int` and `float` say themselves names neither the option nor what it wants.
        if str(error).startswith("random_"):
            raise
        kind = "a whole number" if named.number is int else "a number"
        raise ValueError(
            f"augment: {name} needs {kind} after a colon, such as {name}:{named.default or 4}, "
            f"not {part!r}"
        ) from None
