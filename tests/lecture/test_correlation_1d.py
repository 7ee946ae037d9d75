"""Part 2: every number on the board, and the misprint in the notes."""

import numpy as np
import pytest
from scipy import signal

from cnn_jax.lecture import correlation_1d
from cnn_jax.lecture.correlation_1d import correlate


@pytest.fixture(scope="module")
def result():
    return correlation_1d.compute()


def test_the_first_complete_window(result):
    assert result.signal[:3].tolist() == [0, 0, 1]
    assert result.first_products.tolist() == [0, 0, -1]
    assert result.first_products.sum() == result.valid[0] == -1


def test_correlation_padding_bias_and_relu(result):
    assert result.valid.tolist() == [-1, 0, -1, 0, -2, 1, -1, 0]
    assert result.same.tolist() == [0, -1, 0, -1, 0, -2, 1, -1, 0, 0]
    assert result.biased.tolist() == [1, 0, 1, 0, 1, -1, 2, 0, 1, 1]
    assert result.rectified.tolist() == [1, 0, 1, 0, 1, 0, 2, 0, 1, 1]
    x, weights = np.asarray(result.signal), np.asarray(result.filter)
    np.testing.assert_array_equal(result.valid, signal.correlate(x, weights, "valid"))
    np.testing.assert_array_equal(result.same, signal.correlate(x, weights, "same"))


def test_without_padding_m_minus_n_plus_1_outputs(result):
    assert result.lengths == {n: 10 - n + 1 for n in range(1, 11)}


def test_lonely_pixels_and_the_misprint(result):
    assert (result.lonely_one, result.lonely_zero) == (1, -2)
    assert result.misprinted == (-1, 0)
    assert correlate([0, 1, 0], [1, -1, -1]).item() == 0 * 1 + 1 * -1 + 0 * -1


def test_weights(result):
    assert (result.weights_convolutional, result.weights_fully_connected) == (4, 110)


def test_board_and_figure(result, legible):
    board = correlation_1d.board(result)
    for line in (
        "0·(-1) + 0·1 + 1·(-1) = -1",
        "m - n + 1 = 10 - 3 + 1 = 8 places",
        "with bias 1   [ 1  0  1  0  1  -1  2  0  1  1 ]",
        "a lonely 1:  0·(-1) + 1·1 + 0·(-1) = 1",
        "a lonely 0:  1·(-1) + 0·1 + 1·(-1) = -2",
        "The notes once print this filter as (1, -1, -1). That one would give -1 and 0;",
        "fully connected  10 x 11                  110",
    ):
        assert line in board
    (figure,) = correlation_1d.figures(result).values()
    assert "after ReLU" in legible(figure)
