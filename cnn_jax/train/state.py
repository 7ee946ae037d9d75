"""What a training run is made of from one step to the next."""

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jax.core import Tracer

from cnn_jax.layers import Layer


@struct.dataclass
class State:
    """Everything that training changes; the same state always goes on in the same way.

    `step: int32[]` counts the steps taken; `params` are the model's parameters; `optimizer_state`
    is the optax optimiser's own (momentum and the like); `key` is the root of all randomness to
    come. Shuffles and dropout masks are drawn from `key` and `step`, so `key` itself never changes
    and a saved state continues exactly as an uninterrupted one.
    """

    step: jax.Array
    params: Any
    optimizer_state: Any
    key: jax.Array


def create(
    model: Layer,
    optimizer: optax.GradientTransformation,
    key: jax.Array,
    shape: Sequence[int],
) -> State:
    """Return the state before the first step.

    `shape` is that of one example, `(*spatial, channels)`. `key` is a `jax.random.key`; one half
    of it makes the parameters, the other drives the training.

    Raises `TypeError` for a key of another kind, and what `model.init` raises for shapes that do
    not fit.

    >>> import cnn_jax as cnn, jax, optax
    >>> model = cnn.serial(cnn.flatten, cnn.dense(10))
    >>> state = create(model, optax.sgd(0.1), jax.random.key(0), (8, 8, 1))
    >>> int(state.step), state.params["dense_0"]["kernel"].shape
    (0, (64, 10))
    """
    check_key("create", key)
    shape = tuple(shape)
    if isinstance(key, Tracer):  # under the caller's own jit or vmap
        return _build(model, optimizer, shape, key)
    return _program(on_cpu=jax.default_backend() == "cpu")(model, optimizer, shape, key)


def _build(
    model: Layer, optimizer: optax.GradientTransformation, shape: tuple[int, ...], key: jax.Array
) -> State:
    for_params, for_training = jax.random.split(key)
    params = model.init(for_params, shape)
    with optax_promotion():
        optimizer_state = optimizer.init(params)
    return State(jnp.zeros((), jnp.int32), params, optimizer_state, for_training)


@functools.cache
def _program(*, on_cpu: bool) -> Callable[..., State]:
    """Return `_build` as one program, not dozens of small ones; the next seed reuses it.

    It hardly runs, so on a CPU, where optimising it takes seconds, it is compiled without.
    """
    options = {"xla_backend_optimization_level": 0} if on_cpu else None
    return jax.jit(_build, static_argnums=(0, 1, 2), compiler_options=options)


@contextmanager
def optax_promotion() -> Iterator[None]:
    """Let optimisers mix dtypes and ranks, as some of optax's do, where the user forbids it."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def check_key(name: str, key: jax.Array) -> None:
    """Raise `TypeError` unless `key` is one random key."""
    is_key = isinstance(key, jax.Array) and jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
    if not is_key or key.shape:
        raise TypeError(
            f"{name}: key must be one random key such as jax.random.key(0), not "
            f"{jax.typeof(key) if isinstance(key, jax.Array) else repr(key)}"
        )
