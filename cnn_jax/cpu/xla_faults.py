"""Convolutions that XLA gets wrong, or aborts on, written so that it does not (jaxlib 0.10)."""

import jax
from jax import lax

from cnn_jax.cpu import xla_convolution_layout as layout
from cnn_jax.cpu.convolution import Convolution


def fault(c: Convolution) -> str | None:
    """What would upset XLA's own rule, or None."""
    if c.empty:
        return None
    if layout.negative(c):
        return "the padding is negative"
    if _aborts(c):
        return "XLA aborts on this dilation of the input"
    return None


def written_out(
    c: Convolution, lhs: jax.Array, rhs: jax.Array, *, precision, preferred_element_type
) -> jax.Array:
    """The convolution of an input that is padded and dilated first."""
    # Without the barrier XLA would make them the convolution's own again.
    padded = lax.optimization_barrier(layout.padded(c, lhs))
    return lax.conv_general_dilated(
        padded,
        rhs,
        c.stride,
        ((0, 0),) * c.rank,
        rhs_dilation=c.rhs_dilation,
        dimension_numbers=layout.dimension_numbers(c.lhs_axes, c.rhs_axes, c.out_axes),
        feature_group_count=c.feature_groups,
        batch_group_count=c.batch_groups,
        precision=precision,
        preferred_element_type=preferred_element_type,
    )


def _aborts(c: Convolution) -> bool:
    # XLA's simplifier takes an axis with a dilation and a window of two and no padding for a batch
    # of groups, whatever its length, and fails a check where it also swaps input and kernel, which
    # it does only where the kernel is the longer one on another axis.
    mistaken = [
        (window, lhs_dilation, rhs_dilation, padding) == (2, 2, 1, (0, 0)) and size != 2
        for window, lhs_dilation, rhs_dilation, padding, size in zip(
            c.window, c.lhs_dilation, c.rhs_dilation, c.padding, c.input, strict=True
        )
    ]
    longer = any(window > size for window, size in zip(c.window, c.input, strict=True))
    return longer and any(mistaken)
