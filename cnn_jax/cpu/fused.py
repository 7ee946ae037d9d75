"""What is computed within a native pooling: the bias and the ReLU before it, and their gradients.

They are cheap, but each pass over memory takes as long as the pooling itself. Where the module
that is being lowered shows them next to one, they are computed as it reads and writes. XLA drops
what is then no longer used.
"""

import dataclasses

import jax
import numpy as np
from jax import lax
from jax.core import ShapedArray
from jax.interpreters import mlir

from cnn_jax.cpu import lowered, native_library, pooling_native, private
from cnn_jax.cpu.choice import Choice
from cnn_jax.cpu.pooling_native import Plan

# Lowered as JAX lowers them wherever no native pooling stands before them.
PRIMITIVES = (lax.select_n_p, lax.reduce_sum_p)

_TARGET = native_library.POOLING_TARGET


def with_what_comes_before(context, operands, choice: Choice):
    """A pooling's kernel, its operands and their types, from before a bias and a ReLU."""
    plan, avals = choice.plan, context.avals_in
    if plan is None:
        return choice, operands, avals
    *gradient, pooled = operands
    before = lowered.positive_part(context, pooled)
    rectified = before is not None
    source = before if rectified else pooled
    added = lowered.sum_with_row(source)
    # XLA would compute the array as it adds the bias, if it need not write it to memory.
    biased = (
        added is not None
        and lowered.in_memory(added.array)
        and lowered.shape(source)[-1] == plan.channels
    )
    if not (rectified or biased):
        return choice, operands, avals
    summed = plan.is_gradient and biased and not rectified
    made = dataclasses.replace(
        plan, biased=biased, rectified=rectified, through=summed, summed=summed
    )

    def build(*arrays: jax.Array) -> jax.Array:
        return made.run(*arrays)[0]

    inputs = [*(added if biased else [source]), *gradient]
    return choice._replace(build=build), inputs, [_aval(value, avals[-1].dtype) for value in inputs]


def lower(primitive, context, operands, params, kernels: tuple[str, ...]):
    """A ReLU's or a bias's gradient, lowered as what a native pooling computes; or None."""
    if "pooling" not in kernels:
        return None
    if primitive is lax.select_n_p and len(operands) == 3:
        return _relu_gradient(context, *operands)
    if primitive is lax.reduce_sum_p:
        return _bias_gradient(context, *operands, axes=params["axes"])
    return None


def _relu_gradient(context, predicate, on_false, on_true):
    source = lowered.compared_as_positive(predicate)
    if source is None or not lowered.is_zeros(on_false):
        return None
    call = lowered.first_of_call(on_true, _TARGET)
    if call is not None:
        numbers = private.attributes_of_call(call)["configuration"]
        plan = Plan.of(numbers, lowered.shape(on_true))
        if not _takes_positive_part(plan, call, source):
            return None
        plan = dataclasses.replace(plan, through=True, summed=plan.biased)
        return _lower(context, plan, list(call.operands))
    added = lowered.sum_with_row(source)
    if added is None or not lowered.in_memory(added.array) or not lowered.in_memory(on_true):
        return None
    plan = pooling_native.relu_gradient(lowered.shape(source), context.avals_out[0].dtype)
    return None if plan is None else _lower(context, plan, [*added, on_true])


def _takes_positive_part(plan: Plan, call, source) -> bool:
    """Whether a call is the gradient by the positive part of that value."""
    if not plan.is_gradient or not plan.rectified or plan.through:
        return False
    if not plan.biased:
        return call.operands[0] == source
    added = lowered.sum_with_row(source)
    return added is not None and list(added) == list(call.operands)[:2]


def _lower(context, plan: Plan, operands):
    dtype = context.avals_out[0].dtype
    context = context.replace(avals_in=[_aval(value, dtype) for value in operands])
    # The second result, if there is one, is found by way of the first.
    return mlir.lower_fun(lambda *arrays: plan.run(*arrays)[0], multiple_results=False)(
        context, *operands
    )


def _bias_gradient(context, operand, *, axes):
    call = lowered.first_of_call(lowered.before_conversion(operand), _TARGET)
    shape = lowered.shape(operand)
    if call is None or len(call.results) != 2 or tuple(axes) != tuple(range(len(shape) - 1)):
        return None
    sums = call.results[1]
    if lowered.shape(sums) != shape[-1:]:
        return None
    dtype = context.avals_out[0].dtype
    context = context.replace(avals_in=[_aval(sums, np.dtype("float32"))])
    narrow = mlir.lower_fun(
        lambda sums: lax.convert_element_type(sums, dtype), multiple_results=False
    )
    return narrow(context, sums)


def _aval(value, dtype) -> ShapedArray:
    return ShapedArray(lowered.shape(value), dtype)
