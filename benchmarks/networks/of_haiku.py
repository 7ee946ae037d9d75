"""The described networks in haiku."""

from collections.abc import Callable
from typing import Any

import haiku as hk
import jax

from benchmarks.networks.description import (
    Conv,
    Dense,
    DepthwiseConv,
    Flatten,
    GlobalAvgPool,
    GroupNorm,
    Layer,
    MaxPool,
    Network,
    Relu,
    Residual,
    weights,
)

_CONVOLUTIONS = {1: hk.Conv1D, 2: hk.Conv2D, 3: hk.Conv3D}
_NAMES = {"kernel": "w", "bias": "b"}
_NORM_NAMES = {"scale": "scale", "bias": "offset"}


def build(network: Network) -> tuple[Callable[[Any, jax.Array], jax.Array], dict[str, Any]]:
    """Return the pure function `apply(params, x)` and its parameters."""
    model = hk.without_apply_rng(
        hk.transform(lambda x: _Builder(network.rank).all(network.layers, x))
    )
    params = {}
    for number, arrays in enumerate(weights(network)):
        names = _NORM_NAMES if "scale" in arrays else _NAMES
        params[f"layer_{number}"] = {names[name]: array for name, array in arrays.items()}
    return model.apply, params


class _Builder:
    """Counts the modules while they are called in reading order."""

    def __init__(self, rank: int) -> None:
        self.rank = rank
        self.count = 0

    def all(self, layers: tuple[Layer, ...], x: jax.Array) -> jax.Array:
        for layer in layers:
            x = self._one(layer, x)
        return x

    def _one(self, layer: Layer, x: jax.Array) -> jax.Array:
        match layer:
            case Conv() | DepthwiseConv():
                deep = isinstance(layer, DepthwiseConv)
                return _CONVOLUTIONS[self.rank](
                    x.shape[-1] if deep else layer.channels,
                    layer.window,
                    stride=layer.stride,
                    padding=[(layer.pad, layer.pad)] * self.rank,
                    feature_group_count=x.shape[-1] if deep else 1,
                    with_bias=deep or layer.bias,
                    name=self._name(),
                )(x)
            case Relu():
                return jax.nn.relu(x)
            case MaxPool(size):
                window = (1, *[size] * self.rank, 1)
                return hk.max_pool(x, window, window, padding="VALID")
            case GroupNorm(groups):
                return hk.GroupNorm(groups, name=self._name())(x)
            case GlobalAvgPool():
                return x.mean(axis=tuple(range(1, self.rank + 1)))
            case Flatten():
                return x.reshape((x.shape[0], -1))
            case Dense(features):
                return hk.Linear(features, name=self._name())(x)
            case Residual(body, shortcut):
                return self.all(body, x) + self.all(shortcut, x)

    def _name(self) -> str:
        self.count += 1
        return f"layer_{self.count - 1}"
