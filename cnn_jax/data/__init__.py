"""Labelled pictures: data sets of one's own and by name, splits, batches, streams, augmentation."""

from cnn_jax.data.augment import (
    AUGMENTATIONS,
    Augment,
    augmentation,
    compose,
    random_crop,
    random_cutout,
    random_flip,
    random_shift,
)
from cnn_jax.data.batches import batches
from cnn_jax.data.cifar import cifar_source
from cnn_jax.data.dataset import Dataset, check, resize
from cnn_jax.data.digits import digits
from cnn_jax.data.download import data_folder, download, downloadable, fetch
from cnn_jax.data.folder import folder_source
from cnn_jax.data.formats import load, names, open_source, parts
from cnn_jax.data.idx import idx_source, read_idx, write_idx
from cnn_jax.data.normalise import Normalisation, denormalise, learn_normalisation, normalise
from cnn_jax.data.npz import npz_source
from cnn_jax.data.source import InMemory, Resized, Source, Subset, read_all, split_source
from cnn_jax.data.split import split
from cnn_jax.data.stream import Stream, StreamBatch, stream

__all__ = [
    "AUGMENTATIONS",
    "Augment",
    "Dataset",
    "InMemory",
    "Normalisation",
    "Resized",
    "Source",
    "Stream",
    "StreamBatch",
    "Subset",
    "augmentation",
    "batches",
    "check",
    "cifar_source",
    "compose",
    "data_folder",
    "denormalise",
    "digits",
    "download",
    "downloadable",
    "fetch",
    "folder_source",
    "idx_source",
    "learn_normalisation",
    "load",
    "names",
    "normalise",
    "npz_source",
    "open_source",
    "parts",
    "random_crop",
    "random_cutout",
    "random_flip",
    "random_shift",
    "read_all",
    "read_idx",
    "resize",
    "split",
    "split_source",
    "stream",
    "write_idx",
]
