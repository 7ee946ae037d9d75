"""Matrices that are transposed just before a product or just after it.

XLA reads and writes its own products in either order, but not what a library computes: `x @ w.T`
would copy the weights, and the gradient of `x @ w` with respect to `w`, which JAX writes as a
transposed product, would be computed and then copied. Here the transposition becomes part of the
product instead.
"""

from jax import lax
from jax.core import ShapedArray
from jax.interpreters import mlir

from cnn_jax.cpu import dense, private

PRIMITIVE = lax.transpose_p


def before(operands, avals_in, params):
    """A product's operands, their abstract values and its parameters, before any transposition."""
    contract, batch = params["dimension_numbers"]
    operands, avals_in, contract = list(operands), list(avals_in), list(contract)
    if any(batch):
        return operands, avals_in, params
    for i, (operand, aval) in enumerate(zip(operands, avals_in, strict=True)):
        given = private.matrix_behind(operand)
        if given is None or len(contract[i]) != 1:
            continue
        operands[i] = given
        avals_in[i] = ShapedArray(aval.shape[::-1], aval.dtype)
        contract[i] = (1 - contract[i][0],)
    return operands, avals_in, {**params, "dimension_numbers": (tuple(contract), batch)}


def lower(context, operand, *, permutation):
    """A product's transposed result, lowered as another product; or None."""
    made = dense.behind(operand) if tuple(permutation) == (1, 0) else None
    # Only gradients sum over the first axes of both operands. What else is transposed may be wanted
    # as it is, too.
    if made is None or private.uses(operand) or not _over_first_axes(made[0]):
        return None
    product, operands, avals_in = made
    build = dense.call(product.exchanged, context.avals_out[0].shape)
    lowered = mlir.lower_fun(build, multiple_results=False)
    return lowered(context.replace(avals_in=avals_in[::-1]), *operands[::-1])


def _over_first_axes(product: dense.Product) -> bool:
    return product.left_transposed and not product.right_transposed
