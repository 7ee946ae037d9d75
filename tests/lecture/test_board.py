"""Matrices on a board are aligned, and their windows framed."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from cnn_jax.lecture.board import beside, matrix, number, paragraph, plain, products, table, titled

entries = st.integers(-120, 120)


@st.composite
def matrices(draw):
    rows, columns = draw(st.integers(1, 6)), draw(st.integers(1, 6))
    return np.array(
        draw(st.lists(entries, min_size=rows * columns, max_size=rows * columns))
    ).reshape(rows, columns)


@st.composite
def windows(draw):
    values = draw(matrices())
    slices = []
    for size in values.shape:
        start = draw(st.integers(0, size - 1))
        slices.append(slice(start, draw(st.integers(start + 1, size))))
    return values, tuple(slices)


@given(matrices())
def test_every_line_of_a_matrix_is_equally_wide_and_holds_its_row(values):
    lines = matrix(values).split("\n")
    assert len({len(line) for line in lines}) == 1
    assert [[int(word) for word in line[1:-1].split()] for line in lines] == values.tolist()


@given(windows())
def test_the_frame_holds_the_window_and_nothing_else(drawn):
    values, window = drawn
    lines = matrix(values, window).split("\n")
    if len(values) > 1:
        assert len({len(line) for line in lines}) == 1
    framed = [line.split("│")[1].split() for line in lines if "│" in line]
    assert [[int(word) for word in row] for row in framed] == values[window].tolist()
    upper = next(line for line in lines if "┌" in line)
    row = next(line for line in lines if "│" in line)
    assert (upper.index("┌"), upper.index("┐")) == (row.index("│"), row.rindex("│"))
    words = [word for line in lines for word in line.split() if word.lstrip("-").isdigit()]
    assert [int(word) for word in words] == values.ravel().tolist()


def test_a_framed_window_in_a_matrix():
    assert matrix([[1, 2, 3], [4, 5, 6], [7, 8, 9]], np.s_[1:3, 0:2]) == "\n".join(
        [
            "⎡   1  2   3 ⎤",
            "⎢ ┌──────┐   ⎥",
            "⎢ │ 4  5 │ 6 ⎥",
            "⎢ │ 7  8 │ 9 ⎥",
            "⎣ └──────┘   ⎦",
        ]
    )


def test_blocks_beside_each_other_are_centred():
    block = titled("W", matrix([[1], [2], [3]]))
    assert beside(block, "=", matrix([5])) == "\n".join(
        ["  W", "⎡ 1 ⎤", "⎢ 2 ⎥  =  [ 5 ]", "⎣ 3 ⎦"]
    )


@given(st.lists(st.tuples(entries, entries), min_size=1, max_size=9), st.none() | entries)
def test_products_are_true_when_read_as_arithmetic(pairs, bias):
    text = products([a for a, _ in pairs], [b for _, b in pairs], bias)
    left, right = text.replace("·", "*").split(" = ")
    assert eval(left) == int(right)


@pytest.mark.parametrize(
    ("value", "expected"),
    [(2.0, "2"), (-0.0, "0"), (-0.0001, "0"), (1 / 3, "0.333"), (-1.5, "-1.500"), ("x1", "x1")],
)
def test_numbers(value, expected):
    assert number(value) == expected


def test_boards_without_unicode():
    text = beside(matrix([[1, 2], [3, 4]], np.s_[0:1, 0:1]), "→", "2 · 3", "±")
    assert plain(text).isascii()
    assert "?" not in plain(text)


def test_tables_and_paragraphs():
    assert table(["a", "bb"], [["long", "1"], ["x", "22"]]).split("\n") == [
        "a     bb",
        "long   1",
        "x     22",
    ]
    text = paragraph("word " * 40, "end.")
    assert max(map(len, text.split("\n"))) <= 88
    assert text.split() == ["word"] * 40 + ["end."]
