"""The described networks in equinox: channels first, one example at a time, under `jax.vmap`."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from benchmarks.networks.channels_first import Arrays
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
    Shape,
    output_shape,
    weights,
)


class ResidualBlock(eqx.Module):
    """body(x) + shortcut(x)."""

    body: eqx.nn.Sequential
    shortcut: eqx.nn.Sequential

    def __call__(self, x: jax.Array, *, key: Any = None) -> jax.Array:
        """Return the sum for one example."""
        return self.body(x) + self.shortcut(x)


def build(network: Network) -> eqx.Module:
    """Return the model for one example `[channels, *spatial]`."""
    return _sequential(network.layers, network.shape, Arrays(weights(network)))


def _sequential(layers: tuple[Layer, ...], shape: Shape, arrays: Arrays) -> eqx.nn.Sequential:
    made = []
    for layer in layers:
        made.append(_layer(layer, shape, arrays))
        shape = output_shape(layer, shape)
    return eqx.nn.Sequential(made)


def _layer(layer: Layer, shape: Shape, arrays: Arrays) -> Any:
    rank, channels = len(shape) - 1, shape[-1]
    key = jax.random.key(0)
    match layer:
        case Conv() | DepthwiseConv():
            deep = isinstance(layer, DepthwiseConv)
            module = eqx.nn.Conv(
                rank,
                channels,
                channels if deep else layer.channels,
                layer.window,
                stride=layer.stride,
                padding=layer.pad,
                groups=channels if deep else 1,
                use_bias=deep or layer.bias,
                key=key,
            )
            given = arrays.conv()
            module = eqx.tree_at(lambda m: m.weight, module, jnp.asarray(given["kernel"]))
            if "bias" in given:
                bias = given["bias"].reshape(-1, *[1] * rank)
                module = eqx.tree_at(lambda m: m.bias, module, jnp.asarray(bias))
            return module
        case Relu():
            return eqx.nn.Lambda(jax.nn.relu)
        case MaxPool(size):
            pools = {1: eqx.nn.MaxPool1d, 2: eqx.nn.MaxPool2d, 3: eqx.nn.MaxPool3d}
            return pools[rank](size, size)
        case GroupNorm(groups):
            given = arrays.norm()
            module = eqx.nn.GroupNorm(groups, channels)
            values = jnp.asarray(given["scale"]), jnp.asarray(given["bias"])
            return eqx.tree_at(lambda m: (m.weight, m.bias), module, values)
        case GlobalAvgPool():
            return eqx.nn.Lambda(lambda x: x.mean(axis=tuple(range(1, x.ndim))))
        case Flatten():
            arrays.flattened(shape)
            return eqx.nn.Lambda(jnp.ravel)
        case Dense(features):
            given = arrays.dense()
            module = eqx.nn.Linear(channels, features, key=key)
            values = jnp.asarray(given["kernel"]), jnp.asarray(given["bias"])
            return eqx.tree_at(lambda m: (m.weight, m.bias), module, values)
        case Residual(body, shortcut):
            return ResidualBlock(
                _sequential(body, shape, arrays), _sequential(shortcut, shape, arrays)
            )
