"""The kernels of the first convolution."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from cnn_jax.layers import Layer
from cnn_jax.plots.style import NothingToDrawError, bare, mosaic, new_figure, styled


@styled
def filters(model: Layer, params: Mapping[str, Any]) -> Figure:
    """Draw the kernels of the model's first 2-D convolution, at most 64 of them.

    With one input channel, and with any number but three, weights are drawn from blue (negative)
    over white (zero) to red (positive), each kernel's input channels averaged. With three they are
    drawn as colours, where grey is zero.

    Raises `NothingToDrawError`, a `ValueError`, for a model without a 2-D convolution.

    >>> import cnn_jax as cnn, jax
    >>> model = cnn.models.small()
    >>> figure = filters(model, model.init(jax.random.key(0), (8, 8, 1)))
    >>> figure.get_suptitle()
    'The 16 kernels of conv_0 (3 x 3)'
    """
    name, kernel = first_kernel(model, params)
    height, width, inputs, outputs = kernel.shape
    shown = min(outputs, 64)
    columns = int(min(shown, 8 if shown <= 32 else 16))
    rows = -(-shown // columns)
    count = f"{shown} of the {outputs}" if shown < outputs else f"The {outputs}"
    title = f"{count} kernels of {name} ({height} x {width})"
    cell = 0.8 if columns <= 8 else 0.55
    figure = new_figure(max(4.5, cell * columns + 1.2), cell * rows * height / width + 0.6, title)
    largest = float(np.abs(kernel).max()) or 1.0
    if inputs == 3:
        grid = figure.subplots(rows, columns, squeeze=False)
        for axes in grid.flat:
            bare(axes)
        for axes, picture in zip(grid.flat, np.moveaxis(kernel, -1, 0)[:shown], strict=False):
            axes.imshow(0.5 + 0.5 * picture / largest)
        return figure
    axes = figure.subplots()
    bare(axes)
    tiles = np.moveaxis(kernel.mean(axis=2), -1, 0)[:shown]
    largest = float(np.abs(tiles).max()) or 1.0
    # Each weight is drawn as a square of 4 x 4 pixels, so that gaps can be thinner than a weight.
    enlarged = tiles.repeat(4, axis=1).repeat(4, axis=2)
    image = axes.imshow(mosaic(enlarged, columns), cmap="RdBu_r", vmin=-largest, vmax=largest)
    axes.set_facecolor("#d5dbe1")
    bar = figure.colorbar(image, ax=axes, shrink=0.9, aspect=25)
    bar.set_label("weight" if inputs == 1 else f"weight, mean of {inputs} channels")
    bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]
    return figure


def first_kernel(model: Layer, params: Mapping[str, Any]) -> tuple[str, np.ndarray]:
    """Return the name and the kernel `[h, w, in, out]` of the first 2-D convolution."""
    for name, values in _leaves(model, params, ""):
        kernel = values.get("kernel")
        if kernel is not None and np.ndim(kernel) == 4:
            return name, np.asarray(kernel, np.float32)
    raise NothingToDrawError("filters: the model has no 2-D convolution")


def _leaves(
    layer: Layer, params: Mapping[str, Any], name: str
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Walk the layers in the order in which they are applied; a parameter dict has its own."""
    if not layer.children:
        yield name, params
    for child_name, child in layer.children.items():
        path = f"{name}/{child_name}" if name else child_name
        yield from _leaves(child, params.get(child_name, {}), path)
