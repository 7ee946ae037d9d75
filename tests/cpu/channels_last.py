"""A convolution with its channels last, spelt shorter than JAX does."""

import functools

import jax
from jax import lax

from cnn_jax import cpu


def correlate(
    x,
    kernel,
    stride: int | tuple = 1,
    padding: int | tuple = 0,
    dilation: int | tuple = 1,
    groups=1,
) -> jax.Array:
    """A number stands for all axes, and a padding for both of its ends."""
    rank = x.ndim - 2
    spatial = "DHW"[-rank:]

    def all_axes(value):
        return value if isinstance(value, tuple) else (value,) * rank

    return lax.conv_general_dilated(
        x,
        kernel,
        all_axes(stride),
        [pad if isinstance(pad, tuple) else (pad, pad) for pad in all_axes(padding)],
        rhs_dilation=all_axes(dilation),
        feature_group_count=groups,
        dimension_numbers=(f"N{spatial}C", f"{spatial}IO", f"N{spatial}C"),
    )


def kernels_of(x, kernel, dtype="float32", **keywords) -> list[str]:
    """For arrays of these shapes: those of the result, and of its gradients by x and the kernel."""
    arrays = [jax.ShapeDtypeStruct(shape, dtype) for shape in (x, kernel)]
    result = functools.partial(correlate, **keywords)
    # Gradients alone leave the value out.
    gradients = [
        jax.grad(lambda x, kernel: result(x, kernel).sum(), argument) for argument in (0, 1)
    ]
    with cpu.installed():
        return [cpu.explain(f, *arrays).rows[-1].kernel for f in (result, *gradients)]
