"""Data sets, their splits and batches."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import cnn_jax as cnn
from cnn_jax.data import Dataset


def exactly(message):
    return f"^{re.escape(message)}$"


def numbered(labels, classes=None):
    """A data set whose pictures hold their own number."""
    labels = np.asarray(labels, np.int32)
    images = np.arange(len(labels), dtype=np.float32).reshape(-1, 1, 1)
    classes = int(labels.max()) + 1 if classes is None else classes
    return Dataset(images, labels, tuple(map(str, range(classes))))


def test_digits_are_the_published_ones():
    data = cnn.data.digits()
    assert data.images.shape == (1797, 8, 8, 1)
    assert data.shape == (8, 8, 1)
    assert data.size == 1797
    assert data.images.dtype == np.float32
    assert data.labels.dtype == np.int32
    assert data.class_names == tuple("0123456789")
    assert (data.images.min(), data.images.max()) == (0, 1)
    # Counts of the classes in the UCI test set.
    assert np.bincount(data.labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    cnn.data.check(data)


def test_digits_are_split_the_same_way_for_ever():
    train, test = cnn.data.split(cnn.data.digits())
    assert (train.size, test.size) == (1438, 359)
    assert int(test.labels[:20].sum()) == 79
    assert np.bincount(test.labels).tolist() == [35, 37, 36, 36, 36, 37, 36, 36, 35, 35]


@given(
    labels=st.lists(st.integers(0, 3), min_size=30, max_size=80),
    weights=st.lists(st.integers(1, 5), min_size=1, max_size=4),
    seed=st.integers(0, 2**32 - 1),
)
def test_split_parts_are_disjoint_complete_and_in_proportion(labels, weights, seed):
    data = numbered(labels, 4)
    fractions = np.array(weights) / sum(weights)
    parts = cnn.data.split(data, tuple(fractions), seed=seed)
    everything = np.concatenate([part.images.ravel() for part in parts])
    assert sorted(everything) == list(range(data.size))
    for part, fraction in zip(parts, fractions, strict=True):
        assert abs(part.size - fraction * data.size) <= 1
        assert np.all(np.diff(part.images.ravel()) > 0)
        assert np.array_equal(part.labels, data.labels[part.images.ravel().astype(int)])
        for label in range(4):
            due = fraction * np.sum(data.labels == label)
            assert abs(np.sum(part.labels == label) - due) <= 2


def test_split_depends_on_its_seed_alone():
    data = cnn.data.digits()
    first, again, other = (cnn.data.split(data, seed=seed)[1].images for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize(
    ("fractions", "message"),
    [
        ((), "split: fractions must be positive numbers, not ()"),
        ((1.2, -0.2), "split: fractions must be positive numbers, not (1.2, -0.2)"),
        ((float("nan"), 0.5), "split: fractions must be positive numbers, not (nan, 0.5)"),
        ((0.5, 0.4), "split: fractions must sum to 1, not 0.9 ((0.5, 0.4))"),
        ((0.99, 0.01), "split: fraction 0.01 of 4 examples leaves an empty part"),
    ],
)
def test_split_errors(fractions, message):
    with pytest.raises(ValueError, match=exactly(message)):
        cnn.data.split(numbered([0, 1, 0, 1]), fractions)


IMAGES, LABELS = np.zeros((4, 8, 8, 1), np.float32), np.array([0, 1, 0, 1], np.int32)


@pytest.mark.parametrize(
    ("images", "labels", "kind", "message"),
    [
        (IMAGES.astype(int), LABELS, TypeError, "images must be floats or uint8, not int64"),
        (IMAGES, LABELS / 1.0, TypeError, "labels must be integers, not float64"),
        (
            IMAGES[:, 0, 0, 0],
            LABELS,
            ValueError,
            "images must have shape [n, *spatial, channels], not [4]",
        ),
        (
            IMAGES,
            LABELS[:3],
            ValueError,
            "labels must have shape [4], one for each image, not [3]",
        ),
        (IMAGES[:0], LABELS[:0], ValueError, "there are no pixels in images of shape [0, 8, 8, 1]"),
        (
            IMAGES,
            LABELS - 1,
            ValueError,
            "labels must lie in 0..1 for 2 classes, but example 0 has label -1",
        ),
        (
            np.where(np.arange(4)[:, None, None, None] == 2, np.nan, IMAGES),
            LABELS,
            ValueError,
            "images must be finite, but 1 of 4 hold NaN or infinity (the first is example 2)",
        ),
    ],
)
def test_check_says_what_is_wrong(images, labels, kind, message):
    with pytest.raises(kind, match=exactly(f"dataset: {message}")):
        cnn.data.check(Dataset(images, labels, ("cat", "dog")))


def test_unknown_names():
    message = (
        "dataset: unknown name 'mnits'; the data sets are cifar10, cifar100, digits, "
        "fashion-mnist, mnist, and there is no file or folder of that name"
    )
    with pytest.raises(ValueError, match=exactly(message)):
        cnn.data.load("mnits")


@given(size=st.integers(1, 30), batch_size=st.integers(1, 40), seed=st.none() | st.integers(0, 9))
def test_batches_give_every_example_once(size, batch_size, seed):
    data = numbered(np.arange(size) % 3, 3)
    batches = list(cnn.data.batches(data, batch_size, seed=seed))
    sizes = [len(labels) for _, labels in batches]
    assert all(length == batch_size for length in sizes[:-1])
    assert sum(sizes) == size
    images = np.concatenate([images.ravel() for images, _ in batches])
    assert np.array_equal(np.concatenate([labels for _, labels in batches]), images.astype(int) % 3)
    assert sorted(images) == list(range(size))
    if seed is None:
        assert np.all(np.diff(images) > 0)


def test_batches_need_a_size():
    with pytest.raises(ValueError, match=exactly("batches: batch_size must be at least 1, not 0")):
        cnn.data.batches(numbered([0, 1]), 0)


def test_resize():
    data = cnn.data.digits()._replace(images=np.full((3, 8, 8, 1), 255, np.uint8))
    larger = cnn.data.resize(data, (4, 16))
    assert larger.images.shape == (3, 4, 16, 1)
    assert larger.images.dtype == np.float32
    np.testing.assert_allclose(larger.images, 1.0, rtol=1e-6)
    message = (
        "resize: size must be a positive int or 2 of them for images of shape [3, 8, 8, 1], "
        "not (4, 4, 4)"
    )
    with pytest.raises(ValueError, match=exactly(message)):
        cnn.data.resize(data, (4, 4, 4))


def test_random_shift_moves_whole_pictures_and_fills_with_zeros():
    picture = np.arange(1.0, 13.0, dtype=np.float32).reshape(3, 4, 1)
    images = np.broadcast_to(picture, (200, 3, 4, 1))
    moved = np.asarray(jax.jit(cnn.data.random_shift(1))(jax.random.key(0), images))
    padded = np.pad(picture, ((1, 1), (1, 1), (0, 0)))
    possible = {padded[i : i + 3, j : j + 4].tobytes() for i in range(3) for j in range(3)}
    assert {one.tobytes() for one in moved} == possible
    same = cnn.data.random_shift(0)(jax.random.key(0), jnp.asarray(images))
    assert np.array_equal(same, images)


def test_random_flip_mirrors_about_half():
    images = np.broadcast_to(np.array([0.0, 1.0], np.float32).reshape(1, 1, 2, 1), (400, 1, 2, 1))
    flipped = np.asarray(cnn.data.random_flip()(jax.random.key(1), jnp.asarray(images)))
    first = flipped[:, 0, 0, 0]
    assert np.array_equal(flipped[:, 0, 1, 0], 1 - first)
    assert 140 < first.sum() < 260


def test_augmentation_errors():
    with pytest.raises(
        ValueError, match=exactly("random_shift: pixels must be at least 0, not -1")
    ):
        cnn.data.random_shift(-1)
    message = "augment: unknown name 'blur'; the augmentations are crop, cutout, flip, none, shift"
    with pytest.raises(ValueError, match=exactly(message)):
        cnn.data.augmentation("blur")
