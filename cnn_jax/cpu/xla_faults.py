"""Convolutions that XLA gets wrong, or aborts on, written so that it does not (jaxlib 0.10)."""

import jax
from jax import lax

from cnn_jax import xla_simplifier
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
    return layout.convolution_of_padded(
        c, padded, rhs, precision=precision, preferred_element_type=preferred_element_type
    )


def _aborts(c: Convolution) -> bool:
    return xla_simplifier.aborts(
        input=c.input,
        window=c.window,
        lhs_dilation=c.lhs_dilation,
        rhs_dilation=c.rhs_dilation,
        padding=c.padding,
    )
