"""The order in which XLA will keep the values of a program that is not lowered yet.

What `lowered.order_in_memory` finds in a module, found in a program.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from jax import lax
from jax.extend.core import Jaxpr, JaxprEqn, Literal

from cnn_jax.cpu import channels, convolution, inlined, views
from cnn_jax.cpu.views import Order, Place, long_axes, squeezed, straight

# How many values are asked what they are computed from.
_FARTHEST = 64
_POOLING = (lax.reduce_window_max_p, lax.reduce_window_sum_p)
_RESHAPING = (lax.reshape_p, lax.broadcast_in_dim_p, lax.squeeze_p)
_ALONG_AXES = (lax.slice_p, lax.pad_p, lax.concatenate_p, lax.rev_p)


def order_in_memory(variable, producers: Mapping[Any, JaxprEqn]) -> Order | None:
    """How a value computed element by element is ordered: as what it is computed from in memory.

    `producers` are the equations that make the program's values.
    """
    axes = straight(len(long_axes(variable.aval.shape)))
    found: list[tuple[Any, list[Place]]] = [(variable, [(axis,) for axis in axes])]
    for value, places in found:
        equation = None if isinstance(value, Literal) else producers.get(value)
        if equation is None:
            continue
        if equation.primitive is lax.conv_general_dilated_p:
            result = _order_of_result(equation)
            made = [(result[axis], *rest) for axis, *rest in places]
            return tuple(sorted(made).index(place) for place in made)
        if len(found) < _FARTHEST:
            found += [
                (operand, [(*step[axis], *rest) for axis, *rest in places])
                for operand, step in _operands(equation, value)
            ]
    return None


def known_within(
    equation: JaxprEqn, inner: Jaxpr, producers: Mapping[Any, JaxprEqn]
) -> dict[Any, JaxprEqn]:
    """What makes the arguments of a function that is lowered where it is called; else nothing."""
    if equation.primitive is not inlined.PRIMITIVE:
        return {}
    orders = [order_in_memory(variable, producers) for variable in equation.invars]
    if not any(order is not None and order != straight(len(order)) for order in orders):
        return {}
    made = zip(inner.invars, equation.invars, strict=True)
    return dict(producers) | {
        argument: producers[variable]
        for argument, variable in made
        if not isinstance(variable, Literal) and variable in producers
    }


def _order_of_result(equation: JaxprEqn) -> Order:
    (lhs, rhs), (out,) = equation.invars, equation.outvars
    described = convolution.describe(lhs.aval, rhs.aval, out.aval, equation.params)
    long = long_axes(described.out_shape)
    if not channels.last(described).result:
        return straight(len(long))
    axes = [axis for axis in (0, *range(2, described.rank + 2), 1) if axis in long]
    return tuple(axes.index(axis) for axis in long)


def _operands(equation: JaxprEqn, value) -> Iterator[tuple[Any, list[Place]]]:
    """What a value is computed from without a change of order, and where its axes lie there."""
    for operand in equation.invars:
        places = _places(equation, getattr(operand.aval, "shape", ()), value.aval.shape)
        if places is not None:
            yield operand, places


def _places(equation: JaxprEqn, inner, shape) -> list[Place] | None:
    primitive, params = equation.primitive, equation.params
    same: list[Place] = [(axis,) for axis in straight(len(long_axes(shape)))]
    if primitive is lax.transpose_p:
        axes, permutation = long_axes(inner), params["permutation"]
        return [(axes.index(permutation[axis]),) for axis in long_axes(shape)]
    if primitive in _RESHAPING:
        if squeezed(inner) == squeezed(shape):
            return same
        if primitive is lax.broadcast_in_dim_p:
            return views.within_repeated(inner, shape, params["broadcast_dimensions"])
        return views.within_reshaped(inner, shape)
    if primitive in _ALONG_AXES:
        return views.within_as_long(inner, shape)
    pooled = primitive in _POOLING and len(long_axes(inner)) == len(same)
    return same if inner == shape or pooled else None
