"""Picture files: what is read equals what was written, and broken files are refused by name."""

import errno
import io
import os
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cnn_jax import images
from cnn_jax.images.files import FORMATS

GREY = np.arange(0, 240, 5, dtype=np.uint8).reshape(6, 8)
COLOUR = np.stack([GREY, 255 - GREY, GREY // 2], axis=-1)


@pytest.fixture
def save(tmp_path):
    """Save an array or a pillow image under a name, and give the path."""

    def write(name, picture, **options):
        image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
        image.save(tmp_path / name, **options)
        return tmp_path / name

    return write


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tif", "a.gif", "a.pgm"])
def test_grey_files_lose_nothing(save, name):
    read = images.read(save(name, GREY))
    assert read.dtype == np.float32
    channels = read.shape[-1]
    assert read.shape[:2] == GREY.shape
    np.testing.assert_array_equal(read, np.repeat(GREY[..., None], channels, -1) / np.float32(255))


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tif", "a.ppm"])
def test_colour_files_lose_nothing(save, name):
    np.testing.assert_array_equal(images.read(save(name, COLOUR)), COLOUR / np.float32(255))


@pytest.mark.parametrize("name", ["a.jpg", "a.webp"])
def test_lossy_files_come_close(save, name):
    smooth = np.broadcast_to(np.linspace(0, 255, 32)[:, None, None], (32, 32, 3)).astype(np.uint8)
    read = images.read(save(name, smooth, quality=95))
    np.testing.assert_allclose(read, smooth / 255, atol=0.03)


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_sixteen_bits_are_kept(save, name):
    levels = np.array([[0, 1, 255], [256, 65534, 65535]], np.uint16)
    read = images.read(save(name, levels))
    np.testing.assert_array_equal(images.to_grey(read, 65535)[..., :], levels)


def test_black_and_white_files(save):
    picture = np.eye(3, dtype=bool)
    np.testing.assert_array_equal(images.read(save("a.png", picture))[..., 0], np.eye(3))


def test_palettes_become_colours(save):
    palette = Image.fromarray(COLOUR).quantize(256)
    expected = np.asarray(palette.convert("RGB")) / np.float32(255)
    np.testing.assert_array_equal(images.read(save("a.png", palette)), expected)


def test_other_colour_spaces_become_rgb(save):
    cyan = Image.new("CMYK", (2, 2), (255, 0, 0, 0))
    np.testing.assert_array_equal(images.read(save("a.tif", cyan))[0, 0], [0, 1, 1])


def test_the_first_frame_of_a_gif(save):
    frames = [Image.new("L", (4, 4), level) for level in (255, 0)]
    path = save("a.gif", frames[0], save_all=True, append_images=frames[1:])
    assert images.read(path, channels=1).min() == 1


def test_the_camera_s_orientation_is_respected(save):
    exif = Image.Exif()
    exif[0x0112] = 6  # turned a quarter: the first column of what is meant is the last row stored
    read = images.read(save("a.png", GREY, exif=exif))
    np.testing.assert_array_equal(read[..., 0], np.rot90(GREY, -1) / np.float32(255))


def test_channels_are_as_asked(save):
    grey, colour = save("g.png", GREY), save("c.png", COLOUR)
    assert images.read(grey, channels=3).shape == (6, 8, 3)
    expected = images.rgb_to_grey(COLOUR.astype(np.float32) / 255)
    np.testing.assert_allclose(images.read(colour, channels=1), expected, atol=1e-6)


def test_transparent_pixels_are_laid_on_the_background(save):
    layers = np.zeros((1, 3, 4), np.uint8)
    layers[0, :, 0] = 255
    layers[0, :, 3] = [0, 51, 255]
    path = save("a.png", layers)
    read = images.read(path, background=1.0)
    np.testing.assert_allclose(read[0], [[1, 1, 1], [1, 0.8, 0.8], [1, 0, 0]], atol=1e-6)
    read = images.read(path, background=(0.0, 0.0, 1.0))
    np.testing.assert_allclose(read[0], [[0, 0, 1], [0.2, 0, 0.8], [1, 0, 0]], atol=1e-6)
    with pytest.raises(ValueError, match="transparent") as caught:
        images.read(path)
    assert str(caught.value) == (
        f"{path}: the picture has transparent pixels: pass background, such as 1.0 for white"
    )
    with pytest.raises(ValueError, match="background") as caught:
        images.read(path, background=(1, 2))
    assert str(caught.value) == (
        "read: background must be one number or three numbers in 0..1, got (1, 2)"
    )


def test_grey_with_transparency_stays_grey_until_colour_lies_behind(save):
    path = save("a.png", np.array([[[100, 255], [100, 0]]], np.uint8))
    np.testing.assert_allclose(images.read(path, background=1.0)[0, :, 0], [100 / 255, 1])
    assert images.read(path, background=(1.0, 0.0, 0.0)).shape == (1, 2, 3)


def test_an_alpha_channel_that_hides_nothing_is_dropped(save):
    opaque = np.concatenate([COLOUR, np.full((6, 8, 1), 255, np.uint8)], axis=-1)
    np.testing.assert_array_equal(images.read(save("a.png", opaque)), COLOUR / np.float32(255))


def test_batches_and_sizes(save):
    paths = [save(f"{i}.png", np.full((4 + i, 5), 100 + i, np.uint8)) for i in range(3)]
    batch = images.read_batch(paths, size=(2, 3))
    assert batch.shape == (3, 2, 3, 1)
    np.testing.assert_allclose(batch[:, 0, 0, 0], np.array([100, 101, 102]) / 255, rtol=1e-5)
    with pytest.raises(ValueError, match="size") as caught:
        images.read_batch(paths)
    assert str(caught.value) == (
        f"{paths[1]}: the picture is 5 x 5 x 1, but {paths[0]} is 4 x 5 x 1; pass size or channels"
    )
    with pytest.raises(ValueError, match="at least one"):
        images.read_batch([])


def test_resizing_averages_what_it_shrinks():
    halves = np.zeros((2, 4, 4, 3))
    halves[..., 2:, :] = 1
    resized = images.resize(halves, (2, 1))
    assert resized.shape == (2, 2, 1, 3)
    np.testing.assert_allclose(resized, 0.5, atol=1e-6)
    unchanged = images.resize(halves, (4, 4))
    np.testing.assert_array_equal(unchanged, halves)


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tif", "a.TIFF"])
@pytest.mark.parametrize(
    "picture", [GREY[..., None], COLOUR, GREY[:1, :1, None]], ids=["grey", "colour", "pixel"]
)
def test_what_is_written_is_read(tmp_path, name, picture):
    path = tmp_path / name
    images.write(path, picture / 255)
    np.testing.assert_array_equal(images.read(path), picture / np.float32(255))
    assert os.listdir(tmp_path) == [name]


@pytest.mark.parametrize(("maximum", "name"), [(65535, "a.png"), (65535, "a.tif"), (1, "a.png")])
def test_other_depths_are_written(tmp_path, maximum, name):
    levels = np.array([[0, maximum // 2, maximum]])
    images.write(tmp_path / name, images.from_grey(levels, maximum), maximum=maximum)
    np.testing.assert_array_equal(images.to_grey(images.read(tmp_path / name), maximum), levels)


def test_files_are_replaced_only_when_asked(tmp_path):
    path = tmp_path / "a.png"
    images.write(path, np.zeros((2, 2, 1)))
    with pytest.raises(FileExistsError) as caught:
        images.write(path, np.ones((2, 2, 1)))
    assert str(caught.value) == f"{path} exists: pass overwrite=True to replace it"
    assert images.read(path).max() == 0
    images.write(path, np.ones((2, 2, 1)), overwrite=True)
    assert images.read(path).min() == 1


def test_a_full_disk_leaves_nothing_behind(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    images.write(path, np.zeros((2, 2, 1)))

    def full(source, target):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(source))

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space left") as caught:
        images.write(path, np.ones((2, 2, 1)), overwrite=True)
    assert str(caught.value) == f"[Errno {errno.ENOSPC}] No space left on device: '{path}'"
    assert os.listdir(tmp_path) == ["a.png"]
    assert images.read(path).max() == 0


def test_a_folder_that_is_not_there(tmp_path):
    path = tmp_path / "none" / "a.png"
    with pytest.raises(FileNotFoundError, match="No such file") as caught:
        images.write(path, np.zeros((2, 2, 1)))
    assert str(path) in str(caught.value)
    with pytest.raises(FileNotFoundError, match="No such file"):
        images.read(path)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda path: images.write(path / "a.xyz", np.zeros((2, 2, 1))),
            ValueError,
            "write: path must end in one of .png, .bmp, .tif, .tiff, .jpg, .jpeg, got '{}/a.xyz'",
        ),
        (
            lambda path: images.write(path / "a.png", np.zeros((2, 2))),
            ValueError,
            "write: picture must be [h, w, 1] or [h, w, 3], got shape (2, 2)",
        ),
        (
            lambda path: images.write(path / "a.png", np.full((2, 2, 1), -0.5)),
            ValueError,
            "write: pictures must be in 0..1, got -0.5 at [0, 0, 0]",
        ),
        (
            lambda path: images.write(path / "a.jpg", np.zeros((2, 2, 1)), maximum=65535),
            ValueError,
            "write: maximum must be 255, or for grey also 65535 (PNG, TIFF) or 1 (not JPEG), "
            "got 65535 for 1 channels in JPEG",
        ),
        (
            lambda path: images.read(path / "a.png", channels=2),
            ValueError,
            "read: channels must be 1, 3 or None, got 2",
        ),
        (
            lambda path: images.resize(np.zeros((2, 2)), (1, 1)),
            ValueError,
            "resize: pictures must be [*batch, h, w, c], got shape (2, 2)",
        ),
        (
            lambda path: images.resize(np.zeros((2, 2, 1)), (0, 1)),
            ValueError,
            "resize: size must be (height, width), both at least 1, got (0, 1)",
        ),
    ],
)
def test_wrong_arguments_are_refused(tmp_path, call, error, message):
    with pytest.raises(error) as caught:
        call(tmp_path)
    assert str(caught.value) == message.format(tmp_path)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("content", [b"", b"no picture", b"%!PS-Adobe-3.0 EPSF-3.0\n"])
def test_files_that_are_no_pictures(tmp_path, content):
    path = tmp_path / "a.png"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="not a picture") as caught:
        images.read(path)
    assert str(caught.value) == (
        f"{path}: not a picture: expected one of PNG, JPEG, BMP, GIF, TIFF, WEBP, PPM"
    )


def test_floating_pictures_are_refused(save):
    path = save("a.tif", np.ones((2, 2), np.float32))
    with pytest.raises(ValueError, match="floats") as caught:
        images.read(path)
    assert str(caught.value) == f"{path}: expected whole-numbered levels, the picture has floats"


def test_levels_beyond_sixteen_bits_are_refused(save):
    path = save("a.tif", np.array([[0, 65536]], np.int32))
    with pytest.raises(ValueError, match="65535") as caught:
        images.read(path)
    assert str(caught.value) == f"{path}: levels must be in 0..65535, the picture has more"


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("limit", [10, 30])
def test_pictures_too_large_to_decode(save, monkeypatch, limit):
    path = save("a.png", GREY)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    refused = (
        rf"^{re.escape(str(path))}: the picture is too large: it claims [0-9 x]+ pixels; expected "
        rf"at most {limit} \(PIL.Image.MAX_IMAGE_PIXELS\)$"
    )
    with pytest.raises(ValueError, match=refused):
        images.read(path)


def encoded(form):
    buffer = io.BytesIO()
    Image.fromarray(COLOUR).save(buffer, format=form)
    return buffer.getvalue()


ENCODED = [encoded(form) for form in FORMATS]


@pytest.mark.parametrize("form", range(len(ENCODED)), ids=FORMATS)
def test_files_cut_off(tmp_path, form):
    data = ENCODED[form]
    path = tmp_path / "a"
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(ValueError, match="picture") as caught:
        images.read(path)
    assert str(caught.value).startswith(f"{path}: ")


CHANGES = st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=6)


@pytest.mark.filterwarnings("ignore")
@given(st.integers(0, len(ENCODED) - 1), CHANGES)
@settings(max_examples=150)
def test_broken_files_are_read_or_refused_by_name(tmp_path_factory, form, changes):
    broken = bytearray(ENCODED[form])
    for place, byte in changes:
        broken[int(place * len(broken))] = byte
    path = tmp_path_factory.getbasetemp() / "broken"
    path.write_bytes(broken)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Image, "MAX_IMAGE_PIXELS", 100_000)
        picture = read_or_none(path)
    if picture is not None:
        assert picture.ndim == 3
        assert picture.shape[-1] in (1, 3)
        assert picture.min() >= 0
        assert picture.max() <= 1


def read_or_none(path):
    """Read a picture, or make sure that the error names the file."""
    try:
        return images.read(path, background=0.0)
    except ValueError as error:
        if not str(error).startswith(f"{path}: "):
            raise
        return None
