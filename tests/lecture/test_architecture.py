"""Part 6: the shape after every stage, and a network that learns."""

import numpy as np

from cnn_jax.lecture import architecture


def test_shapes_weights_and_training(legible):
    result = architecture.compute()
    assert result.shapes == {
        "picture": (8, 8, 1),
        "convolution": (8, 8, 8),
        "ReLU": (8, 8, 8),
        "max-pooling": (4, 4, 8),
        "convolution 2": (4, 4, 16),
        "ReLU 2": (4, 4, 16),
        "max-pooling 2": (2, 2, 16),
        "flatten": (64,),
        "fully connected": (10,),
    }
    assert {name: n for name, n in result.weights.items() if n} == {
        "convolution": 3 * 3 * 1 * 8 + 8,
        "convolution 2": 3 * 3 * 8 * 16 + 16,
        "fully connected": 64 * 10 + 10,
    }
    # The digit on its way has the shapes that were foreseen, and is what each stage says.
    assert {name: value.shape for name, value in result.values.items()} == result.shapes
    np.testing.assert_array_equal(
        result.values["ReLU"], np.maximum(result.values["convolution"], 0)
    )
    corner = result.values["ReLU"][:2, :2].max(axis=(0, 1))
    np.testing.assert_array_equal(result.values["max-pooling"][0, 0], corner)
    powers = np.exp(result.values["fully connected"].astype(np.float64))
    np.testing.assert_allclose(result.probabilities, powers / powers.sum(), rtol=1e-4)
    assert result.probabilities.argmax() == result.label

    assert len(result.step_losses) == 6 * 1440 // 32
    assert result.before["accuracy"] < 0.3
    assert result.after["loss"] < 0.15 < 2 < result.before["loss"]
    assert result.after["accuracy"] > 0.95
    assert result.after["test_accuracy"] > 0.93

    board = architecture.board(result)
    assert "max-pooling 2        2 x 2 x 16        -" in board
    assert "1898 weights in all" in board
    figures = architecture.figures(result)
    words = legible(figures["architecture"])
    shapes = {" x ".join(map(str, shape)) for shape in result.shapes.values()}
    assert shapes | {"flatten", "1168 weights"} <= set(words)
    legible(figures["training"])
