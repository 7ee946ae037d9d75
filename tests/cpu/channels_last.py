"""A convolution with its channels last, spelt shorter than JAX does."""

import jax
from jax import lax


def correlate(x, kernel, stride=1, padding=0, dilation=1, groups=1) -> jax.Array:
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
