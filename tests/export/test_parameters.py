"""Parameters come back from safetensors files as they were, or are refused with one clear line."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from cnn_jax import export

PARAMS = {
    "conv_0": {"kernel": jnp.arange(18, dtype=jnp.bfloat16).reshape(3, 3, 1, 2)},
    "head": {"dense_0": {"kernel": jnp.ones((2, 3)), "bias": jnp.zeros(3)}},
}
METADATA = {"class_names": ["cat", "dög", '"<b>'], "input_shape": [8, 8, 1], "normalisation": None}


@pytest.fixture
def file(tmp_path):
    export.save_safetensors(tmp_path / "model.safetensors", PARAMS, METADATA)
    return tmp_path / "model.safetensors"


def refusal(path, expected=None):
    with pytest.raises(ValueError, match=r"^[^\n]+$") as caught:
        export.load_safetensors(path, expected)
    return str(caught.value).removeprefix(f"{path}: ")


def test_names_types_values_and_metadata_come_back(file):
    for expected in (None, PARAMS, jax.eval_shape(lambda: PARAMS)):
        params, metadata = export.load_safetensors(file, expected)
        assert metadata == METADATA
        assert jax.tree.structure(params) == jax.tree.structure(PARAMS)
        for mine, theirs in zip(jax.tree.leaves(params), jax.tree.leaves(PARAMS), strict=True):
            assert mine.dtype == theirs.dtype
            np.testing.assert_array_equal(mine, theirs)


def test_the_format_is_the_published_one(file):
    """Eight bytes with the header's length, a header of JSON, then the arrays' bytes."""
    data = file.read_bytes()
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    kernel = header["conv_0.kernel"]
    assert (kernel["dtype"], kernel["shape"]) == ("BF16", [3, 3, 1, 2])
    start, stop = kernel["data_offsets"]
    np.testing.assert_array_equal(
        np.frombuffer(data[end + start : end + stop], jnp.bfloat16), np.arange(18)
    )
    assert sorted(header) == [
        *("__metadata__", "conv_0.kernel", "head.dense_0.bias", "head.dense_0.kernel")
    ]
    assert json.loads(header["__metadata__"]["input_shape"]) == [8, 8, 1]


def test_every_cut_and_every_changed_byte_is_noticed(file):
    data = file.read_bytes()
    for length in range(0, len(data), 7):
        file.write_bytes(data[:length])
        assert refusal(file, PARAMS).startswith("damaged: expected a whole safetensors file (")
    header = 8 + int.from_bytes(data[:8], "little")
    for place in range(header, len(data)):
        changed = bytearray(data)
        changed[place] ^= 1
        file.write_bytes(changed)
        assert refusal(file, PARAMS) == (
            "damaged: the arrays are not as they were written; expected those whose sha256 the "
            "metadata holds"
        )


def test_files_of_other_programs(tmp_path):
    path = tmp_path / "other"
    arrays = {"conv_0.kernel": np.zeros((3, 3, 1, 2), np.float32)}
    safetensors.numpy.save_file(arrays, path)
    wanted = {"conv_0": {"kernel": jax.ShapeDtypeStruct((3, 3, 1, 2), np.float32)}}
    params, metadata = export.load_safetensors(path, wanted)
    assert (params["conv_0"]["kernel"].shape, metadata) == ((3, 3, 1, 2), {})
    assert refusal(path) == (
        "not parameters that cnn_jax wrote: expected the metadata to hold "
        "format='cnn_jax parameters 1'"
    )
    assert refusal(path, PARAMS) == (
        "of another model: expected bfloat16[3,3,1,2] as conv_0.kernel, found float32[3,3,1,2]"
    )
    other = {**wanted, "dense_0": {"bias": jax.ShapeDtypeStruct((4,), np.float32)}}
    assert refusal(path, other) == (
        "of another model: expected float32[4] as dense_0.bias, found nothing"
    )


def test_what_can_not_be_written_leaves_nothing(tmp_path):
    path = tmp_path / "model"
    with pytest.raises(ValueError, match="names must not contain dots") as caught:
        export.save_safetensors(path, {"a.b": {"kernel": jnp.ones(1)}})
    assert str(caught.value).endswith("which join them, but there is 'a.b'")
    with pytest.raises(TypeError, match=r"^safetensors: a.kernel must be an array, not float$"):
        export.save_safetensors(path, {"a": {"kernel": 1.0}})
    with pytest.raises(ValueError, match=r"^save_safetensors: metadata may not be called format$"):
        export.save_safetensors(path, PARAMS, {"format": 1})
    assert list(tmp_path.iterdir()) == []
    path.write_text("mine")
    taken = r"choose another name, or replace it \(--overwrite, in Python overwrite=True\)$"
    with pytest.raises(FileExistsError, match=taken):
        export.save_safetensors(path, PARAMS)
    assert path.read_text() == "mine"
    with pytest.raises(FileNotFoundError, match="No such file"):
        export.load_safetensors(tmp_path / "none")
