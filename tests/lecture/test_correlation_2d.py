"""Part 3: every number on the board."""

import numpy as np
from scipy import signal

from cnn_jax.lecture import correlation_2d

EXPECTED = [
    [0, -4, 0, -3, -1],
    [-2, -7, -2, -4, 1],
    [-2, -5, -2, -5, -2],
    [-2, -7, -2, -5, 0],
    [0, -4, 0, -4, 0],
]


def test_the_lonely_pixel(legible):
    result = correlation_2d.compute()
    assert result.correlation.tolist() == EXPECTED
    np.testing.assert_array_equal(
        result.correlation,
        signal.correlate2d(np.asarray(result.picture), np.asarray(result.filter), "same"),
    )
    assert np.argwhere(np.asarray(result.rectified)).tolist() == [[2 - 1, 5 - 1]]
    assert result.rectified[1, 4] == 1

    board = correlation_2d.board(result)
    assert "⎢ -2  -7  -2  -4   1 ⎥     ⎢ 0  0  0  0  1 ⎥" in board
    assert "sum = 0" in board
    assert "sum = 1" in board
    (figure,) = correlation_2d.figures(result).values()
    words = legible(figure)
    assert words.count("-7") == 2
