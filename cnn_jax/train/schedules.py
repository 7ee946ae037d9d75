"""Learning rates that change over a run, by name."""

import math
from collections.abc import Callable
from types import MappingProxyType

import jax.numpy as jnp
import optax

Schedule = Callable[[float, int], optax.Schedule]

# Each falls from `peak` over `steps` steps.
_SHAPES: MappingProxyType[str, Schedule] = MappingProxyType(
    {
        "constant": lambda peak, steps: optax.constant_schedule(peak),
        "cosine": lambda peak, steps: optax.cosine_decay_schedule(peak, steps),
        "linear": lambda peak, steps: optax.linear_schedule(peak, 0.0, steps),
        "exponential": lambda peak, steps: optax.exponential_decay(peak, steps, 0.01),
    }
)

SCHEDULES = tuple(sorted(_SHAPES))
"""The names that `schedule` accepts."""


def schedule(
    name: str, learning_rate: float, steps: int, *, warmup_steps: int = 0
) -> optax.Schedule:
    """Return the function from the step's number to its learning rate.

    The rate rises linearly from 0 to `learning_rate` over `warmup_steps`, then follows `name` to
    the end of the `steps`: `constant` stays; `linear` and `cosine` (Loshchilov and Hutter, SGDR,
    2017) fall to 0; `exponential` falls to a hundredth.

    Raises `ValueError` for an unknown name, a learning rate that is not a positive finite number,
    and numbers of steps that do not fit together.

    >>> rate = schedule("cosine", 0.1, 100, warmup_steps=20)
    >>> [round(float(rate(step)), 3) for step in (0, 10, 20, 60, 100)]
    [0.0, 0.05, 0.1, 0.05, 0.0]
    """
    if name not in _SHAPES:
        raise ValueError(
            f"schedule: unknown name {name!r}; the schedules are {', '.join(SCHEDULES)}"
        )
    check_learning_rate("schedule", learning_rate)
    if steps < 1:
        raise ValueError(f"schedule: steps must be at least 1, not {steps}")
    if not 0 <= warmup_steps < steps:
        raise ValueError(
            f"schedule: warmup_steps must lie in 0..{steps - 1} for {steps} steps, "
            f"not {warmup_steps}"
        )
    curve = _SHAPES[name](learning_rate, steps - warmup_steps)
    if warmup_steps:
        rise = optax.linear_schedule(0.0, learning_rate, warmup_steps)
        curve = optax.join_schedules([rise, curve], [warmup_steps])
    # Optax mixes the integer step with floats, which strict dtype promotion forbids.
    return lambda step: jnp.asarray(curve(jnp.asarray(step, jnp.float32)), jnp.float32)


def check_learning_rate(name: str, learning_rate: float) -> None:
    """Raise unless `learning_rate` is a positive finite number."""
    if not (math.isfinite(learning_rate) and learning_rate > 0):
        raise ValueError(
            f"{name}: learning_rate must be a finite number above 0, not {learning_rate}"
        )
