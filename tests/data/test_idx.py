"""IDX files: what is written comes back, and nothing that is damaged is taken for data."""

import errno
import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import cnn_jax as cnn
from cnn_jax.data.idx import Pair, find_pairs, pair_of

DTYPES = ("uint8", "int8", "int16", "int32", "float32", "float64")
SHAPES = arrays.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=5)


@pytest.fixture
def mnist(tmp_path, noise):
    """A folder of a small MNIST: the plain files of one part, the compressed ones of the other."""
    pictures = noise(7, 5, 4)
    labels = np.array([3, 0, 1, 2, 0, 3, 1], np.uint8)
    cnn.data.write_idx(tmp_path / "train-images-idx3-ubyte", pictures)
    cnn.data.write_idx(tmp_path / "train-labels-idx1-ubyte", labels)
    cnn.data.write_idx(tmp_path / "t10k-images-idx3-ubyte.gz", pictures[:2])
    cnn.data.write_idx(tmp_path / "t10k-labels-idx1-ubyte.gz", labels[:2])
    return tmp_path, pictures, labels


@given(
    array=st.sampled_from(DTYPES).flatmap(lambda dtype: arrays.arrays(dtype, SHAPES)),
    suffix=st.sampled_from(("", ".gz")),
)
def test_what_is_written_comes_back(array, suffix, tmp_path_factory):
    path = tmp_path_factory.mktemp("idx") / f"x-idx{suffix}"
    cnn.data.write_idx(path, array)
    back = cnn.data.read_idx(path)
    assert back.dtype == array.dtype
    np.testing.assert_array_equal(back, array)


def test_the_bytes_are_those_of_the_format(tmp_path):
    path = tmp_path / "x"
    cnn.data.write_idx(path, np.array([[1, -2, 3]], np.int16))
    assert path.read_bytes() == bytes.fromhex("00000b02 00000001 00000003 0001 fffe 0003")


def test_the_same_array_gives_the_same_compressed_bytes(tmp_path, noise):
    for name in ("a.gz", "b.gz"):
        cnn.data.write_idx(tmp_path / name, noise(9))
    assert (tmp_path / "a.gz").read_bytes() == (tmp_path / "b.gz").read_bytes()


def test_a_file_is_not_overwritten_unasked(tmp_path, raises):
    path = tmp_path / "x"
    cnn.data.write_idx(path, np.zeros(3, np.uint8))
    with raises(FileExistsError, f"{path} exists: pass overwrite=True to replace it"):
        cnn.data.write_idx(path, np.ones(3, np.uint8))
    cnn.data.write_idx(path, np.ones(3, np.uint8), overwrite=True)
    assert cnn.data.read_idx(path).tolist() == [1, 1, 1]
    assert [file.name for file in tmp_path.iterdir()] == ["x"]


def test_a_full_disk_leaves_what_was_there(tmp_path, monkeypatch):
    path = tmp_path / "x"
    cnn.data.write_idx(path, np.zeros(3, np.uint8))

    def fills_up(self, content):
        self.touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", fills_up)
    with pytest.raises(OSError, match="No space left") as caught:
        cnn.data.write_idx(path, np.ones(3, np.uint8), overwrite=True)
    assert caught.value.filename == str(path)
    assert cnn.data.read_idx(path).tolist() == [0, 0, 0]
    assert [file.name for file in tmp_path.iterdir()] == ["x"]


def test_what_can_not_be_written(tmp_path, raises):
    message = (
        "write_idx: array must be one of uint8, int8, int16, int32, float32, float64, not int64"
    )
    with raises(TypeError, message):
        cnn.data.write_idx(tmp_path / "x", np.zeros(3, np.int64))
    with raises(ValueError, "write_idx: array must have 1 to 255 dimensions, not 0"):
        cnn.data.write_idx(tmp_path / "x", np.uint8(1))
    assert not list(tmp_path.iterdir())


GOOD = struct.pack(">4B2I", 0, 0, 8, 2, 2, 3) + bytes(6)
DAMAGED = {
    "empty": (b"", "expected an IDX file, but there are 0 bytes"),
    "magic": (
        b"\x89PNG" + GOOD[4:],
        "not an IDX file: it begins with 89 50 4e 47; expected 00 00, a kind of numbers from 08 "
        "to 0e, and the number of dimensions",
    ),
    "kind": (
        b"\0\0\x0a\x02" + GOOD[4:],
        "not an IDX file: it begins with 00 00 0a 02; expected 00 00, a kind of numbers from 08 "
        "to 0e, and the number of dimensions",
    ),
    "dimensions": (
        GOOD[:9],
        "cut off: expected 2 dimensions of 4 bytes each, but there are 5 bytes",
    ),
    "truncated": (
        GOOD[:-1],
        "expected 6 bytes after the header for uint8 of shape [2, 3], but there are 5",
    ),
}


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("damage", DAMAGED)
def test_damage_is_told(tmp_path, raises, damage, compressed):
    content, message = DAMAGED[damage]
    path = tmp_path / "x"
    path.write_bytes(gzip.compress(content) if compressed else content)
    with raises(ValueError, f"{path}: {message}"):
        cnn.data.read_idx(path)


@pytest.mark.parametrize("compressed", [False, True])
def test_bytes_too_many_are_told(tmp_path, raises, compressed):
    path = tmp_path / "x"
    path.write_bytes(gzip.compress(GOOD + b"!") if compressed else GOOD + b"!")
    ending = "there are more" if compressed else "there are 7"
    message = f"expected 6 bytes after the header for uint8 of shape [2, 3], but {ending}"
    with raises(ValueError, f"{path}: {message}"):
        cnn.data.read_idx(path)


@pytest.mark.parametrize("damage", [lambda x: x[:-12], lambda x: x[:14] + b"\xff" * 6 + x[20:]])
def test_a_broken_gzip_is_told(tmp_path, damage):
    path = tmp_path / "x.gz"
    content = struct.pack(">4BI", 0, 0, 8, 1, 300) + np.random.default_rng(0).bytes(300)
    path.write_bytes(damage(gzip.compress(content)))
    with pytest.raises(
        ValueError, match=rf"^{path}: the gzip data is .*; expected a whole gzip file$"
    ):
        cnn.data.read_idx(path)


def test_dimensions_beyond_all_memory_are_told_before_memory_is_asked_for(tmp_path):
    path = tmp_path / "x.gz"
    path.write_bytes(gzip.compress(struct.pack(">4B2I", 0, 0, 8, 2, 2**31, 2**31)))
    refused = (
        rf"^{path}: the pictures take 4.29e\+09 GiB and this machine has .* GiB of memory; "
        "expected fewer, or the file without compression$"
    )
    with pytest.raises(ValueError, match=refused):
        cnn.data.read_idx(path)


@given(content=st.binary(max_size=40) | st.binary(max_size=20).map(lambda x: b"\0\0\x08\x01" + x))
def test_any_bytes_are_an_array_or_an_error(content, tmp_path_factory):
    path = tmp_path_factory.mktemp("idx") / "x"
    path.write_bytes(content)
    try:
        array = cnn.data.read_idx(path)
    except ValueError:
        return
    assert len(content) == 4 + 4 * array.ndim + array.nbytes


def test_both_parts_of_a_folder(mnist):
    folder, pictures, labels = mnist
    pairs = find_pairs(folder)
    assert list(pairs) == ["test", "train"]
    train, test = (cnn.data.idx_source(pairs[part]) for part in ("train", "test"))
    assert train.shape == (5, 4, 1)
    assert train.dtype == np.uint8
    assert train.class_names == ("0", "1", "2", "3")
    np.testing.assert_array_equal(train.labels, labels)
    chosen = np.array([6, 0, 1, 2, 4])
    np.testing.assert_array_equal(train.read(chosen), pictures[chosen, ..., None])
    np.testing.assert_array_equal(test.read(np.arange(2)), pictures[:2, ..., None])
    assert test.labels.dtype == np.int32


def test_colour_and_floats(tmp_path, raises, noise):
    pair = Pair(tmp_path / "images-idx4", tmp_path / "labels-idx1")
    cnn.data.write_idx(pair.labels, np.array([0, 1], np.int32))
    colours = noise(2, 4, 5, 3)
    cnn.data.write_idx(pair.images, colours)
    np.testing.assert_array_equal(cnn.data.idx_source(pair).read(np.array([1])), colours[1:])

    floats = np.random.default_rng(0).random((2, 4, 5))
    cnn.data.write_idx(pair.images, floats, overwrite=True)
    source = cnn.data.idx_source(pair)
    assert source.dtype == np.float32
    read = source.read(np.arange(2))
    np.testing.assert_array_equal(read[..., 0], floats.astype(np.float32))

    floats[1, 0, 0] = np.nan
    cnn.data.write_idx(pair.images, floats, overwrite=True)
    message = f"{pair.images}: example 1 holds NaN or infinity; pictures must be finite"
    with raises(ValueError, message):
        source.read(np.arange(2))


def test_class_names_from_a_file(mnist, raises):
    folder, _, _ = mnist
    names = folder / "class_names.txt"
    names.write_text("zero\none\ntwo\n\nthree\n")
    pair = find_pairs(folder)["train"]
    assert cnn.data.idx_source(pair).class_names == ("zero", "one", "two", "three")
    names.write_text("zero\none\ntwo\nzero\n")
    expected = f"{names}: expected a class name on each line: "
    with raises(ValueError, f"{expected}class_names must differ, but 'zero' comes twice"):
        cnn.data.idx_source(pair)
    names.write_bytes(b"zero\xff")
    with pytest.raises(ValueError, match=rf"^{expected}'utf-8' codec can't decode byte 0xff"):
        cnn.data.idx_source(pair)


def test_labels_out_of_range(mnist, raises):
    folder, _, _ = mnist
    pair = find_pairs(folder)["train"]
    message = f"{pair.labels}: label 3 of example 0 is out of range; expected 0..2 for 3 classes"
    with raises(ValueError, message):
        cnn.data.idx_source(pair, ("a", "b", "c"))
    labels = np.array([0, 1, -1, 0, 0, 0, 0], np.int8)
    cnn.data.write_idx(pair.labels, labels, overwrite=True)
    message = f"{pair.labels}: label -1 of example 2 is out of range; expected 0..1 for 2 classes"
    with raises(ValueError, message):
        cnn.data.idx_source(pair)


def test_files_that_do_not_belong_together(mnist, raises, noise):
    folder, pictures, _ = mnist
    pair = find_pairs(folder)["train"]
    cnn.data.write_idx(pair.labels, np.zeros(6, np.uint8), overwrite=True)
    message = f"{pair.labels}: expected 7 labels for the pictures in train-images-idx3-ubyte, got 6"
    with raises(ValueError, message):
        cnn.data.idx_source(pair)
    cnn.data.write_idx(pair.labels, np.zeros((7, 1), np.float32), overwrite=True)
    message = f"{pair.labels}: expected whole numbers [n], got float32 of shape [7, 1]"
    with raises(ValueError, message):
        cnn.data.idx_source(pair)
    message = f"{pair.images}: expected pictures [n, h, w], got an array of shape [7, 20]"
    cnn.data.write_idx(pair.images, pictures.reshape(7, 20), overwrite=True)
    with raises(ValueError, message):
        cnn.data.idx_source(pair)
    cnn.data.write_idx(pair.images, pictures.astype(np.int16), overwrite=True)
    with raises(ValueError, f"{pair.images}: expected uint8 or floats, got int16"):
        cnn.data.idx_source(pair)


def test_empty_pictures(mnist, raises):
    folder, _, _ = mnist
    pair = find_pairs(folder)["train"]
    cnn.data.write_idx(pair.images, np.zeros((7, 0, 4), np.uint8), overwrite=True)
    with raises(ValueError, f"{pair.images}: there are no pixels in shape [7, 0, 4]"):
        cnn.data.idx_source(pair)


def test_truncated_pictures_are_told_before_any_is_read(mnist, raises):
    folder, _, _ = mnist
    pair = find_pairs(folder)["train"]
    pair.images.write_bytes(pair.images.read_bytes()[:-3])
    message = (
        f"{pair.images}: expected 140 bytes after the header for uint8 of shape [7, 5, 4], "
        "but there are 137"
    )
    with raises(ValueError, message):
        cnn.data.idx_source(pair)


def test_a_file_that_shrinks_while_it_is_in_use(mnist, raises):
    folder, _, _ = mnist
    pair = find_pairs(folder)["train"]
    source = cnn.data.idx_source(pair)
    pair.images.write_bytes(pair.images.read_bytes()[:-30])
    assert source.read(np.array([4])).shape == (1, 5, 4, 1)
    message = f"{pair.images}: the file is shorter than it was; expected 156 bytes"
    with raises(ValueError, message):
        source.read(np.array([6]))


def test_pictures_without_labels(tmp_path, raises):
    images = tmp_path / "train-images-idx3-ubyte.gz"
    cnn.data.write_idx(images, np.zeros((1, 2, 2), np.uint8))
    message = (
        f"{images}: no labels for these pictures; expected train-labels-idx1-ubyte.gz in the same "
        "folder"
    )
    with raises(FileNotFoundError, message):
        pair_of(images)


def test_two_pairs_of_one_part(tmp_path, raises):
    for name in ("a-images-idx3-ubyte", "b-images-idx3-ubyte"):
        (tmp_path / name).touch()
        (tmp_path / name.replace("images-idx3", "labels-idx1")).touch()
    message = (
        f"{tmp_path}: two files hold the train pictures, a-images-idx3-ubyte and "
        "b-images-idx3-ubyte; name one of them instead of the folder"
    )
    with raises(ValueError, message):
        find_pairs(tmp_path)


def test_a_file_that_is_there_compressed_and_not_counts_once(mnist):
    folder, pictures, _ = mnist
    cnn.data.write_idx(folder / "train-images-idx3-ubyte.gz", pictures)
    assert find_pairs(folder)["train"].images.name == "train-images-idx3-ubyte"
