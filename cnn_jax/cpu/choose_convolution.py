"""Which kernel a convolution gets: by rules of its shape, or by timing all of them."""

import dataclasses
import functools
from collections.abc import Callable
from types import ModuleType
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from cnn_jax.cpu import (
    channels,
    convolution,
    depthwise,
    implicit_product,
    narrow,
    native_library,
    onednn,
    onednn_limits,
    outer_products,
    padded_first,
    planar,
    sums,
    winograd,
    xla_convolution,
    xla_convolution_narrow,
    xla_faults,
)
from cnn_jax.cpu.choice import Choice, Place, elsewhere, stock
from cnn_jax.cpu.convolution import Convolution
from cnn_jax.cpu.tuning import Candidate, Tuner

_ONEDNN, _WIDENED = "oneDNN", "widened, then chosen again"
_PADDED = "padded, then chosen again"
_WIDE = jnp.dtype("float32")


class _Method(NamedTuple):
    """A method of our own: its name, the module that knows where it wins, and its call."""

    kernel: str
    rules: ModuleType
    plan: Callable[[Convolution], onednn.Plan | str]


# In this order.
_METHODS = {
    "winograd": _Method("Winograd", winograd, onednn.plan_by_winograd),
    "outer": _Method("outer products", outer_products, onednn.plan_by_outer_products),
    "planar": _Method("planar rows", planar, onednn.plan_by_planar_rows),
    "depthwise": _Method("depthwise rows", depthwise, onednn.plan_by_depthwise_rows),
    "narrow": _Method("window rows", narrow, onednn.plan_by_window_rows),
    "implicit": _Method("implicit product", implicit_product, onednn.plan_by_implicit_product),
}


def choose(
    avals_in,
    avals_out,
    params,
    place: Place,
    kernels: tuple[str, ...],
    fixed: tuple[bool, ...],
    tuner: Tuner | None,
) -> Choice:
    """The kernel for one convolution; see `choose.choose`."""
    lhs, rhs = avals_in
    (out,) = avals_out
    described = convolution.describe(lhs, rhs, out, params)
    widened = functools.partial(_widened, out.dtype, params)
    if lhs.dtype == rhs.dtype == out.dtype:
        choice = _first_that_applies(described, place, kernels, fixed)
        reason = onednn_limits.faster_in_float32(described)
        if choice.kernel == _ONEDNN and reason is not None:
            choice = Choice(_WIDENED, reason, widened)
        if choice.build is None and lhs.dtype.name in sums.HALF:
            wide = dataclasses.replace(described, dtype=_WIDE.name)
            if _first_that_applies(wide, place, kernels, fixed).build is not None:
                choice = Choice(_WIDENED, f"{choice.reason}, but in float32", widened)
        if tuner is not None and described.dtype in onednn.TYPES:
            moved = channels.last(described, fixed)
            candidates = _candidates(described, moved, params, kernels, widened)
            operation = {
                "convolution": dataclasses.asdict(described),
                "channels moved": [moved.left, moved.right, moved.result],
            }
            choice = tuner.fastest(operation, choice, candidates)
    elif lhs.dtype == rhs.dtype and out.dtype == _WIDE and lhs.dtype.name in sums.HALF:
        choice = Choice(_WIDENED, "the result is to be float32", widened)
    else:
        choice = stock(f"its types differ: {lhs.dtype} and {rhs.dtype} to {out.dtype}")
    fault = xla_faults.fault(described)
    if choice.build is not None or fault is None:
        return choice
    build = functools.partial(
        xla_faults.written_out,
        described,
        precision=params["precision"],
        preferred_element_type=params["preferred_element_type"],
    )
    return Choice(_PADDED, fault, build, stock_is_right=False)


def _widened(dtype, params, lhs: jax.Array, rhs: jax.Array) -> jax.Array:
    lhs, rhs = lax.convert_element_type(lhs, _WIDE), lax.convert_element_type(rhs, _WIDE)
    params = {**params, "preferred_element_type": _WIDE}
    return lax.convert_element_type(lax.conv_general_dilated_p.bind(lhs, rhs, **params), dtype)


def _first_that_applies(
    described: Convolution, place: Place, kernels: tuple[str, ...], fixed: tuple[bool, ...]
) -> Choice:
    moved = channels.last(described, fixed)

    def by(family: str) -> Choice | None:
        if family not in kernels:
            return None
        method = _METHODS[family]
        made = _native_plan(method.plan, moved.convolution, place)
        return None if isinstance(made, str) else _native(method.kernel, moved, made)

    for family, method in _METHODS.items():
        choice = by(family) if method.rules.wins(described) else None
        if choice is not None:
            return choice
    made = "the onednn kernels are switched off"
    if "onednn" in kernels:
        made = _native_plan(onednn.plan, moved.convolution, place)
    slow = isinstance(made, str) or made.general
    for family in ("winograd", "depthwise", "implicit", "outer", "planar"):
        choice = by(family) if slow and _METHODS[family].rules.helps(described) else None
        if choice is not None:
            return choice
    padded = _padded_first(moved, place) if isinstance(made, str) and "onednn" in kernels else None
    if padded is not None:
        return padded
    native = stock(made) if isinstance(made, str) else _native(_ONEDNN, moved, made)
    # Plain operations run anywhere.
    plain = stock("the xla kernels are switched off")
    if "xla" in kernels:
        plain = xla_convolution.choose(described)
    choices = [native, plain]
    if xla_convolution.beats_onednn(described, isinstance(made, onednn.Plan) and made.general):
        choices.reverse()
    for choice in choices:
        if choice.build is not None:
            return choice
    return stock("; ".join(choice.reason for choice in choices))


def _padded_first(moved: channels.Moved, place: Place) -> Choice | None:
    c = moved.convolution
    if not padded_first.applies(c) or xla_convolution_narrow.wins(c):
        return None
    made = _native_plan(onednn.plan, padded_first.without_padding(c), place)
    if isinstance(made, str) or made.general:
        return None
    return Choice(
        _PADDED, "oneDNN has no kernel for the padding", moved.around(padded_first.call(c))
    )


def _candidates(
    described: Convolution,
    moved: channels.Moved,
    params,
    kernels: tuple[str, ...],
    widened: Callable[[jax.Array, jax.Array], jax.Array],
) -> list[Candidate]:
    """Every kernel that can compute it, whether or not it is known to win."""
    plans = {family: (method.kernel, method.plan) for family, method in _METHODS.items()}
    plans["onednn"] = (_ONEDNN, onednn.possible)
    found = []
    for kernel, plan in (plans[family] for family in plans if family in kernels):
        made = _native_plan(plan, moved.convolution, Place.HERE)
        if isinstance(made, onednn.Plan):
            # XLA leaves out most of the transpositions around it.
            call = onednn.call(moved.convolution, made)
            operands = _operands(moved.convolution)
            found.append(Candidate(_native(kernel, moved, made), call, operands))
    operands = _operands(described)
    plain = xla_convolution.choose(described) if "xla" in kernels else stock("switched off")
    if plain.build is not None:
        found.append(Candidate(plain, plain.build, operands))
    padded = _padded_first(moved, Place.HERE) if "onednn" in kernels else None
    if padded is not None:
        found.append(
            Candidate(padded, padded_first.call(moved.convolution), _operands(moved.convolution))
        )
    if described.dtype != _WIDE:
        found.append(Candidate(Choice(_WIDENED, "", widened), widened, operands))
    if xla_faults.fault(described) is None:
        convolve = functools.partial(lax.conv_general_dilated_p.bind, **params)
        found.append(Candidate(stock(""), convolve, operands))
    return found


def _operands(described: Convolution) -> list[jax.ShapeDtypeStruct]:
    shapes = described.lhs_shape, described.rhs_shape
    return [jax.ShapeDtypeStruct(shape, described.dtype) for shape in shapes]


def _native_plan(
    plan: Callable[[Convolution], onednn.Plan | str], described: Convolution, place: Place
) -> onednn.Plan | str:
    reason = elsewhere(place)
    if reason is not None:
        return reason
    try:
        return plan(described)
    except native_library.NativeLibraryError:
        return native_library.MISSING


def _native(kernel: str, moved: channels.Moved, made: onednn.Plan) -> Choice:
    call = moved.around(onednn.call(moved.convolution, made))
    return Choice(kernel, moved.convolution.kind.value, call)
