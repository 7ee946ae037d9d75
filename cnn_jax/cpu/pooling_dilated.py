"""The gradient of a sum over windows: a sum over windows of the dilated array of gradients."""

import dataclasses
import math

import jax
from jax import lax

from cnn_jax.cpu.dilated import DilatedWindows
from cnn_jax.cpu.pooling_float import loaded, stored
from cnn_jax.cpu.pooling_window import Window, pad


@dataclasses.dataclass(frozen=True)
class DilatedSum:
    """Where windows that move by one lie on a dilated array."""

    window: Window  # on the array as it is
    dilation: tuple[int, ...]

    @property
    def count(self) -> tuple[int, ...]:
        """How many windows there are along each axis."""
        dilated = tuple(
            max((n - 1) * step + 1, 0)
            for n, step in zip(self.window.shape, self.dilation, strict=True)
        )
        return dataclasses.replace(self.window, shape=dilated).count

    @property
    def places(self) -> int:
        """How many places there are for an output between two elements."""
        return math.prod(self.dilation)

    @property
    def alone(self) -> bool:
        """Whether every window meets one element at most, and the windows of one are together."""
        return self.dilation == self.window.size and set(self.window.dilation) == {1}

    def total(self, operand: jax.Array) -> jax.Array:
        """The sum of every window, half-precision numbers summed in single precision."""
        return self._repeated(operand) if self.alone else self._summed(operand)

    def _summed(self, operand: jax.Array) -> jax.Array:
        windows = DilatedWindows(
            self.window.shape,
            self.count,
            self.window.size,
            self.window.dilation,
            self.dilation,
            tuple(low for low, _ in self.window.padding),
        )
        total = windows.total(
            stored(operand), 0, lambda padded, place: loaded(padded, operand.dtype), 0
        )
        return lax.convert_element_type(total, operand.dtype)

    def _repeated(self, operand: jax.Array) -> jax.Array:
        axes, shape = [], []
        for n, step in zip(self.window.shape, self.dilation, strict=True):
            axes.append(len(shape))
            shape += [n, step] if step > 1 else [n]
        every = lax.broadcast_in_dim(operand, shape, axes)
        repeated = [n * step for n, step in zip(self.window.shape, self.dilation, strict=True)]
        every = lax.reshape(every, repeated)
        config = []
        for k, (low, _), n, count in zip(
            self.window.size, self.window.padding, repeated, self.count, strict=True
        ):
            before = low - (k - 1)
            config.append((before, count - n - before, 0))
        return pad(every, 0, config)
