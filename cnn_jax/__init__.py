"""Convolutional neural networks as pure functions in JAX, fast on CPUs."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cnn_jax import data, export, images, layers, lecture, models, ops, plots, reference, train
    from cnn_jax.layers import (
        Layer,
        activation,
        avg_pool,
        conv,
        conv_transpose,
        dense,
        depthwise_conv,
        dropout,
        flatten,
        flatten_nd,
        gelu,
        global_avg_pool,
        global_max_pool,
        group_norm,
        layer_norm,
        max_pool,
        min_pool,
        mixed_precision,
        relu,
        residual,
        separable_conv,
        serial,
        sigmoid,
        silu,
        tanh,
    )
    from cnn_jax.model_summary import summary

__version__ = "0.1.0"

__all__ = [
    "Layer",
    "activation",
    "avg_pool",
    "conv",
    "conv_transpose",
    "data",
    "dense",
    "depthwise_conv",
    "dropout",
    "export",
    "flatten",
    "flatten_nd",
    "gelu",
    "global_avg_pool",
    "global_max_pool",
    "group_norm",
    "images",
    "layer_norm",
    "layers",
    "lecture",
    "max_pool",
    "min_pool",
    "mixed_precision",
    "models",
    "ops",
    "plots",
    "reference",
    "relu",
    "residual",
    "separable_conv",
    "serial",
    "sigmoid",
    "silu",
    "summary",
    "tanh",
    "train",
]

_MODULES = frozenset(
    (
        "data",
        "export",
        "images",
        "layers",
        "lecture",
        "models",
        "ops",
        "plots",
        "reference",
        "train",
    )
)


# Public names are imported when they are first used, so that `cnn-jax --help`, and whoever wants
# `cnn_jax.reference` alone, does not wait for JAX.
def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    home = "model_summary" if name == "summary" else "layers"
    globals()[name] = getattr(importlib.import_module(f"{__name__}.{home}"), name)
    return globals()[name]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
