"""The reference against SciPy, and against worked examples with the numbers written out."""

import inspect
from typing import Any

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import scipy.ndimage
import scipy.signal

from cnn_jax import ops, reference

EXAMPLES = hypothesis.settings(max_examples=100)
SEEDS = st.integers(0, 2**32 - 1)

PICTURE = np.array(
    [[1, 0, 1, 0, 0], [1, 0, 1, 0, 1], [1, 1, 1, 0, 0], [1, 0, 1, 0, 1], [1, 0, 1, 0, 1]]
)
LONELY = -np.ones((3, 3)) + 2 * np.eye(3)[1][:, None] * np.eye(3)[1]
FILTERED = [
    [0, -4, 0, -3, -1],
    [-2, -7, -2, -4, 1],
    [-2, -5, -2, -5, -2],
    [-2, -7, -2, -5, 0],
    [0, -4, 0, -4, 0],
]


def one_channel(array: Any) -> np.ndarray:
    return np.asarray(array)[..., None]


def one_kernel(array: Any) -> np.ndarray:
    return np.asarray(array)[..., None, None]


def test_correlate_gives_the_lectures_filtered_picture() -> None:
    y = reference.correlate(one_channel(PICTURE), one_kernel(LONELY), padding=1)
    np.testing.assert_array_equal(y[..., 0], FILTERED)
    np.testing.assert_array_equal(reference.relu(y)[..., 0], np.maximum(FILTERED, 0))


def test_correlate_gives_the_lectures_signals() -> None:
    kernel = one_kernel([-1, 1, -1])
    signal = one_channel([0, 0, 1, 1, 1, 0, 1, 0, 0, 0])
    y = reference.correlate(signal, kernel, bias=[1], padding=1)
    np.testing.assert_array_equal(y[:, 0], [1, 0, 1, 0, 1, -1, 2, 0, 1, 1])


def test_max_pool_gives_the_lectures_pictures() -> None:
    x = np.zeros((6, 6, 1))
    x[1, 4] = x[3, 1] = 1
    by_one = [[0, 0, 1, 1], [1, 1, 1, 1], [1, 1, 0, 0], [1, 1, 0, 0]]
    np.testing.assert_array_equal(reference.max_pool(x, 3, stride=1)[..., 0], by_one)
    np.testing.assert_array_equal(reference.max_pool(x, 3)[..., 0], [[0, 1], [1, 0]])
    np.testing.assert_array_equal(reference.max_pool(x, 3, stride=3)[..., 0], [[0, 1], [1, 0]])


def test_channels_and_groups_by_hand() -> None:
    x = np.array([[1, 10], [2, 20]])
    both = np.array([[[1, 2], [3, 4]]])
    np.testing.assert_array_equal(reference.correlate(x, both), [[31, 42], [62, 84]])
    own = np.array([[[1, 2, 3, 4]]])
    np.testing.assert_array_equal(
        reference.correlate(x, own, groups=2), [[1, 2, 30, 40], [2, 4, 60, 80]]
    )
    np.testing.assert_array_equal(
        reference.correlate_transpose(x, own, groups=2), [[1, 2, 30, 40], [2, 4, 60, 80]]
    )


def test_strides_dilations_and_paddings_by_hand() -> None:
    x, kernel = one_channel([1, 2, 3, 4, 5]), one_kernel([1, 10])

    def y(**how: Any) -> list[float]:
        return reference.correlate(x, kernel, **how)[:, 0].tolist()

    assert y() == [21, 32, 43, 54]
    assert y(stride=2) == [21, 43]
    assert y(dilation=3) == [41, 52]
    assert y(padding="SAME") == [21, 32, 43, 54, 5]
    assert y(padding="SAME_LOWER") == [10, 21, 32, 43, 54]
    assert y(padding="CAUSAL") == [10, 21, 32, 43, 54]
    assert y(padding="FULL") == [10, 21, 32, 43, 54, 5]
    assert y(padding=((2, 0),), padding_mode="reflect") == [23, 12, 21, 32, 43, 54]
    assert y(padding=((2, 0),), padding_mode="replicate") == [11, 11, 21, 32, 43, 54]
    assert y(padding=((2, 0),), padding_mode="circular") == [54, 15, 21, 32, 43, 54]
    assert y(padding="SAME", stride=2) == [21, 43, 5]


def test_averages_by_hand() -> None:
    x = one_channel([[1.0, 2.0], [3.0, 4.0]])
    padded = reference.avg_pool(x, 2, stride=1, padding=1)[..., 0]
    np.testing.assert_array_equal(padded, [[1, 1.5, 2], [2, 2.5, 3], [3, 3.5, 4]])
    counted = reference.avg_pool(x, 2, stride=1, padding=1, count_include_pad=True)[..., 0]
    np.testing.assert_array_equal(counted, [[0.25, 0.75, 0.5], [1, 2.5, 1.5], [0.75, 1.75, 1]])


@EXAMPLES
@hypothesis.given(
    rank=st.integers(1, 3), mode=st.sampled_from(["VALID", "SAME_LOWER", "FULL"]), seed=SEEDS
)
def test_correlate_and_convolve_against_scipy_signal(rank: int, mode: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(rng.integers(3, 6, rank))
    kernel = rng.standard_normal(rng.integers(1, 4, rank))
    scipy_mode = {"VALID": "valid", "SAME_LOWER": "same", "FULL": "full"}[mode]
    x1, kernel1 = one_channel(x), one_kernel(kernel)
    convolved = scipy.signal.convolve(x, kernel, mode=scipy_mode, method="direct")
    got = reference.convolve(x1, kernel1, padding="SAME" if mode == "SAME_LOWER" else mode)
    if mode == "SAME_LOWER":
        # SciPy centres the full result: as SAME_LOWER where the window is even.
        got = reference.convolve(x1, kernel1, padding=mode)
    np.testing.assert_allclose(got[..., 0], convolved, atol=1e-12)
    if mode != "SAME_LOWER":
        correlated = scipy.signal.correlate(x, kernel, mode=scipy_mode, method="direct")
        got = reference.correlate(x1, kernel1, padding=mode)
        np.testing.assert_allclose(got[..., 0], correlated, atol=1e-12)


@EXAMPLES
@hypothesis.given(
    rank=st.integers(1, 3),
    mode=st.sampled_from([("zeros", "constant"), ("reflect", "mirror"), ("replicate", "nearest")]),
    seed=SEEDS,
)
def test_padding_modes_against_scipy_ndimage(rank: int, mode: tuple[str, str], seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(rng.integers(3, 6, rank))
    kernel = rng.standard_normal([3] * rank)
    want = scipy.ndimage.correlate(x, kernel, mode=mode[1])
    got = reference.correlate(one_channel(x), one_kernel(kernel), padding=1, padding_mode=mode[0])
    np.testing.assert_allclose(got[..., 0], want, atol=1e-12)


@EXAMPLES
@hypothesis.given(seed=SEEDS, mode=st.sampled_from(["reflect", "replicate", "circular"]))
def test_wide_paddings_against_numpy(seed: int, mode: str) -> None:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(int(rng.integers(2, 6)))
    most = len(x) if mode == "reflect" else 12
    low, high = (int(n) for n in rng.integers(0, most, 2))
    how: Any = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}[mode]
    got = reference.correlate(
        one_channel(x), one_kernel([1.0]), padding=[(low, high)], padding_mode=mode
    )
    np.testing.assert_array_equal(got[:, 0], np.pad(x, (low, high), mode=how))


@EXAMPLES
@hypothesis.given(rank=st.integers(1, 3), seed=SEEDS)
def test_pools_against_scipy_ndimage(rank: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(rng.integers(3, 6, rank))
    stride = int(rng.integers(1, 4))
    every = (slice(None, None, stride),) * rank
    window = (3,) * rank
    how: Any = {"stride": stride, "padding": 1}
    largest = scipy.ndimage.maximum_filter(x, 3, mode="constant", cval=-np.inf)[every]
    smallest = scipy.ndimage.minimum_filter(x, 3, mode="constant", cval=np.inf)[every]
    average = scipy.ndimage.uniform_filter(x, 3, mode="constant")[every]
    x1 = one_channel(x)
    np.testing.assert_array_equal(reference.max_pool(x1, window, **how)[..., 0], largest)
    np.testing.assert_array_equal(reference.min_pool(x1, window, **how)[..., 0], smallest)
    got = reference.avg_pool(x1, window, count_include_pad=True, **how)[..., 0]
    np.testing.assert_allclose(got, average, atol=1e-12)


@EXAMPLES
@hypothesis.given(seed=SEEDS)
def test_correlate_transpose_against_scipy_upfirdn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, kernel = rng.standard_normal(int(rng.integers(1, 6))), rng.standard_normal(3)
    stride = int(rng.integers(1, 4))
    want = scipy.signal.upfirdn(kernel, x, up=stride)
    got = reference.correlate_transpose(one_channel(x), one_kernel(kernel), stride=stride)
    np.testing.assert_allclose(got[:, 0], want, atol=1e-12)


def test_global_pools_and_dense_against_numpy() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 3, 4, 5))
    np.testing.assert_allclose(reference.global_max_pool(x), x.max((1, 2)))
    np.testing.assert_allclose(reference.global_avg_pool(x, spatial=3), x.mean((0, 1, 2)))
    kernel, bias = rng.standard_normal((5, 6)), rng.standard_normal(6)
    np.testing.assert_allclose(reference.dense(x, kernel, bias), x @ kernel + bias)


NAMES = [name for name in ops.__all__ if not name.endswith("_shape")]


@pytest.mark.parametrize("name", NAMES)
def test_signatures_are_those_of_ops(name: str) -> None:
    ours = inspect.signature(getattr(reference, name)).parameters
    theirs = dict(inspect.signature(getattr(ops, name)).parameters)
    theirs.pop("precision", None)
    assert [(p.name, p.kind, p.default) for p in ours.values()] == [
        (p.name, p.kind, p.default) for p in theirs.values()
    ]


BAD_CALLS: dict[str, tuple[str, Any, dict[str, Any]]] = {
    "window too large": ("correlate", (np.ones((2, 1)), np.ones((3, 1, 1))), {}),
    "channels": ("correlate", (np.ones((4, 2)), np.ones((3, 1, 1))), {}),
    "kernel rank": ("correlate", (np.ones((4, 2)), np.ones((2, 2))), {}),
    "bias": ("correlate", (np.ones((4, 1)), np.ones((3, 1, 2)), np.ones(1)), {}),
    "groups": ("correlate", (np.ones((4, 2)), np.ones((3, 1, 3))), {"groups": 2}),
    "stride zero": ("correlate", (np.ones((4, 1)), np.ones((3, 1, 1))), {"stride": 0}),
    "padding name": ("correlate", (np.ones((4, 1)), np.ones((3, 1, 1))), {"padding": "FUL"}),
    "padding negative": ("correlate", (np.ones((4, 1)), np.ones((3, 1, 1))), {"padding": -1}),
    "mode": ("correlate", (np.ones((4, 1)), np.ones((3, 1, 1))), {"padding_mode": "wrap"}),
    "reflection": (
        "correlate",
        (np.ones((4, 1)), np.ones((3, 1, 1))),
        {"padding": 4, "padding_mode": "reflect"},
    ),
    "output padding": (
        "correlate_transpose",
        (np.ones((4, 1)), np.ones((3, 1, 1))),
        {"output_padding": 1},
    ),
    "empty": ("max_pool", (np.ones((0, 1)), (1,)), {}),
    "only padding": ("max_pool", (np.ones((4, 1)), (2,)), {"padding": 2}),
    "features": ("dense", (np.ones(3), np.ones((2, 2))), {}),
}


@pytest.mark.parametrize("case", BAD_CALLS)
def test_bad_calls_are_refused_as_ops_refuses_them(case: str) -> None:
    name, arrays, how = BAD_CALLS[case]
    for module in (ops, reference):
        with pytest.raises(ValueError, match=f"^({name}|reference): "):
            getattr(module, name)(*arrays, **how)


def test_a_stride_that_is_no_int_and_complex_arrays_are_type_errors() -> None:
    x, kernel = np.ones((4, 1)), np.ones((3, 1, 1))
    with pytest.raises(TypeError, match="float"):
        reference.correlate(x, kernel, stride=1.5)
    with pytest.raises(TypeError, match="complex"):
        reference.correlate(x.astype(complex), kernel)
