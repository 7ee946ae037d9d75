"""Arrays that are reversed twice, as the kernel of an input gradient is.

JAX writes an input gradient as a convolution with the reversed kernel, and the library takes the
kernel as it was. In half precision XLA has no reversal: it puts conversions around each of the two,
and then no longer sees that they cancel.
"""

from jax import lax

from cnn_jax.cpu import private

PRIMITIVE = lax.rev_p


def lower(operand, *, dimensions: tuple[int, ...]):
    """What was reversed along the same axes before, as it was then; None for any other array."""
    given = private.array_reversed(operand, tuple(dimensions))
    return None if given is None else [given]
