"""The described networks in cnn_jax."""

from collections.abc import Iterator
from typing import Any

import cnn_jax as cnn
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
    Weights,
    weights,
)


def build(network: Network) -> tuple[cnn.Layer, dict[str, Any]]:
    """Return the model and its parameters."""
    return _serial(network.layers, network.rank, weights(network))


def _serial(
    layers: tuple[Layer, ...], rank: int, arrays: Iterator[Weights]
) -> tuple[cnn.Layer, dict[str, Any]]:
    children, params = {}, {}
    for number, layer in enumerate(layers):
        name = f"layer_{number}"
        children[name], made = _layer(layer, rank, arrays)
        if made:
            params[name] = made
    return cnn.serial(**children), params


def _layer(layer: Layer, rank: int, arrays: Iterator[Weights]) -> tuple[cnn.Layer, dict[str, Any]]:
    match layer:
        case Conv():
            made = cnn.conv(
                layer.channels,
                (layer.window,) * rank,
                stride=layer.stride,
                padding=layer.pad,
                bias=layer.bias,
            )
            return made, dict(next(arrays))
        case DepthwiseConv(window, stride):
            made = cnn.depthwise_conv((window,) * rank, stride=stride, padding=layer.pad)
            return made, dict(next(arrays))
        case Relu():
            return cnn.relu, {}
        case MaxPool(size):
            return cnn.max_pool((size,) * rank), {}
        case GroupNorm(groups):
            return cnn.group_norm(groups, spatial=rank), dict(next(arrays))
        case GlobalAvgPool():
            return cnn.global_avg_pool(spatial=rank), {}
        case Flatten():
            return cnn.flatten_nd(rank), {}
        case Dense(features):
            return cnn.dense(features), dict(next(arrays))
        case Residual(body, shortcut):
            inner, params = _serial(body, rank, arrays)
            if not shortcut:
                return cnn.residual(inner), {"body": params}
            outer, more = _serial(shortcut, rank, arrays)
            return cnn.residual(inner, outer), {"body": params, "shortcut": more}
