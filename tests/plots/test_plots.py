"""Pictures: that they show the right numbers, and are drawn without a warning."""

import io
import re

import jax
import jax.numpy as jnp
import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.patches import Rectangle
from PIL import Image

import cnn_jax as cnn
from cnn_jax import plots
from cnn_jax.plots.filters import first_kernel
from cnn_jax.plots.style import mosaic

CLASSES = ("cat", "dog", "emu")


def exactly(message):
    return rf"\A{re.escape(message)}\Z"


def rendered(figure):
    """Draw a figure in full, as an array; drawing is what warns of parts that don't fit."""
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return np.asarray(Image.open(file).convert("RGB"))


def network(window: int | tuple[int, ...] = 3, channels=4):
    return cnn.serial(
        cnn.conv(channels, window, padding="SAME"), cnn.relu, cnn.global_avg_pool(), cnn.dense(3)
    )


def init(model, shape=(8, 8, 1)):
    return jax.jit(lambda key: model.init(key, shape))(jax.random.key(0))


def history(epochs):
    return [
        {
            "epoch": epoch,
            "train_accuracy": 1 - 0.5**epoch,
            "train_loss": 0.5**epoch,
            "validation_accuracy": 1 - 0.6**epoch,
            "validation_loss": 0.6**epoch,
        }
        for epoch in range(1, epochs + 1)
    ]


def test_learning_curves_show_the_history():
    figure = plots.learning_curves(history(4))
    loss, accuracy = figure.axes
    assert loss.get_title() == "Loss: 0.1296 held out, at the end"
    assert accuracy.get_title() == "Accuracy: 87.04 % held out, at the end"
    assert loss.get_yscale() == "log"
    trained, held_out = loss.get_lines()
    assert (trained.get_label(), held_out.get_label()) == ("training, as it learns", "held out")
    np.testing.assert_allclose(np.asarray(trained.get_xdata()), [1, 2, 3, 4])
    np.testing.assert_allclose(np.asarray(held_out.get_ydata()), [0.6, 0.36, 0.216, 0.1296])
    np.testing.assert_allclose(
        np.asarray(accuracy.get_lines()[0].get_ydata()), [50, 75, 87.5, 93.75]
    )
    assert (accuracy.get_xlabel(), accuracy.get_ylabel()) == ("epoch", "accuracy (%)")
    assert rendered(figure).std() > 0


def test_learning_curves_of_unusual_runs():
    diverged = [*history(2), dict.fromkeys(history(1)[0]) | {"epoch": 3}]
    zero = [{"epoch": 1, "train_loss": 0.0}]
    for records in (diverged, zero, history(100)):
        rendered(plots.learning_curves(records))
    assert plots.learning_curves(zero).axes[0].get_yscale() == "linear"
    with pytest.raises(ValueError, match=exactly("learning_curves: history holds no epoch")):
        plots.learning_curves([])


def test_confusion_matrix_counts():
    labels, predicted = [0, 0, 0, 1, 1, 2], [0, 0, 2, 1, 1, 0]
    figure = plots.confusion_matrix(labels, predicted, CLASSES)
    cells = {text.get_position(): text.get_text() for text in figure.axes[0].texts}
    # Positions are (column, row): (predicted, true).
    assert cells == {(0, 0): "2", (2, 0): "1", (1, 1): "2", (0, 2): "1"}
    assert figure.get_suptitle() == "Confusion matrix: 4 of 6 right (66.67%)"
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == list(CLASSES)
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted class", "true class")
    rendered(figure)
    many = [f"class {k}" for k in range(100)]
    figure = plots.confusion_matrix(np.arange(100), np.arange(100), many)
    assert not figure.axes[0].texts
    rendered(figure)


@pytest.mark.parametrize(
    ("labels", "predicted", "message"),
    [
        (
            [0, 1],
            [0],
            "labels and predicted must have one shape [n] with n at least 1, not [2] and [1]",
        ),
        (
            [],
            [],
            "labels and predicted must have one shape [n] with n at least 1, not [0] and [0]",
        ),
        ([0, 3], [0, 1], "labels and predicted must lie in 0..2 for 3 classes"),
    ],
)
def test_confusion_matrix_errors(labels, predicted, message):
    with pytest.raises(ValueError, match=exactly(f"confusion_matrix: {message}")):
        plots.confusion_matrix(labels, predicted, CLASSES)


def test_filters_show_each_kernel_in_its_place():
    model = network()
    params = init(model)
    kernel = np.asarray(params["conv_0"]["kernel"])
    figure = plots.filters(model, params)
    board = np.asarray(figure.axes[0].images[0].get_array())
    # Weights are squares of 4 x 4 pixels, kernels 13 pixels apart.
    for index in range(4):
        tile = board[:12:4, 13 * index : 13 * index + 12 : 4]
        np.testing.assert_allclose(tile, kernel[:, :, 0, index], rtol=1e-6)
    rendered(figure)


def test_filters_in_colour_and_of_many_channels():
    for shape, channels, title in (
        ((8, 8, 3), 5, "The 5 kernels of conv_0 (3 x 5)"),
        ((8, 8, 2), 70, "64 of the 70 kernels of conv_0 (3 x 5)"),
    ):
        model = network((3, 5), channels)
        figure = plots.filters(model, init(model, shape))
        assert figure.get_suptitle() == title
        rendered(figure)
    model = cnn.serial(cnn.flatten, cnn.dense(3))
    with pytest.raises(ValueError, match=exactly("filters: the model has no 2-D convolution")):
        plots.filters(model, init(model))


def test_the_first_kernel_is_first_in_the_computation_not_in_the_alphabet():
    model = cnn.serial(stem=cnn.conv(4, 3), head=cnn.serial(cnn.conv(2, 3)))
    params = init(model)
    name, kernel = first_kernel(model, dict(sorted(params.items())))
    assert name == "stem"
    np.testing.assert_array_equal(kernel, params["stem"]["kernel"])


def test_activations_are_every_layers_outputs():
    body = cnn.serial(cnn.conv(4, 3), cnn.relu)
    model = cnn.serial(cnn.residual(cnn.conv(2, 3, padding="SAME")), body=body, head=cnn.flatten)
    params = init(model, (6, 6, 2))
    images = np.random.default_rng(0).random((2, 6, 6, 2)).astype(np.float32)
    outputs = plots.activations(model, params, images)
    assert list(outputs) == [
        "residual_0/body",
        "residual_0",
        "body/conv_0",
        "body/relu_0",
        "body",
        "head",
    ]
    np.testing.assert_allclose(outputs["head"], model.apply(params, images), rtol=1e-5, atol=1e-6)
    convolved = outputs["body/conv_0"]
    np.testing.assert_array_equal(outputs["body/relu_0"], np.maximum(convolved, 0))
    np.testing.assert_allclose(
        outputs["residual_0"], outputs["residual_0/body"] + images, rtol=1e-6
    )


def test_feature_maps_show_what_the_layers_return():
    model = network()
    params = init(model)
    images = cnn.data.digits().images[:2]
    figure = plots.feature_maps(model, params, images, titles=["zero", "one"])
    panels = np.array(figure.axes).reshape(2, 2)
    assert [axes.get_title() for axes in panels[0]] == ["input", "relu_0"]
    assert [axes.get_ylabel() for axes in panels[:, 0]] == ["zero", "one"]
    assert panels[1, 1].get_xlabel() == "4 of 4 channels, 8 x 8"
    maps = np.asarray(plots.activations(model, params, images)["relu_0"])
    board = panels[1, 1].images[0].get_array()
    np.testing.assert_allclose(board[:32:4, :32:4], maps[1, :, :, 0], rtol=1e-6)
    np.testing.assert_allclose(board[-32::4, -32::4], maps[1, :, :, 3], rtol=1e-6)
    rendered(figure)
    model = cnn.serial(cnn.flatten, cnn.dense(3))
    message = "feature_maps: no layer of the model returns pictures [n, h, w, channels]"
    with pytest.raises(ValueError, match=exactly(message)):
        plots.feature_maps(model, init(model), images)


def test_feature_maps_pick_four_layers_over_the_depth():
    layers = [layer for _ in range(7) for layer in (cnn.conv(1, 1), cnn.tanh)]
    model = cnn.serial(*layers)
    figure = plots.feature_maps(model, init(model), np.ones((1, 3, 3, 1), np.float32))
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == ["input", "tanh_0", "tanh_2", "tanh_4", "tanh_6"]


def test_worst_mistakes_come_first():
    probabilities = np.array(
        [[0.5, 0.3, 0.2], [0.1, 0.8, 0.1], [0.05, 0.05, 0.9], [0.4, 0.35, 0.25]], np.float32
    )
    images = np.random.default_rng(0).random((4, 5, 5, 1)).astype(np.float32)
    figure = plots.worst_mistakes(images, [0, 2, 2, 1], probabilities, CLASSES)
    titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
    assert titles == ["emu taken for dog", "dog taken for cat", "cat (right)", "emu (right)"]
    title = "Worst mistakes: 2 of 4 examples wrong"
    assert figure.get_suptitle() == f"{title}\nthen the right answers that were the least sure"
    few = plots.worst_mistakes(images, [0, 2, 2, 1], probabilities, CLASSES, count=2)
    assert few.get_suptitle() == title
    shown = np.asarray(figure.axes[0].images[0].get_array())
    np.testing.assert_allclose(shown, images[1, :, :, 0], rtol=1e-6)
    bars = figure.axes[4]
    widths = [patch.get_width() for patch in bars.patches if isinstance(patch, Rectangle)]
    assert widths == pytest.approx([0.8, 0.1, 0.1])
    assert [label.get_text() for label in bars.get_yticklabels()] == ["dog", "cat", "emu"]
    rendered(figure)
    colour = np.random.default_rng(0).integers(0, 256, (4, 5, 5, 3)).astype(np.uint8)
    rendered(plots.worst_mistakes(colour, [0, 2, 2, 1], probabilities, CLASSES, count=1))
    message = (
        "worst_mistakes: images [n, h, w, channels], labels [n] and probabilities [n, 3] "
        "must belong together, not [4, 5, 5, 1], [3] and [4, 3]"
    )
    with pytest.raises(ValueError, match=exactly(message)):
        plots.worst_mistakes(images, [0, 1, 2], probabilities, CLASSES)


def test_pictures_do_not_depend_on_the_users_settings():
    plain = rendered(plots.learning_curves(history(3)))
    with mpl.rc_context({"axes.facecolor": "black", "lines.linewidth": 9.0}):
        assert np.array_equal(rendered(plots.learning_curves(history(3))), plain)
        assert mpl.rcParams["lines.linewidth"] == 9.0


def test_a_mosaic_reads_in_rows():
    tiles = np.arange(3.0).reshape(3, 1, 1) * np.ones((3, 2, 2))
    board = mosaic(tiles, columns=2)
    assert board.shape == (5, 5)
    assert jnp.array_equal(board[0].filled(-1), jnp.array([0.0, 0, -1, 1, 1]))
    assert jnp.array_equal(board[3].filled(-1), jnp.array([2.0, 2, -1, -1, -1]))


def test_names_with_dollars_are_no_formulas():
    names = ["$\\bad{$", "$x$"]
    figure = cnn.plots.confusion_matrix([0, 1], [0, 1], names)
    figure.savefig(io.BytesIO(), format="png")
    labels = figure.axes[0].get_xticklabels()
    assert [label.get_text() for label in labels] == names
    assert not any(label.get_parse_math() for label in labels)
