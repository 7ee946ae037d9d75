"""Part 5: every number on the board."""

import numpy as np

from cnn_jax.lecture import pooling


def test_max_pooling(legible):
    result = pooling.compute()
    assert np.argwhere(np.asarray(result.picture)).tolist() == [[2 - 1, 5 - 1], [4 - 1, 2 - 1]]
    assert result.stride_1.tolist() == [[0, 0, 1, 1], [1, 1, 1, 1], [1, 1, 0, 0], [1, 1, 0, 0]]
    assert result.stride_3.tolist() == [[0, 1], [1, 0]]
    assert result.weights == 0

    board = pooling.board(result)
    assert "max(0, 0, 0, 0, 1, 0, 0, 0, 0) = 1" in board
    assert "Weights to learn: 0." in board
    (figure,) = pooling.figures(result).values()
    assert {"size 3, stride 1", "size 3, stride 3"} <= set(legible(figure))
