"""Single layers and the machine's rates in JAX."""

import collections
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.job import Job
from benchmarks.layer import Layer, arrays
from benchmarks.steps_in_jax import install, installation_facts
from cnn_jax import ops

Function = Callable[..., Any]


def prepare(case: Mapping[str, Any], cpu: str | None = None) -> Job:
    """Prepare one pass of one layer; `cpu` as for training steps."""
    layer = Layer.parse(case["layer"])
    install(cpu)
    dtype = jnp.dtype(case["dtype"])
    given = {name: jnp.asarray(array, dtype) for name, array in arrays(layer).items()}
    if layer.operation == "conv":
        function, operands = _conv(layer, case["pass"], given)
    else:
        function, operands = _pool(layer, case["pass"], given)
    before = _chosen(cpu)
    started = time.perf_counter()
    compiled = jax.jit(function).lower(*operands).compile()
    seconds = time.perf_counter() - started
    result = jax.block_until_ready(compiled(*operands))
    results = {
        f"result_{i}": np.asarray(array.astype(jnp.float32))
        for i, array in enumerate(jax.tree.leaves(result))
    }
    facts = {"compile_seconds": seconds, **installation_facts(cpu)}
    if cpu is not None:
        facts["kernel"] = ", ".join(sorted(_chosen(cpu) - before))
    return Job(lambda: jax.block_until_ready(compiled(*operands)), results, facts)


def _conv(layer: Layer, which: str, given: Mapping[str, jax.Array]) -> tuple[Function, tuple]:
    def correlate(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return ops.correlate(
            x,
            kernel,
            stride=layer.stride,
            padding=layer.padding,
            dilation=layer.dilation,
            groups=layer.groups,
        )

    x, kernel, dy = given["x"], given["kernel"], given["dy"]
    match which:
        case "forward":
            return correlate, (x, kernel)
        case "input gradient":
            zero = jnp.zeros_like(x)
            return lambda k, dy: jax.vjp(lambda x: correlate(x, k), zero)[1](dy)[0], (kernel, dy)
        case "kernel gradient":
            zero = jnp.zeros_like(kernel)
            return lambda x, dy: jax.vjp(lambda k: correlate(x, k), zero)[1](dy)[0], (x, dy)
        case unknown:
            raise ValueError(f"a convolution has no pass {unknown!r}")


def _pool(layer: Layer, which: str, given: Mapping[str, jax.Array]) -> tuple[Function, tuple]:
    def pool(x: jax.Array) -> jax.Array:
        operation = {"max_pool": ops.max_pool, "avg_pool": ops.avg_pool}[layer.operation]
        # Averages count padding, as they do in torch.
        more = {"count_include_pad": True} if layer.operation == "avg_pool" else {}
        return operation(x, layer.window, stride=layer.stride, padding=layer.padding, **more)

    def both(x: jax.Array, dy: jax.Array) -> tuple[jax.Array, jax.Array]:
        y, backward = jax.vjp(pool, x)
        return y, backward(dy)[0]

    match which:
        case "forward":
            return pool, (given["x"],)
        case "forward and gradient":
            return both, (given["x"], given["dy"])
        case unknown:
            raise ValueError(f"a pooling layer has no pass {unknown!r}")


def _chosen(cpu: str | None) -> collections.Counter[str]:
    """How often each kernel was chosen so far, by its name."""
    counts: collections.Counter[str] = collections.Counter()
    if cpu is not None:
        import cnn_jax.cpu

        for (_, kernel, _), count in cnn_jax.cpu.status().chosen.items():
            counts[kernel] += count
    return counts


def prepare_product(case: Mapping[str, Any], cpu: str | None = None) -> Job:
    """Prepare a product of two square matrices, for the machine's rate; `cpu` as above."""
    install(cpu)
    size = case["size"]
    a, b = _matrices(size, case["dtype"])
    product = jax.jit(jnp.matmul).lower(a, b).compile()
    corner = np.asarray(product(a, b)[:8, :8].astype(jnp.float32))
    return Job(lambda: product(a, b).block_until_ready(), {"corner": corner})


def _matrices(size: int, dtype: str) -> tuple[jax.Array, jax.Array]:
    random = np.random.default_rng(0)
    a, b = (random.standard_normal((size, size), np.float32) for _ in range(2))
    return jnp.asarray(a, jnp.dtype(dtype)), jnp.asarray(b, jnp.dtype(dtype))


def prepare_triad(case: Mapping[str, Any]) -> Job:
    """Prepare `a + s b` in place of `a`, for the rate of memory: two arrays read, one written."""
    state = [jnp.zeros(case["size"], jnp.float32)]
    b = jnp.ones(case["size"], jnp.float32)
    add = jax.jit(lambda a, b: a + 1e-3 * b, donate_argnums=0)

    def run() -> None:
        state[0] = add(state[0], b).block_until_ready()

    run()
    return Job(run, {"corner": np.asarray(state[0][:8])})
