"""Exported programs run with JAX alone, for any batch, and give the same numbers."""

import contextlib
import json
import subprocess
import sys

import jax
import numpy as np
import pytest

import cnn_jax as cnn
from cnn_jax import cpu, export
from cnn_jax.data import Normalisation, normalise

# What the named networks are made of.
MODEL = cnn.serial(
    *(cnn.conv(8, 3, padding="SAME"), cnn.group_norm(2), cnn.relu, cnn.max_pool(2)),
    *(cnn.depthwise_conv(3, padding="SAME"), cnn.avg_pool(2), cnn.dropout(0.5)),
    *(cnn.flatten, cnn.dense(3)),
)
NORMALISATION = Normalisation(np.array([0.3], np.float32), np.array([0.5], np.float32))
PARAMS = MODEL.init(jax.random.key(0), (8, 8, 1))
PICTURES = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 1), np.uint8)


def forward(pictures):
    return MODEL.apply(PARAMS, normalise(NORMALISATION, pictures))


def programs():
    """With the faster kernels installed, and without."""
    for context in (cpu.installed(keep_memory=False), contextlib.nullcontext()):
        with context:
            yield export.to_stablehlo(forward, (8, 8, 1), dtype=np.uint8)


# What somebody else's program would say: nothing of cnn_jax.
ELSEWHERE = """
import sys
import jax, jax.export
import numpy as np
program = jax.export.deserialize(open(sys.argv[1], "rb").read())
pictures = np.load(sys.argv[2])
np.savez(sys.argv[3], all=program.call(pictures), one=program.call(pictures[:1]))
assert not [name for name in sys.modules if name.startswith("cnn_jax")]
"""


def test_a_program_holds_its_preprocessing_and_takes_any_batch():
    expected = np.asarray(forward(PICTURES))
    program, stock = programs()
    assert program.platforms == ("cpu", "cuda", "tpu")
    assert program.mlir_module() == stock.mlir_module()
    assert __file__.encode() not in program.mlir_module_serialized
    assert b".py" not in program.mlir_module_serialized
    for count in (5, 1):
        outputs = program.call(PICTURES[:count])
        np.testing.assert_allclose(outputs, expected[:count], rtol=1e-5, atol=1e-6)


def test_a_file_runs_elsewhere(tmp_path):
    path = tmp_path / "model.stablehlo"
    program = export.to_stablehlo(forward, (8, 8, 1), dtype=np.uint8)
    export.save_stablehlo(path, program, {"classes": ["a", "b", "ç"]})
    np.save(tmp_path / "pictures.npy", PICTURES)
    subprocess.run(
        [
            *(sys.executable, "-c", ELSEWHERE),
            *(path, tmp_path / "pictures.npy", tmp_path / "outputs.npz"),
        ],
        check=True,
        cwd=tmp_path,
    )
    with np.load(tmp_path / "outputs.npz") as outputs:
        expected = np.asarray(forward(PICTURES))
        np.testing.assert_allclose(outputs["all"], expected, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(outputs["one"], expected[:1], rtol=1e-5, atol=1e-6)
    described = json.loads((tmp_path / "model.stablehlo.json").read_text(encoding="utf-8"))
    assert described["pictures"] == {"shape": ["batch", 8, 8, 1], "dtype": "uint8"}
    assert described["output"] == {"shape": ["batch", 3], "dtype": "float32"}
    assert described["classes"] == ["a", "b", "ç"]


def test_a_fixed_batch_and_one_platform():
    program = export.to_stablehlo(forward, (8, 8, 1), batch=2, platforms=("cuda",))
    assert program.in_avals[0].shape == (2, 8, 8, 1)
    assert program.platforms == ("cuda",)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"platforms": ("cpu", "gpu")},
            "to_stablehlo: platforms must be one or more of cpu, cuda, rocm, tpu, not gpu",
        ),
        (
            {"platforms": ()},
            "to_stablehlo: platforms must be one or more of cpu, cuda, rocm, tpu, not none",
        ),
        ({"batch": 0}, "to_stablehlo: batch must be at least 1 or None, not 0"),
    ],
)
def test_wrong_arguments(options, message):
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        export.to_stablehlo(forward, (8, 8, 1), **options)
    assert str(caught.value) == message


def test_files_that_are_there_stay(tmp_path):
    program = export.to_stablehlo(lambda x: x.sum(axis=(1, 2, 3)), (2, 2, 1), platforms=("cpu",))
    path, beside = tmp_path / "model", tmp_path / "model.json"
    for taken in (path, beside):
        taken.write_text("mine")
        with pytest.raises(FileExistsError) as caught:
            export.save_stablehlo(path, program)
        assert str(caught.value) == (
            f"{taken}: there already; choose another name, or replace it (--overwrite, in Python "
            "overwrite=True)"
        )
        assert [file.name for file in tmp_path.iterdir()] == [taken.name]
        assert taken.read_text() == "mine"
        taken.unlink()
    # Where the second file can't be written, the first does not appear either.
    with pytest.raises(TypeError):
        export.save_stablehlo(path, program, {"classes": object()})
    assert list(tmp_path.iterdir()) == []
    path.write_text("mine")
    export.save_stablehlo(path, program, overwrite=True)
    assert jax.export.deserialize(bytearray(path.read_bytes())).platforms == ("cpu",)
    with pytest.raises(FileNotFoundError) as caught:
        export.save_stablehlo(tmp_path / "none" / "model", program)
    assert str(caught.value) == f"{tmp_path}/none/model: there is no folder {tmp_path}/none"
