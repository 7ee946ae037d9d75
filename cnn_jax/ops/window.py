"""Sliding windows: stride, dilation and padding as explicit numbers, output sizes, and the errors.

Every operation here slides a window along the spatial axes. On an axis of size `n`, a window of
`k` elements, `dilation` apart, spans `d = (k - 1) * dilation + 1` elements; with `low` and `high`
elements of padding it has `(n + low + high - d) // stride + 1` positions.

| padding | `(low, high)` on each axis |
|---|---|
| `"VALID"` | none |
| `"SAME"` | as little as gives `ceil(n / stride)` positions; the odd element goes high |
| `"SAME_LOWER"` | the same; the odd element goes low |
| `"FULL"` | `d - 1` on both sides: every window that touches the input |
| `"CAUSAL"` | `d - 1` low: an output sees no input that comes after it |
| `p` | `p` on both sides of every axis |
| `(p, q, ...)` | one entry for each axis: an int for both sides, or a pair `(low, high)` |
"""

import math
import operator
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from cnn_jax.ops.check import Call, Shape

Padding = (
    Literal["VALID", "SAME", "SAME_LOWER", "FULL", "CAUSAL"]
    | int
    | Sequence[int]
    | Sequence[Sequence[int]]
)
Pairs = tuple[tuple[int, int], ...]

NAMES = ("VALID", "SAME", "SAME_LOWER", "FULL", "CAUSAL")
LARGEST_NUMBER = 2**31 - 1
MOST_ELEMENTS = 2**63 - 1


class Window(NamedTuple):
    """A sliding window with every number explicit, one for each spatial axis."""

    size: Shape
    stride: Shape
    padding: Pairs
    dilation: Shape
    output: Shape

    @property
    def rank(self) -> int:
        """The number of spatial axes."""
        return len(self.size)

    @property
    def span(self) -> Shape:
        """How many elements the window spans on each axis, its holes included."""
        return _span(self.size, self.dilation)


def slide(
    call: Call, sizes: Shape, window: Shape, *, stride: Any, padding: Any, dilation: Any
) -> Window:
    """The window that slides over an input with the spatial `sizes`.

    Raises: `TypeError` or `ValueError`, in the name of `call`, for whatever makes no sense.
    """
    _check_sizes(call, sizes)
    rank = len(window)
    stride = spread(call, "stride", stride, rank, least=1)
    dilation = spread(call, "dilation", dilation, rank, least=1)
    span = _span(window, dilation)
    pairs = _pairs(call, padding, span, stride, sizes)
    padded = tuple(n + low + high for n, (low, high) in zip(sizes, pairs, strict=True))
    for axis, (have, need) in enumerate(zip(padded, span, strict=True)):
        if have < need:
            raise call.value_error(
                f"the window spans {need} elements on spatial axis {axis}, but the input has only "
                f"{have} there, padding included; the output would be empty"
            )
    output = tuple((n - d) // s + 1 for n, d, s in zip(padded, span, stride, strict=True))
    return Window(window, stride, pairs, dilation, output)


def slide_transpose(
    call: Call,
    sizes: Shape,
    window: Shape,
    *,
    stride: Any,
    padding: Any,
    output_padding: Any,
    dilation: Any,
) -> Window:
    """The window whose `output` are the sizes that `slide` with the same numbers maps to `sizes`.

    Raises: `TypeError` or `ValueError`, in the name of `call`, for whatever makes no sense.
    """
    _check_sizes(call, sizes)
    rank = len(window)
    stride = spread(call, "stride", stride, rank, least=1)
    dilation = spread(call, "dilation", dilation, rank, least=1)
    extra = spread(call, "output_padding", output_padding, rank, least=0)
    if any(e >= s for e, s in zip(extra, stride, strict=True)):
        raise call.value_error(
            f"output_padding must be smaller than stride, but they are {extra} and {stride}"
        )
    span = _span(window, dilation)
    if isinstance(padding, str) and padding in ("SAME", "SAME_LOWER"):
        if any(extra):
            raise call.value_error(
                f"output_padding must be 0 with padding {padding!r}, which by itself "
                f"makes the output stride times the input, not {extra}"
            )
        output = tuple(n * s for n, s in zip(sizes, stride, strict=True))
        return Window(window, stride, _pairs(call, padding, span, stride, output), dilation, output)
    pairs = _pairs(call, padding, span, stride, sizes)
    output = tuple(
        (n - 1) * s + d - low - high + e
        for n, s, d, (low, high), e in zip(sizes, stride, span, pairs, extra, strict=True)
    )
    for axis, length in enumerate(output):
        if length < 1:
            raise call.value_error(
                f"the output would have {length} elements on spatial axis {axis}; "
                f"padding {pairs[axis]} crops more than there is"
            )
    return Window(window, stride, pairs, dilation, output)


def spread(call: Call, argument: str, value: Any, rank: int, *, least: int) -> Shape:
    """One int for each of `rank` axes, from one int for all of them or a sequence."""
    single = _integer(value)
    many = _entries(value) if single is None else (single,) * rank
    numbers = _integers(many)
    if numbers is None:
        raise call.type_error(f"{argument} must be {_wanted(rank)}, not {value!r}")
    if len(numbers) != rank:
        raise call.value_error(
            f"{argument} has {len(numbers)} entries, {value!r}, for {_axes(rank)}"
        )
    _check_range(call, argument, numbers, value, least)
    return numbers


def whole_number(call: Call, argument: str, value: Any) -> int:
    """One positive int."""
    number = _integer(value)
    if number is None:
        raise call.type_error(f"{argument} must be a positive int, not {value!r}")
    _check_range(call, argument, (number,), value, least=1)
    return number


def check_elements(call: Call, what: str, shape: Shape) -> None:
    """Raises where an array of this shape would have more elements than can be counted."""
    # A dimension left open for jax.export is no int, and unknown.
    if math.prod(length for length in shape if isinstance(length, int)) > MOST_ELEMENTS:
        raise call.value_error(
            f"{what} would have shape {list(shape)}: more than 2**63 - 1 elements"
        )


def _pairs(call: Call, padding: Any, span: Shape, stride: Shape, sizes: Shape) -> Pairs:
    """Any padding as one `(low, high)` for each spatial axis."""
    if isinstance(padding, str):
        return _named_pairs(call, padding, span, stride, sizes)
    rank = len(span)
    single = _integer(padding)
    entries = _entries(padding) if single is None else (single,) * rank
    if entries is None:
        raise call.type_error(f"padding must be {_wanted_padding()}, not {padding!r}")
    pairs = tuple(_pair(call, entry, padding) for entry in entries)
    if len(pairs) != rank:
        hint = "; write a pair for one axis as ((low, high),)" if rank == 1 else ""
        raise call.value_error(
            f"padding has {len(pairs)} entries, {padding!r}, for {_axes(rank)}{hint}"
        )
    return pairs


def _named_pairs(call: Call, name: str, span: Shape, stride: Shape, sizes: Shape) -> Pairs:
    if name == "VALID":
        return ((0, 0),) * len(span)
    if name == "FULL":
        return tuple((d - 1, d - 1) for d in span)
    if name == "CAUSAL":
        return tuple((d - 1, 0) for d in span)
    if name not in ("SAME", "SAME_LOWER"):
        raise call.value_error(f"padding must be {_wanted_padding()}, not {name!r}")
    totals = (
        max((math.ceil(n / s) - 1) * s + d - n, 0)
        for n, s, d in zip(sizes, stride, span, strict=True)
    )
    if name == "SAME":
        return tuple((total // 2, total - total // 2) for total in totals)
    return tuple((total - total // 2, total // 2) for total in totals)


def _pair(call: Call, entry: Any, padding: Any) -> tuple[int, int]:
    single = _integer(entry)
    numbers = _integers(_entries(entry)) if single is None else (single, single)
    if numbers is None or len(numbers) != 2:
        raise call.type_error(f"padding must be {_wanted_padding()}, not {padding!r}")
    _check_range(call, "padding", numbers, padding, least=0)
    return numbers[0], numbers[1]


def _check_range(call: Call, argument: str, numbers: Shape, value: Any, least: int) -> None:
    if any(number < least for number in numbers):
        hint = "; to crop, slice x" if argument == "padding" else ""
        raise call.value_error(f"{argument} must be at least {least}, not {value!r}{hint}")
    if any(number > LARGEST_NUMBER for number in numbers):
        raise call.value_error(f"{argument} must be at most {LARGEST_NUMBER}, not {value!r}")


def _check_sizes(call: Call, sizes: Shape) -> None:
    if 0 in sizes:
        raise call.value_error(f"x is empty: its spatial sizes are {list(sizes)}")


def _span(size: Shape, dilation: Shape) -> Shape:
    return tuple((k - 1) * d + 1 for k, d in zip(size, dilation, strict=True))


def _integer(value: Any) -> int | None:
    """`value` where it is a whole number known now; None for a bool, a float or a traced value."""
    if isinstance(value, bool):
        return None
    try:
        return operator.index(value)
    except TypeError:
        return None


def _entries(value: Any) -> tuple[Any, ...] | None:
    """The entries of a sequence; None for a string or what is no sequence."""
    if isinstance(value, str):
        return None
    try:
        return tuple(value)
    except TypeError:
        return None


def _integers(entries: tuple[Any, ...] | None) -> Shape | None:
    """The entries as ints; None unless every one is."""
    numbers = tuple(_integer(entry) for entry in entries or ())
    whole = tuple(number for number in numbers if number is not None)
    return None if entries is None or len(whole) != len(numbers) else whole


def _axes(rank: int) -> str:
    return f"{rank} spatial {'axis' if rank == 1 else 'axes'}"


def _wanted(rank: int) -> str:
    return f"an int, or a sequence of ints for {_axes(rank)}"


def _wanted_padding() -> str:
    names = ", ".join(repr(name) for name in NAMES)
    return f"one of {names}, an int, a sequence of ints, or a sequence of (low, high) pairs"
