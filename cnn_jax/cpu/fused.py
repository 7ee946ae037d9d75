"""What is computed in one pass over memory with a pooling: a bias and a ReLU before it, a division.

They are cheap, but each pass takes as long as a pooling itself, and a ReLU of XLA's is computed
again in the gradient from what was there before the bias, which must then be kept. XLA drops what
is no longer used.
"""

import dataclasses
import functools
import math
from typing import NamedTuple

import jax
import numpy as np
from jax import lax
from jax.extend.core.primitives import custom_jvp_call_p
from jax.interpreters import mlir

from cnn_jax.cpu import (
    fused_convolution,
    lowered,
    native_library,
    pooling_native,
    private,
    reordered,
    views,
)
from cnn_jax.cpu.choice import Choice
from cnn_jax.cpu.pooling_native import Kind, Plan, Precision
from cnn_jax.cpu.separate import separately

# Lowered as JAX lowers them, but for a ReLU, its gradient, that of a bias, and the mean of windows
# and its narrowing.
PRIMITIVES = (
    custom_jvp_call_p,
    lax.gt_p,
    lax.select_n_p,
    lax.reduce_sum_p,
    lax.div_p,
    lax.convert_element_type_p,
)

_LARGEST_DIVISOR = 2**24
_FEWEST_SUMMED = 2**15


def lower(primitive, context, operands, params, kernels: tuple[str, ...]):
    """Such an operation, lowered as the native library computes it, or None."""
    if "pooling" not in kernels:
        return None
    if primitive is custom_jvp_call_p and _is_relu(params["call_jaxpr"].jaxpr):
        return _relu(context, *operands)
    if primitive is lax.gt_p:
        return _is_positive(context, *operands)
    if primitive is lax.select_n_p and len(operands) == 3:
        return _relu_gradient(context, *operands)
    if primitive is lax.reduce_sum_p:
        return _bias_gradient(context, *operands, **params)
    if primitive is lax.div_p:
        return _mean(context, *operands)
    if primitive is lax.convert_element_type_p:
        return _narrowed(context, *operands)
    return None


def with_what_comes_before(operands, avals, dtype, choice: Choice):
    """A pooling's kernel, its operands and their types, from before a bias and a ReLU.

    `dtype` is that of the result.
    """
    plan = choice.plan
    # The gradient of a sum needs no ReLU; that of a ReLU before it does, and keeps it.
    if plan is None or plan.kind is Kind.SUM or plan.is_wide:
        return choice, operands, avals
    *gradient, pooled = operands
    added, before = lowered.sum_with_row(pooled), _call(pooled)
    rectified = before is not None and before.plan.is_relu
    if before is not None and rectified:
        added = lowered.Sum(before.operands[0], before.operands[1], before.order)
    if added is None or lowered.shape(added.array)[-1] != plan.channels:
        return choice, operands, avals
    if choice.axes != views.axes_in_memory(lowered.shape(pooled), added.order):
        return choice, operands, avals
    # XLA would compute the array as it adds the bias, if it need not write it to memory.
    if not lowered.in_memory(added.array):
        return choice, operands, avals
    summed = plan.is_gradient and not rectified
    made = dataclasses.replace(
        plan, biased=True, rectified=rectified, through=summed, summed=summed
    )
    inputs = [*added.operands, *gradient]

    def build(array: jax.Array, row: jax.Array, *gradient: jax.Array) -> jax.Array:
        gradient = tuple(views.into_order(each, choice.axes) for each in gradient)
        result, *_ = made.run(array, row, *gradient)
        result = views.into_order(result, views.inverse(choice.axes))
        return lax.convert_element_type(result, dtype)

    avals = [lowered.aval(value, avals[-1].dtype) for value in inputs]
    return choice._replace(build=build), inputs, avals


class _Call(NamedTuple):
    """A call of the library in the module, what it computes, and how a view of it is ordered."""

    operands: list
    results: list
    plan: Plan
    order: views.Order


def _call(value) -> _Call | None:
    """The call whose first result a value is, or is a view of."""
    view = views.seen(value)
    call = lowered.first_of_call(view.array, native_library.POOLING_TARGET)
    if call is None:
        return None
    numbers = private.attributes_of_call(call)["configuration"]
    plan = Plan.of(numbers, lowered.shape(view.array))
    return _Call(list(call.operands), list(call.results), plan, view.order)


def _is_relu(jaxpr) -> bool:
    """Whether a program is max(x, 0), and nothing else."""
    if len(jaxpr.eqns) != 1 or len(jaxpr.invars) != 1 or jaxpr.outvars != jaxpr.eqns[0].outvars:
        return False
    (equation,) = jaxpr.eqns
    if equation.invars[0] is not jaxpr.invars[0]:
        return False
    if "jaxpr" in equation.params:
        return _is_relu(equation.params["jaxpr"].jaxpr)
    return equation.primitive is lax.max_p and getattr(equation.invars[1], "val", None) == 0


def _relu(context, operand):
    added = lowered.sum_with_row(operand)
    if added is None or not lowered.in_memory(added.array):
        return None
    within = fused_convolution.relu(context, added)
    if within is not None:
        return within
    plan = pooling_native.relu(lowered.shape(added.array), context.avals_out[0].dtype)
    return None if plan is None else _lower(context, plan, added.operands, added.order)


def _is_positive(context, left, right):
    """Of the sum that a convolution's ReLU is of, told from that ReLU: the sum isn't there."""
    added = lowered.sum_with_row(left)
    if added is None or not lowered.is_zeros(right):
        return None
    relu = fused_convolution.relu_of(added)
    if relu is None:
        return None
    order, shape = added.order, context.avals_out[0].shape

    def greater(relu: jax.Array, zeros: jax.Array) -> jax.Array:
        return lax.gt(views.viewed(relu, order, shape), zeros)

    avals = [lowered.aval(value, context.avals_in[0].dtype) for value in (relu, right)]
    lower = mlir.lower_fun(greater, multiple_results=False)
    return lower(context.replace(avals_in=avals), relu, right)


def _relu_gradient(context, predicate, on_false, on_true):
    source = lowered.compared_as_positive(predicate)
    if source is None or not lowered.is_zeros(on_false):
        return None
    pooled, seen = _call(on_true), views.seen(source)
    if fused_convolution.is_relu(seen.array):
        relu, order = seen
        if pooled is not None and _is_gradient_of(pooled, seen):
            plan = dataclasses.replace(pooled.plan, rectified=True, through=True, summed=True)
            return _lower(context, plan, pooled.operands, pooled.order)
    else:
        added = lowered.sum_with_row(source)
        if added is None:
            return None
        if pooled is not None and _is_gradient_by_relu(pooled, added):
            plan = dataclasses.replace(pooled.plan, through=True, summed=True)
            return _lower(context, plan, pooled.operands, pooled.order)
        relu, order = _relu_of(added, predicate), added.order
    if relu is None or relu.type.element_type != on_true.type.element_type:
        return None
    dtype, gradient = context.avals_out[0].dtype, views.seen(on_true)
    if lowered.in_memory(gradient.array) and gradient.order == order:
        within = fused_convolution.through_relu(context, on_true, relu)
        if within is not None:
            return within
        plan = pooling_native.relu_gradient(lowered.shape(relu), dtype)
        return _lower(context, plan, [relu, gradient.array], order)
    if relu == seen.array:
        return None  # XLA's own select is of that already

    def through_positive(relu: jax.Array, gradient: jax.Array) -> jax.Array:
        # XLA needs what was there before the bias no longer.
        positive = lax.gt(views.viewed(relu, order, gradient.shape), lax.full_like(gradient, 0))
        return lax.select(positive, gradient, lax.full_like(gradient, 0))

    avals = [lowered.aval(value, dtype) for value in (relu, on_true)]
    return mlir.lower_fun(through_positive, multiple_results=False)(
        context.replace(avals_in=avals), relu, on_true
    )


def _is_gradient_of(call: _Call, pooled: views.View) -> bool:
    plan, given = call.plan, views.seen(call.operands[0])
    plain = plan.is_gradient and not (plan.biased or plan.rectified or plan.is_wide)
    there = given.array == pooled.array and given.in_memory_order
    return plain and there and call.order == pooled.order


def _is_gradient_by_relu(call: _Call, added: lowered.Sum) -> bool:
    plan = call.plan
    by_relu = plan.is_gradient and plan.rectified and not plan.through
    return by_relu and call.operands[:2] == added.operands and call.order == added.order


def _relu_of(added: lowered.Sum, later):
    """The ReLU of the sum, if the module has computed it before a later value."""
    for call in lowered.users(added.array, later):
        made = _call(call.results[0])
        if made is not None and made.plan.is_relu and made.operands == added.operands:
            return made.results[0]
    return None


def _bias_gradient(context, operand, *, axes, **params):
    shape, (total,) = lowered.shape(operand), context.avals_out
    if all(shape[axis] == 1 for axis in axes):
        # So that what comes after sees through it.
        return mlir.lower_fun(lambda x: lax.reshape(x, total.shape), multiple_results=False)(
            context, operand
        )
    view = views.seen(operand)
    inner = views.seen(lowered.before_conversion(view.array))
    sums, call = fused_convolution.sums(inner.array), _call(inner.array)
    if call is not None and call.plan.summed:
        sums = call.results[1]
    if sums is None:
        return _sum_in_memory_order(context, operand, axes=axes, **params)
    (channels,) = lowered.shape(sums)
    order = inner.of(view.order).order
    kept = [order[i] for i, axis in enumerate(views.long_axes(shape)) if axis not in axes]
    if kept != [len(order) - 1] or total.shape.count(channels) != 1:
        return None
    narrow = mlir.lower_fun(
        lambda sums: lax.reshape(lax.convert_element_type(sums, total.dtype), total.shape),
        multiple_results=False,
    )
    return narrow(context.replace(avals_in=[lowered.aval(sums, np.dtype("float32"))]), sums)


def _sum_in_memory_order(context, operand, *, axes, **params):
    """XLA would copy the array to sum over axes in any other order."""
    shape = lowered.shape(operand)
    if math.prod(shape) < _FEWEST_SUMMED:
        return None
    order = lowered.order_in_memory(context, operand)
    if order is None or order == views.straight(len(order)):
        return None
    long = views.long_axes(shape)
    kept = [order[i] for i, axis in enumerate(long) if axis not in axes]
    ranks = tuple(sorted(kept).index(number) for number in kept)
    summed = tuple(order[i] for i, axis in enumerate(long) if axis in axes)

    operand = reordered.in_memory_order(context, operand)
    (given,), (total,) = context.avals_in, context.avals_out
    program = _program_of_sum(given, order, summed, ranks, total.shape, tuple(params.items()))
    return private.lower_program(context, program, operand)


@functools.lru_cache
def _program_of_sum(given, order, summed, ranks, shape, params):
    """Traced once for all sums alike, of which a network with normalised channels has hundreds."""

    def build(x: jax.Array) -> jax.Array:
        x = lax.transpose(lax.reshape(x, views.squeezed(given.shape)), views.inverse(order))
        total = separately(lambda x: lax.reduce_sum_p.bind(x, axes=summed, **dict(params)))(x)
        return views.viewed(total, ranks, shape)

    return jax.make_jaxpr(build)(given)


def _mean(context, total, divisor):
    call, number = _call(total), lowered.the_number(divisor)
    if call is None or call.plan.kind is not Kind.SUM or call.plan.divisor != 1:
        return None
    if number is None or not (number.is_integer() and 1 <= number <= _LARGEST_DIVISOR):
        return None
    plan = dataclasses.replace(call.plan, divisor=int(number))
    return _lower(context, plan, call.operands, call.order)


def _narrowed(context, wide):
    """What was pooled in float32 after all of it had been in bfloat16, in bfloat16 again."""
    if context.avals_out[0].dtype != "bfloat16":
        return None
    call = _call(wide)
    if call is None or not call.plan.is_wide:
        return None
    operands, precision = call.operands, Precision.ROUNDED_ONCE
    if call.plan.is_gradient:
        gradient = lowered.before_widening(operands[-1])
        if gradient is None:
            return None
        operands, precision = [*operands[:-1], gradient], Precision.OF_INPUT
    plan = dataclasses.replace(call.plan, precision=precision)
    return _lower(context, plan, operands, call.order)


def _lower(context, plan: Plan, operands, order: views.Order):
    return lowered.lower_call(context, plan.run, operands, np.dtype(plan.dtype), order)
