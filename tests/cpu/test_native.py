"""The native library by itself, called with drawn configurations, against NumPy."""

import collections
import dataclasses
import itertools
import math
import re
from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, event, given
from hypothesis import strategies as st

from cnn_jax import cpu
from cnn_jax.cpu import native_library

FORWARD, INPUT_GRADIENT, KERNEL_GRADIENT = range(3)
METHODS = (
    DIRECT,
    WINOGRAD,
    OUTER_PRODUCTS,
    IMPLICIT_PRODUCT,
    DEPTHWISE,
    WINDOW_ROWS,
    PLANAR_ROWS,
    WINOGRAD_SLICES,
) = range(8)
DTYPES = (jnp.float32, jnp.bfloat16)
ODD = (0, 1, 2, 3, 7, -1, 2**20, 2**31 - 1, 2**31, 2**63 - 1, -(2**63))


@pytest.fixture(scope="module", autouse=True)
def _native():
    missing = cpu.status().missing
    if missing:
        pytest.skip(missing)


def test_the_library_calls_only_what_every_build_of_onednn_3_has():
    # Those whose names end so come with experiments that a build may leave out.
    code = native_library.find().read_bytes()
    if b".debug_str" in code:
        pytest.skip("what is kept for debuggers names them all")
    assert not re.findall(rb"dnnl_\w+_v2\0", code)


def test_no_two_types_of_the_library_have_one_name():
    # The linker takes what belongs to one of them for the other's, and no compiler says so.
    sources = Path(__file__).parents[2] / "cnn_jax/cpu/native"
    names = collections.Counter()
    for path in [*sources.glob("*.h"), *sources.glob("*.cpp")]:
        # What stands in a namespace without a name is a file's own.
        shared = re.sub(
            r"^namespace \{.*?^\}  // namespace$", "", path.read_text(), flags=re.S | re.M
        )
        names.update(re.findall(r"^(?:struct|class|enum class) (\w+)[^;]*\{$", shared, re.M))
    assert names["Configuration"] == 1
    assert not [name for name, count in names.items() if count > 1]


@dataclasses.dataclass(frozen=True)
class Configuration:
    """The numbers that cross to the library, in its order; see native/configuration.h."""

    kind: int
    method: int
    dtype: int
    groups: int
    batch: int
    in_channels: int
    out_channels: int
    input: tuple[int, ...]
    output: tuple[int, ...]
    window: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    low: tuple[int, ...]
    high: tuple[int, ...]
    # The axes of each array in memory, the outermost first.
    source_order: tuple[int, ...]
    weights_order: tuple[int, ...]
    destination_order: tuple[int, ...]

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """Of source, weights and destination, as the library counts their axes."""
        o, i = self.out_channels // self.groups, self.in_channels // self.groups
        return [
            (self.batch, self.in_channels, *self.input),
            (self.groups, o, i, *self.window),
            (self.batch, self.out_channels, *self.output),
        ]

    @property
    def strides(self) -> list[tuple[int, ...]]:
        """In elements, of the three arrays."""
        orders = self.source_order, self.weights_order, self.destination_order
        return [_strides(*pair) for pair in zip(self.shapes, orders, strict=True)]

    def numbers(self) -> list[int]:
        """All of it as a list."""
        axes = (self.input, self.output, self.window, self.stride, self.dilation)
        counts = (self.groups, self.batch, self.in_channels, self.out_channels)
        head = [
            native_library.FORMAT,
            self.kind,
            self.method,
            0,
            self.dtype,
            len(self.input),
            *counts,
        ]
        return [*head, *itertools.chain(*axes, self.low, self.high, *self.strides)]


def _strides(shape: tuple[int, ...], order: tuple[int, ...]) -> tuple[int, ...]:
    strides = [0] * len(shape)
    step = 1
    for axis in reversed(order):
        strides[axis], step = step, step * shape[axis]
    return tuple(strides)


@st.composite
def configurations(draw, methods: Sequence[int] = METHODS) -> Configuration:
    """Hostile ones among them: most of those the library must refuse."""
    method = draw(st.sampled_from(methods))
    # The other methods compute little else than what is drawn for them.
    suited = method != DIRECT and draw(st.integers(0, 7)) > 0
    usual, outer = suited and method == WINOGRAD, suited and method == OUTER_PRODUCTS
    implicit = suited and method == IMPLICIT_PRODUCT
    depthwise, narrow = suited and method == DEPTHWISE, suited and method == WINDOW_ROWS
    planar, slices = suited and method == PLANAR_ROWS, suited and method == WINOGRAD_SLICES
    rank = 2 if usual else 3 if slices else draw(st.sampled_from([1, 1, 2, 2, 2, 2, 2, 3, 3, 0, 4]))

    def sizes(*choices: int) -> tuple[int, ...]:
        return tuple(draw(st.sampled_from(choices)) for _ in range(rank))

    def layout(*fixed: int) -> tuple[int, ...]:
        axes = range(len(fixed) + rank)
        channels_last = (*[a for a in axes if a not in fixed[1:]], *fixed[1:])
        ours = implicit or depthwise or narrow or planar or slices
        if outer or (ours and len(fixed) == 2):
            return channels_last
        return draw(
            st.sampled_from([channels_last, tuple(axes)]) | st.permutations(axes).map(tuple)
        )

    single = usual or outer or narrow or planar or slices
    groups = 1 if single else draw(st.sampled_from([1, 1, 1, 2, 3, 5, 17]))
    per_group = st.sampled_from([1, 1, 2, 3, 4, 8, 16, 17, 1000])
    if depthwise:
        groups, per_group = draw(st.sampled_from([1, 3, 15, 16, 17, 32, 33, 100])), st.just(1)
    if planar:
        per_group = st.sampled_from([1, 2, 3, 4, 8, 9])
    input = sizes(1, 2, 3, 5, 7, 8, 13) if draw(st.integers(0, 15)) else sizes(0, 1, 5)
    window, stride = sizes(1, 2, 3, 3, 5, 7), sizes(1, 1, 2, 3, 9)
    dilation = sizes(1, 1, 1, 2, 20) if draw(st.booleans()) else (1,) * rank
    if usual:
        window, stride, dilation = (3, 3), (1, 1), (1, 1)
    if slices:
        window, stride, dilation = (window[0], 3, 3), (1, 1, 1), (1, 1, 1)
    if narrow:
        dilation = (*dilation[:-1], 1)[:rank]
    reach = [(w - 1) * d + 1 for w, d in zip(window, dilation, strict=True)]

    def padding() -> tuple[int, ...]:
        few = st.integers(0, 2)
        within = tuple(min(draw(few), r - 1) for r in reach)
        hostile = tuple(draw(st.sampled_from([-1, 0, r - 1, r, r + 3])) for r in reach)
        return within if draw(st.integers(0, 5)) else hostile

    low, high = padding(), padding()
    output = tuple(
        (n + a + b - r) // s + 1
        for n, a, b, r, s in zip(input, low, high, reach, stride, strict=True)
    )
    kinds = [FORWARD, INPUT_GRADIENT, KERNEL_GRADIENT]
    if outer or implicit or narrow:
        kinds = kinds[2:] if outer else kinds[:2]
    dtype = 0 if usual or slices else draw(st.integers(0, 1))
    # Only in float32 a vector may be partly filled.
    empty = draw(st.sampled_from([0, 0, 1, 12, 15])) if dtype == 0 else 0
    made = Configuration(
        kind=draw(st.sampled_from(kinds)),
        method=method,
        dtype=dtype,
        groups=groups,
        batch=draw(st.sampled_from([1, 2, 3, 7])),
        in_channels=groups * draw(per_group),
        out_channels=16 * draw(st.integers(1, 4)) - empty if outer else groups * draw(per_group),
        input=input,
        output=output,
        window=window,
        stride=stride,
        dilation=dilation,
        low=low,
        high=high,
        source_order=layout(0, 1),
        weights_order=layout(0, 2, 1),
        destination_order=layout(0, 1),
    )
    work = math.prod(made.shapes[1]) * math.prod(map(abs, made.shapes[2]))
    assume(work < 20_000_000 * groups and sum(math.prod(s) for s in made.shapes) < 1_000_000)
    return made


def reference(c: Configuration, arrays: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """The array that is written, and which of its elements any product reaches."""
    source, destination = (
        array.reshape(c.batch, c.groups, -1, *array.shape[2:]) for array in (arrays[0], arrays[2])
    )
    weights = arrays[1]
    written = (destination, source, weights)[c.kind]
    written[...] = 0
    reached = np.zeros(written.shape, bool)
    for element in np.ndindex(c.window):
        places, inputs = [], []
        for e, n, m, s, d, low in zip(
            element, c.input, c.output, c.stride, c.dilation, c.low, strict=True
        ):
            inside = [p for p in range(m) if 0 <= p * s + e * d - low < n]
            first, count = (inside[0] if inside else 0), len(inside)
            start = max(first * s + e * d - low, 0)
            places.append(slice(first, first + count))
            inputs.append(slice(start, start + (count - 1) * s + 1 if count else start, s))
        x, y = source[:, :, :, *inputs], destination[:, :, :, *places]
        k = weights[:, :, :, *element]
        if c.kind == FORWARD:
            y += np.einsum("ngi...,goi->ngo...", x, k)
            reached[:, :, :, *places] = True
        elif c.kind == INPUT_GRADIENT:
            x += np.einsum("ngo...,goi->ngi...", y, k)
        else:
            k += np.einsum("ngiz,ngoz->goi", *(a.reshape(*a.shape[:3], -1) for a in (x, y)))
            reached[:, :, :, *element] = x.size > 0
    return written, reached if c.kind == KERNEL_GRADIENT else np.ones_like(reached)


def check_against_numpy(c: Configuration, seed: int) -> None:
    draw = np.random.default_rng(seed)
    dtype = DTYPES[c.dtype]
    # Sums of small integers are exact, whatever their order.
    flat = [draw.integers(-2, 3, math.prod(shape)).astype(dtype) for shape in c.shapes]
    operands, result = {
        FORWARD: ((0, 1), 2),
        INPUT_GRADIENT: ((2, 1), 0),
        KERNEL_GRADIENT: ((0, 2), 1),
    }[c.kind]
    call = jax.ffi.ffi_call(native_library.TARGET, jax.ShapeDtypeStruct(flat[result].shape, dtype))
    configuration = np.asarray(c.numbers(), np.int64)
    got = np.array(call(*(flat[index] for index in operands), configuration=configuration))

    def logical(index: int, array: np.ndarray) -> np.ndarray:
        steps = [step * array.itemsize for step in c.strides[index]]
        return np.lib.stride_tricks.as_strided(array, c.shapes[index], steps)

    arrays = [logical(index, array).astype(np.float64) for index, array in enumerate(flat)]
    expected, reached = reference(c, arrays)
    mine = logical(result, got).reshape(expected.shape)
    np.testing.assert_array_equal(mine[reached], expected.astype(dtype)[reached])


@pytest.mark.parametrize("method", METHODS)
@given(data=st.data(), seed=st.integers(0, 2**32 - 1))
def test_drawn_configurations_are_computed_or_refused(method, data, seed):
    c = data.draw(configurations([method]))
    reason = native_library.reason_against(tuple(c.numbers()))
    event(reason or f"computed by method {c.method}")
    safe = (
        1 <= len(c.input) <= 3
        and min(*c.input, *c.output) > 0
        and all(
            0 <= padding < (w - 1) * d + 1
            for side in (c.low, c.high)
            for padding, w, d in zip(side, c.window, c.dilation, strict=True)
        )
    )
    if reason is None:
        assert safe
        check_against_numpy(c, seed)
    else:
        assert len(reason) > 10


@pytest.mark.parametrize("low", [14, 15])
@pytest.mark.parametrize(
    ("dtype", "kind"), [(0, KERNEL_GRADIENT), (1, KERNEL_GRADIENT), (0, FORWARD)]
)
def test_padding_beyond_half_a_row_of_a_strided_kernel_gradient_is_refused(dtype, kind, low):
    # oneDNN's sums are wrong there, in float32 alone.
    c = Configuration(
        kind=kind,
        method=DIRECT,
        dtype=dtype,
        groups=1,
        batch=1,
        in_channels=3,
        out_channels=16,
        input=(96 - low,),
        output=(31,),
        window=(4,),
        stride=(2,),
        dilation=(12,),
        low=(low,),
        high=(1,),
        source_order=(0, 2, 1),
        weights_order=(0, 3, 2, 1),
        destination_order=(0, 2, 1),
    )
    reason = native_library.reason_against(tuple(c.numbers()))
    if (dtype, kind, low) == (0, KERNEL_GRADIENT, 15):
        assert reason == "oneDNN halves the rows of such a kernel gradient inside the padding"
    else:
        assert reason is None
        check_against_numpy(c, 0)


def deep(depth: int, window: int, stride: int, low: int, **changes) -> Configuration:
    """A kernel gradient in 3-D, padded alike at both ends of the depth."""
    usual = {
        "kind": KERNEL_GRADIENT,
        "method": DIRECT,
        "dtype": 0,
        "groups": 1,
        "batch": 2,
        "in_channels": 2,
        "out_channels": 16,
        "input": (depth, 5, 5),
        "output": ((depth + 2 * low - window) // stride + 1, 5, 5),
        "window": (window, 3, 3),
        "stride": (stride, 1, 1),
        "dilation": (1, 1, 1),
        "low": (low, 1, 1),
        "high": (low, 1, 1),
        "source_order": (0, 2, 3, 4, 1),
        "weights_order": (0, 3, 4, 5, 2, 1),
        "destination_order": (0, 2, 3, 4, 1),
    }
    return Configuration(**usual | changes)


BY_CHANNEL = {"groups": 16, "in_channels": 16}


@pytest.mark.parametrize(
    ("c", "fault"),
    [
        # oneDNN writes past its array, or adds up what it never wrote.
        (deep(2, 5, 2, 4), "strided windows"),
        (deep(7, 7, 2, 3), "strided windows"),
        (deep(8, 7, 2, 3), None),
        (deep(7, 7, 1, 3), None),
        (deep(4, 7, 1, 3, dtype=1, **BY_CHANNEL), "window is deeper"),
        (deep(7, 7, 1, 3, dtype=1, **BY_CHANNEL), None),
        (deep(4, 7, 1, 3, **BY_CHANNEL), None),
        # The library's own kernels have no such faults.
        (deep(7, 7, 2, 3, method=DEPTHWISE, **BY_CHANNEL), None),
        (deep(4, 7, 1, 3, method=DEPTHWISE, dtype=1, **BY_CHANNEL), None),
    ],
)
def test_kernel_gradients_that_onednn_gets_wrong_in_depth_are_refused(c, fault):
    reason = native_library.reason_against(tuple(c.numbers()))
    if fault is not None:
        assert fault in reason
        return
    # A processor may have no such kernel.
    assert reason is None or "oneDNN" not in reason
    if reason is None:
        check_against_numpy(c, 0)


@pytest.mark.parametrize("channels", [1, 8, 15, 16])
def test_strided_kernel_gradients_of_single_elements_are_refused_for_few_channels(channels):
    # oneDNN writes past its scratch memory there.
    c = Configuration(
        kind=KERNEL_GRADIENT,
        method=DIRECT,
        dtype=0,
        groups=1,
        batch=1,
        in_channels=channels,
        out_channels=16,
        input=(40, 64),
        output=(40, 32),
        window=(1, 1),
        stride=(1, 2),
        dilation=(1, 1),
        low=(0, 0),
        high=(0, 0),
        source_order=(0, 2, 3, 1),
        weights_order=(0, 3, 4, 2, 1),
        destination_order=(0, 2, 3, 1),
    )
    reason = native_library.reason_against(tuple(c.numbers()))
    if channels < 16:
        assert reason == "oneDNN writes past its memory where few channels have a stride"
    else:
        assert reason is None
        check_against_numpy(c, 0)


@given(
    configurations(),
    st.lists(st.tuples(st.integers(0, 99), st.sampled_from(ODD)), min_size=1, max_size=3),
    st.integers(0, 40),
)
def test_numbers_that_fit_no_convolution_are_refused(c, changes, length):
    numbers = c.numbers()
    for place, number in changes:
        numbers[place % len(numbers)] = number
    for altered in (numbers, numbers[:length]):
        reason = native_library.reason_against(tuple(altered))
        assert reason is None or len(reason) > 10
