"""Strategies that draw valid arguments for every operation."""

from typing import Any, NamedTuple

import hypothesis.strategies as st
import jax.numpy as jnp
import numpy as np
from op_checks import Case

from cnn_jax import ops, reference

NAMES = ("VALID", "SAME", "SAME_LOWER", "FULL", "CAUSAL")
MODES = ("zeros", "zeros", "reflect", "replicate", "circular")
FLOATS = ("float32", "float32", "float64", "bfloat16", "float16")
INTEGERS = ("int32", "int8", "uint8", "int64")


class Call(NamedTuple):
    """An operation, its arrays' shapes and its other arguments."""

    name: str
    shapes: list[tuple[int, ...]]
    how: dict[str, Any]
    rest: tuple[Any, ...] = ()


batches = st.lists(st.integers(1, 2), max_size=2).map(tuple)
seeds = st.integers(0, 2**32 - 1)


@st.composite
def maybe_spread(draw: Any, rank: int, least: int, most: int) -> Any:
    """One int for all axes, or one for each."""
    number = st.integers(least, most)
    listed = st.lists(number, min_size=rank, max_size=rank)
    return draw(st.one_of(number, listed, listed.map(tuple)))


@st.composite
def paddings(draw: Any, rank: int, most: int = 3) -> Any:
    """Any padding of the vocabulary."""
    number = st.integers(0, most)
    entry = st.one_of(number, st.tuples(number, number))
    explicit = st.one_of(number, st.tuples(*[number] * rank), st.tuples(*[entry] * rank))
    return draw(st.one_of(st.sampled_from(NAMES), explicit))


def each(value: Any, rank: int) -> tuple[Any, ...]:
    """A value for each axis."""
    return tuple(value) if isinstance(value, (tuple, list)) else (value,) * rank


def total_padding(padding: Any, rank: int) -> tuple[tuple[int, int], ...]:
    """The pairs of an explicit padding; none for a named one."""
    if isinstance(padding, str):
        return ((0, 0),) * rank
    return tuple(each(entry, 2) for entry in each(padding, rank))  # pyright: ignore[reportReturnType]


def spans(window: Any, dilation: Any) -> tuple[int, ...]:
    """How many elements a window spans."""
    return tuple((k - 1) * d + 1 for k, d in zip(window, each(dilation, len(window)), strict=True))


@st.composite
def correlations(draw: Any, rank: int, name: str = "correlate") -> Case:
    """A valid call of `correlate` or `convolve`."""
    window = draw(st.tuples(*[st.integers(1, 3)] * rank))
    how = {
        "stride": draw(maybe_spread(rank, 1, 3)),
        "dilation": draw(maybe_spread(rank, 1, 2)),
        "padding": draw(paddings(rank)),
        "padding_mode": draw(st.sampled_from(MODES)),
        "groups": draw(st.sampled_from((1, 1, 2, 3))),
    }
    pairs, span = total_padding(how["padding"], rank), spans(window, how["dilation"])
    sizes = []
    named = isinstance(how["padding"], str) and how["padding"] != "VALID"
    for d, pair in zip(span, pairs, strict=True):
        least = 1 if named else d - sum(pair)
        if how["padding_mode"] == "reflect":
            least = max(least, d, max(pair) + 1)
        sizes.append(max(1, least) + draw(st.integers(0, 4 - rank)))
    return _case(draw, _with_kernel(draw, name, tuple(sizes), window, how))


@st.composite
def transposed_correlations(draw: Any, rank: int) -> Case:
    """A valid call of `correlate_transpose`, with arrays."""
    return _case(draw, draw(transposed_calls(rank)))


@st.composite
def transposed_calls(draw: Any, rank: int) -> Call:
    """A valid call of `correlate_transpose`."""
    window = draw(st.tuples(*[st.integers(1, 3)] * rank))
    stride = draw(maybe_spread(rank, 1, 3))
    how = {
        "stride": stride,
        "dilation": draw(maybe_spread(rank, 1, 2)),
        "padding": draw(paddings(rank, most=2)),
        "groups": draw(st.sampled_from((1, 1, 2, 3))),
    }
    if how["padding"] not in ("SAME", "SAME_LOWER"):
        how["output_padding"] = tuple(draw(st.integers(0, s - 1)) for s in each(stride, rank))
    span = spans(window, how["dilation"])
    pairs = total_padding(how["padding"], rank)
    if how["padding"] == "FULL":
        pairs = tuple((d - 1, d - 1) for d in span)
    # (n - 1) * stride + d - low - high must be positive.
    sizes = tuple(
        1 + max(0, -((d - 1 - sum(pair)) // s)) + draw(st.integers(0, 3 - rank))
        for s, d, pair in zip(each(stride, rank), span, pairs, strict=True)
    )
    return _with_kernel(draw, "correlate_transpose", sizes, window, how)


def _with_kernel(draw: Any, name: str, sizes: Any, window: Any, how: Any) -> Call:
    channels, features = draw(st.integers(1, 2)), draw(st.integers(1, 2))
    shape = (*draw(batches), *sizes, channels * how["groups"])
    shapes = [shape, (*window, channels, features * how["groups"])]
    if draw(st.booleans()):
        shapes.append(shapes[1][-1:])
    return Call(name, shapes, how)


@st.composite
def dense_calls(draw: Any) -> Case:
    """A valid call of `dense`."""
    inputs, outputs = draw(st.integers(1, 6)), draw(st.integers(1, 6))
    batch = draw(st.lists(st.integers(0, 3), max_size=3).map(tuple))
    shapes = [(*batch, inputs), (inputs, outputs)] + [(outputs,)] * draw(st.integers(0, 1))
    return _case(draw, Call("dense", shapes, {}))


@st.composite
def pools(draw: Any, rank: int, name: str) -> Case:
    """A valid call of `max_pool`, `min_pool` or `avg_pool`."""
    size = draw(st.tuples(*[st.integers(1, 3)] * rank))
    how = {
        "stride": draw(st.one_of(st.none(), maybe_spread(rank, 1, 3))),
        "dilation": draw(st.one_of(st.just(1), maybe_spread(rank, 1, 2))),
    }
    span = spans(size, how["dilation"])
    dilated = span != size
    # Padding narrower than the window leaves no window empty where there are no holes.
    least = [d if dilated else 1 for d in span]
    pair = [st.tuples(st.integers(0, d - 1), st.integers(0, d - 1)) for d in span]
    some = st.one_of(st.sampled_from(NAMES), st.just(min(span) - 1), st.tuples(*pair))
    how["padding"] = draw(some)
    total = total_padding(how["padding"], rank)
    if not isinstance(how["padding"], str) or how["padding"] == "VALID":
        least = [max(n, d - sum(p)) for n, d, p in zip(least, span, total, strict=True)]
    sizes = tuple(n + draw(st.integers(0, 4 - rank)) for n in least)
    if name == "avg_pool":
        how["count_include_pad"] = draw(st.booleans())
    shape = (*draw(batches), *sizes, draw(st.integers(1, 2)))
    argument = size[0] if rank == 2 and len(set(size)) == 1 and draw(st.booleans()) else size
    return _case(draw, Call(name, [shape], how, (argument,)))


@st.composite
def global_pools(draw: Any, name: str) -> Case:
    """A valid call of `global_max_pool` or `global_avg_pool`."""
    spatial = draw(st.integers(1, 3))
    batch = draw(st.lists(st.integers(0, 2), max_size=3).map(tuple))
    sizes = draw(st.tuples(*[st.integers(1, 4)] * spatial))
    shape = (*batch, *sizes, draw(st.integers(1, 3)))
    return _case(draw, Call(name, [shape], {}, (spatial,)))


def _case(draw: Any, call: Call) -> Case:
    name, shapes, how, rest = call
    rng = np.random.default_rng(draw(seeds))
    dtypes = FLOATS if "avg" in name else FLOATS + INTEGERS
    dtype = jnp.dtype(draw(st.sampled_from(dtypes)))
    mapped = draw(st.tuples(*[st.booleans()] * len(shapes)).filter(any))
    # Pooling compares elements, so they lie a whole one apart: no step reorders them.
    pooling = len(shapes) == 1
    arrays = [_apart(rng, s) if pooling else rng.standard_normal(s) for s in shapes]
    if np.issubdtype(dtype, np.integer):
        limits = np.iinfo(np.int8 if dtype.itemsize > 1 else dtype)
        values = [rng.integers(limits.min, limits.max + 1, s).astype(dtype) for s in shapes]
    else:
        values = [rng.standard_normal(s).astype(dtype) for s in shapes]

    def operation(*arrays: Any) -> Any:
        return getattr(ops, name)(*arrays, *rest, **how)

    def truth(*arrays: Any) -> np.ndarray:
        return getattr(reference, name)(*arrays, *rest, **how)

    exact = "max" in name or "min" in name
    return Case(operation, truth, arrays, values, mapped, int(rng.integers(2**32)), exact)


def _apart(rng: np.random.Generator, shape: Any) -> np.ndarray:
    count = int(np.prod(shape))
    return rng.permutation(count).reshape(shape) - count / 2
