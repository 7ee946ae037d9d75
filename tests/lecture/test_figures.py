"""Figures show the numbers they are given."""

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.patches import Rectangle

from cnn_jax.lecture.figures import MAGENTA, PADDING, Grid, painted, panels, side_by_side


def rectangles(figure, **kind):
    return [patch for patch in figure.axes[0].patches if isinstance(patch, Rectangle)]


def test_every_number_stands_in_the_middle_of_its_cell():
    values = np.array([[1, -2, 3], [0.5, 0, -7]])
    figure = side_by_side([Grid(values)])
    texts = {
        (round(t.get_position()[0] % 1, 3), round(t.get_position()[1] % 1, 3))
        for t in figure.axes[0].texts
    }
    assert len(texts) == 1
    assert [t.get_text() for t in figure.axes[0].texts] == ["1", "-2", "3", "0.50", "0", "-7"]


def test_captions_signs_and_rows_keep_apart(legible):
    figure = side_by_side(
        [
            Grid(np.zeros((2, 2)), "a rather long title\nin two lines", "note"),
            "=",
            Grid([1, 2, 3], "v"),
        ],
        [Grid(np.zeros((4, 1)), "another long title over one column"), "*", Grid([[1]], "w", "n")],
        title="Title",
    )
    assert {"=", "*", "Title", "in two lines", "another long title over one column"} <= set(
        legible(figure)
    )


def test_the_window_is_framed_and_the_padding_grey():
    figure = side_by_side([Grid(np.eye(5), window=np.s_[1:4, 2:5], padding=1)])
    frame = [r for r in rectangles(figure) if r.get_edgecolor()[:3] == to_rgb(MAGENTA)]
    origin = rectangles(figure)[0].get_xy()
    assert [(r.get_width(), r.get_height()) for r in frame] == [(3, 3)]
    assert np.allclose(np.subtract(frame[0].get_xy(), origin), (2, 1))
    grey = [
        r for r in rectangles(figure)[:25] if np.allclose(r.get_facecolor()[:3], to_rgb(PADDING))
    ]
    assert len(grey) == 25 - 9


@pytest.mark.parametrize(("value", "dark"), [(0, True), (1, False)])
def test_numbers_contrast_with_their_cells(value, dark):
    figure = side_by_side([Grid([[value]], colours="picture", strongest=1)])
    text = figure.axes[0].texts[0]
    assert (
        np.mean(to_rgb(text.get_color())) > 0.9 if dark else np.mean(to_rgb(text.get_color())) < 0.3
    )


def test_signs_have_colours_of_their_own():
    figure = side_by_side([Grid([[-2, 0, 2]])])
    below, zero, above = (np.array(to_rgb(r.get_facecolor())) for r in rectangles(figure)[:3])
    assert below[2] > below[0] + 0.3
    assert above[0] > above[2] + 0.3
    assert np.allclose(zero, 1, atol=0.01)


def test_colours_are_painted_in_softer_paints():
    picture = np.zeros((3, 1, 2))
    picture[:, 0, 0] = 255
    picture[0, 0, 1] = 255
    assert np.allclose(painted(picture)[0, 0], 1)
    assert np.argmax(painted(picture)[0, 1]) == 0
    assert np.allclose(painted(picture, sheet=2)[0, 1], 0)


def test_panels(legible):
    figure, axes = panels("Title", 2)
    assert len(axes) == 2
    assert "Title" in legible(figure)


@pytest.mark.parametrize(
    ("x", "y", "size", "complaint"),
    [(0.5, 0.52, 12, "overlap"), (0.97, 0.9, 12, "there"), (0.5, 0.9, 6, "there")],
)
def test_illegible_figures_are_found_out(legible, x, y, size, complaint):
    figure, _ = panels("Title")
    figure.text(0.5, 0.5, "here")
    figure.text(x, y, "there", size=size)
    with pytest.raises(AssertionError, match=complaint):
        legible(figure)
