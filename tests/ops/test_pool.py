"""What sets pooling apart: ties, NaN, infinities, padding, precision and huge windows."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax import ops


def first_winner_gradient(x: np.ndarray, size: int, stride: int, dilation: int) -> np.ndarray:
    """The gradient of the sum of a 2-D max-pool, one window at a time."""
    gradient = np.zeros(x.shape)
    span = (size - 1) * dilation + 1
    for top in range(0, x.shape[0] - span + 1, stride):
        for left in range(0, x.shape[1] - span + 1, stride):
            rows, columns = np.arange(size) * dilation + top, np.arange(size) * dilation + left
            patch = x[np.ix_(rows, columns)]
            row, column = divmod(int(np.argmax(patch)), size)
            gradient[rows[row], columns[column]] += 1
    return gradient


@pytest.mark.parametrize(
    ("size", "stride", "dilation"), [(2, 2, 1), (3, 1, 1), (3, 2, 1), (2, 1, 2)]
)
@pytest.mark.parametrize("sign", [1, -1])
def test_the_gradient_goes_to_the_first_winner_in_reading_order(
    size: int, stride: int, dilation: int, sign: int
) -> None:
    x = np.random.default_rng(0).integers(0, 3, (7, 7)).astype(np.float32)
    pool = ops.max_pool if sign > 0 else ops.min_pool

    def total(x: Any) -> Any:
        return jnp.sum(pool(sign * x[..., None], size, stride=stride, dilation=dilation))

    want = sign * first_winner_gradient(x, size, stride, dilation)
    reverse, forward = jax.jit(lambda x: (jax.grad(total)(x), jax.jacfwd(total)(x)))(x)
    np.testing.assert_array_equal(reverse, want)
    np.testing.assert_array_equal(forward, want)


def test_the_gradient_of_the_global_maximum_goes_to_the_first_winner() -> None:
    x = jnp.asarray([[1.0, 2.0], [2.0, 2.0]])[..., None]
    gradient = jax.grad(lambda x: jnp.sum(ops.global_max_pool(x)))(x)
    assert gradient[..., 0].tolist() == [[0, 1], [0, 0]]


@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int8", "uint8"])
def test_padding_never_wins(dtype: str, dilation: int) -> None:
    limits = jnp.finfo(dtype) if dtype in ("float32", "bfloat16") else jnp.iinfo(dtype)
    lowest, highest = np.asarray(limits.min, dtype), np.asarray(limits.max, dtype)
    shape, how = (4, 4, 1), {"stride": 1, "padding": dilation, "dilation": dilation}
    low = ops.max_pool(jnp.full(shape, lowest), 3, **how)
    high = ops.min_pool(jnp.full(shape, highest), 3, **how)
    assert bool(jnp.all(low == lowest))
    assert bool(jnp.all(high == highest))


@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("pool", [ops.max_pool, ops.min_pool, ops.avg_pool])
def test_nan_and_infinities(pool: Any, dilation: int) -> None:
    pool = functools.partial(pool, size=(2,), stride=1, dilation=dilation)
    x = jnp.zeros((7, 1)).at[3].set(jnp.nan)
    touched = [o for o in range(7 - dilation) if 3 in (o, o + dilation)]
    y = np.asarray(pool(x)[:, 0])
    assert np.flatnonzero(np.isnan(y)).tolist() == touched
    assert np.isposinf(pool(jnp.full((7, 1), jnp.inf))).all()
    assert np.isneginf(pool(jnp.full((7, 1), -jnp.inf))).all()


def test_global_maximum_of_nan_and_infinities() -> None:
    for value in (np.inf, -np.inf, np.nan):
        x = jnp.full((2, 2, 1), value)
        np.testing.assert_array_equal(ops.global_max_pool(x), [value])


def test_halves_are_averaged_in_float32() -> None:
    x = jnp.ones((1, 100, 100, 1), jnp.bfloat16)
    assert ops.avg_pool(x, 100).item() == 1
    assert ops.global_avg_pool(x).item() == 1
    assert ops.avg_pool(x, 100).dtype == ops.global_avg_pool(x).dtype == jnp.bfloat16
    # The sum would overflow float16.
    assert ops.avg_pool(jnp.full((64, 64, 1), 60.0, jnp.float16), 64).item() == 60


def test_gradients_of_overlapping_windows_are_summed_in_float32() -> None:
    x = jnp.zeros((32, 32, 1), jnp.bfloat16).at[16, 16].set(1)

    def total(x: Any) -> Any:
        return jnp.sum(ops.max_pool(x, 20, stride=1, padding="SAME").astype(jnp.float32))

    gradient = jax.grad(total)(x)
    assert gradient.dtype == jnp.bfloat16
    assert gradient[16, 16, 0] == 400


def test_an_empty_batch_gives_an_empty_batch() -> None:
    assert ops.max_pool(jnp.ones((0, 4, 4, 1)), 2).shape == (0, 2, 2, 1)
    assert ops.avg_pool(jnp.ones((3, 0, 4, 4, 1)), 2).shape == (3, 0, 2, 2, 1)


def test_four_spatial_dimensions() -> None:
    x = jnp.arange(3.0**4).reshape(3, 3, 3, 3, 1)
    assert ops.max_pool(x, (2, 2, 2, 2), stride=1).ravel()[0] == 40
    assert ops.global_avg_pool(x, spatial=4).tolist() == [40]


def test_a_stride_may_exceed_the_input() -> None:
    x = jnp.arange(4.0).reshape(4, 1)
    assert ops.max_pool(x, (2,), stride=1000)[:, 0].tolist() == [1]


def test_shapes_without_arrays() -> None:
    assert ops.pool_shape((5, 9, 9, 3), 3, stride=2) == (5, 4, 4, 3)
    assert ops.pool_shape((9, 3), (3,), padding="SAME", stride=2) == (5, 3)
