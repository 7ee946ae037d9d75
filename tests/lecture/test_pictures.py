"""Part 1: every number on the board."""

import numpy as np

from cnn_jax.lecture import pictures

ROWS = ["10100", "10101", "11100", "10101", "10101"]


def test_pictures(legible):
    result = pictures.compute()
    digits = [[int(digit) for digit in row] for row in ROWS]
    assert result.picture.tolist() == digits
    assert result.features.tolist() == [int(digit) for digit in "".join(ROWS)]
    assert result.names[0].tolist() == [1, 2, 3, 4, 5]
    assert result.names[4].tolist() == [21, 22, 23, 24, 25]
    # x7 and x12: row 2 and row 3 of the second column.
    assert (result.features[7 - 1], result.features[12 - 1]) == (0, 1)

    assert result.grey_levels.max() <= 16
    np.testing.assert_array_equal(result.grey, result.grey_levels / np.float32(16))
    assert result.grey_levels[0].tolist() == [0, 0, 5, 13, 9, 1, 0, 0]

    assert result.colour_levels.shape == (3, 2, 3)
    assert result.colour.shape == (2, 3, 3)
    assert result.colour[1, 0].tolist() == [1, 1, 0]  # red and green make yellow
    np.testing.assert_array_equal(result.colour.transpose(2, 0, 1) * 255, result.colour_levels)

    board = pictures.board(result)
    assert "⎢ 1  1  1  0  0 ⎥    ⎢ x11  x12  x13  x14  x15 ⎥" in board
    assert "x1..x25 = 1 0 1 0 0 1 0 1 0 1 1 1 1 0 0 1 0 1 0 1 1 0 1 0 1" in board
    (figure,) = pictures.figures(result).values()
    assert {"x₁", "x₂₅"} <= set(legible(figure))
