"""Models by name, for the command line and for run folders."""

import inspect

from cnn_jax import models
from cnn_jax.layers import Layer

MODELS = tuple(
    sorted(
        name
        for name, function in inspect.getmembers(models, inspect.isfunction)
        if function.__module__ == models.__name__ and not name.startswith("_")
    )
)
"""The names that `make_model` accepts: the architectures of `cnn_jax.models`."""


def make_model(name: str, classes: int) -> Layer:
    """Return the architecture `cnn_jax.models.NAME` for this number of classes.

    Raises `ValueError` for unknown names.

    >>> make_model("small", classes=10).kind
    'serial'
    """
    if name not in MODELS:
        raise ValueError(f"model: unknown name {name!r}; the models are {', '.join(MODELS)}")
    return getattr(models, name)(classes)
