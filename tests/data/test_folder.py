"""Folders of pictures: what is taken, in what order, and what is told about the rest."""

import os
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

import cnn_jax as cnn
from cnn_jax.data.folder import folder_parts

EVERY = np.arange


@pytest.fixture
def save():
    """Write uint8 pictures [h, w] or [h, w, 3] as files, and their folders with them."""

    def write(path, pixels):
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)

    return write


@pytest.fixture
def pets(tmp_path, save, noise):
    """Three cats and two dogs, 6 x 5, grey; the order of making is not the order of names."""
    pictures = noise(5, 6, 5)
    save(tmp_path / "dog" / "b.png", pictures[4])
    save(tmp_path / "dog" / "a.PNG", pictures[3])
    save(tmp_path / "cat" / "old" / "1.bmp", pictures[2])
    save(tmp_path / "cat" / "3.png", pictures[1])
    save(tmp_path / "cat" / "10.tif", pictures[0])
    return tmp_path, pictures


def test_classes_and_pictures_come_in_the_order_of_their_names(pets):
    folder, pictures = pets
    source = cnn.data.folder_source(folder)
    assert source.class_names == ("cat", "dog")
    assert source.labels.tolist() == [0, 0, 0, 1, 1]
    assert source.labels.dtype == np.int32
    assert (source.shape, source.dtype) == ((6, 5, 1), np.uint8)
    np.testing.assert_array_equal(source.read(EVERY(5))[..., 0], pictures)
    np.testing.assert_array_equal(source.read(np.array([4, 0]))[..., 0], pictures[[4, 0]])
    assert [os.path.basename(source.file(i)) for i in range(5)] == [
        *("10.tif", "3.png", "1.bmp", "a.PNG", "b.png")
    ]


def test_what_is_passed_over(pets, save, noise):
    folder, pictures = pets
    (folder / "README.md").write_text("pets")
    (folder / ".DS_Store").touch()
    (folder / "cat" / "Thumbs.db").touch()
    (folder / "cat" / ".hidden.png").write_text("no picture")
    (folder / "cat" / ".cache").mkdir()
    (folder / "cat" / ".cache" / "x.png").write_text("no picture")
    (folder / ".git").mkdir()
    np.testing.assert_array_equal(cnn.data.load(folder).images[..., 0], pictures)


def test_floats_keep_16_bits(tmp_path):
    levels = np.array([[0, 1], [257, 65535]], np.uint16)
    (tmp_path / "a").mkdir()
    Image.fromarray(levels).save(tmp_path / "a" / "1.png")
    source = cnn.data.folder_source(tmp_path, dtype=np.float32)
    np.testing.assert_array_equal(source.read(EVERY(1))[0, ..., 0], levels / np.float32(65535))
    eight = cnn.data.folder_source(tmp_path).read(EVERY(1))[0, ..., 0]
    assert eight.tolist() == [[0, 0], [1, 255]]


def test_mixed_sizes(pets, save, noise, raises):
    folder, _ = pets
    odd = folder / "dog" / "c.png"
    save(odd, noise(6, 7))
    source = cnn.data.folder_source(folder)
    message = (
        f"{odd}: the picture is 6 x 7 x 1, but {folder / 'cat' / '10.tif'} is 6 x 5 x 1; all must "
        "have one shape: pass size=(height, width), and channels=1 or 3 where grey and colour are "
        "mixed"
    )
    with raises(ValueError, message):
        source.read(EVERY(6))
    with raises(ValueError, message):
        cnn.data.load(folder)
    assert cnn.data.load(folder, size=4).images.shape == (6, 4, 4, 1)
    assert cnn.data.load(folder, size=(6, 3)).images.shape == (6, 6, 3, 1)


def test_grey_and_colour(pets, save, noise):
    folder, pictures = pets
    colours = noise(6, 5, 3, seed=1)
    save(folder / "dog" / "c.png", colours)
    with pytest.raises(ValueError, match=r"c\.png: the picture is 6 x 5 x 3, but"):
        cnn.data.load(folder)
    data = cnn.data.load(folder, channels=3)
    np.testing.assert_array_equal(data.images[0], np.stack([pictures[0]] * 3, axis=-1))
    np.testing.assert_array_equal(data.images[5], colours)
    grey = cnn.data.load(folder, channels=1).images[5, ..., 0]
    assert np.abs(grey - colours @ np.array([0.299, 0.587, 0.114])).max() <= 0.51


def test_transparent_pictures(tmp_path, raises):
    (tmp_path / "a").mkdir()
    path = tmp_path / "a" / "1.png"
    Image.fromarray(np.array([[[255, 0, 0, 255], [0, 0, 0, 0]]], np.uint8)).save(path)
    message = f"{path}: the picture has transparent pixels: pass background, such as 1.0 for white"
    with raises(ValueError, message):
        cnn.data.folder_source(tmp_path)
    data = cnn.data.load(tmp_path, background=1.0)
    assert data.images[0, 0].tolist() == [[255, 0, 0], [255, 255, 255]]


def test_an_empty_class(pets, raises):
    folder, _ = pets
    hen = folder / "hen"
    hen.mkdir()
    ending = (
        "expected files ending in .png, .jpg, .jpeg, .bmp, .gif, .tif, .tiff, .webp, .pbm, .pgm, "
        ".ppm"
    )
    with raises(ValueError, f"{hen}: the class 'hen' has no pictures: there is nothing; {ending}"):
        cnn.data.load(folder)
    (hen / "1.heic").touch()
    message = (
        f"{hen}: the class 'hen' has no pictures: there is only other files, such as 1.heic; "
        f"{ending}"
    )
    with raises(ValueError, message):
        cnn.data.load(folder)


def test_an_unreadable_picture(pets, raises):
    folder, _ = pets
    path = folder / "dog" / "b.png"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    ending = "; expected a whole file in one of the formats PNG, JPEG, BMP, GIF, TIFF, WEBP, PPM"
    with pytest.raises(ValueError, match=rf"^{path}: the picture is broken: .*{ending}$"):
        cnn.data.load(folder)
    path.write_bytes(b"")
    message = f"{path}: not a picture: expected one of PNG, JPEG, BMP, GIF, TIFF, WEBP, PPM"
    with raises(ValueError, message):
        cnn.data.load(folder)


def test_a_decompression_bomb(pets, raises):
    """A few bytes that claim 40000 x 40000 pixels are refused before memory is taken."""
    folder, _ = pets

    def chunk(kind, content):
        checksum = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)

    header = struct.pack(">2I5B", 40000, 40000, 8, 0, 0, 0, 0)
    path = folder / "dog" / "b.png"
    pixels = chunk(b"IDAT", zlib.compress(bytes(10**6)))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + pixels + chunk(b"IEND", b""))
    message = "it claims 1600000000 pixels; expected at most 89478485 (PIL.Image.MAX_IMAGE_PIXELS)"
    with raises(ValueError, f"{path}: the picture is too large: {message}"):
        cnn.data.load(folder)


def test_folders_without_classes(tmp_path, raises, save, noise):
    message = f"{tmp_path}: expected one folder of pictures for each class"
    none = ", but there are no folders in it"
    with raises(ValueError, f"{message}, or IDX files, or CIFAR's files{none}"):
        cnn.data.load(tmp_path)
    save(tmp_path / "1.png", noise(2, 2))
    with raises(ValueError, f"{message}{none}, only pictures such as 1.png"):
        cnn.data.load(tmp_path)


def test_a_picture_outside_the_classes(pets, raises, save, noise):
    folder, _ = pets
    save(folder / "1.png", noise(6, 5))
    message = (
        f"{folder}: the picture 1.png is in no class; expected every picture in one of the class "
        "folders, such as cat"
    )
    with raises(ValueError, message):
        cnn.data.load(folder)


@pytest.fixture
def divided(tmp_path, save, noise):
    for i, (part, kind) in enumerate(
        (part, kind)
        for part in ("train", "val", "test")
        for kind in ("cat", "dog")
        if (part, kind) != ("test", "cat")
    ):
        save(tmp_path / part / kind / "1.png", noise(4, 4, seed=i))
    return tmp_path


def test_parts(divided, noise, raises):
    assert folder_parts(divided) == ("train", "validation", "test")
    assert cnn.data.parts(divided) == ("train", "validation", "test")
    test = cnn.data.load(divided, "test")
    # The test part has dogs alone, and they are class 1 there too.
    assert (test.class_names, test.labels.tolist()) == (("cat", "dog"), [1])
    np.testing.assert_array_equal(test.images[0, ..., 0], noise(4, 4, seed=4))
    validation = cnn.data.load(divided, "validation")
    assert validation.labels.tolist() == [0, 1]
    (divided / "validation").mkdir()
    message = f"{divided}: both val and validation hold the validation part"
    with raises(ValueError, message):
        cnn.data.load(divided, "test")


def test_classes_beside_parts_are_classes(pets, divided):
    folder, _ = pets  # it holds cat and dog besides train, val and test
    assert folder_parts(folder) == ("train",)


def test_a_class_that_training_does_not_know(divided, raises, save, noise):
    save(divided / "test" / "hen" / "1.png", noise(4, 4))
    message = f"{divided / 'test' / 'hen'}: not one of the classes, which are cat, dog"
    with raises(ValueError, message):
        cnn.data.load(divided, "test")


def test_class_names_that_are_given(pets, raises):
    folder, _ = pets
    source = cnn.data.folder_source(folder, class_names=["dog", "cat"])
    assert source.labels.tolist() == [0, 0, 1, 1, 1]
    message = f"{folder / 'cat'}: not one of the classes, which are dog"
    with raises(ValueError, message):
        cnn.data.folder_source(folder, class_names=["dog"])
    message = f"{folder / 'hen'}: there is no folder for the class 'hen'"
    with raises(FileNotFoundError, message):
        cnn.data.folder_source(folder, class_names=["cat", "dog", "hen"])


def test_wrong_options(pets, raises):
    folder, _ = pets
    with raises(ValueError, "channels must be 1, 3 or None, not 4"):
        cnn.data.folder_source(folder, channels=4)
    with raises(ValueError, "size must be a positive int or (height, width), not 0"):
        cnn.data.folder_source(folder, size=0)
    with raises(TypeError, "dtype must be uint8 or float32, not int32"):
        cnn.data.folder_source(folder, dtype=np.int32)


def test_a_name_that_is_no_text(pets, raises, save, noise):
    folder, _ = pets
    odd = os.fsdecode(b"\xff.png")
    save(folder / "dog" / odd, noise(6, 5, seed=7))
    images = cnn.data.load(folder).images
    np.testing.assert_array_equal(images[5, ..., 0], noise(6, 5, seed=7))
