"""Pictures as features in reading order, and back."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from cnn_jax import images


def test_reading_order_worked_by_hand():
    rows = ["10100", "10101", "11100", "10101", "10101"]
    picture = np.array([[int(pixel) for pixel in row] for row in rows])
    features = images.to_features(picture, rank=2)
    assert "".join(map(str, features)) == "".join(rows)
    assert features[1 * 5 + 2] == picture[1, 2]


def test_colour_runs_through_the_channels_of_a_pixel():
    picture = np.arange(12).reshape(2, 2, 3)
    np.testing.assert_array_equal(images.to_features(picture)[:4], [0, 1, 2, 3])
    first = np.moveaxis(picture, -1, 0)
    np.testing.assert_array_equal(images.to_features(first)[:4], [0, 3, 6, 9])


@given(arrays(np.int16, array_shapes(min_dims=1, max_dims=5, max_side=4)), st.data())
def test_features_come_back(pictures, data):
    rank = data.draw(st.integers(1, pictures.ndim))
    features = images.to_features(pictures, rank)
    assert features.shape[:-1] == pictures.shape[: pictures.ndim - rank]
    back = images.from_features(features, pictures.shape[pictures.ndim - rank :])
    np.testing.assert_array_equal(back, pictures)


def test_they_work_under_jit_and_keep_jax_arrays():
    x = jnp.arange(24.0).reshape(2, 2, 2, 3)
    back = jax.jit(lambda x: images.from_features(images.to_features(x), (2, 2, 3)))(x)
    assert isinstance(images.to_features(x), jax.Array)
    np.testing.assert_array_equal(back, x)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: images.to_features(np.zeros((2, 2))),
            "to_features: pictures must have rank=3 dimensions or more, got shape (2, 2)",
        ),
        (
            lambda: images.to_features(np.zeros((2, 2)), rank=0),
            "to_features: pictures must have rank=0 dimensions or more, got shape (2, 2)",
        ),
        (
            lambda: images.from_features(np.zeros((2, 24)), (5, 5)),
            "from_features: pictures of shape (5, 5) have 25 features, got shape (2, 24)",
        ),
        (
            lambda: images.from_features(np.zeros(4), (-2, -2)),
            "from_features: pictures of shape (-2, -2) have 4 features, got shape (4,)",
        ),
    ],
)
def test_wrong_shapes_are_refused(call, message):
    with pytest.raises(ValueError, match=r".*") as caught:
        call()
    assert str(caught.value) == message
