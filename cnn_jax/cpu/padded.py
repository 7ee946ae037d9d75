"""Sums over windows of an array that was padded just before.

JAX writes the gradient of a sum over windows as a padding, which puts zeros between the elements
too if the windows have a stride, and a sum with a stride of 1. Taken together they are one sum over
windows of a dilated array, and none of its zeros need to be visited.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from jax import lax
from jax.core import ShapedArray
from jax.extend.core import JaxprEqn, Literal

from cnn_jax.cpu import private

Config = tuple[tuple[int, int, int], ...]


class Unpadded(NamedTuple):
    """The operand before it was padded, and the sum's parameters over that."""

    operand: Any
    aval: ShapedArray
    params: dict[str, Any]


def in_program(equation: JaxprEqn, producers: Mapping[Any, JaxprEqn]) -> Unpadded | None:
    """The sum of an equation over what was there before `lax.pad`.

    `producers` are the equations that make the program's values.
    """
    if len(equation.invars) != 1 or isinstance(equation.invars[0], Literal):
        return None
    pad = producers.get(equation.invars[0])
    if pad is None or pad.primitive is not lax.pad_p:
        return None
    operand, value = pad.invars
    if not isinstance(value, Literal) or value.val != 0:
        return None
    config = tuple(
        (int(low), int(high), int(gap)) for low, high, gap in pad.params["padding_config"]
    )
    return _unpadded(equation.primitive, operand, operand.aval, config, equation.params)


def in_module(primitive, operands, avals_in, params) -> Unpadded | None:
    """The same in a module that is being lowered."""
    pad = private.padding_behind(operands[0]) if len(operands) == 1 else None
    if pad is None:
        return None
    operand, shape, config = pad
    return _unpadded(primitive, operand, ShapedArray(shape, avals_in[0].dtype), config, params)


def _unpadded(primitive, operand, aval, config: Config, params) -> Unpadded | None:
    if primitive is not lax.reduce_window_sum_p:
        return None
    if set(params["window_strides"]) != {1} or set(params["base_dilation"]) != {1}:
        return None
    padding = tuple(
        (before + low, after + high)
        for (before, after), (low, high, _) in zip(params["padding"], config, strict=True)
    )
    dilation = tuple(gap + 1 for _, _, gap in config)
    return Unpadded(operand, aval, {**params, "padding": padding, "base_dilation": dilation})
