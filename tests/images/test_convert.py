"""Levels to floats and back: exact for every P, and refused where it could not be."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from cnn_jax import images

MAXIMA = st.one_of(
    st.sampled_from([1, 2, 3, 15, 16, 255, 256, 1023, 4095, 65534, 65535, 2**22]),
    st.integers(1, 2**22),
)


@st.composite
def levels(draw, channels=()):
    maximum = draw(MAXIMA)
    shape = (*draw(array_shapes(min_dims=2, max_dims=4, max_side=5)), *channels)
    return draw(arrays(np.int64, shape, elements=st.integers(0, maximum))), maximum


@given(levels(), st.booleans(), st.sampled_from([np.int64, np.int32, np.float64, np.uint32]))
def test_grey_comes_back_exactly_for_every_maximum(drawn, inverted, dtype):
    pixels, maximum = drawn
    pictures = images.from_grey(pixels.astype(dtype), maximum, inverted=inverted)
    assert pictures.dtype == np.float32
    assert pictures.shape == (*pixels.shape, 1)
    expected = pixels / maximum
    np.testing.assert_allclose(pictures[..., 0], 1 - expected if inverted else expected, atol=1e-7)
    np.testing.assert_array_equal(images.to_grey(pictures, maximum, inverted=inverted), pixels)


@pytest.mark.parametrize("maximum", [1, 16, 255, 65535, 2**22])
def test_every_single_level_comes_back(maximum):
    step = max(1, maximum // 65535)
    pixels = np.arange(0, maximum + 1, step)[None]
    np.testing.assert_array_equal(
        images.to_grey(images.from_grey(pixels, maximum), maximum), pixels
    )
    last = np.array([[maximum - 1, maximum]])
    np.testing.assert_array_equal(images.to_grey(images.from_grey(last, maximum), maximum), last)


@pytest.mark.parametrize(("dtype", "maximum"), [(np.float16, 512), (np.float64, 2**32 - 1)])
def test_other_floats_come_back_too(dtype, maximum):
    pixels = np.unique(np.linspace(0, maximum, 600).astype(np.int64))[None]
    pictures = images.from_grey(pixels, maximum, dtype=dtype)
    assert pictures.dtype == dtype
    np.testing.assert_array_equal(images.to_grey(pictures, maximum), pixels)


@given(levels(channels=(3,)), st.booleans())
def test_rgb_comes_back_in_both_layouts(drawn, channels_first):
    pixels, maximum = drawn
    laid_out = np.moveaxis(pixels, -1, -3) if channels_first else pixels
    pictures = images.from_rgb(laid_out, maximum, channels_first=channels_first)
    assert pictures.shape == pixels.shape
    np.testing.assert_allclose(pictures, pixels / maximum, atol=1e-7)
    back = images.to_rgb(pictures, maximum, channels_first=channels_first)
    np.testing.assert_array_equal(back, laid_out)


@given(arrays(bool, array_shapes(min_dims=2, max_dims=4, max_side=5)), st.booleans())
def test_black_and_white_comes_back(pixels, inverted):
    pictures = images.from_black_white(pixels, inverted=inverted)
    np.testing.assert_array_equal(pictures[..., 0], (pixels ^ inverted).astype(float))
    np.testing.assert_array_equal(images.to_black_white(pictures, inverted=inverted), pixels)


def test_levels_have_the_smallest_dtype_that_holds_them():
    white = np.ones((1, 1, 1), np.float32)
    dtypes = [images.to_grey(white, maximum).dtype for maximum in (1, 255, 256, 65535, 65536)]
    assert dtypes == [np.uint8, np.uint8, np.uint16, np.uint16, np.uint32]


def test_inverting_small_dtypes_does_not_overflow():
    pixels = np.array([[0, 200]], np.uint8)
    back = images.to_grey(images.from_grey(pixels, 300, inverted=True), 300, inverted=True)
    np.testing.assert_array_equal(back, pixels)


def test_floats_between_levels_go_to_the_nearest():
    pictures = np.array([[[0.24], [0.26], [0.74], [0.76]]])
    np.testing.assert_array_equal(images.to_grey(pictures, 2), [[0, 1, 1, 2]])


def test_grey_of_colour_is_its_luminance_and_grey_stays():
    colours = np.eye(3)[None]
    np.testing.assert_allclose(images.rgb_to_grey(colours)[0, :, 0], [0.299, 0.587, 0.114])
    grey = np.array([[[0.25], [1.0]]])
    np.testing.assert_allclose(images.rgb_to_grey(images.grey_to_rgb(grey)), grey)


def test_jax_arrays_give_jax_arrays_and_the_same_under_jit():
    pixels = jnp.arange(48, dtype=jnp.uint8).reshape(4, 4, 3)
    for function in (
        lambda x: images.from_rgb(x, 50),
        lambda x: images.from_grey(x, 50, inverted=True),
        lambda x: images.to_rgb(images.from_rgb(x, 50), 50, channels_first=True),
        lambda x: images.grey_to_rgb(images.rgb_to_grey(images.from_rgb(x, 50))),
        lambda x: images.to_black_white(images.from_grey(x, 50)),
    ):
        eager = function(pixels)
        assert isinstance(eager, jax.Array)
        np.testing.assert_allclose(jax.jit(function)(pixels), eager, atol=1e-7)
        np.testing.assert_allclose(function(np.asarray(pixels)), eager, atol=1e-7)


SQUARE = np.zeros((2, 2))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: images.from_grey([[0, 256]]),
            ValueError,
            "from_grey: pixels must be in 0..255, got 256 at [0, 1]",
        ),
        (
            lambda: images.from_grey([[0, -1]], 16),
            ValueError,
            "from_grey: pixels must be in 0..16, got -1 at [0, 1]",
        ),
        (
            lambda: images.from_grey([[0.5]]),
            ValueError,
            "from_grey: pixels must be whole numbers, got 0.5 at [0, 0]",
        ),
        (
            lambda: images.from_grey([[0.0], [np.nan]]),
            ValueError,
            "from_grey: pixels must be whole numbers, got nan at [1, 0]",
        ),
        (
            lambda: images.from_black_white([[2]]),
            ValueError,
            "from_black_white: pixels must be in 0..1, got 2 at [0, 0]",
        ),
        (
            lambda: images.from_grey([1, 2, 3]),
            ValueError,
            "from_grey: pixels must have a height and a width, got shape (3,)",
        ),
        (
            lambda: images.from_grey([[1, 2], [3]]),
            ValueError,
            "from_grey: pixels must be an array, got rows of unequal length",
        ),
        (
            lambda: images.from_grey([["a"]]),
            TypeError,
            "from_grey: pixels must be whole numbers, got dtype <U1",
        ),
        (
            lambda: images.from_grey(SQUARE, 0),
            ValueError,
            "from_grey: maximum must be in 1..4194304 for float32, got 0",
        ),
        (
            lambda: images.from_grey(SQUARE, 2**22 + 1),
            ValueError,
            "from_grey: maximum must be in 1..4194304 for float32, got 4194305",
        ),
        (
            lambda: images.from_grey(SQUARE, dtype=jnp.bfloat16),
            ValueError,
            "from_grey: maximum must be in 1..64 for bfloat16, got 255",
        ),
        (
            lambda: images.from_grey(SQUARE, 2.5),  # pyright: ignore[reportArgumentType]
            TypeError,
            "from_grey: maximum must be an int, got 2.5",
        ),
        (
            lambda: images.from_grey(SQUARE, dtype=np.int32),
            TypeError,
            "from_grey: dtype must be floating, got int32",
        ),
        (
            lambda: images.from_rgb(np.zeros((4, 4, 1))),
            ValueError,
            "from_rgb: pixels must be [*batch, h, w, 3], got shape (4, 4, 1); "
            "channels_first=True is for [*batch, 3, h, w]",
        ),
        (
            lambda: images.from_rgb(np.zeros((4, 4, 3)), channels_first=True),
            ValueError,
            "from_rgb: pixels must be [*batch, 3, h, w], got shape (4, 4, 3)",
        ),
        (
            lambda: images.to_grey(np.full((1, 1, 1), 1.5)),
            ValueError,
            "to_grey: pictures must be in 0..1, got 1.5 at [0, 0, 0]",
        ),
        (
            lambda: images.to_grey(np.full((1, 1, 1), np.nan)),
            ValueError,
            "to_grey: pictures must be in 0..1, got nan at [0, 0, 0]",
        ),
        (
            lambda: images.to_grey(np.zeros((4, 4, 3))),
            ValueError,
            "to_grey: pictures must be [*batch, h, w, 1], got shape (4, 4, 3)",
        ),
        (
            lambda: images.to_grey(np.zeros((4, 4, 1), np.uint8)),
            TypeError,
            "to_grey: pictures must be floats in 0..1, got dtype uint8",
        ),
        (
            lambda: images.to_rgb(np.zeros((4, 4, 1))),
            ValueError,
            "to_rgb: pictures must be [*batch, h, w, 3], got shape (4, 4, 1)",
        ),
        (
            lambda: images.to_black_white(np.zeros((1, 1, 1)), threshold=float("nan")),
            ValueError,
            "to_black_white: threshold must be in 0..1, got nan",
        ),
    ],
)
def test_wrong_numbers_are_refused(call, error, message):
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value) == message
