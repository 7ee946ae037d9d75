"""The described networks in flax.linen."""

import itertools
from collections.abc import Callable
from typing import Any

import jax
from flax import linen as nn

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

Names = Callable[[], str]


class FlaxNetwork(nn.Module):
    """Layers of a description, one after another."""

    layers: tuple[Layer, ...]
    rank: int
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Return the logits for `[batch, *spatial, channels]`."""
        numbers = itertools.count()
        return self._all(self.layers, x, lambda: f"layer_{next(numbers)}")

    def _all(self, layers: tuple[Layer, ...], x: jax.Array, name: Names) -> jax.Array:
        for layer in layers:
            x = self._one(layer, x, name)
        return x

    def _one(self, layer: Layer, x: jax.Array, name: Names) -> jax.Array:
        match layer:
            case Conv() | DepthwiseConv():
                deep = isinstance(layer, DepthwiseConv)
                return nn.Conv(
                    x.shape[-1] if deep else layer.channels,
                    (layer.window,) * self.rank,
                    strides=layer.stride,
                    padding=layer.pad,
                    feature_group_count=x.shape[-1] if deep else 1,
                    use_bias=deep or layer.bias,
                    dtype=self.dtype,
                    name=name(),
                )(x)
            case Relu():
                return nn.relu(x)
            case MaxPool(size):
                return nn.max_pool(x, (size,) * self.rank, strides=(size,) * self.rank)
            case GroupNorm(groups):
                return nn.GroupNorm(groups, epsilon=1e-5, dtype=self.dtype, name=name())(x)
            case GlobalAvgPool():
                return x.mean(axis=tuple(range(1, self.rank + 1)))
            case Flatten():
                return x.reshape((x.shape[0], -1))
            case Dense(features):
                return nn.Dense(features, dtype=self.dtype, name=name())(x)
            case Residual(body, shortcut):
                return self._all(body, x, name) + self._all(shortcut, x, name)


def build(network: Network, dtype: Any) -> tuple[FlaxNetwork, dict[str, Any]]:
    """Return the module, which computes in `dtype`, and its float32 parameters."""
    params = {f"layer_{i}": dict(arrays) for i, arrays in enumerate(weights(network))}
    return FlaxNetwork(network.layers, network.rank, dtype), params
