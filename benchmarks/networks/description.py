"""The networks of the benchmarks, as plain data: what is computed, whatever the library.

Each library's module turns the same description and the same arrays of weights into a model, so
that nobody gets an easier network than the others.
"""

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

Shape = tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Conv:
    """Correlation with a bias, padded by `window // 2` unless told otherwise."""

    channels: int
    window: int = 3
    stride: int = 1
    padding: int | None = None
    bias: bool = True

    @property
    def pad(self) -> int:
        """The padding at both ends of each dimension."""
        return self.window // 2 if self.padding is None else self.padding


@dataclasses.dataclass(frozen=True)
class DepthwiseConv:
    """Correlation of each channel by itself."""

    window: int = 3
    stride: int = 1

    @property
    def pad(self) -> int:
        """The padding at both ends of each dimension."""
        return self.window // 2


@dataclasses.dataclass(frozen=True)
class Relu:
    """max(x, 0)."""


@dataclasses.dataclass(frozen=True)
class MaxPool:
    """The largest of each window of `size`, side by side."""

    size: int = 2


@dataclasses.dataclass(frozen=True)
class GroupNorm:
    """Group normalisation with scale and bias."""

    groups: int = 8


@dataclasses.dataclass(frozen=True)
class GlobalAvgPool:
    """The mean over all positions."""


@dataclasses.dataclass(frozen=True)
class Flatten:
    """All dimensions but the batch as one; the weights that follow count channels fastest."""


@dataclasses.dataclass(frozen=True)
class Dense:
    """Matrix product with a bias."""

    features: int


@dataclasses.dataclass(frozen=True)
class Residual:
    """body(x) + shortcut(x), where an empty shortcut is x itself."""

    body: "tuple[Layer, ...]"
    shortcut: "tuple[Layer, ...]" = ()


Layer = (
    Conv | DepthwiseConv | Relu | MaxPool | GroupNorm | GlobalAvgPool | Flatten | Dense | Residual
)


@dataclasses.dataclass(frozen=True)
class Network:
    """Layers one after another, for examples of `shape`, `[*spatial, channels]`."""

    layers: tuple[Layer, ...]
    shape: Shape
    classes: int = 10

    @property
    def rank(self) -> int:
        """How many spatial dimensions there are."""
        return len(self.shape) - 1


def output_shape(layer: Layer, shape: Shape) -> Shape:
    """Return the shape of one example after a layer.

    Raises:
        ValueError: the layer can't take that shape.
    """
    *spatial, channels = shape
    match layer:
        case Conv() | DepthwiseConv():
            sizes = [(n + 2 * layer.pad - layer.window) // layer.stride + 1 for n in spatial]
            after = (*sizes, layer.channels if isinstance(layer, Conv) else channels)
        case MaxPool(size):
            after = (*[n // size for n in spatial], channels)
        case GlobalAvgPool():
            after = (channels,)
        case Flatten():
            after = (math.prod(shape),)
        case Dense(features):
            after = (*spatial, features)
        case Residual(body, shortcut):
            after = shape_after(body, shape)
            if shape_after(shortcut, shape) != after:
                raise ValueError(f"{layer} does not fit {list(shape)}: its branches differ")
        case GroupNorm(groups) if channels % groups:
            raise ValueError(f"{layer} does not fit {list(shape)}: groups do not divide channels")
        case _:
            after = shape
    if min(after) < 1:
        raise ValueError(f"{layer} does not fit {list(shape)}: nothing would be left")
    return after


def shape_after(layers: tuple[Layer, ...], shape: Shape) -> Shape:
    """Return the shape of one example after several layers."""
    for layer in layers:
        shape = output_shape(layer, shape)
    return shape


Weights = dict[str, np.ndarray]


def weights(network: Network, seed: int = 0) -> Iterator[Weights]:
    """The arrays of each layer that has any, in reading order, drawn from the seed.

    Kernels are `[*window, in_channels / groups, out_channels]`. A body comes before its shortcut.
    """
    return iter(_draw(network.layers, network.shape, np.random.default_rng(seed)))


def _draw(layers: tuple[Layer, ...], shape: Shape, random: np.random.Generator) -> list[Weights]:
    drawn: list[Weights] = []
    for layer in layers:
        *spatial, channels = shape
        match layer:
            case Conv():
                kernel = (*[layer.window] * len(spatial), channels, layer.channels)
                drawn.append(_kernel(random, kernel, layer.bias))
            case DepthwiseConv():
                drawn.append(_kernel(random, (*[layer.window] * len(spatial), 1, channels)))
            case Dense():
                drawn.append(_kernel(random, (channels, layer.features)))
            case GroupNorm():
                scale = 1 + 0.1 * random.standard_normal(channels, np.float32)
                bias = 0.1 * random.standard_normal(channels, np.float32)
                drawn.append({"scale": scale.astype(np.float32), "bias": bias.astype(np.float32)})
            case Residual(body, shortcut):
                drawn += _draw(body, shape, random) + _draw(shortcut, shape, random)
        shape = output_shape(layer, shape)
    return drawn


def _kernel(random: np.random.Generator, shape: Shape, bias: bool = True) -> Weights:
    """He's normal initialisation; biases are small but not zero, so that a lost one is noticed."""
    scale = np.float32(math.sqrt(2 / math.prod(shape[:-1])))
    made = {"kernel": scale * random.standard_normal(shape, np.float32)}
    if bias:
        made["bias"] = np.float32(0.01) * random.standard_normal(shape[-1], np.float32)
    return made


def batches(network: Network, batch: int, count: int = 4, seed: int = 1) -> list[Any]:
    """Draw `count` batches of `(x: float32[batch, *shape], labels: int32[batch])`."""
    random = np.random.default_rng(seed)
    return [
        (
            random.standard_normal((batch, *network.shape), np.float32),
            random.integers(0, network.classes, batch).astype(np.int32),
        )
        for _ in range(count)
    ]
