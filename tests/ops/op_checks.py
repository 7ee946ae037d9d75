"""One drawn case against the reference: values, jit, vmap, scan, and gradients to second order."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

# The operations are of degree two at most, or piecewise linear, so that central differences are
# exact but for rounding, and a step need not be small.
STEP = 2.0**-6


# Thousands of programs run once each: what counts is how fast they compile.
CHEAP_COMPILATION = {
    "xla_backend_optimization_level": 0,
    "xla_llvm_disable_expensive_passes": True,
    "xla_cpu_use_fusion_emitters": False,
    "xla_cpu_parallel_codegen_split_count": 1,
}


class Case(NamedTuple):
    """An operation of arrays, its truth, float64 arrays to try them on, and a dtype to try too."""

    operation: Callable[..., Any]
    truth: Callable[..., np.ndarray]
    arrays: Sequence[np.ndarray]
    values: Sequence[np.ndarray]
    mapped: Sequence[bool]
    seed: int
    exact: bool


def check(case: Case) -> None:
    """Compiles everything there is to know about the case at once, and compares it with NumPy.

    The values are compared in the drawn dtype: under jit, vmap and scan. The derivatives are taken
    in float64, in forward mode twice over and in reverse mode twice over, and compared with
    finite differences of the reference, along two random directions and one random cotangent.
    """
    rng = np.random.default_rng(case.seed)
    arrays = tuple(case.arrays)
    along = tuple(rng.uniform(-1, 1, a.shape) for a in arrays)
    across = tuple(rng.uniform(-1, 1, a.shape) for a in arrays)
    value = case.truth(*arrays)
    cotangent = rng.uniform(-1, 1, value.shape)
    values = tuple(case.values)
    stacks = tuple(
        np.stack([v, np.flip(v)]) if mapped else v
        for v, mapped in zip(values, case.mapped, strict=True)
    )
    inputs = (arrays, along, across, cotangent, values, stacks)
    with jax.enable_x64(True):
        everything = jax.jit(_everything, static_argnums=(0, 1))
        lowered = everything.lower(case.operation, tuple(case.mapped), *inputs)
        got = jax.tree.map(np.asarray, lowered.compile(CHEAP_COMPILATION)(*inputs))
    dtype = values[0].dtype
    _check_values(case, dtype, values, got["jit"])
    for n in range(2):
        one = tuple(s[n] if m else s for s, m in zip(stacks, case.mapped, strict=True))
        _check_values(case, dtype, one, got["vmap"][n])
        _check_values(case, dtype, one, got["scan"][n])
    _check_derivatives(case, along, across, cotangent, value, got)


def _everything(
    operation: Callable[..., Any],
    mapped: tuple[bool, ...],
    arrays: Any,
    along: Any,
    across: Any,
    cotangent: Any,
    values: Any,
    stacks: Any,
) -> dict[str, Any]:
    def scanned(_: None, some: Any) -> tuple[None, Any]:
        rest = iter(some)
        return None, operation(
            *(next(rest) if m else s for s, m in zip(stacks, mapped, strict=True))
        )

    def forward(*arrays: Any) -> Any:
        return jax.jvp(operation, arrays, along)

    def reverse(cotangent: Any, *arrays: Any) -> Any:
        return jax.vjp(operation, *arrays)[1](cotangent)

    gradient, reverse_twice = jax.vjp(reverse, cotangent, *arrays)
    in_axes = tuple(0 if m else None for m in mapped)
    stacked = tuple(s for s, m in zip(stacks, mapped, strict=True) if m)
    return {
        "jit": operation(*values),
        "vmap": jax.vmap(operation, in_axes)(*stacks),
        "scan": jax.lax.scan(scanned, None, stacked)[1],
        "forward": jax.jvp(forward, arrays, across),
        "gradient": gradient,
        "reverse_twice": reverse_twice(along),
    }


def _check_values(case: Case, dtype: np.dtype, values: Any, got: np.ndarray) -> None:
    want = case.truth(*values)
    assert got.dtype == dtype
    assert got.shape == want.shape
    if np.issubdtype(dtype, np.integer):
        np.testing.assert_array_equal(got, want.astype(np.int64).astype(dtype))
        return
    if case.exact:
        np.testing.assert_array_equal(got.astype(np.float64), want)
        return
    # float16 and bfloat16 are rounded once after the sum, and once more after the bias.
    unit = float(jnp.finfo(dtype).eps) / 2
    rounding = unit * (np.abs(want) + np.abs(case.truth(*values[:2])))
    summing = min(unit, 2.0**-24)
    terms = 64 * summing * case.truth(*map(np.abs, values))
    tiny = float(jnp.finfo(dtype).smallest_subnormal)
    assert np.all(np.abs(got.astype(np.float64) - want) <= rounding + terms + tiny)


def _check_derivatives(
    case: Case, along: Any, across: Any, cotangent: np.ndarray, value: np.ndarray, got: Any
) -> None:
    def moved(u: float, v: float) -> np.ndarray:
        return case.truth(
            *(
                a + STEP * (u * p + v * q)
                for a, p, q in zip(case.arrays, along, across, strict=True)
            )
        )

    first_along = (moved(1, 0) - moved(-1, 0)) / (2 * STEP)
    first_across = (moved(0, 1) - moved(0, -1)) / (2 * STEP)
    second = (moved(1, 1) - moved(1, -1) - moved(-1, 1) + moved(-1, -1)) / (4 * STEP**2)

    (primal, tangent_along), (tangent_across, tangent_both) = got["forward"]
    same(primal, value)
    same(tangent_along, first_along)
    same(tangent_across, first_across)
    same(tangent_both, second)
    same(_dot(got["gradient"], along), np.vdot(cotangent, first_along))
    same(_dot(got["gradient"], across), np.vdot(cotangent, first_across))
    by_cotangent, *by_arrays = got["reverse_twice"]
    same(by_cotangent, first_along)
    same(_dot(by_arrays, across), np.vdot(cotangent, second))


def _dot(some: Any, others: Any) -> float:
    return sum(float(np.vdot(a, b)) for a, b in zip(some, others, strict=True))


def same(got: Any, want: Any) -> None:
    """Equal to what finite differences in float64 can tell."""
    np.testing.assert_allclose(
        got, want, rtol=1e-8, atol=1e-8 * (1 + np.max(np.abs(want), initial=0))
    )
