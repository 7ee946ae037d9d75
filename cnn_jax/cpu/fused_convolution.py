"""What is computed of a convolution's result while it is in the cache.

Forward, that is a bias added and the ReLU of the sum; of an input gradient, what the ReLU before
the convolution lets through, and its sums, which are the gradient of the bias before that.

A rule sees only what stands before it. Where something else uses the convolution's result later,
the convolution is computed twice.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np

from cnn_jax.cpu import lowered, native_library, onednn, private, views
from cnn_jax.cpu.onednn import After

# Measured: with fewer the parts are too small, and stay in the cache anyway.
_FEWEST_ELEMENTS = 2**15


class _Call(NamedTuple):
    """A call of the library in the module, and what it computes."""

    operands: list
    results: list
    configuration: tuple[int, ...]


def relu(context, added: lowered.Sum):
    """The ReLU of a convolution and a bias, lowered as one call; None where it can't be one."""
    if private.uses(added.array) > 1:
        return None
    return _lower(context, views.View(added.array, added.order), After.RELU, added.row)


def through_relu(context, gradient, relu):
    """What the ReLU lets through of the input gradient of the convolution after it, likewise."""
    view = views.seen(gradient)
    # Where it is seen in another order, the array itself is used for that.
    used = private.uses(gradient) + private.uses(view.array)
    if relu.type != view.array.type or used > (0 if gradient == view.array else 1):
        return None
    return _lower(context, view, After.THROUGH_RELU, relu)


def is_relu(value) -> bool:
    """Whether a value was computed by `relu`."""
    call = _call(value)
    return call is not None and onednn.after(call.configuration) is After.RELU


def relu_of(added: lowered.Sum):
    """The ReLU of the sum, if the module has computed it so."""
    plain = _call(added.array)
    if plain is None:
        return None
    for user in lowered.users(plain.operands[0], added.array):
        made = _call(user.results[0])
        if made is None or made.operands != [*plain.operands, added.row]:
            continue
        if made.configuration == onednn.followed(plain.configuration, After.RELU):
            return made.results[0]
    return None


def sums(value):
    """The sums of a value's channels, in float32, if they were computed with it."""
    call = _call(value)
    if call is None or onednn.after(call.configuration) is not After.THROUGH_RELU:
        return None
    return call.results[1]


def _call(value) -> _Call | None:
    call = lowered.first_of_call(value, native_library.TARGET)
    if call is None:
        return None
    numbers = tuple(private.attributes_of_call(call)["configuration"])
    return _Call(list(call.operands), list(call.results), numbers)


def _lower(context, view: views.View, after: After, further):
    """The call whose result a value is, made anew with something after it."""
    shape, call = lowered.shape(view.array), _call(view.array)
    if call is None or math.prod(shape) < _FEWEST_ELEMENTS:
        return None
    configuration = onednn.followed(call.configuration, after)
    if configuration is None or shape[-1] != onednn.channels_of_result(configuration):
        return None
    dtype = context.avals_out[0].dtype
    results = [jax.ShapeDtypeStruct(shape, dtype)]
    if after is After.THROUGH_RELU:
        results.append(jax.ShapeDtypeStruct(shape[-1:], np.dtype("float32")))

    def run(*arrays: jax.Array) -> Sequence[jax.Array]:
        called = jax.ffi.ffi_call(native_library.TARGET, results)
        return called(*arrays, configuration=np.asarray(configuration, np.int64))

    return lowered.lower_call(context, run, [*call.operands, further], dtype, view.order)
