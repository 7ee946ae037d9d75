"""What the layers make of a few pictures."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from matplotlib.figure import Figure

from cnn_jax.layers import Layer
from cnn_jax.plots.style import (
    NothingToDrawError,
    bare,
    mosaic,
    new_figure,
    show_picture,
    styled,
)

_ACTIVATIONS = ("relu", "gelu", "silu", "sigmoid", "tanh", "activation")
_CONVOLUTIONS = ("conv", "conv_transpose", "depthwise_conv", "separable_conv")


def activations(model: Layer, params: Mapping[str, Any], images: ArrayLike) -> dict[str, jax.Array]:
    """Return the output of every layer within `model`, by its path, in the order of computation.

    >>> import cnn_jax as cnn
    >>> model = cnn.serial(body=cnn.serial(cnn.conv(4, 3), cnn.relu), head=cnn.flatten)
    >>> params = model.init(jax.random.key(0), (8, 8, 1))
    >>> outputs = activations(model, params, jnp.ones((2, 8, 8, 1)))
    >>> list(outputs), outputs["body/relu_0"].shape
    (['body/conv_0', 'body/relu_0', 'body', 'head'], (2, 6, 6, 4))
    """
    order: list[str] = []

    @jax.jit
    def run(params: Mapping[str, Any], images: jax.Array) -> dict[str, jax.Array]:
        seen: dict[str, jax.Array] = {}
        model.map_children(_watch("", seen)).apply(params, images)
        order[:] = seen
        return seen

    outputs = run(params, jnp.asarray(images))
    return {name: outputs[name] for name in order}  # dicts come back from jit sorted by name


def _watch(prefix: str, seen: dict[str, jax.Array]) -> Callable[[str, Layer], Layer]:
    def watch(name: str, layer: Layer) -> Layer:
        path = prefix + name
        inner = layer.map_children(_watch(path + "/", seen))

        def apply(
            params: Mapping[str, Any], x: jax.Array, /, *, rng: jax.Array | None = None
        ) -> jax.Array:
            seen[path] = inner.apply(params, x, rng=rng)
            return seen[path]

        return Layer(layer.init, apply, layer.kind)

    return watch


@styled
def feature_maps(
    model: Layer,
    params: Mapping[str, Any],
    images: ArrayLike,
    *,
    titles: Sequence[str] | None = None,
    channels: int = 16,
) -> Figure:
    """Draw what up to four layers make of each picture: a row for each of `images: [n, h, w, c]`.

    A layer's panel shows its `channels` most active channels, the same ones in every row, each
    panel on a scale of its own from dark (its least value) to bright (its largest).

    Raises `NothingToDrawError`, a `ValueError`, for a model none of whose layers returns pictures.

    >>> import cnn_jax as cnn
    >>> model = cnn.models.small()
    >>> params = model.init(jax.random.key(0), (8, 8, 1))
    >>> figure = feature_maps(model, params, cnn.data.digits().images[:2])
    >>> [axes.get_title() for axes in figure.axes[:4]]
    ['input', 'relu_0', 'relu_1', 'relu_2']
    """
    images = np.asarray(images)
    stages = _choose(model, activations(model, params, images))
    if not stages:
        raise NothingToDrawError(
            "feature_maps: no layer of the model returns pictures [n, h, w, channels]"
        )
    rows = len(images)
    figure = new_figure(2.4 * (1 + len(stages)), 0.7 + 2.35 * rows, "Feature maps")
    grid = figure.subplots(rows, 1 + len(stages), squeeze=False)
    for row in range(rows):
        show_picture(grid[row, 0], images[row])
        if titles is not None:
            grid[row, 0].set_ylabel(titles[row], rotation=0, ha="right", va="center", labelpad=8)
    grid[0, 0].set_title("input")
    for column, (name, output) in enumerate(stages.items(), start=1):
        maps = np.asarray(output, np.float32)
        strongest = np.argsort(-maps.std(axis=(0, 1, 2)), kind="stable")[:channels]
        strongest = np.sort(strongest)
        across = int(np.ceil(np.sqrt(len(strongest))))
        # The gaps stay in proportion, whatever the size of the maps.
        scale = max(1, -(-32 // maps.shape[2]))
        for row in range(rows):
            axes = grid[row, column]
            bare(axes)
            axes.set_facecolor("white")
            tiles = np.moveaxis(maps[row][..., strongest], -1, 0)
            tiles = tiles.repeat(scale, axis=1).repeat(scale, axis=2)
            gap = max(1, round(0.06 * tiles.shape[2]))
            axes.imshow(mosaic(tiles, across, gap), cmap="magma")
        grid[0, column].set_title(name)
        height, width, count = maps.shape[1:]
        grid[-1, column].set_xlabel(f"{len(strongest)} of {count} channels, {height} x {width}")
    return figure


def _choose(model: Layer, outputs: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
    """Pick at most four layers, spread over the depth: activations, else convolutions, else any."""
    pictures = {
        name: output
        for name, output in outputs.items()
        if output.ndim == 4 and min(output.shape[1:3]) > 1
    }
    kinds = {name: _find(model, name).kind for name in pictures}
    for wanted in (_ACTIVATIONS, _CONVOLUTIONS, tuple(kinds.values())):
        names = [name for name, kind in kinds.items() if kind in wanted]
        if names:
            chosen = np.unique(np.linspace(0, len(names) - 1, min(4, len(names))).round())
            return {names[int(i)]: pictures[names[int(i)]] for i in chosen}
    return {}


def _find(model: Layer, path: str) -> Layer:
    for name in path.split("/"):
        model = model.children[name]
    return model
