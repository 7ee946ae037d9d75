"""Weights for libraries that put channels before the spatial dimensions."""

import math
from collections.abc import Iterator

import numpy as np

from benchmarks.networks.description import Shape, Weights


def first(array: np.ndarray) -> np.ndarray:
    """`[batch, *spatial, channels]` as `[batch, channels, *spatial]`."""
    return np.ascontiguousarray(np.moveaxis(array, -1, 1))


def last(array: np.ndarray) -> np.ndarray:
    """`[batch, channels, *spatial]` as `[batch, *spatial, channels]`."""
    return np.ascontiguousarray(np.moveaxis(array, 1, -1))


def kernel_out_in(kernel: np.ndarray) -> np.ndarray:
    """`[*window, in, out]` as `[out, in, *window]`."""
    axes = (kernel.ndim - 1, kernel.ndim - 2, *range(kernel.ndim - 2))
    return np.ascontiguousarray(kernel.transpose(axes))


def kernel_in_out(kernel: np.ndarray) -> np.ndarray:
    """`[out, in, *window]` as `[*window, in, out]`."""
    return np.ascontiguousarray(kernel.transpose((*range(2, kernel.ndim), 1, 0)))


class Arrays:
    """Hands out the weights of one layer after another in this layout."""

    def __init__(self, arrays: Iterator[Weights]) -> None:
        """Take the arrays of `description.weights`."""
        self._arrays = arrays
        self._flattened: Shape = ()

    def flattened(self, shape: Shape) -> None:
        """Remember the shape `[*spatial, channels]` before a `Flatten`: it orders what follows."""
        self._flattened = shape

    def conv(self) -> Weights:
        """The next layer's kernel `[out, in, *window]` and bias."""
        return self._with_kernel(kernel_out_in)

    def dense(self) -> Weights:
        """The next layer's kernel `[out, in]` and bias, with channels slowest after `Flatten`."""
        shape, self._flattened = self._flattened, ()

        def convert(kernel: np.ndarray) -> np.ndarray:
            if shape:
                kernel = np.moveaxis(kernel.reshape(*shape, -1), len(shape) - 1, 0)
                kernel = kernel.reshape(math.prod(shape), -1)
            return np.ascontiguousarray(kernel.T)

        return self._with_kernel(convert)

    def norm(self) -> Weights:
        """The next layer's scale and bias."""
        return next(self._arrays)

    def _with_kernel(self, convert) -> Weights:
        arrays = dict(next(self._arrays))
        arrays["kernel"] = convert(arrays["kernel"])
        return arrays
