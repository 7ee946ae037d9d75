"""Part 7: the three factors, by hand and by JAX, and a network that learns its teacher's filter."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.lecture import backpropagation
from cnn_jax.lecture.backpropagation import factors, jacobians, loss


@pytest.fixture(scope="module")
def result():
    return backpropagation.compute()


def test_forward_pass(result):
    assert result.z1.tolist() == [3, -3, 3, 5, -3]
    assert result.a1.tolist() == [3, 0, 3, 5, 0]
    assert (result.a2, result.loss) == (4, 1)


def test_the_three_factors(result):
    assert result.dz1_dw1.tolist() == [[0, 1, 2, -1, 0], [1, 2, -1, 0, 3], [2, -1, 0, 3, 0]]
    assert result.da1_dz1.tolist() == np.diag([1, 0, 1, 1, 0]).tolist()
    assert result.dloss_da1.tolist() == [[2], [-2], [4], [-2], [2]]
    assert (result.dz1_dw1.shape, result.da1_dz1.shape, result.dloss_da1.shape) == (
        (3, 5),
        (5, 5),
        (5, 1),
    )
    for by_hand, by_jax in zip(
        (result.dz1_dw1, result.da1_dz1, result.dloss_da1), result.jacobians, strict=True
    ):
        np.testing.assert_array_equal(by_hand, by_jax)


def test_their_product_is_the_gradient(result):
    assert result.by_hand.tolist() == [10, -2, -2]
    assert result.by_grad.tolist() == [10, -2, -2]
    np.testing.assert_allclose(result.by_differences, [10, -2, -2], rtol=1e-6)


def test_the_factors_of_any_weights_and_signal():
    def check(key):
        keys = jax.random.split(key, 4)
        weights = {"W1": jax.random.normal(keys[0], (3,)), "W2": jax.random.normal(keys[1], (5,))}
        x, y = jax.random.normal(keys[2], (5,)), jax.random.normal(keys[3])
        three = factors(weights, x, y)
        product = (three[0] @ three[1] @ three[2])[:, 0]
        return product, jax.grad(loss)(weights, x, y)["W1"], three, jacobians(weights, x, y)

    product, gradient, three, others = jax.jit(jax.vmap(check))(
        jax.random.split(jax.random.key(0), 50)
    )
    np.testing.assert_allclose(product, gradient, rtol=1e-4, atol=1e-4)
    for by_hand, by_jax in zip(three, others, strict=True):
        np.testing.assert_allclose(by_hand, by_jax, rtol=1e-5, atol=1e-5)
    assert jnp.all(jnp.isfinite(product))


def test_sgd_until_it_fits(result):
    assert any(result.fitted)
    for losses, fitted in zip(result.losses, result.fitted, strict=True):
        assert (losses[-1] <= 1e-6) == fitted
        assert len(losses) - 1 <= 40
    np.testing.assert_allclose(result.after, result.targets, atol=0.02)
    assert np.abs(result.before - result.targets).mean() > 1
    np.testing.assert_allclose(result.learnt_w1, [-1, 1, -1], atol=0.01)
    np.testing.assert_allclose(result.learnt_w2, [1, 2, 3, 2, 1], atol=0.01)


def test_board_and_figures(result, legible):
    board = backpropagation.board(result)
    for line in (
        "A2 = W2^T A1                      4",
        "3x1          3x5       5x5        5x1",
        "⎢ 1   2  -1   0  3 ⎥",
        "jax.grad            10  -2  -2",
        "finite differences  10  -2  -2",
    ):
        assert line in board
    figures = backpropagation.figures(result)
    assert {"5 x 5", "3 x 5", "5 x 1", "3 x 1"} <= set(legible(figures["backpropagation"]))
    assert {"prediction A2", "1e-06", "0.01", "100"} <= set(legible(figures["sgd"]))
