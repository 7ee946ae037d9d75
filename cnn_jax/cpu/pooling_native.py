"""Poolings of arrays whose channels come last, by the native library: which, and how to call it."""

import dataclasses
import enum
import math
from collections.abc import Sequence
from typing import Self

import jax
import numpy as np
from jax import lax

from cnn_jax.cpu import native_library
from cnn_jax.cpu.pooling_window import Window

KERNEL = "native windows"

_FORMAT = 2
_TYPES = ("float32", "bfloat16")
_FEWEST_CHANNELS = 4
_MOST_TAPS = 4096
_MOST = 2**31
# Measured: a call takes some microseconds, in which XLA's threads do so much.
_FEWEST_ELEMENTS = 4096
_FEWEST_ELEMENTS_OF_RELU = 2**15


class Kind(enum.IntEnum):
    """What is computed, as the library numbers it."""

    LARGEST = 0
    SUM = 1
    GRADIENT_OF_LARGEST = 2


class Precision(enum.IntEnum):
    """How what is computed in float32 is held, as the library numbers it."""

    OF_INPUT = 0  # every number in the input's type
    WIDE = 1  # results, and the gradient that is given, in float32
    ROUNDED_ONCE = 2  # the result in the input's type, rounded at the end alone


KINDS = {
    lax.reduce_window_max_p: Kind.LARGEST,
    lax.reduce_window_sum_p: Kind.SUM,
    lax.select_and_scatter_add_p: Kind.GRADIENT_OF_LARGEST,
}


@dataclasses.dataclass(frozen=True)
class Plan:
    """A call of the library.

    What is pooled is the input, with a bias added where `biased`, and of that the positive part
    where `rectified`. A gradient is that by what is pooled, or where `through` that by the input;
    its sum over all but the channels comes with it where `summed`. Sums are divided by `divisor`.
    """

    kind: Kind
    dtype: str
    shape: tuple[int, ...]  # of the result
    geometry: tuple[int, ...]  # as native/pooling.h has it
    biased: bool = False
    rectified: bool = False
    through: bool = False
    summed: bool = False
    precision: Precision = Precision.OF_INPUT
    divisor: int = 1

    @classmethod
    def of(cls, numbers: Sequence[int], shape: tuple[int, ...]) -> Self:
        """The plan of a call with this configuration and a result of this shape."""
        _, kind, dtype, biased, rectified, through, summed, precision, divisor, *geometry = numbers
        return cls(
            Kind(kind),
            _TYPES[dtype],
            shape,
            tuple(geometry),
            bool(biased),
            bool(rectified),
            bool(through),
            bool(summed),
            Precision(precision),
            divisor,
        )

    @property
    def is_gradient(self) -> bool:
        """Whether it takes the gradient of the output."""
        return self.kind is Kind.GRADIENT_OF_LARGEST

    @property
    def is_relu(self) -> bool:
        """Whether it is the positive part of x + bias, of each element."""
        return self == _of_each(
            Kind.LARGEST, self.shape, np.dtype(self.dtype), biased=True, rectified=True
        )

    @property
    def is_wide(self) -> bool:
        """Whether its result is in float32 though its input is not."""
        return self.precision is Precision.WIDE

    @property
    def channels(self) -> int:
        """How many neighbours in memory are pooled alike."""
        return self.geometry[1]

    @property
    def numbers(self) -> tuple[int, ...]:
        """The configuration that crosses to the library."""
        flags = map(int, (self.biased, self.rectified, self.through, self.summed))
        head = (_FORMAT, self.kind, _TYPES.index(self.dtype))
        return (*head, *flags, self.precision, self.divisor, *self.geometry)

    def run(self, *operands: jax.Array) -> Sequence[jax.Array]:
        """The results for the input, the bias if there is one, and the gradient if it is one."""
        dtype = "float32" if self.is_wide else self.dtype
        results = [jax.ShapeDtypeStruct(self.shape, np.dtype(dtype))]
        if self.summed:
            results.append(jax.ShapeDtypeStruct((self.channels,), np.dtype("float32")))
        call = jax.ffi.ffi_call(native_library.POOLING_TARGET, results, vmap_method="sequential")
        return call(*operands, configuration=np.asarray(self.numbers, np.int64))

    def call(self, *operands: jax.Array) -> jax.Array:
        """The first result, for operands in the order in which JAX has them."""
        return self.run(*reversed(operands))[0]


def plan(kind: Kind, window: Window, dtype) -> Plan | str:
    """The call that computes a pooling, or the reason why there is none."""
    if dtype.name not in _TYPES:
        return f"the native kernels are for float32 and bfloat16, not {dtype.name}"
    if not window.axes:
        return "the window is a single element"
    first, last = min(window.axes), max(window.axes)
    channels = math.prod(window.shape[last + 1 :])
    if last - first > 2:
        return "its windows lie on more than three axes"
    if channels < _FEWEST_CHANNELS:
        return f"fewer than {_FEWEST_CHANNELS} neighbours in memory are pooled alike"
    if math.prod(window.shape) < _FEWEST_ELEMENTS:
        return "the array is small"
    lows = [low for low, _ in window.padding]
    sizes = (*window.shape, *window.count, *window.stride, *window.reach, *lows)
    if window.taps > _MOST_TAPS or max(sizes) >= _MOST:
        return "a size is too large for the native kernels"
    if not _there():
        return native_library.MISSING
    fields = (window.shape, window.size, window.stride, window.dilation, lows, window.count)
    geometry = [math.prod(window.shape[:first]), channels]
    for field, elsewhere in zip(fields, (1, 1, 1, 1, 0, 1), strict=True):
        geometry += _three_axes(field[first : last + 1], elsewhere)
    shape = window.shape if kind is Kind.GRADIENT_OF_LARGEST else window.count
    return Plan(kind, dtype.name, shape, tuple(geometry))


def relu(shape: tuple[int, ...], dtype) -> Plan | None:
    """The positive part of x + bias, as the largest elements of windows of one; None if small."""
    if math.prod(shape) < _FEWEST_ELEMENTS_OF_RELU or shape[-1] < _FEWEST_CHANNELS:
        return None
    if dtype.name not in _TYPES or max(shape) >= _MOST or not _there():
        return None
    return _of_each(Kind.LARGEST, shape, dtype, biased=True, rectified=True)


def relu_gradient(shape: tuple[int, ...], dtype) -> Plan:
    """The gradient through a positive part, given that, and its sum."""
    flags = {"rectified": True, "through": True, "summed": True}
    return _of_each(Kind.GRADIENT_OF_LARGEST, shape, dtype, **flags)


def _of_each(kind: Kind, shape: tuple[int, ...], dtype, **flags: bool) -> Plan:
    *outer, columns, channels = shape
    size, ones = (1, 1, columns), (1, 1, 1)
    geometry = (math.prod(outer), channels, *size, *ones, *ones, *ones, 0, 0, 0, *size)
    return dataclasses.replace(Plan(kind, dtype.name, shape, geometry), **flags)


def _three_axes(numbers: Sequence[int], elsewhere: int) -> list[int]:
    """Those of the axes that the library knows, of which it visits the last in one go."""
    *others, last = numbers
    return [*others, *[elsewhere] * (2 - len(others)), last]


def _there() -> bool:
    try:
        native_library.load()
    except native_library.NativeLibraryError:
        return False
    return True
