"""Pickles are read as data: whatever else is in them is refused, and nothing is run."""

import contextlib
import os
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from cnn_jax.data.plain_pickle import read_plain_pickle

PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.tuples(inner, inner),
    max_leaves=8,
)
NUMBERS = arrays.arrays(
    st.sampled_from(("u1", "<i4", ">i4", "<f4", "<f8", "bool")),
    arrays.array_shapes(max_dims=3, max_side=4),
    elements={"allow_nan": False},
)


@given(
    value=st.dictionaries(st.text(max_size=4) | st.binary(max_size=4), PLAIN | NUMBERS, max_size=4),
    protocol=st.integers(2, 5),
)
def test_plain_data_comes_back(value, protocol, tmp_path_factory):
    path = tmp_path_factory.mktemp("pickle") / "x"
    path.write_bytes(pickle.dumps(value, protocol))
    back = read_plain_pickle(path)
    assert list(back) == list(value)
    for key, item in value.items():
        if isinstance(item, np.ndarray):
            assert back[key].dtype == item.dtype
            np.testing.assert_array_equal(back[key], item)
        else:
            assert back[key] == item


def test_an_array_in_columns_comes_back(tmp_path):
    array = np.asfortranarray(np.arange(6, dtype=np.uint8).reshape(2, 3))
    for protocol in range(2, 6):
        (tmp_path / "x").write_bytes(pickle.dumps(array, protocol))
        np.testing.assert_array_equal(read_plain_pickle(tmp_path / "x"), array)


def test_a_batch_as_python_2_wrote_it(tmp_path):
    """The opcodes of `cPickle.dump(..., 2)`, which made the published CIFAR batches."""
    content = (
        b"\x80\x02}q\x01(U\x06labelsq\x02]q\x03(K\x03K\x07eU\x04dataq\x04"
        b"cnumpy.core.multiarray\n_reconstruct\nq\x05cnumpy\nndarray\nq\x06K\x00\x85U\x01b\x87R"
        b"(K\x01K\x01K\x02\x86cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R"
        b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U\x02\xf0\x0ftbu."
    )
    (tmp_path / "data_batch_1").write_bytes(content)
    batch = read_plain_pickle(tmp_path / "data_batch_1")
    assert batch[b"labels"] == [3, 7]
    assert batch[b"data"].tolist() == [[0xF0, 0x0F]]


class Runs:
    """Unpickling this would make a file."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def hostile(mark):
    command = f"touch {mark}"
    return {
        "os.system": pickle.dumps({"data": Runs(os.system, command)}),
        "eval": pickle.dumps([Runs(eval, f"open({str(mark)!r}, 'w')")]),
        "exec": pickle.dumps(Runs(exec, f"open({str(mark)!r}, 'w')"), 0),
        "open": pickle.dumps(Runs(open, str(mark), "w")),
        "getattr": b"cbuiltins\ngetattr\n(cos\nsystem\nS'x'\ntR.",
        # Names with dots reach into attributes from protocol 4 on.
        "dotted": b"\x80\x04\x8c\x05numpy\x8c\x0bos.system.x\x93\x8c"
        + bytes([len(command)])
        + command.encode()
        + b"\x85R.",
        "numpy's own loader": b"cnumpy\nload\n(S'x'\ntR.",
        "an instance": b"(iposix\nsystem\n.",
        "an object from outside": b"\x80\x02U\x01xQ.",
        "an extension": b"\x80\x02\x82\x01.",
    }


@pytest.mark.parametrize("name", hostile("x"))
def test_a_hostile_pickle_is_refused_and_nothing_runs(tmp_path, name):
    mark = tmp_path / "mark"
    path = tmp_path / "data_batch_1"
    path.write_bytes(hostile(mark)[name])
    with pytest.raises(ValueError, match=rf"^{path}: ") as caught:
        read_plain_pickle(path)
    assert "\n" not in str(caught.value)
    assert not mark.exists()


def test_the_test_pickle_is_hostile_indeed(tmp_path):
    mark = tmp_path / "mark"
    pickle.loads(hostile(mark)["os.system"])
    assert mark.exists()


def test_the_message_names_what_was_refused(tmp_path, raises):
    path = tmp_path / "x"
    path.write_bytes(pickle.dumps(Runs(os.system, "true")))
    message = (
        f"{path}: the pickle names posix.system; expected numbers, text and arrays alone; nothing "
        "in it was executed"
    )
    with raises(ValueError, message):
        read_plain_pickle(path)


def test_arrays_of_objects_are_refused(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(pickle.dumps(np.array([{}, None], object)))
    with pytest.raises(ValueError, match=rf"^{path}: the pickle names the dtype 'O8'; expected"):
        read_plain_pickle(path)


def test_a_pickle_can_not_change_the_reader(tmp_path):
    """Attributes that a pickle sets on what it is handed are gone with it."""
    path = tmp_path / "x"
    array = np.arange(3)
    names = ("numpy.core.multiarray\n_reconstruct", "numpy\ndtype", "_codecs\nencode")
    for name in names:
        path.write_bytes(b"\x80\x02c" + name.encode() + b"\nN}X\x08\0\0\0__call__K\x01s\x86b.")
        first = read_plain_pickle(path)
        assert first.__call__ == 1
        assert read_plain_pickle(path) is not first
    path.write_bytes(pickle.dumps({"data": array}, 2))
    np.testing.assert_array_equal(read_plain_pickle(path)["data"], array)


@given(cut=st.integers(0, 10**6), position=st.integers(0, 10**6), byte=st.integers(0, 255))
def test_damaged_pickles_are_read_or_refused(cut, position, byte, tmp_path_factory):
    content = bytearray(pickle.dumps({"data": np.arange(40), "labels": [1, 2, 3]}, 2))
    content[position % len(content)] = byte
    path = tmp_path_factory.mktemp("pickle") / "x"
    path.write_bytes(content[: 1 + cut % len(content)])
    with contextlib.suppress(ValueError):  # any other exception would be a fault
        read_plain_pickle(path)


def test_a_small_pickle_can_not_fill_the_memory(tmp_path):
    nested = [0]
    for _ in range(60):
        nested = [nested, nested]
    path = tmp_path / "x"
    path.write_bytes(pickle.dumps({"data": nested}))
    assert path.stat().st_size < 2000
    assert list(read_plain_pickle(path)) == ["data"]
