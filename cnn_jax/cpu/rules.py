"""The lowering rules that take the place of JAX's own while the package is installed."""

from collections import Counter
from collections.abc import Callable

from jax.interpreters import mlir

from cnn_jax.cpu import compare, private
from cnn_jax.cpu.choice import Choice
from cnn_jax.cpu.choose import Place, choose
from cnn_jax.cpu.settings import Settings

# How often each kernel was chosen since `install()`, for `status()`.
chosen: Counter[tuple[str, str, str]] = Counter()


class FallbackError(RuntimeError):
    """An operation got XLA's own kernel while `install(strict=True)` forbids it."""


def rule(primitive, stock: Callable, settings: Settings) -> Callable:
    """A lowering rule for the primitive: the chosen kernel, or the stock rule."""

    def lower(context, *operands, **params):
        choice = choose(
            primitive,
            context.avals_in,
            context.avals_out,
            params,
            _place(context),
            settings.kernels,
        )
        chosen[(primitive.name, choice.kernel, choice.reason)] += 1
        if choice.build is None:
            if settings.strict:
                raise FallbackError(_refusal(primitive, context, choice))
            return stock(context, *operands, **params)
        fast = mlir.lower_fun(choice.build, multiple_results=False)(context, *operands)
        if settings.compare and choice.stock_is_right:
            slow = stock(context.replace(tokens_out=None), *operands, **params)
            return compare.lower(primitive, choice, context, fast, slow)
        return fast

    return lower


def _place(context) -> Place:
    if private.exporting(context):
        return Place.EXPORTED
    if private.automatically_partitioned(context):
        return Place.PARTITIONED
    return Place.HERE


def _refusal(primitive, context, choice: Choice) -> str:
    shapes = ", ".join(aval.str_short() for aval in context.avals_in)
    return f"{primitive.name} of {shapes} falls back on XLA's own kernel: {choice.reason}"
