"""Kernels for pooling and its gradients, made of plain XLA operations that vectorise."""

import dataclasses
import functools
import math

import jax
import numpy as np
from jax import lax

from cnn_jax.cpu import pooling_forward, pooling_gradient, pooling_native
from cnn_jax.cpu.choice import Choice, stock
from cnn_jax.cpu.pooling_dilated import DilatedSum
from cnn_jax.cpu.pooling_native import Kind, Precision
from cnn_jax.cpu.pooling_window import Window
from cnn_jax.cpu.views import Order, axes_in_memory, into_order, inverse, straight

# A small window is visited element by element, in one pass over memory. A larger one is cheaper
# axis by axis: 5 + 5 elements instead of 5 * 5.
_ONE_PASS_FORWARD = 9
_ONE_PASS_GRADIENT = 25
# Every element visited is code to compile; cumulative sums are windows as long as the array.
_MOST_ELEMENTS = 64
# So is every place that a stride leaves between two windows.
_MOST_PLACES = 64

_FLOATS = {"float64", "float32", "bfloat16", "float16"}


def choose(
    primitive, avals_in, params, *, native: bool = True, order: Order | None = None
) -> Choice:
    """The kernel for one pooling equation, from abstract values and parameters.

    `native` is whether it runs where the native library is, `order` that in which the array's axes
    lie in memory, if that is known to be another one.
    """
    operand = avals_in[-1]
    window = Window(
        tuple(operand.shape),
        tuple(params["window_dimensions"]),
        tuple(params["window_strides"]),
        tuple((low, high) for low, high in params["padding"]),
        tuple(params.get("window_dilation") or (1,) * len(operand.shape)),
    )
    if window.rank == 0:
        return Choice("nothing", "one element", _first)
    dilation = tuple(params.get("base_dilation") or (1,) * len(operand.shape))
    reason = _reason_against(window, avals_in)
    if reason is not None:
        return stock(reason)
    if any(step != 1 for step in dilation):
        return _dilated(primitive, window, dilation, order)
    if 0 in window.count:
        return stock("an array is empty")
    if native:
        made = _native(primitive, window, operand.dtype, params, order)
        if made is not None:
            return made
    return _KERNELS[primitive](window, params)


def _native(primitive, window: Window, dtype, params, order: Order | None) -> Choice | None:
    kind = pooling_native.KINDS.get(primitive)
    if kind is None or _is_everything(window) or params.get("select_prim") is lax.le_p:
        return None
    given = straight(window.rank)
    known = given if order is None else axes_in_memory(window.shape, order)
    for axes in dict.fromkeys((known, given)):
        made = pooling_native.plan(kind, window.in_order(axes), dtype)
        if not isinstance(made, str):
            build = functools.partial(_transposed, made.call, axes)
            reason = "neighbouring channels at once"
            return Choice(pooling_native.KERNEL, reason, build, plan=made, axes=axes)
    return None


def of_converted(primitive, choice: Choice, avals_in, params, *, from_bfloat16: bool) -> Choice:
    """The kernel where a native one is chosen for numbers that were converted just before.

    If that is a native one again, it takes the numbers as they were before that, in bfloat16.
    """
    plan = choice.plan
    # The mean of padded windows is XLA's to divide and to narrow, if each has its own divisor.
    summed = plan is not None and plan.kind is Kind.SUM and any(map(any, params["padding"]))
    if plan is None or summed or not from_bfloat16:
        # XLA converts the numbers as it pools them.
        return choose(primitive, avals_in, params, native=False)
    # The largest numbers are as they were, and XLA leaves out conversions back and forth.
    precision = Precision.OF_INPUT if plan.kind is Kind.LARGEST else Precision.WIDE
    made = dataclasses.replace(plan, dtype="bfloat16", precision=precision)

    def build(*arrays: jax.Array) -> jax.Array:
        result = _transposed(made.call, choice.axes, *arrays)
        return lax.convert_element_type(result, np.float32)

    return choice._replace(build=build, plan=made)


def _transposed(call, axes: tuple[int, ...], *arrays: jax.Array) -> jax.Array:
    """The result of a function of arrays with their axes in another order."""
    return into_order(call(*(into_order(array, axes) for array in arrays)), inverse(axes))


def _first(array: jax.Array, *_) -> jax.Array:
    # XLA aborts on windows without axes.
    return array


def _reason_against(window: Window, avals_in) -> str | None:
    operand = avals_in[-1]
    if 0 in operand.shape:
        return "an array is empty"
    if any(low < 0 or high < 0 for low, high in window.padding):
        return "the padding is negative"
    if any(aval.dtype != operand.dtype for aval in avals_in):
        return "the types of the operands differ"
    floating = operand.dtype.name in _FLOATS
    integer = np.issubdtype(operand.dtype, np.integer)
    if not floating and not (integer and len(avals_in) == 1):
        return f"no kernel for {operand.dtype.name}"
    if not window.axes:
        return "the window is a single element"
    if min(window.taps, window.taps_by_axis) > _MOST_ELEMENTS:
        return "the window has too many elements to compile"
    return None


def _dilated(primitive, window: Window, dilation: tuple[int, ...], order: Order | None) -> Choice:
    if primitive is not lax.reduce_window_sum_p or set(window.stride) != {1}:
        return stock("the array is dilated")
    axes = straight(window.rank) if order is None else axes_in_memory(window.shape, order)
    windows = DilatedSum(window.in_order(axes), tuple(dilation[axis] for axis in axes))
    if 0 in windows.count:
        return stock("an array is empty")
    if not windows.alone and max(window.taps, windows.places) > _MOST_ELEMENTS:
        return stock("the window has too many elements to compile")
    kernel = "repeated elements" if windows.alone else "slices by residue"
    return Choice(kernel, "no zeros visited", functools.partial(_transposed, windows.total, axes))


def _extreme(window: Window, params, *, largest: bool) -> Choice:
    if _is_everything(window):
        return stock("XLA reduces whole axes well")
    by_axis = _by_axis(window, _ONE_PASS_FORWARD)
    build = functools.partial(
        pooling_forward.extreme, window=window, largest=largest, by_axis=by_axis
    )
    return Choice("slices by axis" if by_axis else "slices", "vectorised", build)


def _sum(window: Window, params) -> Choice:
    if _is_everything(window):
        return stock("XLA reduces whole axes well")
    by_axis = _by_axis(window, _ONE_PASS_FORWARD)
    build = functools.partial(pooling_forward.total, window=window, by_axis=by_axis)
    return Choice("slices by axis" if by_axis else "slices", "vectorised", build)


def _scatter(window: Window, params) -> Choice:
    by_axis = _by_axis(window, _ONE_PASS_GRADIENT) or math.prod(window.stride) > _MOST_PLACES
    if max(window.stride) > _MOST_PLACES:
        return stock("the stride leaves too many places between windows to compile")
    largest = params["select_prim"] is lax.ge_p

    def build(source: jax.Array, operand: jax.Array) -> jax.Array:
        return pooling_gradient.scatter(source, operand, window, largest=largest, by_axis=by_axis)

    kernel = "first-match mask by axis" if by_axis else "first-match mask"
    return Choice(kernel, "no scatter", build)


def _gather(window: Window, params) -> Choice:
    if window.taps > _MOST_ELEMENTS:
        return stock("the window has too many elements to compile")
    largest = params["select_prim"] is lax.ge_p

    def build(tangents: jax.Array, operand: jax.Array) -> jax.Array:
        return pooling_gradient.gather(tangents, operand, window, largest=largest)

    return Choice("first-match selection", "vectorised", build)


_KERNELS = {
    lax.reduce_window_max_p: functools.partial(_extreme, largest=True),
    lax.reduce_window_min_p: functools.partial(_extreme, largest=False),
    lax.reduce_window_sum_p: _sum,
    lax.select_and_scatter_add_p: _scatter,
    lax.select_and_gather_add_p: _gather,
}


def _by_axis(window: Window, most: int) -> bool:
    return len(window.axes) > 1 and window.taps > most


def _is_everything(window: Window) -> bool:
    return all(window.size[axis] == window.shape[axis] for axis in window.axes) and not any(
        low or high for low, high in window.padding
    )
