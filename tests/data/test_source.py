"""Sources: reading in any order, parts of them, and what does not fit into memory."""

import os
import pickle
from typing import Any, cast

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import cnn_jax as cnn
from cnn_jax.data.rows import Rows
from cnn_jax.data.source import check_class_names


@given(
    count=st.integers(1, 12),
    size=st.integers(1, 5),
    offset=st.integers(0, 3),
    data=st.data(),
)
def test_rows_are_read_in_any_order(count, size, offset, data, tmp_path_factory):
    rows = np.arange(count * size, dtype=">i2").reshape(count, size)
    path = tmp_path_factory.mktemp("rows") / "x"
    path.write_bytes(bytes(offset) + rows.tobytes())
    chosen = np.array(data.draw(st.lists(st.integers(0, count - 1), max_size=20)), np.int64)
    read = pickle.loads(pickle.dumps(Rows(str(path), offset, rows.dtype, (size,), count)))
    np.testing.assert_array_equal(read.read(chosen), rows[chosen])


@given(labels=st.lists(st.integers(0, 2), min_size=20, max_size=60), seed=st.integers(0, 9))
def test_a_source_is_split_as_its_data_set_is(labels, seed):
    images = np.arange(len(labels), dtype=np.float32).reshape(-1, 1, 1, 1)
    data = cnn.data.Dataset(images, np.array(labels, np.int32), ("a", "b", "c"))
    fractions = (0.5, 0.3, 0.2)
    whole = cnn.data.split(data, fractions, seed=seed)
    parts = cnn.data.split_source(cnn.data.InMemory(data), fractions, seed=seed)
    for part, expected in zip(parts, whole, strict=True):
        read = cnn.data.read_all(part)
        np.testing.assert_array_equal(read.images, expected.images)
        np.testing.assert_array_equal(read.labels, expected.labels)
        assert read.class_names == expected.class_names


def test_a_part_of_a_part(noise):
    data = cnn.data.Dataset(noise(6, 2, 2, 1), np.arange(6) % 2, ("a", "b"))
    part = cnn.data.Subset(cnn.data.Subset(cnn.data.InMemory(data), [5, 3, 1]), [2, 0])
    assert part.labels.tolist() == [1, 1]
    np.testing.assert_array_equal(part.read(np.array([1, 0])), data.images[[5, 1]])


def test_device_arrays_become_numpy_once():
    data = cnn.data.Dataset(jnp.zeros((2, 3, 3, 1)), jnp.array([0, 1]), ("a", "b"))
    source = cnn.data.InMemory(data)
    assert type(source.images) is np.ndarray
    assert type(source.labels) is np.ndarray
    assert isinstance(source, cnn.data.Source)


def test_resized(noise, raises):
    data = cnn.data.Dataset(noise(3, 8, 6, 3), np.zeros(3, np.int32), ("a",))
    source = cnn.data.Resized(cnn.data.InMemory(data), (4, 5))
    assert (source.shape, source.dtype) == ((4, 5, 3), np.uint8)
    expected = cnn.images.resize(data.images / np.float32(255), (4, 5))
    read = source.read(np.arange(3))
    assert read.dtype == np.uint8
    assert np.abs(read / 255 - expected).max() <= 0.5 / 255 + 1e-6
    floats = data._replace(images=data.images / np.float32(255))
    same = cnn.data.Resized(cnn.data.InMemory(floats), (4, 5)).read(np.arange(3))
    np.testing.assert_array_equal(same, expected)
    with raises(ValueError, "size must be a positive int or (height, width), not (4, 0)"):
        cnn.data.Resized(cnn.data.InMemory(data), (4, 0))
    lines = data._replace(images=data.images[..., 0])
    with raises(ValueError, "size is for pictures [height, width, channels], not [8, 6]"):
        cnn.data.Resized(cnn.data.InMemory(lines), 4)


@pytest.mark.skipif(not hasattr(os, "sysconf"), reason="the system does not tell its memory")
def test_what_does_not_fit_into_memory_is_not_begun(monkeypatch, raises):
    sysconf = os.sysconf
    pages = {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 2}
    monkeypatch.setattr(os, "sysconf", lambda name: pages.get(name) or sysconf(name))
    message = (
        "digits: the pictures take 0.000428 GiB and this machine has 7.63e-06 GiB of memory; "
        "stream them instead of loading them"
    )
    with raises(ValueError, message):
        cnn.data.read_all(cnn.data.open_source("digits"), "digits")


def test_class_names_that_are_none(raises):
    with raises(TypeError, "class_names must be a sequence of strings, not 'cat'"):
        check_class_names("cat")
    with raises(TypeError, "class_names must be a sequence of strings, not [1]"):
        check_class_names(cast(Any, [1]))
