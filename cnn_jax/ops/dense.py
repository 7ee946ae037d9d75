"""The fully connected layer and the activation that goes with it."""

import jax
from jax import Array, lax
from jax.typing import ArrayLike

from cnn_jax.ops.bias import add_bias
from cnn_jax.ops.check import (
    FLOATING,
    INTEGER,
    Call,
    as_array,
    check_bias,
    check_dtypes,
)


def dense(
    x: ArrayLike,
    kernel: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    precision: lax.PrecisionLike = None,
) -> Array:
    """Connects every input feature to every output feature by a weight.

        y[f] = bias[f] + sum over c of x[c] * kernel[c, f]

    Args:
        x: `[*batch, in_features]`, with any number of batch dimensions, none included.
        kernel: `[in_features, out_features]`.
        bias: `[out_features]`, or None.
        precision: passed to XLA, as in `jax.lax.dot_general`.

    Returns:
        `[*batch, out_features]`, in the dtype of `x`. float16 and bfloat16 are accumulated in
        float32 and rounded once; integers wrap around as NumPy's do.

    Raises:
        TypeError: for a dtype that is not a real float or an integer, or operands of different
            dtypes.
        ValueError: for shapes that do not fit.

    >>> import jax.numpy as jnp
    >>> kernel = jnp.array([[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]])
    >>> dense(jnp.array([1.0, 2.0, 3.0]), kernel, bias=jnp.array([0.5, 0.0])).tolist()
    [4.5, 7.0]
    """
    x, kernel = as_array("dense", "x", x), as_array("dense", "kernel", kernel)
    operands = {"x": x, "kernel": kernel}
    if bias is not None:
        bias = operands["bias"] = as_array("dense", "bias", bias)
    call = Call("dense", operands)
    check_dtypes(call, FLOATING + INTEGER)
    if kernel.ndim != 2:
        raise call.value_error(
            f"kernel must be [in_features, out_features], but it has {kernel.ndim} dimensions"
        )
    if x.ndim < 1:
        raise call.value_error("x must be [*batch, in_features], but it has no dimensions")
    if 0 in kernel.shape:
        raise call.value_error("kernel is empty")
    if x.shape[-1] != kernel.shape[0]:
        raise call.value_error(
            f"kernel has {kernel.shape[0]} input features, but x has {x.shape[-1]}"
        )
    check_bias(call, kernel.shape[1])
    contract_features = (((x.ndim - 1,), (0,)), ((), ()))
    return add_bias(lax.dot_general(x, kernel, contract_features, precision=precision), bias)


def relu(x: ArrayLike) -> Array:
    """The rectified linear unit: `max(x, 0)`, elementwise, with gradient 0 at 0.

    Args:
        x: any shape; a real float or an integer dtype, which it keeps.

    Raises:
        TypeError: for any other dtype.

    Source: Nair and Hinton, 'Rectified linear units improve restricted Boltzmann machines' (2010).

    >>> import jax.numpy as jnp
    >>> relu(jnp.array([-1.0, 0.0, 2.0])).tolist()
    [0.0, 0.0, 2.0]
    """
    x = as_array("relu", "x", x)
    check_dtypes(Call("relu", {"x": x}), FLOATING + INTEGER)
    return jax.nn.relu(x)
