"""The lowering rules that take the place of JAX's own while the package is installed."""

from collections import Counter
from collections.abc import Callable

import jax.numpy as jnp
from jax.interpreters import mlir

from cnn_jax.cpu import (
    choose_pooling,
    compare,
    dense,
    fused,
    inlined,
    lowered,
    padded,
    pooling,
    private,
    reordered,
    reversal,
    transposed,
)
from cnn_jax.cpu.choice import Choice, Place
from cnn_jax.cpu.choose import POOLING, choose, concerned
from cnn_jax.cpu.settings import Settings
from cnn_jax.cpu.tuning import Tuner

# How often each kernel was chosen since `install()`, for `status()`.
chosen: Counter[tuple[str, str, str]] = Counter()


class FallbackError(RuntimeError):
    """An operation got XLA's own kernel while `install(strict=True)` forbids it."""


def rule(primitive, stock: Callable, settings: Settings, tuner: Tuner | None) -> Callable:
    """A lowering rule for the primitive: the chosen kernel, or the stock rule."""

    def lower(context, *operands, **params):
        if not private.for_cpu_alone(context) or (tuner is not None and tuner.wants_stock):
            return stock(context, *operands, **params)
        # What is only timed is neither counted nor checked.
        timed = tuner is not None and tuner.is_timing
        compared = settings.compare and not timed
        alone = not compared and _place(context) is Place.HERE
        if alone:
            taken = fused.lower(primitive, context, operands, params, settings.kernels)
            if primitive is transposed.PRIMITIVE:
                taken = transposed.lower(context, *operands, **params)
            if primitive is reversal.PRIMITIVE:
                taken = reversal.lower(*operands, **params)
            if primitive is inlined.PRIMITIVE:
                taken = inlined.lower(context, operands, params)
            if taken is not None:
                return taken
        avals = context.avals_in, context.avals_out
        if not concerned(primitive, *avals, params, settings.kernels):
            return stock(context, *operands, **params)
        choice, inputs, avals_in = _choose(
            primitive, context, operands, params, settings.kernels, tuner
        )
        if not timed:
            chosen[(primitive.name, choice.kernel, choice.reason)] += 1
        if choice.build is None:
            if settings.strict and not timed and primitive is not dense.PRIMITIVE:
                raise FallbackError(_refusal(primitive, context, choice))
            return stock(context, *operands, **params)
        if alone:
            inputs = [reordered.in_memory_order(context, value) for value in inputs]
        build = mlir.lower_fun(choice.build, multiple_results=False)
        fast = build(context.replace(avals_in=avals_in), *inputs)
        if compared and choice.stock_is_right:
            slow = stock(context.replace(tokens_out=None), *operands, **params)
            return compare.lower(primitive, choice, context, fast, slow)
        reordered.note(context, fast)
        return fast

    return lower


def _choose(primitive, context, operands, params, kernels: tuple[str, ...], tuner: Tuner | None):
    """The kernel, its operands and their abstract values."""
    place = _place(context)
    if place is not Place.HERE:
        tuner = None
    if primitive is dense.PRIMITIVE:
        operands, avals_in, params = transposed.before(operands, context.avals_in, params)
        return choose(primitive, avals_in, context.avals_out, params, place), operands, avals_in
    before = padded.in_module(primitive, operands, context.avals_in, params)
    if before is not None:
        choice = choose(
            primitive,
            [before.aval],
            context.avals_out,
            before.params,
            place,
            kernels,
            order=lowered.order_in_memory(context, before.operand),
        )
        if choice.build is not None:
            return choice, [before.operand], [before.aval]
    avals_in = context.avals_in
    order = lowered.order_in_memory(context, operands[-1]) if primitive in POOLING else None
    choice = choose(
        primitive,
        avals_in,
        context.avals_out,
        params,
        place,
        kernels,
        fixed=tuple(map(lowered.is_argument, operands)),
        order=order,
        tuner=tuner,
    )
    alone = choice
    if choice.plan is not None and lowered.is_converted(operands[-1]):
        narrow = lowered.before_widening(operands[-1])
        choice = pooling.of_converted(
            primitive, choice, avals_in, params, from_bfloat16=narrow is not None
        )
        if choice.plan is not None:
            operands = [*operands[:-1], narrow]
            avals_in = [*avals_in[:-1], avals_in[-1].update(dtype=jnp.dtype("bfloat16"))]
    choice, operands, avals_in = fused.with_what_comes_before(
        operands, avals_in, context.avals_out[0].dtype, choice
    )
    if choice is alone and primitive in POOLING:
        choice = choose_pooling.timed(primitive, avals_in, params, choice, order, tuner)
    return choice, operands, avals_in


def _place(context) -> Place:
    if private.exporting(context):
        return Place.EXPORTED
    if private.automatically_partitioned(context):
        return Place.PARTITIONED
    return Place.HERE


def _refusal(primitive, context, choice: Choice) -> str:
    shapes = ", ".join(aval.str_short() for aval in context.avals_in)
    return f"{primitive.name} of {shapes} falls back on XLA's own kernel: {choice.reason}"
