"""The networks that can be chosen by name."""

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
    shape_after,
)


def lenet5() -> Network:
    """LeNet-5 with ReLU and max-pooling."""
    layers = (
        *(Conv(6, 5), Relu(), MaxPool()),
        *(Conv(16, 5, padding=0), Relu(), MaxPool()),
        Flatten(),
        *(Dense(120), Relu(), Dense(84), Relu(), Dense(10)),
    )
    return Network(layers, (28, 28, 1))


def mnist() -> Network:
    """Two convolutions of 32 and 64 channels and two dense layers."""
    layers = (
        *(Conv(32), Relu(), MaxPool()),
        *(Conv(64), Relu(), MaxPool()),
        *(Flatten(), Dense(256), Relu(), Dense(10)),
    )
    return Network(layers, (28, 28, 1))


def vgg() -> Network:
    """Four convolutions of 64 to 256 channels on 32x32 pictures."""
    layers = (
        *(Conv(64), Relu(), MaxPool()),
        *(Conv(128), Relu(), MaxPool()),
        *(Conv(256), Relu(), Conv(256), Relu(), MaxPool()),
        *(Flatten(), Dense(10)),
    )
    return Network(layers, (32, 32, 3))


def depthwise() -> Network:
    """Depthwise-separable convolutions as in MobileNet."""

    def separable(channels: int, stride: int = 1) -> tuple[Layer, ...]:
        return (DepthwiseConv(3, stride), Relu(), Conv(channels, 1), Relu())

    layers = (
        *(Conv(32), Relu()),
        *separable(64),
        *separable(128, stride=2),
        *separable(128),
        *separable(256, stride=2),
        *separable(256),
        *(GlobalAvgPool(), Dense(10)),
    )
    return Network(layers, (32, 32, 3))


def signal() -> Network:
    """Three 1-D convolutions on signals of 1,024 samples."""
    layers = (
        *(Conv(16, 7), Relu(), MaxPool()),
        *(Conv(32, 5), Relu(), MaxPool()),
        *(Conv(64, 3), Relu(), GlobalAvgPool(), Dense(10)),
    )
    return Network(layers, (1024, 4))


def volume() -> Network:
    """Three 3-D convolutions on volumes of 16x16x16."""
    layers = (
        *(Conv(16), Relu(), MaxPool()),
        *(Conv(32), Relu(), MaxPool()),
        *(Conv(64), Relu(), GlobalAvgPool(), Dense(10)),
    )
    return Network(layers, (16, 16, 16, 1))


def resnet() -> Network:
    """ResNet-20 for 32x32 pictures with group normalisation."""

    def block(channels: int, stride: int = 1) -> tuple[Layer, ...]:
        body = (
            *(Conv(channels, 3, stride, bias=False), GroupNorm(), Relu()),
            *(Conv(channels, bias=False), GroupNorm()),
        )
        shortcut = (Conv(channels, 1, stride, bias=False), GroupNorm()) if stride > 1 else ()
        return (Residual(body, shortcut), Relu())

    layers = (
        *(Conv(16, bias=False), GroupNorm(), Relu()),
        *(*block(16), *block(16), *block(16)),
        *(*block(32, stride=2), *block(32), *block(32)),
        *(*block(64, stride=2), *block(64), *block(64)),
        *(GlobalAvgPool(), Dense(10)),
    )
    return Network(layers, (32, 32, 3))


def plain(size: int = 32, channels: int = 32, depth: int = 4) -> Network:
    """`depth` equal 3x3 convolutions, for the growth of costs with each of the three."""
    if min(size, channels, depth) < 1:
        raise ValueError(
            f"plain: size, channels and depth must be positive: {size, channels, depth}"
        )
    layers = (*(Conv(channels), Relu()) * depth, GlobalAvgPool(), Dense(10))
    return Network(layers, (size, size, 3))


NETWORKS = {
    "lenet5": lenet5,
    "mnist": mnist,
    "vgg": vgg,
    "depthwise": depthwise,
    "signal": signal,
    "volume": volume,
    "resnet": resnet,
    "plain": plain,
}

FOR_TRAINING = ("lenet5", "mnist", "vgg", "depthwise", "signal", "volume", "resnet")


def network(name: str, **sizes: int) -> Network:
    """Return a network by name.

    Raises:
        ValueError: an unknown name, or sizes for which it can't be built.
    """
    if name not in NETWORKS:
        raise ValueError(f"unknown network {name!r}; the networks are {', '.join(NETWORKS)}")
    made = NETWORKS[name](**sizes)
    shape_after(made.layers, made.shape)
    return made
