"""Named architectures, each a few lines of layers.

Every one takes any number of batch dimensions and returns logits `[*batch, classes]`: numbers of
any size, of which `jax.nn.softmax` makes probabilities. Initialise with the shape of one input.
"""

from __future__ import annotations

from cnn_jax.layers import (
    Layer,
    conv,
    dense,
    depthwise_conv,
    dropout,
    flatten,
    global_avg_pool,
    group_norm,
    max_pool,
    relu,
    residual,
    serial,
)


def lenet5(classes: int = 10) -> Layer:
    """LeNet-5 in today's form: ReLU and max-pooling, for 28x28 pictures padded to 32x32.

    LeCun et al., 'Gradient-based learning applied to document recognition', Proc. IEEE 86 (1998),
    with three changes that are usual now: ReLU for tanh, max-pooling for the trained averages, and
    every map of the second convolution sees every map of the first.

    >>> import cnn_jax as cnn
    >>> cnn.summary(cnn.models.lenet5(), (28, 28, 1)).parameters
    61706
    """
    return serial(
        *(conv(6, 5, padding="SAME"), relu, max_pool(2)),
        *(conv(16, 5), relu, max_pool(2)),
        flatten,
        *(dense(120), relu),
        *(dense(84), relu),
        dense(classes),
    )


def small(classes: int = 10) -> Layer:
    """A small modern network for small pictures, from 4x4 up and of any number of channels.

    Three 3x3 convolutions, each with group normalisation and ReLU, two max-poolings, and dropout
    before the one dense layer. It passes 98.5 % on scikit-learn's 8x8 digits in seconds.
    """
    return serial(
        *(conv(16, 3, padding="SAME", bias=False), group_norm(8), relu),
        *(conv(32, 3, padding="SAME", bias=False), group_norm(8), relu, max_pool(2)),
        *(conv(64, 3, padding="SAME", bias=False), group_norm(8), relu, max_pool(2)),
        flatten,
        dropout(0.3),
        dense(classes),
    )


def mnist_net(classes: int = 10) -> Layer:
    """Two convolutions of 32 and 64 channels, then two dense layers, for 28x28 pictures.

    The network that introductions to several libraries train on MNIST, with max-pooling.

    >>> import cnn_jax as cnn
    >>> cnn.summary(cnn.models.mnist_net(), (28, 28, 1)).parameters
    824458
    """
    return serial(
        *(conv(32, 3, padding="SAME"), relu, max_pool(2)),
        *(conv(64, 3, padding="SAME"), relu, max_pool(2)),
        flatten,
        *(dense(256), relu),
        dense(classes),
    )


def vgg_small(classes: int = 10) -> Layer:
    """The first four convolutions of VGG-11 (64, 128, 256, 256) and one dense layer, for 32x32.

    Source: Simonyan and Zisserman, 'Very deep convolutional networks', ICLR 2015.
    """
    return serial(
        *(conv(64, 3, padding="SAME"), relu, max_pool(2)),
        *(conv(128, 3, padding="SAME"), relu, max_pool(2)),
        *(conv(256, 3, padding="SAME"), relu),
        *(conv(256, 3, padding="SAME"), relu, max_pool(2)),
        flatten,
        dense(classes),
    )


def depthwise_net(classes: int = 10) -> Layer:
    """Depthwise-separable convolutions as in MobileNet, without normalisation, for 32x32.

    Source: Howard et al., 'MobileNets', 2017.
    """

    def separable(channels: int, stride: int = 1) -> Layer:
        return serial(
            *(depthwise_conv(3, stride=stride, padding="SAME"), relu),
            *(conv(channels, 1), relu),
        )

    return serial(
        stem=serial(conv(32, 3, padding="SAME"), relu),
        block_0=separable(64),
        block_1=separable(128, stride=2),
        block_2=separable(128),
        block_3=separable(256, stride=2),
        block_4=separable(256),
        head=serial(global_avg_pool(), dense(classes)),
    )


def resnet(classes: int = 10, blocks: int = 3) -> Layer:
    """The residual network of depth `6 * blocks + 2` for 32x32 pictures: ResNet-20 by default.

    He et al., 'Deep residual learning for image recognition', CVPR 2016, section 4.2, with group
    normalisation in place of batch normalisation, so that `apply` stays pure, and 1x1 convolutions
    in the two shortcuts that change the shape (the paper's option B).

    >>> import cnn_jax as cnn
    >>> cnn.summary(cnn.models.resnet(), (32, 32, 3)).parameters
    272474
    """

    def convolution(channels: int, window: int = 3, stride: int = 1) -> tuple[Layer, Layer]:
        kernel = conv(channels, window, stride=stride, padding="SAME", bias=False)
        return kernel, group_norm(8)

    def block(channels: int, stride: int = 1) -> Layer:
        body = serial(*convolution(channels, stride=stride), relu, *convolution(channels))
        changes_shape = stride != 1
        shortcut = serial(*convolution(channels, 1, stride)) if changes_shape else None
        return serial(residual(body, shortcut), relu)

    def stage(channels: int, stride: int) -> Layer:
        strides = (stride, *[1] * (blocks - 1))
        return serial(**{f"block_{i}": block(channels, strides[i]) for i in range(blocks)})

    if blocks < 1:
        raise ValueError(f"resnet: blocks must be at least 1, got {blocks}")
    return serial(
        stem=serial(*convolution(16), relu),
        stage_0=stage(16, stride=1),
        stage_1=stage(32, stride=2),
        stage_2=stage(64, stride=2),
        head=serial(global_avg_pool(), dense(classes)),
    )


def signal_net(classes: int = 10) -> Layer:
    """Three 1-D convolutions for signals `[*batch, samples, channels]` of any length from 4 up."""
    return serial(
        *(conv(16, (7,), padding="SAME"), relu, max_pool((2,))),
        *(conv(32, (5,), padding="SAME"), relu, max_pool((2,))),
        *(conv(64, (3,), padding="SAME"), relu),
        global_avg_pool(spatial=1),
        dense(classes),
    )


def volume_net(classes: int = 10) -> Layer:
    """Three 3-D convolutions for volumes `[*batch, depth, height, width, channels]` from 4^3 up."""
    return serial(
        *(conv(16, (3, 3, 3), padding="SAME"), relu, max_pool((2, 2, 2))),
        *(conv(32, (3, 3, 3), padding="SAME"), relu, max_pool((2, 2, 2))),
        *(conv(64, (3, 3, 3), padding="SAME"), relu),
        global_avg_pool(spatial=3),
        dense(classes),
    )
