"""Optax's optimisers by name, with weight decay that works for each of them."""

import inspect
import math
from typing import Any

import jax
import optax

from cnn_jax.train.schedules import check_learning_rate

# The first three need more than a gradient and a learning rate: a line search's function values, a
# key. Optax is about to drop the last.
_LEFT_OUT = {"lbfgs", "noisy_sgd", "polyak_sgd", "optimistic_adam"}
_DECAYS = ("weight_decay", "weight_decay_rate")
_MASKS = ("mask", "weight_decay_mask")


def _is_optimizer(name: str) -> bool:
    function = getattr(optax, name)
    if name.startswith(("_", "scale_by_")) or name in _LEFT_OUT:
        return False
    if not inspect.isfunction(function):
        return False
    arguments = inspect.signature(function).parameters
    return "learning_rate" in arguments and all(
        argument.default is not inspect.Parameter.empty
        for name, argument in arguments.items()
        if name != "learning_rate"
    )


OPTIMIZERS = tuple(sorted(name for name in dir(optax) if _is_optimizer(name)))
"""The names that `optimizer` accepts: every optax optimiser that asks for gradients alone."""


def optimizer(
    name: str = "sgd",
    learning_rate: float | optax.Schedule = 0.05,
    *,
    momentum: float | None = None,
    weight_decay: float = 0.0,
    clip: float | None = None,
    **options: Any,
) -> optax.GradientTransformation:
    """Return the optax optimiser called `name`.

    - `learning_rate`: a number, or a `schedule`.
    - `momentum`: 0.9 for `sgd` unless given; for the others optax's default.
    - `weight_decay`: pulls kernels (arrays of two dimensions or more) towards zero, never biases.
      Optimisers with a decay of their own, such as `adamw` and `lion`, do it their way, decoupled
      from the gradient (Loshchilov and Hutter, 2019). The others, `sgd` among them, add
      `weight_decay * kernel` to the gradient, an L2 penalty.
    - `clip`: the largest global norm that a gradient keeps (Pascanu et al., 2013).
    - `options`: optax's own further arguments, for example `nesterov=True` or `b1=0.8`.

    Raises `ValueError` for unknown names and for numbers that are negative or not finite, and
    `TypeError` for options that the optimiser does not have.

    >>> optimizer("adamw", 1e-3, weight_decay=0.01)  # doctest: +ELLIPSIS
    GradientTransformation...
    >>> optimizer("sgdd")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ValueError: optimizer: unknown name 'sgdd'; the optimisers are adabelief, adadelta, ...
    """
    if name not in OPTIMIZERS:
        raise ValueError(
            f"optimizer: unknown name {name!r}; the optimisers are {', '.join(OPTIMIZERS)}"
        )
    if not callable(learning_rate):
        check_learning_rate("optimizer", learning_rate)
    _check_range("weight_decay", weight_decay, low=0.0)
    function = getattr(optax, name)
    accepted = inspect.signature(function).parameters
    if momentum is None and name == "sgd":
        momentum = 0.9
    if momentum is not None:
        _check_range("momentum", momentum, low=0.0, high=1.0)
        options["momentum"] = momentum
    unknown = sorted(set(options) - set(accepted))
    if unknown:
        known = [key for key in accepted if key not in ("learning_rate", *_DECAYS)]
        raise TypeError(
            f"optimizer: {name} takes no {', '.join(unknown)}; "
            f"it takes {', '.join(known) or 'nothing more'}"
        )
    own_decay = next((key for key in _DECAYS if key in accepted), None)
    own_mask = next((key for key in _MASKS if key in accepted), None)
    before: list[optax.GradientTransformation] = []
    if clip is not None:
        _check_range("clip", clip, low=0.0, above=True)
        before.append(optax.clip_by_global_norm(clip))
    if own_decay and own_mask:
        options = {own_decay: weight_decay, own_mask: _is_kernel, **options}
    elif weight_decay:
        before.append(optax.add_decayed_weights(weight_decay, mask=_is_kernel))
    built = function(learning_rate, **options)
    return optax.chain(*before, built) if before else built


def _is_kernel(params: Any) -> Any:
    return jax.tree.map(lambda array: array.ndim >= 2, params)


def _check_range(
    name: str, value: float, *, low: float, high: float = math.inf, above: bool = False
) -> None:
    fits = math.isfinite(value) and (low < value if above else low <= value) and value < high
    if not fits:
        where = f"above {low:g}" if above else f"of at least {low:g}"
        if math.isfinite(high):
            where += f" and below {high:g}"
        raise ValueError(f"optimizer: {name} must be a finite number {where}, not {value}")
