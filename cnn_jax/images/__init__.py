"""Pictures and arrays: levels to numbers in 0..1 and back, features, files.

Within the library a picture is `[*batch, height, width, channels]` of floats in 0..1, where 0 is
black and 1 is white, or full colour: one channel for black-and-white and greyscale, three (red,
green, blue) for colour. The functions here turn the other forms of pictures into this one and back.
"""

from cnn_jax.images.convert import (
    from_black_white,
    from_grey,
    from_rgb,
    grey_to_rgb,
    rgb_to_grey,
    to_black_white,
    to_grey,
    to_rgb,
)
from cnn_jax.images.features import from_features, to_features
from cnn_jax.images.files import SUFFIXES, read, read_batch, resize, write

__all__ = [
    "SUFFIXES",
    "from_black_white",
    "from_features",
    "from_grey",
    "from_rgb",
    "grey_to_rgb",
    "read",
    "read_batch",
    "resize",
    "rgb_to_grey",
    "to_black_white",
    "to_features",
    "to_grey",
    "to_rgb",
    "write",
]
