"""Part 1: pictures become numbers, and numbers become features."""

from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from cnn_jax import data, images
from cnn_jax.lecture.board import beside, matrix, titled
from cnn_jax.lecture.figures import Grid, painted, side_by_side

PICTURE = (
    (1, 0, 1, 0, 0),
    (1, 0, 1, 0, 1),
    (1, 1, 1, 0, 0),
    (1, 0, 1, 0, 1),
    (1, 0, 1, 0, 1),
)
# Red, green, blue, yellow, white and black, as three sheets of 2 x 3 levels.
COLOUR_LEVELS = (
    ((255, 0, 0), (255, 255, 0)),
    ((0, 255, 0), (255, 255, 0)),
    ((0, 0, 255), (0, 255, 0)),
)
COLOUR_NAMES = (("red", "green", "blue"), ("yellow", "white", "black"))
GREY_MAXIMUM = 16

_SUBSCRIPTS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")


class Result(NamedTuple):
    """One picture of each kind, as levels and as the library's floats in 0..1."""

    picture: np.ndarray
    """`[5, 5]`: black 0, white 1."""
    features: np.ndarray
    """`[25]`: the same in reading order, x1..x25."""
    names: np.ndarray
    """`[5, 5]`: the number of the feature in each pixel."""
    grey_levels: np.ndarray
    """`[8, 8]`: a handwritten digit, 0 (black) to P = 16 (white)."""
    grey: np.ndarray
    """`[8, 8]`: the levels divided by P."""
    colour_levels: np.ndarray
    """`[3, 2, 3]`: three sheets (red, green, blue) of height 2 and width 3, 0 to 255."""
    colour: np.ndarray
    """`[2, 3, 3]`: height, width, channels, 0 to 1."""


def compute() -> Result:
    """Turns pictures into arrays.

    >>> compute().features.astype(int)[:10].tolist()
    [1, 0, 1, 0, 0, 1, 0, 1, 0, 1]
    """
    picture = images.from_black_white(PICTURE)
    digit = data.digits().images[:1]
    levels = images.to_grey(digit, GREY_MAXIMUM)
    colour_levels = np.array(COLOUR_LEVELS)
    return Result(
        picture=picture[..., 0],
        features=images.to_features(picture),
        names=images.from_features(np.arange(1, 26), (5, 5)),
        grey_levels=levels[0],
        grey=images.from_grey(levels, GREY_MAXIMUM)[0, ..., 0],
        colour_levels=colour_levels,
        colour=images.from_rgb(colour_levels, channels_first=True),
    )


def board(result: Result) -> str:
    """The picture beside the names of its features, then grey and colour."""
    names = [[f"x{name}" for name in row] for row in result.names]
    sheets = zip(("red", "green", "blue"), result.colour_levels, strict=True)
    return "\n".join(
        [
            "Black and white: each pixel is a number, 0 for black and 1 for white, and each number",
            "is a feature. One picture is one data point with 25 features, in reading order:",
            "",
            beside(
                titled("picture", matrix(result.picture)),
                titled("features", matrix(names)),
                gap=4,
            ),
            "",
            f"    x1..x25 = {' '.join(str(int(x)) for x in result.features)}",
            "",
            f"Greyscale: each pixel is a whole number from 0 to P. Here P = {GREY_MAXIMUM}; divided"
            " by P the",
            "numbers lie between 0 and 1 whatever P is:",
            "",
            beside(
                titled("levels", matrix(result.grey_levels)),
                titled("first row / P", matrix(result.grey[:1], digits=4)),
            ),
            "",
            "Colour: a red, a green and a blue number for each pixel, so a picture is",
            "3 x height x width numbers, here 3 x 2 x 3:",
            "",
            beside(*(titled(name, matrix(sheet)) for name, sheet in sheets)),
            "",
            f"The library keeps the channels last, {list(result.colour.shape)}: a pixel's three"
            " numbers side by side.",
        ]
    )


def figures(result: Result) -> dict[str, Figure]:
    """The three kinds of picture."""
    names = [[f"x{str(name).translate(_SUBSCRIPTS)}" for name in row] for row in result.names]
    sheets = [
        Grid(painted(result.colour_levels, sheet), name, texts=result.colour_levels[sheet])
        for sheet, name in enumerate(("red", "green", "blue"))
    ]
    return {
        "pictures": side_by_side(
            [
                Grid(result.picture, "black and white", "0 or 1", colours="picture"),
                "→",
                Grid(result.picture, "features", "in reading order", "plain", texts=names),
                Grid(
                    result.grey_levels,
                    "greyscale",
                    f"0 to P, here P = {GREY_MAXIMUM}",
                    colours="picture",
                    strongest=GREY_MAXIMUM,
                ),
            ],
            [
                Grid(painted(result.colour_levels), "colour", texts=COLOUR_NAMES),
                "=",
                *sheets,
            ],
            title="Pictures as data",
        )
    }
