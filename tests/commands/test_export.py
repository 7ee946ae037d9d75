"""`cnn-jax export`: files for other programs."""

import json

import jax
import numpy as np

import cnn_jax as cnn
from cnn_jax import cli


def test_a_program_and_what_it_takes(digits_run, tmp_path, capsys):
    out = tmp_path / "digits.hlo"
    arguments = ["export", str(digits_run), "--out", str(out), "--pixels", "uint8"]
    assert cli.main([*arguments, "--platform", "cpu", "--output", "probabilities"]) == 0
    assert capsys.readouterr().out.startswith(f"wrote {out} (")
    program = jax.export.deserialize(bytearray(out.read_bytes()))
    levels = np.rint(np.asarray(cnn.data.digits().images[:7]) * 255).astype(np.uint8)
    run = cnn.train.load(digits_run)
    expected = jax.nn.softmax(run.apply(levels))
    np.testing.assert_allclose(program.call(levels), expected, rtol=1e-4, atol=1e-6)
    described = json.loads((tmp_path / "digits.hlo.json").read_text())
    assert described["class_names"] == list("0123456789")
    assert described["output_is"] == "probabilities"
    assert described["platforms"] == ["cpu"]


def test_parameters_and_their_names(digits_run, complaint, capsys):
    export = ["export", str(digits_run), "--format", "safetensors"]
    assert cli.main(export) == 0
    capsys.readouterr()
    path = digits_run / "model.safetensors"
    run = cnn.train.load(digits_run)
    params, metadata = cnn.export.load_safetensors(path)
    jax.tree.map(np.testing.assert_array_equal, params, run.params)
    assert metadata["model"] == {"name": "small", "classes": 10}
    assert metadata["normalisation"] == run.config["normalisation"]
    before = path.read_bytes()
    assert complaint(*export, status=1) == (
        f"{path}: there already; choose another name, or replace it (--overwrite, in Python "
        "overwrite=True)"
    )
    assert path.read_bytes() == before
    assert cli.main([*export, "--overwrite"]) == 0


def test_wrong_arguments(digits_run, tmp_path, complaint):
    assert complaint("export", digits_run, "--platform", "gpu", status=2) == (
        "to_stablehlo: platforms must be one or more of cpu, cuda, rocm, tpu, not gpu"
    )
    assert "'onnx' is not one of" in complaint("export", digits_run, "-f", "onnx", status=2)
    out = tmp_path / "none" / "model"
    assert complaint("export", digits_run, "-o", out, status=1) == (
        f"{out}: there is no folder {tmp_path / 'none'}"
    )
    assert sorted(path.name for path in digits_run.iterdir()) == [
        *("config.json", "metrics.jsonl", "parameters", "result.json")
    ]


def test_a_file_of_parameters_serves_as_a_run(digits_run, tmp_path, capsys, complaint):
    path = tmp_path / "digits.safetensors"
    arguments = ["export", str(digits_run), "--format", "safetensors", "--out", str(path)]
    assert cli.main(arguments) == 0
    capsys.readouterr()
    found = []
    for place in (digits_run, path):
        evaluate = ["evaluate", str(place), "--data", "digits", "--json", "--no-cpu-kernels"]
        assert cli.main(evaluate) == 0
        found.append({**json.loads(capsys.readouterr().out), "run": ""})
    assert found[0] == found[1]
    assert complaint("evaluate", path, "--no-cpu-kernels", status=2) == (
        f"{path}: a file of parameters has no data of its own; pass --data"
    )
    assert cli.main(["export", str(path), "--platform", "cpu"]) == 0
    assert (tmp_path / "model.stablehlo").is_file()
    params, metadata = cnn.export.load_safetensors(path)
    export = cnn.export.save_safetensors
    export(path, params, {**metadata, "input_shape": [8, 9, 1]}, overwrite=True)
    assert complaint("predict", path, "x.png", "--no-cpu-kernels", status=1) == (
        f"{path}: of another model: expected float32[72,10] as dense_0.kernel, found float32[64,10]"
    )
    export(path, params, {"class_names": ["a"]}, overwrite=True)
    assert complaint("predict", path, "x.png", "--no-cpu-kernels", status=1) == (
        f"{path}: no usable model in its metadata: expected 'input_shape'"
    )
