"""CIFAR-10 and CIFAR-100, binary and pickled, from files made here in their layouts."""

import pickle

import numpy as np
import pytest

import cnn_jax as cnn

BATCHES = [f"data_batch_{i}" for i in range(1, 6)]
NAMES10 = ["airplane", "automobile", "bird", "cat", "deer"]
FINE, COARSE = ["apple", "bear", "can", "dolphin"], ["fruit", "animal"]


def planes(pictures):
    """Return pictures [n, 32, 32, 3] as CIFAR has them: the red plane, the green, the blue."""
    return pictures.transpose(0, 3, 1, 2).reshape(len(pictures), 3072)


@pytest.fixture
def pictures(noise):
    return noise(12, 32, 32, 3)


LABELS = np.array([0, 4, 1, 2, 3, 0, 1, 1, 2, 4, 3, 0], np.uint8)
FINE_LABELS = LABELS % 4
COARSE_LABELS = LABELS % 2


@pytest.fixture
def binary10(tmp_path, pictures):
    records = np.concatenate([LABELS[:, None], planes(pictures)], axis=1)
    for batch, some in zip(BATCHES, np.split(records[:10], 5), strict=True):
        (tmp_path / f"{batch}.bin").write_bytes(some.tobytes())
    (tmp_path / "test_batch.bin").write_bytes(records[10:].tobytes())
    (tmp_path / "batches.meta.txt").write_text("\n".join(NAMES10) + "\n\n")
    return tmp_path


@pytest.fixture
def binary100(tmp_path, pictures):
    head = np.stack([COARSE_LABELS, FINE_LABELS], axis=1)
    records = np.concatenate([head, planes(pictures)], axis=1)
    (tmp_path / "train.bin").write_bytes(records[:10].tobytes())
    (tmp_path / "test.bin").write_bytes(records[10:].tobytes())
    (tmp_path / "fine_label_names.txt").write_text("\n".join(FINE) + "\n")
    (tmp_path / "coarse_label_names.txt").write_text("\n".join(COARSE) + "\n")
    return tmp_path


@pytest.fixture(params=[2, 4, 5])
def pickled10(tmp_path, pictures, request):
    def write(name, content):
        (tmp_path / name).write_bytes(pickle.dumps(content, request.param))

    flat = planes(pictures)
    for i, batch in enumerate(BATCHES):
        chosen = slice(2 * i, 2 * i + 2)
        labels = LABELS[chosen].tolist()
        write(batch, {b"batch_label": b"x", b"labels": labels, b"data": flat[chosen]})
    write("test_batch", {"labels": LABELS[10:].tolist(), "data": flat[10:]})
    write("batches.meta", {b"label_names": [name.encode() for name in NAMES10]})
    return tmp_path


@pytest.fixture
def pickled100(tmp_path, pictures):
    for name, part in (("train", slice(0, 10)), ("test", slice(10, 12))):
        batch = {
            "data": planes(pictures)[part],
            "fine_labels": FINE_LABELS[part].tolist(),
            "coarse_labels": COARSE_LABELS[part].tolist(),
        }
        (tmp_path / name).write_bytes(pickle.dumps(batch))
    meta = {"fine_label_names": FINE, "coarse_label_names": COARSE}
    (tmp_path / "meta").write_bytes(pickle.dumps(meta))
    return tmp_path


def check(source, pictures, labels, names):
    assert source.class_names == tuple(names)
    assert source.labels.dtype == np.int32
    np.testing.assert_array_equal(source.labels, labels)
    assert (source.shape, source.dtype) == ((32, 32, 3), np.uint8)
    everything = np.arange(len(labels))
    np.testing.assert_array_equal(source.read(everything), pictures)
    np.testing.assert_array_equal(source.read(everything[::-1]), pictures[::-1])


def test_cifar_10_binary(binary10, pictures):
    check(cnn.data.cifar_source(binary10), pictures[:10], LABELS[:10], NAMES10)
    check(cnn.data.cifar_source(binary10, "test"), pictures[10:], LABELS[10:], NAMES10)


def test_cifar_10_pickled(pickled10, pictures):
    check(cnn.data.cifar_source(pickled10), pictures[:10], LABELS[:10], NAMES10)
    check(cnn.data.cifar_source(pickled10, "test"), pictures[10:], LABELS[10:], NAMES10)


@pytest.mark.parametrize("form", ["binary100", "pickled100"])
def test_cifar_100(form, pictures, request):
    folder = request.getfixturevalue(form)
    check(cnn.data.cifar_source(folder), pictures[:10], FINE_LABELS[:10], FINE)
    coarse = cnn.data.cifar_source(folder, "test", labels="coarse")
    check(coarse, pictures[10:], COARSE_LABELS[10:], COARSE)


def test_load_recognises_it(binary100, pictures):
    assert cnn.data.parts(binary100) == ("train", "test")
    data = cnn.data.load(binary100, "test", labels="coarse")
    np.testing.assert_array_equal(data.images, pictures[10:])
    assert data.class_names == tuple(COARSE)


def test_class_names_that_are_given(binary10):
    given = tuple("abcde")
    assert cnn.data.cifar_source(binary10, class_names=given).class_names == given


def test_missing_files(binary10, raises):
    (binary10 / "data_batch_3.bin").unlink()
    message = (
        f"{binary10}: data_batch_3.bin is missing; the train part of CIFAR-10 binary files is "
        "data_batch_1.bin, data_batch_2.bin, data_batch_3.bin, data_batch_4.bin, data_batch_5.bin"
    )
    with raises(FileNotFoundError, message):
        cnn.data.cifar_source(binary10)


def test_names_that_were_left_behind(binary10, tmp_path):
    (binary10 / "batches.meta.txt").unlink()
    names = cnn.data.cifar_source(binary10).class_names
    assert (len(names), names[:2], names[-1]) == (10, ("airplane", "automobile"), "truck")
    assert cnn.data.cifar_source(binary10, "test", class_names=NAMES10).class_names[4] == "deer"


def test_fine_and_coarse_names_that_were_left_behind(binary100):
    for file in binary100.glob("*.txt"):
        file.unlink()
    fine = cnn.data.cifar_source(binary100).class_names
    coarse = cnn.data.cifar_source(binary100, labels="coarse").class_names
    # Published in the order of the alphabet.
    assert (len(fine), fine[0], fine[53], fine[-1]) == (100, "apple", "orange", "worm")
    assert (len(coarse), coarse[4], coarse[-1]) == (20, "fruit_and_vegetables", "vehicles_2")
    assert list(fine) == sorted(fine)
    assert list(coarse) == sorted(coarse)


def test_pickled_names_that_were_left_behind(pickled10):
    (pickled10 / "batches.meta").unlink()
    assert cnn.data.load(pickled10).class_names[0] == "airplane"


def test_pickled_fine_names_that_were_left_behind(pickled100, raises):
    (pickled100 / "meta").unlink()
    assert cnn.data.load(pickled100).class_names[0] == "apple"
    assert cnn.data.parts(pickled100) == ("train", "test")
    (pickled100 / "test").write_text("no pickle, so this folder is of something else")
    with raises(ValueError, f"{pickled100}: {NOTHING}"):
        cnn.data.load(pickled100)


NOTHING = (
    "expected one folder of pictures for each class, or IDX files, or CIFAR's files, but there are "
    "no folders in it"
)


def test_a_folder_without_cifar(tmp_path, raises):
    (tmp_path / "train").touch()
    message = (
        f"{tmp_path}: no CIFAR files; expected data_batch_1.bin, train.bin, data_batch_1 or train "
        "and meta"
    )
    with raises(FileNotFoundError, message):
        cnn.data.cifar_source(tmp_path)


def test_unknown_labels(binary100, raises):
    with raises(ValueError, "labels must be fine or coarse, not 'super'"):
        cnn.data.cifar_source(binary100, labels="super")


@pytest.mark.parametrize(
    ("size", "found"),
    [
        (6145, "6145 bytes (1.99967 records)"),
        (6150, "6150 bytes (2.0013 records)"),
        (0, "0 bytes (0 records)"),
    ],
)
def test_truncated_and_overlong_files(binary10, raises, size, found):
    file = binary10 / "data_batch_2.bin"
    file.write_bytes((file.read_bytes() + bytes(10))[:size])
    with raises(
        ValueError, f"{file}: expected records of 3073 bytes each, but the file has {found}"
    ):
        cnn.data.cifar_source(binary10)


def test_labels_out_of_range(binary10, raises):
    message = (
        f"{binary10 / 'data_batch_1.bin'}: label 4 of example 1 is out of range; expected 0..2 for "
        "3 classes"
    )
    with raises(ValueError, message):
        cnn.data.cifar_source(binary10, class_names=["a", "b", "c"])


def test_fewer_names_than_labels(binary10, raises):
    meta = binary10 / "batches.meta.txt"
    meta.write_text("a\nb\nc\n")
    batch = np.fromfile(binary10 / "data_batch_1.bin", np.uint8).reshape(-1, 3073)
    message = (
        f"{meta}: names 3 classes, but data_batch_1.bin has labels up to {batch[:, 0].max()}; "
        "expected 10 names"
    )
    with raises(ValueError, message):
        cnn.data.cifar_source(binary10)
    batch[0, 0] = 77  # no label of CIFAR-10: here the pictures' file is wrong
    batch.tofile(binary10 / "data_batch_1.bin")
    message = (
        f"{binary10 / 'data_batch_1.bin'}: label 77 of example 0 is out of range; expected 0..2 "
        "for 3 classes"
    )
    with raises(ValueError, message):
        cnn.data.cifar_source(binary10)


EACH_LINE = "expected a class name on each line"


def test_names_that_are_no_names(binary10, raises):
    meta = binary10 / "batches.meta.txt"
    meta.write_text("cat\ncat\n")
    with raises(ValueError, f"{meta}: {EACH_LINE}: class_names must differ, but 'cat' comes twice"):
        cnn.data.cifar_source(binary10)
    meta.write_text("\n")
    with raises(ValueError, f"{meta}: {EACH_LINE}: class_names must name at least one class"):
        cnn.data.cifar_source(binary10)
    meta.write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match=rf"^{meta}: {EACH_LINE}: 'utf-8' codec can't decode"):
        cnn.data.cifar_source(binary10)


GOOD = {"data": np.zeros((2, 3072), np.uint8), "fine_labels": [0, 1], "coarse_labels": [0, 1]}
WRONG = {
    "a list": ([1, 2], "expected a pickled dict, got list"),
    "no data": ({"fine_labels": [0]}, "expected 'data' in the pickled dict"),
    "no labels": ({"data": GOOD["data"]}, "expected 'fine_labels' in the pickled dict"),
    "no array": (GOOD | {"data": [0]}, "expected an array of uint8 under 'data', got list"),
    "floats": (
        GOOD | {"data": GOOD["data"].astype(np.float32)},
        "expected an array of uint8 under 'data', got float32",
    ),
    "shape": (
        GOOD | {"data": np.zeros((2, 3071), np.uint8)},
        "expected pixels [n, 3072] under 'data', got [2, 3071]",
    ),
    "none": (
        GOOD | {"data": np.zeros((0, 3072), np.uint8), "fine_labels": []},
        "expected pixels [n, 3072] under 'data', got [0, 3072]",
    ),
    "text": (
        GOOD | {"fine_labels": ["0", "1"]},
        "expected a list of whole numbers under 'fine_labels'",
    ),
    "count": (GOOD | {"fine_labels": [0]}, "expected 2 labels for as many pictures, got 1"),
    "range": (
        GOOD | {"fine_labels": [1, 100]},
        "label 100 of example 1 is out of range; expected 0..3 for 4 classes",
    ),
    "huge": (
        GOOD | {"fine_labels": [0, 10**30]},
        f"label {10**30} of example 1 is out of range; expected 0..3 for 4 classes",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_pickled_batches_that_are_none(pickled100, raises, name):
    content, message = WRONG[name]
    file = pickled100 / "train"
    file.write_bytes(pickle.dumps(content))
    with raises(ValueError, f"{file}: {message}"):
        cnn.data.cifar_source(pickled100)


def test_pickled_names_that_are_none(pickled100, raises):
    file = pickled100 / "meta"
    file.write_bytes(pickle.dumps({"fine_label_names": "apple"}))
    with raises(
        ValueError, f"{file}: expected a list of names under 'fine_label_names', got 'apple'"
    ):
        cnn.data.cifar_source(pickled100)
    file.write_bytes(pickle.dumps({"fine_label_names": [1, 2]}))
    refused = rf"^{file}: expected a list of names under 'fine_label_names': class_names must be a"
    with pytest.raises(ValueError, match=refused):
        cnn.data.cifar_source(pickled100)


class Opens:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_a_hostile_batch_runs_nothing(pickled100, tmp_path):
    file, mark = pickled100 / "train", tmp_path / "mark"
    file.write_bytes(pickle.dumps(GOOD | {"data": Opens(mark)}))
    refused = rf"^{file}: the pickle names _?io\.open; expected numbers, text and arrays alone"
    with pytest.raises(ValueError, match=refused):
        cnn.data.load(pickled100)
    assert not mark.exists()
