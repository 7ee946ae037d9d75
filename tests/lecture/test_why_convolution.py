"""Part 8: the claims hold, with one seed, and rest on pictures that are what they should be."""

import jax
import jax.numpy as jnp
import numpy as np
from numpy.testing import assert_allclose

import cnn_jax as cnn
from cnn_jax.lecture import why_convolution as part


def test_shifts_move_digits_without_cutting_them():
    images = cnn.data.digits().images[:5]
    canvas = part.place(images)
    for down, right in part.DIRECTIONS:
        for shift in part.SHIFTS:
            moved = part.place(images, down * shift, right * shift)
            expected = np.roll(canvas, (down * shift, right * shift), axis=(1, 2))
            np.testing.assert_array_equal(moved, expected)
            assert moved.sum() == images.sum()


def test_permuted_pixels_are_the_same_pixels():
    digits = cnn.data.digits().take(np.arange(4))
    centred, permuted = part.centred(digits).images, part.permuted(digits).images
    assert not np.array_equal(centred, permuted)
    back = np.argsort(part.ORDER)
    np.testing.assert_array_equal(
        np.reshape(permuted, (4, -1))[:, back], np.reshape(centred, (4, -1))
    )


def test_a_fully_connected_network_does_not_care_about_the_order():
    digits = cnn.data.digits().take(np.arange(4))
    model = part.MODELS[part.FULLY_CONNECTED]
    params = model.init(jax.random.key(0), part.SHAPE)
    dense = params["dense_0"]
    permuted = {**params, "dense_0": {**dense, "kernel": dense["kernel"][part.ORDER]}}
    assert_allclose(
        model.apply(permuted, jnp.asarray(part.permuted(digits).images)),
        model.apply(params, jnp.asarray(part.centred(digits).images)),
        rtol=1e-4,
        atol=1e-5,
    )


def test_convolution_wins_where_it_should(legible):
    # Optax's Adam raises floats to integer powers, which strict promotion forbids.
    with jax.numpy_dtype_promotion("standard"):
        result = part.compute(seeds=(0,))
    by_shift = {name: values[0] for name, values in result.by_shift.items()}
    dense, convolutional = by_shift[part.FULLY_CONNECTED], by_shift[part.CONVOLUTIONAL]
    in_steps = by_shift[part.IN_STEPS]
    assert min(dense[0], convolutional[0], in_steps[0]) > 0.93
    assert abs(dense[0] - convolutional[0]) < 0.025
    assert dense[1] < 0.6
    assert dense[2] < 0.25
    assert min(convolutional) > 0.88
    assert dense[2] + 0.05 < in_steps[2] < convolutional[2] - 0.3
    assert result.weights == {
        part.FULLY_CONNECTED: (196 * 128 + 128) + (128 * 10 + 10),
        part.CONVOLUTIONAL: (25 * 8 + 8) + (25 * 8 * 32 + 32) + (32 * 10 + 10),
        part.IN_STEPS: (25 * 8 + 8) + (25 * 8 * 32 + 32) + (3 * 3 * 32 * 10 + 10),
    }

    final = {name: curves[0, -1] for name, curves in result.few.items()}
    permuted = {name: curves[0, -1] for name, curves in result.few_permuted.items()}
    lost = {name: final[name] - permuted[name] for name in final}
    assert abs(lost[part.FULLY_CONNECTED]) < 0.025
    assert lost[part.CONVOLUTIONAL] > 0.03
    assert abs(result.permuted[part.FULLY_CONNECTED][0] - dense[0]) < 0.025
    assert result.permuted_epochs[part.CONVOLUTIONAL] > result.epochs[part.CONVOLUTIONAL]

    board = part.board(result)
    assert f"shift of 2 pixels takes the fully connected network to {dense[2]:.1%}" in " ".join(
        board.split()
    )
    figures = part.figures(result)
    assert "guessing" in legible(figures["shifted"])
    assert {"in order", "permuted"} <= set(legible(figures["permuted"]))
