"""Correlation and max-pooling in JAX: loops over everything, loops over taps, and one operation."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from benchmarks.job import Job
from benchmarks.naive_indices import Windows
from benchmarks.steps_in_jax import install, installation_facts
from cnn_jax import ops

Results = dict[str, jax.Array]
Compute = Callable[[jax.Array, jax.Array, jax.Array], Results]


def prepare(case: Mapping[str, Any], form: str, cpu: str | None = None) -> Job:
    """Prepare a forward pass or the gradients; `form` is "positions", "taps" or "whole"."""
    install(cpu)
    windows = Windows.of(case)
    given = windows.arrays()
    make = {"positions": _over_positions, "taps": _over_taps, "whole": _whole}[form]
    compute = jax.jit(make(windows)[windows.operation, case["pass"]])
    operands = [jnp.asarray(given[name]) for name in ("x", "kernel", "dy")]
    started = time.perf_counter()
    compiled = compute.lower(*operands).compile()
    facts = {"compile_seconds": time.perf_counter() - started, **installation_facts(cpu)}
    results = {name: np.ravel(array) for name, array in compiled(*operands).items()}
    return Job(lambda: jax.block_until_ready(compiled(*operands)), results, facts)


def _over_positions(windows: Windows) -> dict[tuple[str, str], Compute]:
    """One number at a time: `fori_loop` over output positions and, inside, over taps."""
    bases, offsets = jnp.asarray(windows.bases()), jnp.asarray(windows.offsets())

    def over_all(body: Callable[[jax.Array, jax.Array, Any], Any], start: Any) -> Any:
        def at_position(p: jax.Array, carry: Any) -> Any:
            return lax.fori_loop(0, len(offsets), lambda t, carry: body(p, t, carry), carry)

        return lax.fori_loop(0, len(bases), at_position, start)

    def correlate(x: jax.Array, kernel: jax.Array, dy: jax.Array) -> Results:
        x, kernel = x.ravel(), kernel.ravel()

        def body(p: jax.Array, t: jax.Array, y: jax.Array) -> jax.Array:
            return y.at[p].add(x[bases[p] + offsets[t]] * kernel[t])

        return {"y": over_all(body, jnp.zeros(dy.size))}

    def correlate_gradient(x: jax.Array, kernel: jax.Array, dy: jax.Array) -> Results:
        x, kernel, dy = x.ravel(), kernel.ravel(), dy.ravel()

        def body(p: jax.Array, t: jax.Array, carry: Any) -> Any:
            dx, dkernel = carry
            place = bases[p] + offsets[t]
            return dx.at[place].add(dy[p] * kernel[t]), dkernel.at[t].add(dy[p] * x[place])

        dx, dkernel = over_all(body, (jnp.zeros_like(x), jnp.zeros_like(kernel)))
        return {"dx": dx, "dkernel": dkernel}

    def max_pool(x: jax.Array, kernel: jax.Array, dy: jax.Array) -> Results:
        del kernel
        x = x.ravel()

        def body(p: jax.Array, t: jax.Array, y: jax.Array) -> jax.Array:
            return y.at[p].max(x[bases[p] + offsets[t]])

        return {"y": over_all(body, jnp.full(dy.size, -jnp.inf))}

    def max_pool_gradient(x: jax.Array, kernel: jax.Array, dy: jax.Array) -> Results:
        del kernel
        x, dy = x.ravel(), dy.ravel()

        def largest_so_far(base: jax.Array) -> Callable[[jax.Array, jax.Array], jax.Array]:
            def body(t: jax.Array, largest: jax.Array) -> jax.Array:
                place = base + offsets[t]
                return jnp.where(x[place] > x[largest], place, largest)

            return body

        def at_position(p: jax.Array, dx: jax.Array) -> jax.Array:
            largest = lax.fori_loop(0, len(offsets), largest_so_far(bases[p]), bases[p])
            return dx.at[largest].add(dy[p])

        return {"dx": lax.fori_loop(0, len(bases), at_position, jnp.zeros_like(x))}

    return _by_name(correlate, correlate_gradient, max_pool, max_pool_gradient)


def _over_taps(windows: Windows) -> dict[tuple[str, str], Compute]:
    """All positions at once: `fori_loop` over the taps of the window."""
    taps = jnp.asarray(windows.taps)
    stride = windows.stride
    span = tuple((n - 1) * stride + 1 for n in windows.output)
    every = (slice(None, None, stride),) * windows.rank

    def under(x: jax.Array, t: jax.Array) -> jax.Array:
        return lax.dynamic_slice(x, tuple(taps[t]), span)[every]

    def add_under(dx: jax.Array, t: jax.Array, addend: jax.Array) -> jax.Array:
        start = tuple(taps[t])
        piece = lax.dynamic_slice(dx, start, span).at[every].add(addend)
        return lax.dynamic_update_slice(dx, piece, start)

    def correlate(x: jax.Array, kernel: jax.Array, dy: jax.Array) -> Results:
        kernel = kernel.ravel()

        def body(t: jax.Array, y: jax.Array) -> jax.Array:
            return y + kernel[t] * under(x, t)

        return {"y": lax.fori_loop(0, len(taps), body, jnp.zeros_like(dy))}

    def correlate_gradient(x: jax.Array, kernel: jax.Array, dy: jax.Array) -> Results:
        kernel = kernel.ravel()

        def body(t: jax.Array, carry: Any) -> Any:
            dx, dkernel = carry
            return add_under(dx, t, kernel[t] * dy), dkernel.at[t].set(jnp.sum(dy * under(x, t)))

        start = jnp.zeros_like(x), jnp.zeros_like(kernel)
        dx, dkernel = lax.fori_loop(0, len(taps), body, start)
        return {"dx": dx, "dkernel": dkernel}

    def max_pool(x: jax.Array, kernel: jax.Array, dy: jax.Array) -> Results:
        del kernel

        def body(t: jax.Array, y: jax.Array) -> jax.Array:
            return jnp.maximum(y, under(x, t))

        return {"y": lax.fori_loop(0, len(taps), body, jnp.full_like(dy, -jnp.inf))}

    def max_pool_gradient(x: jax.Array, kernel: jax.Array, dy: jax.Array) -> Results:
        y = max_pool(x, kernel, dy)["y"]

        def body(t: jax.Array, carry: Any) -> Any:
            dx, taken = carry
            match = (under(x, t) == y) & ~taken
            return add_under(dx, t, jnp.where(match, dy, 0.0)), taken | match

        start = jnp.zeros_like(x), jnp.zeros(y.shape, bool)
        return {"dx": lax.fori_loop(0, len(taps), body, start)[0]}

    return _by_name(correlate, correlate_gradient, max_pool, max_pool_gradient)


def _whole(windows: Windows) -> dict[tuple[str, str], Compute]:
    """One operation of XLA, as `cnn_jax.ops` calls it, and its derivative."""
    size = (windows.window,) * windows.rank

    def correlation(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return ops.correlate(x[..., None], kernel[..., None, None])[..., 0]

    def pooling(x: jax.Array) -> jax.Array:
        return ops.max_pool(x[..., None], size)[..., 0]

    def correlate(x: jax.Array, kernel: jax.Array, dy: jax.Array) -> Results:
        del dy
        return {"y": correlation(x, kernel)}

    def correlate_gradient(x: jax.Array, kernel: jax.Array, dy: jax.Array) -> Results:
        dx, dkernel = jax.vjp(correlation, x, kernel)[1](dy)
        return {"dx": dx, "dkernel": dkernel}

    def max_pool(x: jax.Array, kernel: jax.Array, dy: jax.Array) -> Results:
        del kernel, dy
        return {"y": pooling(x)}

    def max_pool_gradient(x: jax.Array, kernel: jax.Array, dy: jax.Array) -> Results:
        del kernel
        return {"dx": jax.vjp(pooling, x)[1](dy)[0]}

    return _by_name(correlate, correlate_gradient, max_pool, max_pool_gradient)


def _by_name(
    correlate: Compute, correlate_gradient: Compute, max_pool: Compute, max_pool_gradient: Compute
) -> dict[tuple[str, str], Compute]:
    return {
        ("correlate", "forward"): correlate,
        ("correlate", "gradient"): correlate_gradient,
        ("max_pool", "forward"): max_pool,
        ("max_pool", "gradient"): max_pool_gradient,
    }
