"""Augmentation against NumPy: what the picture becomes, and how often what is drawn."""

from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import cnn_jax as cnn

ALL = {
    "shift": cnn.data.random_shift(2),
    "flip": cnn.data.random_flip(),
    "crop": cnn.data.random_crop(0.5),
    "cutout": cnn.data.random_cutout(3),
}


def numbered(*shape) -> Any:
    return np.arange(1, 1 + np.prod(shape), dtype=np.float32).reshape(shape)


def windows(row, share, samples=401):
    """Return what linear interpolation makes of windows of `share` of a row, at many places."""
    length = len(row)
    starts = np.linspace(0, (1 - share) * length, samples)
    at = starts[:, None] + (np.arange(length) + 0.5) * share - 0.5
    return np.interp(at, np.arange(length), row)


@pytest.mark.parametrize("name", sorted(ALL))
def test_all_are_pure_functions_of_their_key(name):
    """The same key gives the same, jitted or within a scan."""
    images = jnp.asarray(numbered(3, 5, 4, 1))
    keys = jax.random.split(jax.random.key(5), 4)
    jitted = jax.jit(ALL[name])
    _, scanned = jax.lax.scan(lambda _, key: (None, ALL[name](key, images)), None, keys)
    for key, one in zip(keys, scanned, strict=True):
        np.testing.assert_allclose(jitted(key, images), one, rtol=1e-5)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("shape", [(2, 5, 1), (2, 5, 4, 3), (1, 3, 3, 4, 2)])
@pytest.mark.parametrize("name", sorted(ALL))
def test_shapes_and_dtypes_stay(name, shape, dtype):
    images = jax.ShapeDtypeStruct(shape, dtype)
    result = jax.eval_shape(ALL[name], jax.random.key(0), images)
    assert (result.shape, result.dtype) == (shape, dtype)


@pytest.mark.parametrize("name", sorted(ALL))
def test_examples_are_drawn_independently(name):
    images = np.broadcast_to(numbered(5, 4, 1), (64, 5, 4, 1))
    augment = jax.jit(ALL[name])
    changed = np.asarray(augment(jax.random.key(3), images))
    assert len({one.tobytes() for one in changed}) > 1
    other = np.asarray(augment(jax.random.key(4), images))
    assert not np.array_equal(changed, other)


def test_crop_is_a_window_enlarged():
    """Every result is one of the row's windows, interpolated linearly."""
    row = np.array([3.0, 1.0, 4.0, 1.0, 5.0, 9.0], np.float32)
    images = np.broadcast_to(row[:, None], (50, 6, 1))
    cropped = np.asarray(jax.jit(cnn.data.random_crop(0.5))(jax.random.key(1), images))[..., 0]
    possible = np.concatenate([windows(row, share) for share in np.linspace(0.5, 1, 201)])
    for one in cropped:
        assert np.abs(possible - one).max(axis=1).min() < 0.05
    assert len(np.unique(cropped, axis=0)) == 50


def test_crop_keeps_proportions_and_channels():
    """A picture that is linear in both directions stays so, with one slope for each side."""
    y, x = np.mgrid[:8, :8].astype(np.float32)
    picture = np.stack([y, x, y], axis=-1)
    cropped = np.asarray(
        jax.jit(cnn.data.random_crop(0.3))(
            jax.random.key(0), np.broadcast_to(picture, (40, 8, 8, 3))
        )
    )
    # Away from the border, where values are held.
    down = np.diff(cropped[:, 2:6, 4, 0], axis=1)
    right = np.diff(cropped[:, 4, 2:6, 1], axis=1)
    np.testing.assert_allclose(down, down[:, :1] * np.ones(3), atol=1e-4)
    np.testing.assert_allclose(down, right, atol=1e-4)
    assert down.min() >= 0.3 - 1e-4
    assert down.max() <= 1 + 1e-4
    assert down.min() < 0.4 < 0.9 < down.max()
    np.testing.assert_array_equal(cropped[..., 0], cropped[..., 2])
    assert cropped.min() >= 0
    assert cropped.max() <= 7


def test_crop_of_everything_changes_nothing():
    images = numbered(2, 5, 4, 3)
    same = jax.jit(cnn.data.random_crop(1.0))(jax.random.key(0), images)
    np.testing.assert_allclose(same, images, rtol=1e-5)


def test_crops_lie_anywhere():
    """Of windows of a ramp the mean is uniform between the first place and the last."""
    ramp = np.broadcast_to(np.arange(10, dtype=np.float32)[:, None], (2000, 10, 1))
    middles = np.asarray(jax.jit(cnn.data.random_crop(0.2))(jax.random.key(0), ramp)).mean(
        axis=(1, 2)
    )
    assert middles.min() < 1.2
    assert middles.max() > 7.8
    assert abs(middles.mean() - 4.5) < 0.15


@pytest.mark.parametrize("pixels", [1, 2, 3, 7])
def test_cutout_blanks_one_square(pixels):
    images = numbered(100, 4, 5, 2)
    cut = np.asarray(cnn.data.random_cutout(pixels, -1.0)(jax.random.key(pixels), images))
    for one, image in zip(cut, images, strict=True):
        blank = one[..., 0] == -1
        np.testing.assert_array_equal(one[..., 1] == -1, blank)
        np.testing.assert_array_equal(one[~blank], image[~blank])
        rows, columns = np.flatnonzero(blank.any(axis=1)), np.flatnonzero(blank.any(axis=0))
        # A full rectangle, whose middle is inside, cut off by the picture's edges alone.
        assert blank[np.ix_(rows, columns)].all()
        possible = [
            {
                tuple(np.arange(max(0, m - pixels // 2), min(n, m - pixels // 2 + pixels)))
                for m in range(n)
            }
            for n in (4, 5)
        ]
        assert tuple(rows) in possible[0]
        assert tuple(columns) in possible[1]


def test_cutout_lies_anywhere_with_equal_probability():
    images = jnp.ones((4000, 3, 4, 1), jnp.float32)
    cut = np.asarray(cnn.data.random_cutout(1)(jax.random.key(0), images))
    share = (cut == 0).mean(axis=0)
    np.testing.assert_allclose(share, np.full((3, 4, 1), 1 / 12), atol=0.02)


def test_shift_in_one_and_three_dimensions():
    for shape in ((4,), (2, 3, 4)):
        picture = numbered(*shape, 1)
        moved = np.asarray(
            cnn.data.random_shift(1)(
                jax.random.key(0), jnp.asarray(np.broadcast_to(picture, (60, *picture.shape)))
            )
        )
        padded = np.pad(picture, [(1, 1)] * len(shape) + [(0, 0)])
        possible = {
            padded[tuple(slice(i, i + n) for i, n in zip(start, shape, strict=True))].tobytes()
            for start in np.ndindex(*(3,) * len(shape))
        }
        assert {one.tobytes() for one in moved} <= possible
        assert len({one.tobytes() for one in moved}) > 2


def test_flip_along_another_axis():
    images = numbered(40, 3, 2, 1)
    flipped = np.asarray(cnn.data.random_flip(axis=1)(jax.random.key(0), images))
    turned = [np.array_equal(a, b[::-1]) for a, b in zip(flipped, images, strict=True)]
    same = [np.array_equal(a, b) for a, b in zip(flipped, images, strict=True)]
    assert np.logical_xor(turned, same).all()
    assert 5 < sum(turned) < 35


def test_compose_applies_each_in_turn_with_its_own_key():
    images, key = numbered(4, 5, 5, 1), jax.random.key(7)
    both = cnn.data.compose(cnn.data.random_shift(1), cnn.data.random_cutout(2))
    first = cnn.data.random_shift(1)(jax.random.fold_in(key, 0), images)
    expected = cnn.data.random_cutout(2)(jax.random.fold_in(key, 1), first)
    np.testing.assert_array_equal(both(key, images), expected)
    np.testing.assert_array_equal(cnn.data.compose()(key, images), images)


@pytest.mark.parametrize(
    ("text", "augments"),
    [
        ("shift", [cnn.data.random_shift(1)]),
        ("shift:2", [cnn.data.random_shift(2)]),
        ("cutout:2", [cnn.data.random_cutout(2)]),
        ("flip, shift:3", [cnn.data.random_flip(), cnn.data.random_shift(3)]),
    ],
)
def test_augmentations_by_name(text, augments):
    images, key = numbered(8, 6, 6, 1), jax.random.key(0)
    named = cnn.data.augmentation(text)
    assert named is not None
    expected = augments[0] if len(augments) == 1 else cnn.data.compose(*augments)
    np.testing.assert_array_equal(named(key, images), expected(key, images))


def test_the_crop_by_name():
    images, key = numbered(8, 6, 6, 1), jax.random.key(0)
    same = [
        jax.jit(crop)(key, images)
        for crop in (cnn.data.augmentation("crop:0.6"), cnn.data.random_crop(0.6))
        if crop is not None
    ]
    np.testing.assert_array_equal(*same)


NAMES = "the augmentations are crop, cutout, flip, none, shift"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("turn", f"augment: unknown name 'turn'; {NAMES}"),
        ("", f"augment: unknown name ''; {NAMES}"),
        ("flip,", f"augment: unknown name ''; {NAMES}"),
        ("flip,none", "augment: none can't stand beside other augmentations"),
        ("flip:2", "augment: flip takes no number, not 'flip:2'"),
        (
            "shift:x",
            "augment: shift needs a whole number after a colon, such as shift:1, not 'shift:x'",
        ),
        (
            "cutout",
            "augment: cutout needs a whole number after a colon, such as cutout:4, not 'cutout'",
        ),
        ("crop:", "augment: crop needs a number after a colon, such as crop:0.8, not 'crop:'"),
        ("shift:-1", "random_shift: pixels must be at least 0, not -1"),
        ("crop:0", "random_crop: share must be above 0 and at most 1, not 0.0"),
        ("crop:nan", "random_crop: share must be above 0 and at most 1, not nan"),
        ("cutout:0", "random_cutout: pixels must be at least 1, not 0"),
    ],
)
def test_wrong_text(raises, text, message):
    with raises(ValueError, message):
        cnn.data.augmentation(text)


def test_what_can_not_be_composed(raises):
    with raises(TypeError, "compose: expected functions (key, images), not 'flip'"):
        cnn.data.compose(cast(Any, "flip"))
