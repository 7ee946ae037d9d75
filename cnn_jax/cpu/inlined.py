"""Functions under `jax.jit` that are called with an array whose order in memory is not its own.

Inside of a function that JAX lowers by itself nothing shows how its arguments lie in memory, so
that `jnp.var` of a picture with the channels first would copy it. XLA puts such functions where
they are called; so does this, a little earlier.
"""

from jax.extend.core import jaxpr_as_fun
from jax.extend.core.primitives import jit_p
from jax.interpreters import mlir
from jax.sharding import Sharding

from cnn_jax.cpu import lowered, private, reordered, views

PRIMITIVE = jit_p


def lower(context, operands, params):
    """The results of such a function, lowered where it is called; None for any other."""
    program = params["jaxpr"]
    shardings = (*params["in_shardings"], *params["out_shardings"])
    if not reordered.are_views(context) or program.effects or private.is_marked(context):
        return None
    if params["compiler_options_kvs"] or any(isinstance(s, Sharding) for s in shardings):
        return None
    if not any(_lies_otherwise(context, operand) for operand in operands):
        return None
    if program.consts:
        return mlir.lower_fun(jaxpr_as_fun(program), multiple_results=True)(context, *operands)
    return private.lower_program(context, program, *operands)


def _lies_otherwise(context, value) -> bool:
    order = lowered.order_in_memory(context, value)
    return order is not None and order != views.straight(len(order))
