"""`explain(fn, *args)`: the kernel of each operation that is concerned in a program, and why."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

import jax
from jax import lax
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal

from cnn_jax.cpu import choose_pooling, convolution, dense, padded, pooling, program
from cnn_jax.cpu.choose import POOLING, choose, concerned
from cnn_jax.cpu.installation import current
from cnn_jax.cpu.settings import resolve
from cnn_jax.cpu.tuning import Tuner


@dataclasses.dataclass(frozen=True)
class Row:
    """One operation of a program; `times` counts the rounds of the loops around it."""

    operation: str
    shapes: str
    times: int
    flops: int | None
    kernel: str
    reason: str


@dataclasses.dataclass(frozen=True)
class Explanation:
    """The operations of a program, in its order; printed, a table."""

    rows: tuple[Row, ...]

    def __str__(self) -> str:
        """A table with a line for each operation."""
        if not self.rows:
            return "no convolution or pooling"
        header = ("operation", "shapes", "times", "MFLOP", "kernel", "why")
        lines = [header] + [
            (
                row.operation,
                row.shapes,
                str(row.times),
                "" if row.flops is None else f"{row.flops / 1e6:.1f}",
                row.kernel,
                row.reason,
            )
            for row in self.rows
        ]
        widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
        numeric = (2, 3)
        return "\n".join(
            "  ".join(
                text.rjust(width) if column in numeric else text.ljust(width)
                for column, (text, width) in enumerate(zip(line, widths, strict=True))
            ).rstrip()
            for line in lines
        )


def explain(function: Callable, *args, **kwargs) -> Explanation:
    """The kernel that each convolution and pooling of `function(*args, **kwargs)` gets, and why.

    Sums of half-precision numbers, which are taken in float32, are listed too, and the products of
    matrices that oneDNN is to compute: those of wide layers.

    The function is traced, not run, though kernels that `install(tune=...)` asks to be timed are
    timed here if they have not been. Arguments may be arrays or `jax.ShapeDtypeStruct`s. The
    kernels are those of the standing installation, or of `install()`'s defaults where there is
    none, for a program on one device. FLOPs count a multiply-add as two. Whether a convolution is a
    gradient is told from the order of its axes, as JAX's differentiation leaves them; under "why"
    stands the one of oneDNN's three operations that computes it, which `vmap` can make another one.
    Whether a bias and a ReLU, or the mask of a gradient, go into a convolution's own call is not
    told: that is decided as the program is lowered, by what uses the convolution's result.

    Examples:
        >>> import jax, jax.numpy as jnp
        >>> from cnn_jax import cpu
        >>> x = jax.ShapeDtypeStruct((1, 8, 8, 1), jnp.float64)
        >>> pool = lambda x: jax.lax.reduce_window(
        ...     x, -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
        >>> [row.operation for row in cpu.explain(pool, x).rows]
        ['max-pool']
    """
    standing = current()
    kernels = standing.settings.kernels if standing else resolve().kernels
    tuner = standing.tuner if standing else None
    jaxpr = jax.make_jaxpr(function)(*args, **kwargs)
    return Explanation(tuple(_rows(jaxpr.jaxpr, 1, kernels, tuner)))


_NAMES = {
    lax.reduce_window_max_p: "max-pool",
    lax.reduce_window_min_p: "min-pool",
    lax.reduce_window_sum_p: "sum-pool",
    lax.select_and_scatter_add_p: "max-pool gradient",
    lax.select_and_gather_add_p: "max-pool tangent",
    lax.reduce_sum_p: "sum",
    lax.dot_general_p: "matrix product",
}


def _rows(
    jaxpr: Jaxpr,
    times: int,
    kernels: tuple[str, ...],
    tuner: Tuner | None,
    outside: Mapping[Any, JaxprEqn] = MappingProxyType({}),
) -> Iterator[Row]:
    producers = dict(outside)
    for equation in jaxpr.eqns:
        producers |= dict.fromkeys(equation.outvars, equation)
        if _concerned(equation, kernels):
            yield _row(equation, producers, times, kernels, tuner)
        inner_times = times
        if equation.primitive.name == "scan":
            inner_times *= equation.params["length"]
        for inner in _inner_jaxprs(equation.params):
            known = program.known_within(equation, inner, producers)
            yield from _rows(inner, inner_times, kernels, tuner, known)


def _concerned(equation, kernels: tuple[str, ...]) -> bool:
    avals_in = [variable.aval for variable in equation.invars]
    avals_out = [variable.aval for variable in equation.outvars]
    return concerned(equation.primitive, avals_in, avals_out, equation.params, kernels)


def _row(equation, producers, times: int, kernels: tuple[str, ...], tuner: Tuner | None) -> Row:
    avals_in = [variable.aval for variable in equation.invars]
    avals_out = [variable.aval for variable in equation.outvars]
    order = None
    if equation.primitive in POOLING:
        order = program.order_in_memory(equation.invars[-1], producers)
    choice = choose(
        equation.primitive,
        avals_in,
        avals_out,
        equation.params,
        kernels=kernels,
        order=order,
        tuner=tuner,
    )
    before = padded.in_program(equation, producers)
    if before is not None:
        merged = choose(
            equation.primitive,
            [before.aval],
            avals_out,
            before.params,
            kernels=kernels,
            order=program.order_in_memory(before.operand, producers),
        )
        if merged.build is not None:
            choice, avals_in = merged, [before.aval]
    elif choice.plan is not None and _is_converted(equation.invars[-1], producers):
        given = producers[equation.invars[-1]].invars[0].aval
        types = given.dtype.name, avals_in[-1].dtype.name
        choice = pooling.of_converted(
            equation.primitive,
            choice,
            avals_in,
            equation.params,
            from_bfloat16=types == ("bfloat16", "float32"),
        )
        if choice.plan is not None:
            avals_in = [*avals_in[:-1], given]
    elif equation.primitive in POOLING:
        choice = choose_pooling.timed(
            equation.primitive, avals_in, equation.params, choice, order, tuner
        )
    name, flops = _named(equation, avals_in, avals_out)
    inputs = " * ".join(_shape(aval) for aval in avals_in)
    shapes = f"{inputs} -> {', '.join(_shape(aval) for aval in avals_out)}"
    return Row(name, shapes, times, flops, choice.kernel, choice.reason)


def _is_converted(variable, producers) -> bool:
    made = None if isinstance(variable, Literal) else producers.get(variable)
    return made is not None and made.primitive is lax.convert_element_type_p


def _named(equation, avals_in, avals_out) -> tuple[str, int | None]:
    if equation.primitive is lax.conv_general_dilated_p:
        (lhs, rhs), (out,) = avals_in, avals_out
        described = convolution.describe(lhs, rhs, out, equation.params)
        return f"convolution, {_purpose(described).value}", described.flops
    product = None
    if equation.primitive is dense.PRIMITIVE:
        product = dense.describe(avals_in, avals_out, equation.params)
    return _NAMES[equation.primitive], None if product is None else product.flops


def _purpose(described: convolution.Convolution) -> convolution.Kind:
    # `vmap` makes a kernel gradient a grouped convolution, which a kernel for grouped forward
    # convolutions or input gradients computes; its axes still tell where it came from.
    if described.lhs_axes.second == 0 < described.lhs_axes.first:
        return convolution.Kind.KERNEL_GRADIENT
    return described.kind


def _shape(aval) -> str:
    return f"{aval.dtype}[{','.join(map(str, aval.shape))}]"


def _inner_jaxprs(params: dict) -> Iterator[Jaxpr]:
    for value in params.values():
        for item in value if isinstance(value, (tuple, list)) else (value,):
            if isinstance(item, ClosedJaxpr):
                yield item.jaxpr
            elif isinstance(item, Jaxpr):
                yield item
