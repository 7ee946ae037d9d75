"""Normalisation against NumPy's own mean and standard deviation."""

import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import cnn_jax as cnn


def dataset(images):
    return cnn.data.Dataset(images, np.zeros(len(images), np.int32), ("a",))


@given(
    size=st.integers(1, 9),
    channels=st.integers(1, 3),
    levels=st.booleans(),
    block=st.integers(1, 4),
    seed=st.integers(0, 99),
)
def test_mean_and_std_are_those_of_the_pictures(size, channels, levels, block, seed):
    random = np.random.default_rng(seed)
    images = random.integers(0, 256, (size, 4, 3, channels), np.uint8)
    if not levels:
        images = (random.normal(5, 0.1, images.shape)).astype(np.float32)
    truth = images.astype(np.float64) / (255 if levels else 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(importlib.import_module("cnn_jax.data.normalise"), "BLOCK", block)
        learned = cnn.data.learn_normalisation(dataset(images))
    assert learned.mean.dtype == learned.std.dtype == np.float32
    np.testing.assert_allclose(learned.mean, truth.mean(axis=(0, 1, 2)), rtol=2e-7, atol=1e-8)
    np.testing.assert_allclose(learned.std, truth.std(axis=(0, 1, 2)), rtol=1e-6)


def test_a_source_gives_what_its_data_set_gives(tmp_path, noise):
    np.savez(tmp_path / "x.npz", images=noise(7, 4, 3, 3), labels=np.arange(7))
    source = cnn.data.open_source(tmp_path / "x.npz")
    whole = cnn.data.learn_normalisation(cnn.data.load(tmp_path / "x.npz"))
    for one, other in zip(cnn.data.learn_normalisation(source), whole, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("value", [0, 1, 77, 0.1, 1e6, 1e-3])
def test_a_channel_that_never_changes(value):
    dtype = np.uint8 if isinstance(value, int) else np.float32
    images = np.full((3000, 2, 2, 1), value, dtype)
    learned = cnn.data.learn_normalisation(dataset(images))
    assert learned.std.tolist() == [1]
    zero = cnn.data.normalise(learned, images)
    np.testing.assert_allclose(zero, 0, atol=1e-6 * max(1, value))


def test_a_sample_is_drawn_by_its_seed(raises):
    images = np.arange(100, dtype=np.uint8).reshape(100, 1, 1, 1)

    def learn(**options):
        return float(cnn.data.learn_normalisation(dataset(images), **options).mean[0])

    assert learn(sample=100) == learn(sample=1000) == learn()
    assert learn(sample=10) == learn(sample=10) != learn(sample=10, seed=1)
    assert abs(learn(sample=60) - learn()) < 0.05
    with raises(ValueError, "learn_normalisation: sample must be at least 1, not 0"):
        learn(sample=0)


def test_normalised_pictures_have_mean_0_and_std_1(noise):
    images = noise(50, 6, 5, 3)
    learned = cnn.data.learn_normalisation(dataset(images))
    x = np.asarray(jax.jit(cnn.data.normalise)(learned, images))
    assert x.dtype == np.float32
    np.testing.assert_allclose(x.mean(axis=(0, 1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(x.std(axis=(0, 1, 2)), 1, rtol=1e-5)
    back = cnn.data.denormalise(learned, x)
    np.testing.assert_allclose(np.asarray(back) * 255, images, atol=1e-3)
    # The number of dimensions before the channels does not matter.
    np.testing.assert_allclose(cnn.data.normalise(learned, images[0, 0]), x[0, 0], rtol=1e-6)


def test_dtypes_are_kept_and_gradients_flow():
    learned = cnn.data.Normalisation(np.array([0.5], np.float32), np.array([0.25], np.float32))
    half = cnn.data.normalise(learned, jnp.ones((2, 2, 1), jnp.bfloat16))
    assert half.dtype == jnp.bfloat16
    slope = jax.grad(lambda x: cnn.data.normalise(learned, x).sum())(jnp.ones((2, 2, 1)))
    np.testing.assert_array_equal(slope, np.full((2, 2, 1), 4))
    leaves = jax.tree.leaves(learned)
    assert len(leaves) == 2


def test_channels_that_do_not_fit(raises):
    learned = cnn.data.Normalisation(np.zeros(3, np.float32), np.ones(3, np.float32))
    message = "normalise: images have shape [2, 4, 4, 1], but the normalisation is for 3 channels"
    with raises(ValueError, message):
        cnn.data.normalise(learned, np.zeros((2, 4, 4, 1), np.float32))
