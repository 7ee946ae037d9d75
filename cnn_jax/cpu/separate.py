"""Keeps a part of a computation out of XLA's fusion."""

import functools
from collections.abc import Callable

import jax
from jax.experimental.xla_metadata import set_xla_metadata


def separately(function: Callable) -> Callable:
    """The function, computed on its own and its result written to memory once.

    XLA would merge it into whatever uses the result and compute it again for each use. An
    optimisation barrier is gone before that happens; a call that may not be inlined is not.
    """
    apart = jax.jit(function, inline=False)

    @functools.wraps(function)
    def call(*operands):
        with set_xla_metadata(inlineable="false"):
            return apart(*operands)

    return call
