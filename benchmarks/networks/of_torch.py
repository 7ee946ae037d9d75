"""The described networks in PyTorch: channels first."""

import torch  # pyright: ignore[reportMissingImports]
from torch import nn  # pyright: ignore[reportMissingImports]

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
    Weights,
    output_shape,
    weights,
)

_CONVOLUTIONS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
_POOLS = {1: nn.MaxPool1d, 2: nn.MaxPool2d, 3: nn.MaxPool3d}


class ResidualBlock(nn.Module):
    """body(x) + shortcut(x)."""

    def __init__(self, body: nn.Module, shortcut: nn.Module) -> None:
        """Take the two branches."""
        super().__init__()
        self.body, self.shortcut = body, shortcut

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the sum."""
        return self.body(x) + self.shortcut(x)


class GlobalAverage(nn.Module):
    """The mean over all positions."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return `[batch, channels]`."""
        return x.mean(dim=tuple(range(2, x.ndim)))


def build(network: Network) -> nn.Module:
    """Return the model for `[batch, channels, *spatial]`."""
    return _sequential(network.layers, network.shape, Arrays(weights(network)))


def _sequential(layers: tuple[Layer, ...], shape: Shape, arrays: Arrays) -> nn.Module:
    made = []
    for layer in layers:
        made.append(_layer(layer, shape, arrays))
        shape = output_shape(layer, shape)
    return nn.Sequential(*made)


def _layer(layer: Layer, shape: Shape, arrays: Arrays) -> nn.Module:
    rank, channels = len(shape) - 1, shape[-1]
    match layer:
        case Conv() | DepthwiseConv():
            deep = isinstance(layer, DepthwiseConv)
            module = _CONVOLUTIONS[rank](
                channels,
                channels if deep else layer.channels,
                layer.window,
                stride=layer.stride,
                padding=layer.pad,
                groups=channels if deep else 1,
                bias=deep or layer.bias,
            )
            return _fill(module, arrays.conv())
        case Relu():
            return nn.ReLU()
        case MaxPool(size):
            return _POOLS[rank](size)
        case GroupNorm(groups):
            return _fill(nn.GroupNorm(groups, channels), arrays.norm())
        case GlobalAvgPool():
            return GlobalAverage()
        case Flatten():
            arrays.flattened(shape)
            return nn.Flatten()
        case Dense(features):
            return _fill(nn.Linear(channels, features), arrays.dense())
        case Residual(body, shortcut):
            return ResidualBlock(
                _sequential(body, shape, arrays), _sequential(shortcut, shape, arrays)
            )


def _fill(module: nn.Module, given: Weights) -> nn.Module:
    values = dict(given)
    values["weight"] = values.pop("kernel") if "kernel" in values else values.pop("scale")
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            parameter.copy_(torch.from_numpy(values.pop(name)))
    if values:
        raise ValueError(f"{module} has no {', '.join(values)}")
    return module
