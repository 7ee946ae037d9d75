"""The order in which XLA will keep the values of a program that is not lowered yet.

What `lowered.order_in_memory` finds in a module, found in a program.
"""

from collections.abc import Mapping
from typing import Any

from jax import lax
from jax.extend.core import JaxprEqn, Literal

from cnn_jax.cpu import channels, convolution
from cnn_jax.cpu.views import Order, long_axes, squeezed, straight

# How many values are asked what they are computed from.
_FARTHEST = 64
_POOLING = (lax.reduce_window_max_p, lax.reduce_window_sum_p)
_RESHAPING = (lax.reshape_p, lax.broadcast_in_dim_p, lax.squeeze_p)


def order_in_memory(variable, producers: Mapping[Any, JaxprEqn]) -> Order | None:
    """How a value computed element by element is ordered: as what it is computed from in memory.

    `producers` are the equations that make the program's values.
    """
    found = [(variable, straight(len(long_axes(variable.aval.shape))))]
    for value, order in found:
        equation = None if isinstance(value, Literal) else producers.get(value)
        if equation is None:
            continue
        if equation.primitive is lax.conv_general_dilated_p:
            result = _order_of_result(equation)
            return tuple(result[axis] for axis in order)
        if len(found) < _FARTHEST:
            found += [
                (operand, tuple(step[axis] for axis in order))
                for operand, step in _operands(equation, value)
            ]
    return None


def _order_of_result(equation: JaxprEqn) -> Order:
    (lhs, rhs), (out,) = equation.invars, equation.outvars
    described = convolution.describe(lhs.aval, rhs.aval, out.aval, equation.params)
    long = long_axes(described.out_shape)
    if not channels.last(described).result:
        return straight(len(long))
    axes = [axis for axis in (0, *range(2, described.rank + 2), 1) if axis in long]
    return tuple(axes.index(axis) for axis in long)


def _operands(equation: JaxprEqn, value):
    """The operands whose elements stay in the order of the value's, and the order of their axes."""
    shape = value.aval.shape
    same = straight(len(long_axes(shape)))
    for operand in equation.invars:
        sizes = getattr(operand.aval, "shape", ())
        axes = long_axes(sizes)
        if equation.primitive is lax.transpose_p:
            permutation = equation.params["permutation"]
            yield operand, tuple(axes.index(permutation[axis]) for axis in long_axes(shape))
        elif equation.primitive in _RESHAPING:
            if squeezed(sizes) == squeezed(shape):
                yield operand, same
        elif sizes == shape or (equation.primitive in _POOLING and len(axes) == len(same)):
            yield operand, same
