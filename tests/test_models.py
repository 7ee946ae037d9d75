"""The named architectures: output shapes, and parameter counts published or added up by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import cnn_jax as cnn
from cnn_jax import models

SHAPES = {
    "lenet5": (28, 28, 1),
    "small": (8, 8, 1),
    "mnist_net": (28, 28, 1),
    "vgg_small": (32, 32, 3),
    "depthwise_net": (32, 32, 3),
    "resnet": (32, 32, 3),
    "signal_net": (50, 2),
    "volume_net": (6, 6, 6, 1),
}


def conv_count(window, inputs, outputs, bias=True):
    return window * inputs * outputs + (outputs if bias else 0)


COUNTS = {
    # C1 and F6 as published (156; 10,164); C3 sees all six maps: 2,416 for the paper's 1,516.
    "lenet5": 156 + 2416 + (400 * 120 + 120) + 10164 + 850,
    "small": (
        sum(conv_count(9, *pair, bias=False) for pair in ((1, 16), (16, 32), (32, 64)))
        + 2 * (16 + 32 + 64)
        + (2 * 2 * 64 * 10 + 10)
    ),
    "mnist_net": 824458,  # as published for this network in flax's and Keras's introductions
    "vgg_small": (
        sum(conv_count(9, *pair) for pair in ((3, 64), (64, 128), (128, 256), (256, 256)))
        + (4 * 4 * 256 * 10 + 10)
    ),
    "depthwise_net": (
        conv_count(9, 3, 32)
        + sum(
            conv_count(9, 1, inputs) + conv_count(1, inputs, outputs)
            for inputs, outputs in ((32, 64), (64, 128), (128, 128), (128, 256), (256, 256))
        )
        + (256 * 10 + 10)
    ),
    # ResNet-20: 269,722 without projections (0.27 million in the paper), which add 2,752 here.
    "resnet": 269722 + (16 * 32 + 2 * 32) + (32 * 64 + 2 * 64),
    "signal_net": conv_count(7, 2, 16) + conv_count(5, 16, 32) + conv_count(3, 32, 64) + 650,
    "volume_net": conv_count(27, 1, 16) + conv_count(27, 16, 32) + conv_count(27, 32, 64) + 650,
}


def test_every_model_is_listed_here():
    public = [name for name, value in vars(models).items() if callable(value)]
    own = [name for name in public if getattr(models, name).__module__ == models.__name__]
    assert sorted(own) == sorted(SHAPES) == sorted(COUNTS)


@pytest.mark.parametrize("name", SHAPES)
def test_parameters_and_output_shapes(name):
    model, shape = getattr(models, name)(), SHAPES[name]
    params = jax.eval_shape(lambda key: model.init(key, shape), jax.random.key(0))
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == COUNTS[name]
    for batch in ((), (2,), (2, 3)):
        x = jax.ShapeDtypeStruct((*batch, *shape), jnp.float32)
        assert jax.eval_shape(model.apply, params, x).shape == (*batch, 10)


@pytest.mark.parametrize("name", SHAPES)
def test_classes_are_as_asked(name):
    model = getattr(models, name)(classes=3)
    assert cnn.summary(model, SHAPES[name]).output_shape == (3,)


@pytest.mark.parametrize("name", ["lenet5", "small", "signal_net", "volume_net"])
def test_outputs_are_finite_and_tell_inputs_apart(name):
    model, shape = getattr(models, name)(), SHAPES[name]
    params = jax.jit(model.init, static_argnums=1)(jax.random.key(0), shape)
    x = np.random.default_rng(0).uniform(size=(2, *shape)).astype(np.float32)
    logits = jax.jit(model.apply)(params, x)
    assert np.isfinite(logits).all()
    assert np.abs(logits[0] - logits[1]).max() > 1e-3


def test_resnet_of_other_depths():
    def convolutions(blocks):
        rows = cnn.summary(models.resnet(blocks=blocks), (32, 32, 3)).rows
        return sum(row.kind == "conv" for row in rows)

    assert convolutions(1) + 1 == 8 + 2  # ResNet-8: seven and the dense layer, two projections
    assert convolutions(5) + 1 == 32 + 2
    with pytest.raises(ValueError, match="blocks") as caught:
        models.resnet(blocks=0)
    assert str(caught.value) == "resnet: blocks must be at least 1, got 0"
