"""One function for all formats: it knows what it is given, or says what it would have known."""

import gzip
import shutil

import numpy as np
import pytest
from PIL import Image

import cnn_jax as cnn
from cnn_jax.data import formats

EXPECTED = (
    "expected a .npz file, an IDX file of pictures, or a folder with IDX files, CIFAR's files or "
    "one folder of pictures for each class"
)
LABELS = np.array([1, 0, 1], np.uint8)


@pytest.fixture
def everything(tmp_path, noise):
    """The same three pictures in every format that holds pictures of any size."""
    pictures = noise(3, 5, 4)
    for suffix in ("", ".gz"):
        folder = tmp_path / f"idx{suffix}"
        folder.mkdir()
        cnn.data.write_idx(folder / f"train-images-idx3-ubyte{suffix}", pictures)
        cnn.data.write_idx(folder / f"train-labels-idx1-ubyte{suffix}", LABELS)
    for i, label in enumerate(LABELS):
        folder = tmp_path / "folder" / str(label)
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pictures[i]).save(folder / f"{i}.png")
    np.savez(tmp_path / "x.npz", images=pictures, labels=LABELS)
    shutil.copy(tmp_path / "x.npz", tmp_path / "other")
    return tmp_path, pictures


PATHS = (
    *("idx", "idx.gz", "idx/train-images-idx3-ubyte", "idx.gz/train-images-idx3-ubyte.gz"),
    *("folder", "x.npz", "other"),
)


@pytest.mark.parametrize("name", PATHS)
def test_each_format_is_known(everything, name):
    root, pictures = everything
    assert cnn.data.parts(root / name) == ("train",)
    data = cnn.data.load(root / name)
    cnn.data.check(data)
    assert data.class_names == ("0", "1")
    # A folder is in the order of its classes.
    order = [1, 0, 2] if name == "folder" else [0, 1, 2]
    assert data.labels.tolist() == LABELS[order].tolist()
    np.testing.assert_array_equal(data.images[..., 0], pictures[order])
    resized = cnn.data.load(str(root / name), size=(3, 2), class_names=["0", "1"])
    assert resized.images.shape == (3, 3, 2, 1)


def test_names_come_before_folders(tmp_path, monkeypatch, everything):
    root, _ = everything
    monkeypatch.chdir(tmp_path)
    shutil.copytree(root / "idx", "digits")
    assert cnn.data.load("digits").size == 1797
    assert cnn.data.load("./digits").size == 3


def test_digits_with_other_names(raises):
    letters = tuple("abcdefghij")
    assert cnn.data.load("digits", class_names=letters).class_names == letters
    with raises(ValueError, "class_names must name 10 classes, not 2"):
        cnn.data.load("digits", class_names="ab")


def test_a_fetched_data_set(everything, monkeypatch):
    """What a name leads to is read like any folder, with the names of its classes."""
    root, _ = everything
    asked = []
    monkeypatch.setattr(formats, "download", lambda name: asked.append(name) or root / "idx.gz")
    data = cnn.data.load("fashion-mnist")
    assert asked
    assert set(asked) == {"fashion-mnist"}
    assert data.class_names[:2] == ("T-shirt/top", "trouser")
    assert len(data.class_names) == 10
    assert cnn.data.load("mnist").class_names == tuple("0123456789")


def test_names(raises):
    assert cnn.data.names() == ("cifar10", "cifar100", "digits", "fashion-mnist", "mnist")
    message = (
        "dataset: unknown name 'mist'; the data sets are cifar10, cifar100, digits, "
        "fashion-mnist, mnist, and there is no file or folder of that name"
    )
    with raises(ValueError, message):
        cnn.data.open_source("mist")


def test_a_path_that_is_not_there(tmp_path, raises):
    path = tmp_path / "no" / "such"
    with raises(FileNotFoundError, f"{path}: no such file or folder; {EXPECTED}"):
        cnn.data.load(path)
    with raises(FileNotFoundError, f"pictures.npz: no such file or folder; {EXPECTED}"):
        cnn.data.parts("pictures.npz")


def test_files_of_other_kinds(tmp_path, raises, noise):
    text = tmp_path / "notes.txt"
    text.write_text("hello")
    with raises(ValueError, f"{text}: not a known kind of data; {EXPECTED}"):
        cnn.data.load(text)
    empty = tmp_path / "empty"
    empty.touch()
    with raises(ValueError, f"{empty}: not a known kind of data; {EXPECTED}"):
        cnn.data.load(empty)
    packed = tmp_path / "mnist.tar.gz"
    packed.write_bytes(gzip.compress(b"hello"))
    with raises(ValueError, f"{packed}: an archive; unpack it and name the folder"):
        cnn.data.load(packed)
    picture = tmp_path / "cat.png"
    Image.fromarray(noise(2, 2)).save(picture)
    message = (
        f"{picture}: a single picture; expected a folder with one folder of pictures for each class"
    )
    with raises(ValueError, message):
        cnn.data.load(picture)
    for name in ("data_batch_1.bin", "batches.meta.txt"):
        (tmp_path / name).touch()
        message = "one of CIFAR-10 binary files; expected the folder that holds them"
        with raises(ValueError, f"{tmp_path / name}: {message}, {tmp_path}"):
            cnn.data.load(tmp_path / name)
    labels = tmp_path / "labels-idx1"
    cnn.data.write_idx(labels, LABELS)
    message = (
        f"{labels}: an IDX file, but not called as pictures are; expected a name such as "
        "train-images-idx3-ubyte, which leads to the labels"
    )
    with raises(ValueError, message):
        cnn.data.load(labels)


def test_parts_that_are_not_there(everything, raises):
    root, _ = everything
    with raises(ValueError, f"{root / 'idx'}: there is no test part; there is train"):
        cnn.data.load(root / "idx", "test")
    with raises(ValueError, "digits: there is no test part; there is train"):
        cnn.data.load("digits", "test")
    with raises(ValueError, "part must be one of train, validation, test, not 'dev'"):
        cnn.data.load("digits", "dev")


def test_options_that_do_not_apply(everything, raises):
    root, _ = everything
    message = f"{root / 'idx'}: channels and background are for folders of pictures; this is none"
    with raises(ValueError, message):
        cnn.data.load(root / "idx", channels=3)
