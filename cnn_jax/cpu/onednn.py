"""Convolutions by oneDNN: which of its three operations computes one, and how to call it."""

import dataclasses
import enum
import math
from collections.abc import Callable, Sequence

import jax
import numpy as np
from jax import lax

from cnn_jax.cpu import native_library, onednn_limits
from cnn_jax.cpu.convolution import Axes, Convolution, Kind

_KINDS = {Kind.FORWARD: 0, Kind.INPUT_GRADIENT: 1, Kind.KERNEL_GRADIENT: 2}
TYPES = {"float32": 0, "bfloat16": 1}


class _Method(enum.IntEnum):
    """How a convolution is computed, as the library numbers it."""

    DIRECT = 0  # by oneDNN's own kernels
    WINOGRAD = 1
    OUTER_PRODUCTS = 2
    IMPLICIT_PRODUCT = 3
    DEPTHWISE = 4
    WINDOW_ROWS = 5
    PLANAR = 6
    WINOGRAD_SLICES = 7


class After(enum.IntEnum):
    """What is computed of the result while it is in the cache, as the library numbers it."""

    NOTHING = 0
    RELU = 1  # of a forward convolution and a bias
    THROUGH_RELU = 2  # of an input gradient, given the ReLU's result; and the sums of channels


# Where these stand in a configuration.
_KIND, _AFTER, _IN_CHANNELS, _OUT_CHANNELS = 1, 3, 8, 9


@dataclasses.dataclass(frozen=True)
class Plan:
    """A call of the library: its configuration, and what is reversed or exchanged around it."""

    configuration: tuple[int, ...]
    exchanged: bool  # the operands change places
    reversed_kernel: bool  # the right operand is reversed along its spatial axes
    reversed_result: bool
    general: bool = False  # only oneDNN's general kernel can do it


def plan(convolution: Convolution) -> Plan | str:
    """The call that computes a convolution, or why there is none that is known to be faster."""
    made = possible(convolution)
    if isinstance(made, str):
        return made
    return onednn_limits.slower(convolution, made.general) or made


def possible(convolution: Convolution) -> Plan | str:
    """The call that computes a convolution, however fast, or the reason why there is none."""
    made = onednn_limits.wrong(convolution) or _described(convolution)
    if isinstance(made, str):
        return made
    reason = native_library.reason_against(made.configuration)
    if reason is not None:
        return reason
    return dataclasses.replace(made, general=native_library.only_general(made.configuration))


def plan_by_winograd(convolution: Convolution) -> Plan | str:
    """The call that computes it by Winograd's method, or the reason why there is none."""
    method = _Method.WINOGRAD_SLICES if convolution.rank == 3 else _Method.WINOGRAD
    return _plan_by(method, convolution)


def plan_by_outer_products(convolution: Convolution) -> Plan | str:
    """The call that computes it as a sum of outer products, or the reason why there is none."""
    return _plan_by(_Method.OUTER_PRODUCTS, convolution)


def plan_by_implicit_product(convolution: Convolution) -> Plan | str:
    """The call that computes it as an implicit matrix product, or the reason why there is none."""
    return _plan_by(_Method.IMPLICIT_PRODUCT, convolution)


def plan_by_depthwise_rows(convolution: Convolution) -> Plan | str:
    """The call that computes it channel by channel, or the reason why there is none."""
    return _plan_by(_Method.DEPTHWISE, convolution)


def plan_by_window_rows(convolution: Convolution) -> Plan | str:
    """The call that computes it by whole rows of windows, or the reason why there is none."""
    return _plan_by(_Method.WINDOW_ROWS, convolution)


def plan_by_planar_rows(convolution: Convolution) -> Plan | str:
    """The call that computes it by rows of single channels, or the reason why there is none."""
    return _plan_by(_Method.PLANAR, convolution)


def _plan_by(method: _Method, convolution: Convolution) -> Plan | str:
    made = _described(convolution)
    if isinstance(made, str):
        return made
    format_, kind, _, *rest = made.configuration
    configuration = (format_, kind, method, *rest)
    reason = native_library.reason_against(configuration)
    return reason or dataclasses.replace(made, configuration=configuration)


def call(convolution: Convolution, made: Plan) -> Callable[[jax.Array, jax.Array], jax.Array]:
    """The function of the two operands that runs the plan."""

    def run(lhs: jax.Array, rhs: jax.Array) -> jax.Array:
        if made.reversed_kernel:
            rhs = lax.rev(rhs, convolution.rhs_axes.spatial)
        if made.exchanged:
            lhs, rhs = rhs, lhs
        result = jax.ffi.ffi_call(
            native_library.TARGET,
            jax.ShapeDtypeStruct(convolution.out_shape, lhs.dtype),
            vmap_method="sequential",
        )(lhs, rhs, configuration=np.asarray(made.configuration, np.int64))
        if made.reversed_result:
            result = lax.rev(result, convolution.out_axes.spatial)
        return result

    return run


def followed(configuration: Sequence[int], after: After) -> tuple[int, ...] | None:
    """The configuration of the same convolution with something after it; None if it has none."""
    if configuration[_AFTER] != After.NOTHING:
        return None
    made = (*configuration[:_AFTER], after, *configuration[_AFTER + 1 :])
    return made if native_library.reason_against(made) is None else None


def after(configuration: Sequence[int]) -> After:
    """What a configuration says is computed of the result."""
    return After(configuration[_AFTER])


def channels_of_result(configuration: Sequence[int]) -> int:
    """The channels of what a call with this configuration writes, a kernel gradient apart."""
    forward = configuration[_KIND] == _KINDS[Kind.FORWARD]
    return configuration[_OUT_CHANNELS if forward else _IN_CHANNELS]


def _described(c: Convolution) -> Plan | str:
    if c.dtype not in TYPES:
        return f"oneDNN's kernels are for float32 and bfloat16, not {c.dtype}"
    if c.empty:
        return "an array is empty"
    if not 1 <= c.rank <= 3:
        return f"oneDNN's kernels are for 1 to 3 spatial dimensions, not {c.rank}"
    return _MAKERS[c.kind](c)


def _forward(c: Convolution) -> Plan | str:
    if any(step > 1 for step in c.lhs_dilation):
        return "the input is dilated"
    groups = c.feature_groups
    source = _strides(c.lhs_shape, c.lhs_axes)
    out, into, *window = _strides(c.rhs_shape, c.rhs_axes)
    return _plan(
        Kind.FORWARD,
        c,
        groups=groups,
        batch=c.batch,
        in_channels=c.in_channels,
        out_channels=c.out_channels,
        input=c.input,
        output=c.output,
        window=c.window,
        stride=c.stride,
        dilation=c.rhs_dilation,
        padding_low=tuple(low for low, _ in c.padding),
        source=source,
        weights=[out * (c.out_channels // groups), out, into, *window],
        destination=_strides(c.out_shape, c.out_axes),
    )


def _input_gradient(c: Convolution) -> Plan | str:
    if any(step > 1 for step in c.stride):
        return "both the input and the window move by more than one"
    groups = c.feature_groups
    into, out, *window = _strides(c.rhs_shape, c.rhs_axes)
    return _plan(
        Kind.INPUT_GRADIENT,
        c,
        groups=groups,
        batch=c.batch,
        in_channels=c.out_channels,
        out_channels=c.in_channels,
        input=c.output,
        output=c.input,
        window=c.window,
        stride=c.lhs_dilation,
        dilation=c.rhs_dilation,
        padding_low=_opposite(c.padding, c.window, c.rhs_dilation),
        source=_strides(c.out_shape, c.out_axes),
        weights=[into * (c.out_channels // groups), out, into, *window],
        destination=_strides(c.lhs_shape, c.lhs_axes),
        reversed_kernel=True,
    )


def _kernel_gradient(c: Convolution) -> Plan | str:
    if any(step > 1 for step in c.lhs_dilation):
        return _transposed_kernel_gradient(c)
    groups = c.batch_groups
    into, out, *window = _strides(c.out_shape, c.out_axes)
    return _plan(
        Kind.KERNEL_GRADIENT,
        c,
        groups=groups,
        batch=c.in_channels,
        in_channels=c.batch,
        out_channels=c.out_channels,
        input=c.input,
        output=c.window,
        window=c.output,
        stride=c.rhs_dilation,
        dilation=c.stride,
        padding_low=tuple(low for low, _ in c.padding),
        source=_strides(c.lhs_shape, _swapped(c.lhs_axes)),
        weights=[out * (c.out_channels // groups), out, into, *window],
        destination=_strides(c.rhs_shape, _swapped(c.rhs_axes)),
    )


def _transposed_kernel_gradient(c: Convolution) -> Plan | str:
    # The kernel gradient of a transposed convolution is that of the convolution it transposes,
    # with source and destination exchanged and the kernel reversed.
    if any(step > 1 for step in c.rhs_dilation):
        return "both operands are dilated"
    groups = c.batch_groups
    out, into, *window = _strides(c.out_shape, c.out_axes)
    return _plan(
        Kind.KERNEL_GRADIENT,
        c,
        groups=groups,
        batch=c.in_channels,
        in_channels=c.out_channels,
        out_channels=c.batch,
        input=c.window,
        output=c.input,
        window=c.output,
        stride=c.lhs_dilation,
        dilation=c.stride,
        padding_low=_opposite(c.padding, c.output, c.stride),
        source=_strides(c.rhs_shape, _swapped(c.rhs_axes)),
        weights=[into * (c.out_channels // groups), out, into, *window],
        destination=_strides(c.lhs_shape, _swapped(c.lhs_axes)),
        exchanged=True,
        reversed_result=True,
    )


_MAKERS = {
    Kind.FORWARD: _forward,
    Kind.INPUT_GRADIENT: _input_gradient,
    Kind.KERNEL_GRADIENT: _kernel_gradient,
}


def _plan(
    kind: Kind,
    c: Convolution,
    *,
    groups,
    batch,
    in_channels,
    out_channels,
    input,
    output,
    window,
    stride,
    dilation,
    padding_low,
    source,
    weights,
    destination,
    exchanged=False,
    reversed_kernel=False,
    reversed_result=False,
) -> Plan | str:
    padding_high = []
    for i, o, w, s, d, low in zip(
        input, output, window, stride, dilation, padding_low, strict=True
    ):
        reach = (w - 1) * d + 1
        # Any of `s` high paddings gives the same output; a window need not touch the last inputs.
        exact = (o - 1) * s + reach - i - low
        high = max(exact, 0) if exact > -s else exact
        if low < 0 or high < 0:
            return "the padding is negative"
        if low >= reach or high >= reach:
            return "the padding is as large as the window"
        # oneDNN leaves the gradient of such an element as it finds the memory.
        if kind is Kind.KERNEL_GRADIENT and _meets_padding_alone(i, o, w, s, d, low):
            return "an element of the kernel meets padding alone"
        padding_high.append(high)
    configuration = (
        native_library.FORMAT,
        _KINDS[kind],
        _Method.DIRECT,
        After.NOTHING,
        TYPES[c.dtype],
        c.rank,
        groups,
        batch,
        in_channels,
        out_channels,
        *input,
        *output,
        *window,
        *stride,
        *dilation,
        *padding_low,
        *padding_high,
        *source,
        *weights,
        *destination,
    )
    return Plan(configuration, exchanged, reversed_kernel, reversed_result)


def _meets_padding_alone(
    input: int, output: int, window: int, stride: int, dilation: int, low: int
) -> bool:
    """Whether some element of the window lies on the input at none of its places."""
    return not all(
        any(0 <= place * stride + element * dilation - low < input for place in range(output))
        for element in range(window)
    )


def _strides(shape: tuple[int, ...], axes: Axes) -> list[int]:
    row_major = [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]
    return [row_major[axis] for axis in (axes.first, axes.second, *axes.spatial)]


def _swapped(axes: Axes) -> Axes:
    return Axes(axes.second, axes.first, axes.spatial)


def _opposite(padding, window, dilation) -> tuple[int, ...]:
    # The low padding of the convolution whose gradient has this one.
    return tuple(
        (w - 1) * d - low for (low, _), w, d in zip(padding, window, dilation, strict=True)
    )
