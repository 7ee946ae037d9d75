"""Labelled pictures: the data sets, their fixed splits, and batches for loops of one's own."""

from cnn_jax.data.augment import (
    AUGMENTATIONS,
    Augment,
    augmentation,
    random_flip,
    random_shift,
)
from cnn_jax.data.batches import batches
from cnn_jax.data.dataset import Dataset, check, resize
from cnn_jax.data.digits import digits
from cnn_jax.data.named import load, names
from cnn_jax.data.split import split

__all__ = [
    "AUGMENTATIONS",
    "Augment",
    "Dataset",
    "augmentation",
    "batches",
    "check",
    "digits",
    "load",
    "names",
    "random_flip",
    "random_shift",
    "resize",
    "split",
]
