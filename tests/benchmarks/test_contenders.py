"""The contenders' own computations: naive loops, single layers and training steps agree."""

import numpy as np
import pytest

from benchmarks import kernels_in_jax, naive_in_jax, naive_in_numpy, steps_in_jax
from benchmarks.layer import Layer, arrays
from benchmarks.naive_indices import Windows
from cnn_jax import reference


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("operation", ["correlate", "max_pool"])
def test_python_loops_are_those_of_the_reference(operation, rank):
    case = {"operation": operation, "rank": rank, "size": 5, "pass": "forward"}
    windows = Windows.of(case)
    given = windows.arrays()
    x = given["x"][..., None]
    if operation == "correlate":
        expected = reference.correlate(x, given["kernel"][..., None, None])
    else:
        expected = reference.max_pool(x, (2,) * rank)
    found = naive_in_numpy.prepare(case).results["y"]
    np.testing.assert_allclose(found, expected.ravel(), atol=1e-5)
    assert windows.output == expected.shape[:-1]


@pytest.mark.parametrize(
    ("operation", "rank"), [("correlate", 1), ("correlate", 3), ("max_pool", 2)]
)
@pytest.mark.parametrize("form", ["positions", "taps", "whole"])
def test_jitted_forms_agree_with_python_loops(operation, rank, form):
    for which in ("forward", "gradient"):
        case = {"operation": operation, "rank": rank, "size": 5, "pass": which}
        expected = naive_in_numpy.prepare(case).results
        job = naive_in_jax.prepare(case, form)
        assert set(job.results) == set(expected)
        for name, truth in expected.items():
            np.testing.assert_allclose(job.results[name], truth, atol=1e-5)
        assert job.facts["compile_seconds"] > 0
        job.run()


def test_windows_refuse_what_can_not_be():
    with pytest.raises(ValueError, match="a window of 3 does not fit 2 "):
        Windows("correlate", 2, 2)
    with pytest.raises(ValueError, match="unknown operation 'sort'"):
        Windows("sort", 1, 8)


LAYERS = (
    "conv 3x3 4->6 8x8 batch=2 stride=2 groups=2",
    "conv 3x 2->4 9x batch=2 dilation=2",
    "max_pool 3x3 4 8x8 batch=2 stride=2 padding=1",
    "avg_pool 2x2 4 8x8 batch=2",
)


@pytest.mark.parametrize("text", LAYERS)
def test_layers_in_jax_and_torch_agree(text):
    pytest.importorskip("torch")
    from benchmarks import kernels_in_torch

    for which in Layer.parse(text).passes:
        case = {"layer": text, "pass": which, "dtype": "float32"}
        ours = kernels_in_jax.prepare(case)
        theirs = kernels_in_torch.prepare(case).results
        assert set(ours.results) == set(theirs)
        for name in theirs:
            np.testing.assert_allclose(ours.results[name], theirs[name], atol=1e-4)


def test_a_layer_in_jax_is_that_of_the_reference():
    layer = Layer.parse(LAYERS[0])
    given = arrays(layer)
    case = {"layer": LAYERS[0], "pass": "forward", "dtype": "float32"}
    found = kernels_in_jax.prepare(case).results["result_0"]
    expected = reference.correlate(given["x"], given["kernel"], stride=2, padding=1, groups=2)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    with pytest.raises(ValueError, match="has no pass 'sideways'"):
        kernels_in_jax.prepare({**case, "pass": "sideways"})


CASE = {
    "network": "plain",
    "sizes": {"size": 8, "channels": 4, "depth": 1},
    "batch": 4,
    "dtype": "float32",
    "mode": "train",
}


def test_training_steps_agree_and_really_train():
    jobs = {name: steps_in_jax.prepare(CASE, name) for name in ("cnn_jax", "flax")}
    ours, theirs = (job.results["losses"] for job in jobs.values())
    np.testing.assert_allclose(ours, theirs, rtol=1e-5)
    first_batch = ours[0]
    losses = [float(jobs["cnn_jax"].run()) for _ in range(150)]
    assert max(losses[-4:]) < first_batch


def test_torch_takes_the_same_steps(monkeypatch):
    pytest.importorskip("torch")
    from benchmarks import steps_in_torch

    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    for change in ({}, {"mode": "inference"}):
        case = {**CASE, **change}
        expected = steps_in_jax.prepare(case, "cnn_jax").results
        found = steps_in_torch.prepare(case)
        for name, truth in expected.items():
            np.testing.assert_allclose(found.results[name], truth, rtol=1e-3, atol=1e-5)
        assert found.facts["memory_format"] in ("contiguous", "channels_last")
