"""Part 4: a filter of a colour picture sums over colours; each filter makes a channel."""

import numpy as np
from scipy import signal

from cnn_jax.lecture import channels


def test_channels(legible):
    result = channels.compute()
    picture, bank = np.asarray(result.picture), np.asarray(result.bank)
    assert picture.shape == (5, 5, 3)
    assert bank.shape == (3, 3, 3, 3)
    expected = np.stack(
        [
            sum(
                signal.correlate2d(picture[..., colour], bank[..., colour, channel], "same")
                for colour in range(3)
            )
            for channel in range(3)
        ],
        axis=-1,
    )
    np.testing.assert_array_equal(result.channels, expected)
    np.testing.assert_array_equal(result.rectified, np.maximum(expected, 0))
    np.testing.assert_array_equal(result.single, expected[..., 0])
    np.testing.assert_array_equal(np.asarray(result.by_colour).sum(0), expected[..., 0])

    lonely, upright, level = np.moveaxis(np.asarray(result.rectified), -1, 0)
    assert np.argwhere(lonely).tolist() == [[1, 3]]  # the red pixel alone
    assert upright[:, 0].tolist() == [6, 9, 9, 9, 6]
    assert upright[:, 1:].max() == 1
    assert level[3].tolist() == [0, 0, 2, 3, 2]
    assert np.delete(level, 3, axis=0).max() == 0

    board = channels.board(result)
    assert "1 + 0 + 0 = 1" in board
    assert "⎢ 9  0  0  1  0 ⎥" in board
    figures = channels.figures(result)
    assert list(figures) == ["one-filter", "filter-bank"]
    assert "channel 2: upright white line" in legible(figures["filter-bank"])
    assert "sum of the shares" in legible(figures["one-filter"])
