"""Which kernel an operation gets: the first that applies and is known to win, else XLA's own."""

import enum
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from cnn_jax.cpu import (
    channels,
    convolution,
    dense,
    native_library,
    onednn,
    onednn_limits,
    outer_products,
    pooling,
    sums,
    winograd,
    xla_convolution,
    xla_faults,
)
from cnn_jax.cpu.choice import Choice, stock
from cnn_jax.cpu.settings import FAMILIES
from cnn_jax.cpu.views import Order


class Place(enum.Enum):
    """Where the lowered operation will run."""

    HERE = "in this process, on one device"
    PARTITIONED = "split over several devices by XLA's partitioner"
    EXPORTED = "elsewhere, exported"


POOLING = (
    lax.reduce_window_max_p,
    lax.reduce_window_min_p,
    lax.reduce_window_sum_p,
    lax.select_and_scatter_add_p,
    lax.select_and_gather_add_p,
)
PRIMITIVES = (lax.conv_general_dilated_p, *POOLING, sums.PRIMITIVE)

_ONEDNN = "oneDNN"


def concerned(primitive, avals_in, avals_out, params, kernels: tuple[str, ...] = FAMILIES) -> bool:
    """Whether there is a choice at all: most sums and products stay XLA's."""
    if primitive is sums.PRIMITIVE:
        return sums.concerned(avals_in, avals_out, params, kernels)
    if primitive is dense.PRIMITIVE:
        return dense.concerned(avals_in, avals_out, params, kernels)
    return primitive in PRIMITIVES


def choose(
    primitive,
    avals_in,
    avals_out,
    params,
    place: Place = Place.HERE,
    kernels: tuple[str, ...] = FAMILIES,
    fixed: tuple[bool, ...] = (False, False),
    order: Order | None = None,
) -> Choice:
    """The kernel for one equation, from its abstract values and parameters alone.

    A convolution's operands are `fixed` that lie in memory already as they are given. What is
    pooled lies in memory in that `order`, if that is known to be another one than its own.
    """
    sizes = [size for aval in (*avals_in, *avals_out) for size in aval.shape]
    if not all(isinstance(size, int) for size in sizes):
        return stock("a size is not known when the program is compiled")
    if primitive is lax.conv_general_dilated_p:
        return _convolution(avals_in, avals_out, params, place, kernels, fixed)
    if primitive is sums.PRIMITIVE:
        return sums.choose(avals_in, params)
    if primitive is dense.PRIMITIVE:
        return dense.choose(avals_in, avals_out, params, _elsewhere(place))
    if "pooling" not in kernels:
        return stock("the pooling kernels are switched off")
    return pooling.choose(primitive, avals_in, params, native=place is Place.HERE, order=order)


def _convolution(avals_in, avals_out, params, place: Place, kernels, fixed) -> Choice:
    lhs, rhs = avals_in
    (out,) = avals_out
    described = convolution.describe(lhs, rhs, out, params)
    widened = functools.partial(_widened, out.dtype, params)
    if lhs.dtype == rhs.dtype == out.dtype:
        choice = _first_that_applies(described, place, kernels, fixed)
        reason = onednn_limits.faster_in_float32(described)
        if choice.kernel == _ONEDNN and reason is not None:
            choice = Choice("widened, then chosen again", reason, widened)
    elif lhs.dtype == rhs.dtype and out.dtype.name == "float32" and lhs.dtype.name in sums.HALF:
        choice = Choice("widened, then chosen again", "the result is to be float32", widened)
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
    return Choice("padded, then chosen again", fault, build, stock_is_right=False)


def _widened(dtype, params, lhs: jax.Array, rhs: jax.Array) -> jax.Array:
    wide = jnp.dtype("float32")
    lhs, rhs = lax.convert_element_type(lhs, wide), lax.convert_element_type(rhs, wide)
    params = {**params, "preferred_element_type": wide}
    return lax.convert_element_type(lax.conv_general_dilated_p.bind(lhs, rhs, **params), dtype)


def _first_that_applies(
    described: convolution.Convolution, place: Place, kernels, fixed: tuple[bool, ...]
) -> Choice:
    moved = channels.last(described, fixed)
    if "winograd" in kernels and winograd.wins(described):
        made = _native_plan(onednn.plan_by_winograd, moved.convolution, place)
        if isinstance(made, onednn.Plan):
            return _native("Winograd", moved, made)
    if "outer" in kernels and outer_products.wins(described):
        made = _native_plan(onednn.plan_by_outer_products, moved.convolution, place)
        if isinstance(made, onednn.Plan):
            return _native("outer products", moved, made)
    made = "the onednn kernels are switched off"
    if "onednn" in kernels:
        made = _native_plan(onednn.plan, moved.convolution, place)
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


def _native_plan(
    plan: Callable[[convolution.Convolution], onednn.Plan | str],
    described: convolution.Convolution,
    place: Place,
) -> onednn.Plan | str:
    elsewhere = _elsewhere(place)
    if elsewhere is not None:
        return elsewhere
    try:
        return plan(described)
    except native_library.NativeLibraryError:
        return native_library.MISSING


def _elsewhere(place: Place) -> str | None:
    # A call of the library can't be split by the partitioner, nor found by another process.
    return None if place is Place.HERE else f"it runs {place.value}"


def _native(kernel: str, moved: channels.Moved, made: onednn.Plan) -> Choice:
    call = moved.around(onednn.call(moved.convolution, made))
    return Choice(kernel, moved.convolution.kind.value, call)
