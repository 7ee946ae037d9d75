"""Positions of a layer's output in one line, with gaps as wide as its window reaches."""

from collections.abc import Sequence


def filled(
    input: Sequence[int],
    output: Sequence[int],
    window: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
    low: Sequence[int],
) -> float:
    """What part of the line are positions; see native/gapped_line.cpp."""
    part = 1.0
    axes = zip(input, output, window, stride, dilation, low, strict=True)
    for size, positions, elements, step, apart, before in axes:
        places = -(-before // step)
        met = positions + max(0, ((elements - 1) * apart - before) // step)
        part *= positions / max(met, min(met, -(-size // step)) + places)
    return part
