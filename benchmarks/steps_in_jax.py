"""Training steps and inference of the libraries on JAX, written as each library's users write them.

All of them keep float32 parameters; in bfloat16 they are cast for the forward and backward pass.
"""

import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.job import Job
from benchmarks.networks.channels_first import first
from benchmarks.networks.description import Network, batches
from benchmarks.networks.named import network
from benchmarks.steps import COMPARED_STEPS, LEARNING_RATE, MOMENTUM

# `step(state, x, labels) -> (state, loss)` and `infer(state, x) -> logits`.
Step = Callable[[Any, jax.Array, jax.Array], tuple[Any, jax.Array]]
Infer = Callable[[Any, jax.Array], jax.Array]
Model = tuple[Any, Step, Infer]


def prepare(case: Mapping[str, Any], library: str, cpu: str | None = None) -> Job:
    """Prepare a step or an inference.

    `cpu` is None for JAX's own kernels, "keep" for `cnn_jax.cpu.install()`, "return" for the same
    without the allocator option, and "tune" for kernels that are timed as they are compiled.
    """
    install(cpu)
    described = network(case["network"], **case.get("sizes", {}))
    drawn = batches(described, case["batch"])
    if library == "equinox":
        drawn = [(first(x), labels) for x, labels in drawn]
    data = [(jax.device_put(x), jax.device_put(labels)) for x, labels in drawn]
    build = {"cnn_jax": _cnn_jax, "flax": _flax, "equinox": _equinox, "haiku": _haiku}[library]
    model = build(described, jnp.dtype(case["dtype"]))
    return (_training if case["mode"] == "train" else _inference)(model, data, cpu)


def install(cpu: str | None) -> None:
    """Give JAX the kernels of `cnn_jax.cpu`, or leave its own."""
    if cpu is not None:
        import cnn_jax.cpu

        cnn_jax.cpu.install(keep_memory=cpu != "return", tune=cpu == "tune")


def installation_facts(cpu: str | None) -> dict[str, Any]:
    """What is noted about the installed kernels: whether the native library took part."""
    if cpu is None:
        return {}
    import cnn_jax.cpu

    status = cnn_jax.cpu.status()
    return {} if status.native else {"native_library": f"missing: {status.missing}"}


def _training(model: Model, data: Sequence[Any], cpu: str | None) -> Job:
    state, step, _ = model
    following = itertools.cycle(data)

    def run() -> jax.Array:
        nonlocal state
        state, loss = step(state, *next(following))
        jax.block_until_ready((state, loss))
        return loss

    started = time.perf_counter()
    losses = [run()]
    facts = {"first_run_seconds": time.perf_counter() - started, **installation_facts(cpu)}
    losses += [run() for _ in range(COMPARED_STEPS - 1)]
    return Job(run, {"losses": np.array([float(loss) for loss in losses])}, facts)


def _inference(model: Model, data: Sequence[Any], cpu: str | None) -> Job:
    state, _, infer = model
    images = itertools.cycle([x for x, _ in data])
    started = time.perf_counter()
    logits = np.asarray(infer(state, next(images)))
    facts = {"first_run_seconds": time.perf_counter() - started, **installation_facts(cpu)}
    return Job(lambda: infer(state, next(images)).block_until_ready(), {"logits": logits}, facts)


def _cnn_jax(described: Network, dtype: Any) -> Model:
    import cnn_jax as cnn
    from benchmarks.networks import of_cnn_jax

    model, params = of_cnn_jax.build(described)
    if dtype != jnp.float32:
        float32_model = model

        def apply(params: Any, x: jax.Array, /, *, rng: jax.Array | None = None) -> jax.Array:
            logits = float32_model.apply(_cast(params, dtype), x.astype(dtype), rng=rng)
            return logits.astype(jnp.float32)

        model = cnn.Layer(model.init, apply)
    optimizer = optax.sgd(LEARNING_RATE, momentum=MOMENTUM)
    params = jax.tree.map(jnp.array, params)
    state = cnn.train.State(
        step=jnp.zeros((), jnp.int32),
        params=params,
        optimizer_state=optimizer.init(params),
        key=jax.random.key(0),
    )
    update = cnn.train.make_step(model, optimizer, measures={})

    def step(state: Any, x: jax.Array, labels: jax.Array) -> tuple[Any, jax.Array]:
        state, metrics = update(state, (x, labels))
        return state, metrics["loss"]

    infer = jax.jit(lambda state, x: model.apply(state.params, x))
    return state, step, infer


def _flax(described: Network, dtype: Any) -> Model:
    from flax.training.train_state import TrainState

    from benchmarks.networks import of_flax

    module, params = of_flax.build(described, dtype)
    state = TrainState.create(
        apply_fn=module.apply,
        params=jax.tree.map(jnp.array, params),
        tx=optax.sgd(LEARNING_RATE, momentum=MOMENTUM),
    )

    def forward(state: TrainState, params: Any, x: jax.Array) -> jax.Array:
        return state.apply_fn({"params": params}, x.astype(dtype)).astype(jnp.float32)

    def step(state: TrainState, x: jax.Array, labels: jax.Array) -> tuple[TrainState, jax.Array]:
        def objective(params: Any) -> jax.Array:
            return _loss(forward(state, params, x), labels)

        loss, gradient = jax.value_and_grad(objective)(state.params)
        return state.apply_gradients(grads=gradient), loss

    infer = jax.jit(lambda state, x: forward(state, state.params, x))
    return state, jax.jit(step, donate_argnums=0), infer


def _haiku(described: Network, dtype: Any) -> Model:
    from benchmarks.networks import of_haiku

    apply, params = of_haiku.build(described)
    optimizer = optax.sgd(LEARNING_RATE, momentum=MOMENTUM)

    def forward(params: Any, x: jax.Array) -> jax.Array:
        return apply(_cast(params, dtype), x.astype(dtype)).astype(jnp.float32)

    def step(state: Any, x: jax.Array, labels: jax.Array) -> tuple[Any, jax.Array]:
        params, optimizer_state = state

        def objective(params: Any) -> jax.Array:
            return _loss(forward(params, x), labels)

        loss, gradient = jax.value_and_grad(objective)(params)
        changes, optimizer_state = optimizer.update(gradient, optimizer_state)
        return (optax.apply_updates(params, changes), optimizer_state), loss

    params = jax.tree.map(jnp.array, params)
    infer = jax.jit(lambda state, x: forward(state[0], x))
    return (params, optimizer.init(params)), jax.jit(step, donate_argnums=0), infer


def _equinox(described: Network, dtype: Any) -> Model:
    import equinox as eqx

    from benchmarks.networks import of_equinox

    model = of_equinox.build(described)
    optimizer = optax.sgd(LEARNING_RATE, momentum=MOMENTUM)

    def forward(model: Any, x: jax.Array) -> jax.Array:
        arrays, rest = eqx.partition(model, eqx.is_inexact_array)
        cast = eqx.combine(_cast(arrays, dtype), rest)
        return jax.vmap(cast)(x.astype(dtype)).astype(jnp.float32)

    @eqx.filter_jit(donate="all-except-first")
    def update(batch: Any, model: Any, optimizer_state: Any) -> tuple[Any, Any, jax.Array]:
        x, labels = batch
        objective = eqx.filter_value_and_grad(lambda model: _loss(forward(model, x), labels))
        loss, gradient = objective(model)
        changes, optimizer_state = optimizer.update(gradient, optimizer_state)
        return eqx.apply_updates(model, changes), optimizer_state, loss

    def step(state: Any, x: jax.Array, labels: jax.Array) -> tuple[Any, jax.Array]:
        model, optimizer_state, loss = update((x, labels), *state)
        return (model, optimizer_state), loss

    forward_jitted = eqx.filter_jit(forward)
    state = (model, optimizer.init(eqx.filter(model, eqx.is_inexact_array)))
    return state, step, lambda state, x: forward_jitted(state[0], x)


def _loss(logits: jax.Array, labels: jax.Array) -> jax.Array:
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


def _cast(params: Any, dtype: Any) -> Any:
    return jax.tree.map(lambda array: array.astype(dtype), params)
