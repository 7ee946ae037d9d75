"""NumPy's .npz files: the same pictures whether they stay on disk or not; no objects, ever."""

import os
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import cnn_jax as cnn
from cnn_jax.data.npz import npz_parts
from cnn_jax.data.rows import RowSource
from cnn_jax.data.source import InMemory

LABELS = np.array([0, 2, 1, 1, 0])


@given(
    dtype=st.sampled_from(("uint8", "int64", "bool", "float32", "float64", "float16", ">f4")),
    shape=st.sampled_from(((4, 3), (4, 3, 1), (4, 3, 3), (2, 4, 3, 1))),
    save=st.sampled_from((np.savez, np.savez_compressed)),
    order=st.sampled_from("CF"),
    column=st.booleans(),
)
def test_pictures_come_back(dtype, shape, save, order, column, tmp_path_factory):
    path = tmp_path_factory.mktemp("npz") / "x.npz"
    whole = np.dtype(dtype).kind in "iu"
    values = np.random.default_rng(0).random((5, *shape))
    images = np.asarray(values * (255 if whole else 1), order=order).astype(dtype, order=order)
    save(path, images=images, labels=LABELS[:, None] if column else LABELS)
    source = cnn.data.npz_source(path)
    expected = images.astype(np.float32 if np.dtype(dtype).kind == "f" else np.uint8)
    assert source.dtype == expected.dtype
    assert source.shape == (shape if len(shape) > 2 else (*shape, 1))
    assert source.labels.tolist() == LABELS.tolist()
    assert source.labels.dtype == np.int32
    chosen = np.array([4, 0, 1, 2])
    read = source.read(chosen)
    np.testing.assert_array_equal(read, expected.reshape(5, *source.shape)[chosen])


def test_what_is_not_compressed_stays_on_disk(tmp_path, noise):
    images = noise(5, 4, 3)
    np.savez(tmp_path / "plain.npz", images=images, labels=LABELS)
    np.savez_compressed(tmp_path / "small.npz", images=images, labels=LABELS)
    assert isinstance(cnn.data.npz_source(tmp_path / "plain.npz"), RowSource)
    assert isinstance(cnn.data.npz_source(tmp_path / "small.npz"), InMemory)


def test_class_names(tmp_path, raises, noise):
    path = tmp_path / "x.npz"
    images = noise(5, 4, 3)
    np.savez(path, images=images, labels=LABELS, class_names=["cat", "dog", "hen"])
    assert cnn.data.npz_source(path).class_names == ("cat", "dog", "hen")
    assert cnn.data.npz_source(path, class_names=list("abcd")).class_names == tuple("abcd")
    np.savez(path, images=images, labels=LABELS, class_names=["cat", "dog"])
    message = f"{path}: label 2 of example 1 is out of range; expected 0..1 for 2 classes"
    with raises(ValueError, message):
        cnn.data.npz_source(path)
    np.savez(path, images=images, labels=LABELS, class_names=["cat", "dog", "cat"])
    with raises(ValueError, f"{path}: class_names must differ, but 'cat' comes twice"):
        cnn.data.npz_source(path)
    np.savez(path, images=images, labels=LABELS, class_names=[1, 2, 3])
    message = f"{path}: expected text [classes] as 'class_names', got int64 of shape [3]"
    with raises(ValueError, message):
        cnn.data.npz_source(path)


@pytest.mark.parametrize(
    ("names", "parts"),
    [
        (("images", "labels"), ("train",)),
        (("images", "labels", "test_images", "test_labels"), ("train", "test")),
        (("x_train", "y_train", "x_test", "y_test"), ("train", "test")),
        (
            (
                f"{part}_{kind}"
                for part in ("train", "val", "test")
                for kind in ("images", "labels")
            ),
            ("train", "validation", "test"),
        ),
    ],
)
def test_parts(tmp_path, names, parts, noise):
    path = tmp_path / "x.npz"
    arrays = {
        name: LABELS if name.startswith("y_") or "labels" in name else noise(5, 4, 3, seed=i // 2)
        for i, name in enumerate(names)
    }
    np.savez(path, allow_pickle=False, **arrays)
    assert npz_parts(path) == parts
    for i, part in enumerate(parts):
        read = cnn.data.npz_source(path, part).read(np.arange(5))
        np.testing.assert_array_equal(read[..., 0], noise(5, 4, 3, seed=i))


ZEROS = np.zeros((5, 4, 3), np.uint8)
WRONG = {
    "no images": (
        {"labels": LABELS, "pictures": ZEROS},
        "there is no array 'images'; it holds labels, pictures; expected images and labels, or "
        "train_images and train_labels, or x_train and y_train",
    ),
    "no labels": (
        {"images": ZEROS},
        "there is no array 'labels'; it holds images; expected images and labels",
    ),
    "count": (
        {"images": ZEROS, "labels": LABELS[:4]},
        "expected 5 labels as 'labels' for as many pictures, got 4",
    ),
    "label kind": (
        {"images": ZEROS, "labels": LABELS / 1},
        "expected whole numbers [n] as 'labels', got float64 of shape [5]",
    ),
    "one-hot": (
        {"images": ZEROS, "labels": np.eye(5, dtype=np.int32)},
        "expected whole numbers [n] as 'labels', got int32 of shape [5, 5]",
    ),
    "negative": (
        {"images": ZEROS, "labels": -LABELS},
        "label -2 of example 1 is out of range; expected 0..0 for 1 classes",
    ),
    "flat": (
        {"images": ZEROS.reshape(5, 12), "labels": LABELS},
        "expected pictures [n, h, w] or [n, *spatial, channels] as 'images', got shape [5, 12]",
    ),
    "empty": (
        {"images": ZEROS[:0], "labels": LABELS[:0]},
        "expected pictures [n, h, w] or [n, *spatial, channels] as 'images', got shape [0, 4, 3]",
    ),
    "levels": (
        {"images": ZEROS + np.int64(256), "labels": LABELS},
        "whole numbers as 'images' must be in 0..255, got 256..256",
    ),
    "text": (
        {"images": ZEROS.astype(str), "labels": LABELS},
        "expected uint8 or floats as 'images', got <U3",
    ),
}


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("name", WRONG)
def test_arrays_that_are_no_pictures(tmp_path, raises, name, save):
    arrays, message = WRONG[name]
    path = tmp_path / "x.npz"
    save(path, **arrays)
    with raises(ValueError, f"{path}: {message}"):
        cnn.data.npz_source(path)


class Runs:
    def __reduce__(self):
        return os.mkdir, ("executed",)


@pytest.mark.parametrize("name", ["images", "labels", "class_names"])
def test_objects_are_never_read(tmp_path, raises, name, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arrays = {"images": ZEROS, "labels": LABELS, "class_names": np.array(list("abc"))}
    arrays[name] = np.array([Runs()], object).reshape((1, 1, 1) if name == "images" else (1,))
    np.savez(tmp_path / "x.npz", **arrays)
    message = (
        f"{tmp_path / 'x.npz'}: the array {name!r} holds pickled objects, which are never read; "
        "expected numbers or text"
    )
    with raises(ValueError, message):
        cnn.data.npz_source(tmp_path / "x.npz")
    assert not (tmp_path / "executed").exists()


WHOLE = "expected a whole file as numpy.savez writes it"


def test_files_that_are_no_npz(tmp_path, noise):
    path = tmp_path / "x.npz"
    path.write_bytes(b"hello")
    refused = rf"^{path}: not a .npz file, or cut off \(.*\); {WHOLE}$"
    with pytest.raises(ValueError, match=refused):
        cnn.data.npz_source(path)
    np.savez(path, images=noise(5, 4, 3), labels=LABELS)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ValueError, match=refused):
        cnn.data.npz_source(path)


def test_damage_within(tmp_path, noise):
    path = tmp_path / "x.npz"
    np.savez_compressed(path, images=noise(5, 40, 30), labels=LABELS)
    content = bytearray(path.read_bytes())
    content[3000:3020] = bytes(20)
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"^{path}: the array 'images' is broken: .*; {WHOLE}$"):
        cnn.data.npz_source(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("images.npy", b"no array")
        archive.writestr("labels.npy", b"no array")
    with pytest.raises(ValueError, match=rf"^{path}: the array 'labels' is broken: .*; {WHOLE}$"):
        cnn.data.npz_source(path)


def test_entries_that_are_not_called_as_arrays(tmp_path, raises):
    path = tmp_path / "x.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("images", b"no array")
        archive.writestr("labels", b"no array")
    message = "there is no array 'images'; it holds nothing; expected images and labels, or "
    with raises(
        ValueError, f"{path}: {message}train_images and train_labels, or x_train and y_train"
    ):
        cnn.data.npz_source(path)


def test_compressed_pictures_that_are_not_finite(tmp_path, raises):
    path = tmp_path / "x.npz"
    np.savez_compressed(path, images=np.full((5, 4, 3), np.inf), labels=LABELS)
    message = "images must be finite, but 5 of 5 hold NaN or infinity (the first is example 0)"
    with raises(ValueError, f"{path}: {message}"):
        cnn.data.npz_source(path)


def test_an_array_that_claims_more_than_all_memory(tmp_path):
    path = tmp_path / "x.npz"
    np.savez_compressed(path, images=ZEROS, labels=LABELS)
    header = np.lib.format.header_data_from_array_1_0(ZEROS) | {"shape": (5, 2**30, 2**20)}
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("test_images.npy", "w") as file:
            np.lib.format.write_array_header_1_0(file, header)
        with archive.open("test_labels.npy", "w") as file:
            np.lib.format.write_array(file, LABELS)
    refused = (
        rf"^{path}: the pictures take 5.24e\+06 GiB and this machine has .* GiB of memory; "
        "expected fewer, or uint8 or floats that numpy.savez wrote, which can be streamed$"
    )
    with pytest.raises(ValueError, match=refused):
        cnn.data.npz_source(path, "test")


def test_an_array_shorter_than_its_header_says(tmp_path, raises):
    path = tmp_path / "x.npz"
    header = np.lib.format.header_data_from_array_1_0(ZEROS) | {"shape": (5, 4, 4)}
    with zipfile.ZipFile(path, "w") as archive:
        with archive.open("images.npy", "w") as file:
            np.lib.format.write_array_header_1_0(file, header)
            file.write(ZEROS.tobytes())
        with archive.open("labels.npy", "w") as file:
            np.lib.format.write_array(file, LABELS)
    message = "expected 80 bytes for uint8 of shape [5, 4, 4], but there are 60"
    with raises(ValueError, f"{path}: the array 'images' is broken: {message}"):
        cnn.data.npz_source(path)
