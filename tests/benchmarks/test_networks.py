"""Every library computes the same from one description, and the networks are those of cnn_jax."""

import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import cnn_jax as cnn
from benchmarks.networks import of_cnn_jax
from benchmarks.networks.channels_first import first
from benchmarks.networks.description import (
    Conv,
    Dense,
    DepthwiseConv,
    Flatten,
    GlobalAvgPool,
    GroupNorm,
    MaxPool,
    Network,
    Relu,
    Residual,
    batches,
    output_shape,
    weights,
)
from benchmarks.networks.named import NETWORKS, network

# Small, and with every kind of layer among them.
SMALL = {
    "pictures": Network(
        (
            *(Conv(4, 5), Relu(), MaxPool(), DepthwiseConv(3, 2), Conv(8, 1, bias=False)),
            *(GroupNorm(2), Residual((Conv(8), GroupNorm(4)), (Conv(8, 1), Relu())), Relu()),
            *(Flatten(), Dense(6), Relu(), Dense(10)),
        ),
        (12, 8, 3),
    ),
    "signals": Network((Conv(4, 5, 2), Relu(), MaxPool(), Flatten(), Dense(10)), (24, 2)),
    "volumes": Network(
        (Conv(4), MaxPool(), Residual((Conv(4),)), GlobalAvgPool(), Dense(10)), (4, 6, 8, 1)
    ),
}


def cnn_jax_logits(described, x):
    model, params = of_cnn_jax.build(described)
    return jax.jit(model.apply)(params, x)


def flax_logits(described, x):
    from benchmarks.networks import of_flax

    module, params = of_flax.build(described, jnp.float32)
    return jax.jit(module.apply)({"params": params}, x)


def haiku_logits(described, x):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        from benchmarks.networks import of_haiku

        apply, params = of_haiku.build(described)
        return jax.jit(apply)(params, x)


def equinox_logits(described, x):
    from benchmarks.networks import of_equinox

    model: Any = of_equinox.build(described)
    return jax.jit(jax.vmap(lambda x: model(x)))(first(x))


def torch_logits(described, x):
    torch = pytest.importorskip("torch")
    from benchmarks.networks import of_torch

    with torch.no_grad():
        return of_torch.build(described)(torch.from_numpy(first(x))).numpy()


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("logits", [flax_logits, haiku_logits, equinox_logits, torch_logits])
def test_libraries_agree(name, logits):
    described = SMALL[name]
    ((x, _),) = batches(described, 3, count=1)
    # The libraries' own code relies on implicit promotion.
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        found = np.asarray(logits(described, x))
    expected = np.asarray(cnn_jax_logits(described, x))
    assert found.shape == (3, 10)
    np.testing.assert_allclose(found, expected, atol=2e-5 * np.abs(expected).max())


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("lenet5", cnn.models.lenet5),
        ("mnist", cnn.models.mnist_net),
        ("vgg", cnn.models.vgg_small),
        ("depthwise", cnn.models.depthwise_net),
        ("resnet", cnn.models.resnet),
    ],
)
def test_networks_have_as_many_parameters_as_the_models(name, model):
    described = network(name)
    params = jax.eval_shape(lambda: model().init(jax.random.key(0), described.shape))
    ours = sum(array.size for arrays in weights(described) for array in arrays.values())
    assert ours == sum(leaf.size for leaf in jax.tree.leaves(params))


@pytest.mark.parametrize("name", NETWORKS)
def test_shapes_follow_the_layers(name):
    described = network(name)
    model, params = of_cnn_jax.build(described)
    x = jax.ShapeDtypeStruct((2, *described.shape), jnp.float32)
    assert jax.eval_shape(model.apply, params, x).shape == (2, described.classes)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: network("nosuch"), "unknown network 'nosuch'; the networks are lenet5"),
        (lambda: network("plain", depth=0), "size, channels and depth must be positive"),
        (lambda: output_shape(MaxPool(4), (3, 3, 1)), "does not fit .3, 3, 1.: nothing would be"),
        (lambda: output_shape(Residual((Conv(3),)), (3, 3, 1)), "its branches differ"),
        (lambda: output_shape(GroupNorm(2), (3, 3, 1)), "groups do not divide channels"),
    ],
)
def test_errors(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_weights_and_batches_repeat():
    for one, other in zip(weights(SMALL["pictures"]), weights(SMALL["pictures"]), strict=True):
        for name in one:
            np.testing.assert_array_equal(one[name], other[name])
            assert one[name].dtype == np.float32
    (x, labels), (other, _) = batches(SMALL["pictures"], 5, count=2)
    assert (x.shape, x.dtype, labels.dtype) == ((5, 12, 8, 3), np.float32, np.int32)
    assert not np.array_equal(x, other)
