"""A fault of XLA's algebraic simplifier, for all that hands convolutions to it (jaxlib 0.10)."""

from collections.abc import Sequence


def aborts(
    *,
    input: Sequence[int],
    window: Sequence[int],
    lhs_dilation: Sequence[int],
    rhs_dilation: Sequence[int],
    padding: Sequence[tuple[int, int]],
) -> bool:
    """Whether XLA ends the process on a convolution of these spatial axes.

    It takes an axis with a dilation and a window of two and no padding for a batch of groups,
    whatever its length, and fails a check where it also swaps input and kernel, which it does only
    where the kernel is the longer one on another axis.

    >>> both = {"lhs_dilation": (2, 1), "rhs_dilation": (1, 1), "padding": ((0, 0), (3, 3))}
    >>> aborts(input=(5, 2), window=(2, 4), **both), aborts(input=(5, 4), window=(2, 4), **both)
    (True, False)
    """
    mistaken = [
        (k, d, step, pair) == (2, 2, 1, (0, 0)) and n != 2
        for k, d, step, pair, n in zip(
            window, lhs_dilation, rhs_dilation, padding, input, strict=True
        )
    ]
    longer = any(k > n for k, n in zip(window, input, strict=True))
    return longer and any(mistaken)
