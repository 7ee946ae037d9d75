"""Poolings by the native library itself, with drawn windows and numbers, against NumPy."""

import dataclasses
import itertools
import math

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from hypothesis import assume, event, given, settings
from hypothesis import strategies as st

from cnn_jax.cpu import native_library, pooling_native
from cnn_jax.cpu.pooling_native import Kind, Plan, Precision
from cnn_jax.cpu.pooling_window import Window

DTYPES = ("float32", "bfloat16")
CHANNELS = (4, 5, 6, 7, 8, 11, 16, 17, 24, 33, 40)
HOSTILE = (0.0, -0.0, 1.0, 1.0, -1.0, 2.0, 3.0, np.inf, -np.inf, np.nan)
ODD = (0, 0, 1, 2, 3, 4, 5, -1, 100, 2**31 - 1, 2**31, 2**63 - 1, -(2**63))


@dataclasses.dataclass(frozen=True)
class Geometry:
    """An array [outer, *size, channels] and the windows on it."""

    outer: int
    channels: int
    size: tuple[int, ...]
    window: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    low: tuple[int, ...]
    count: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the array."""
        return (self.outer, *self.size, self.channels)

    @property
    def pooled_shape(self) -> tuple[int, ...]:
        """Of the array of windows."""
        return (self.outer, *self.count, self.channels)

    def windows(self):
        """Of each window its place, and of its elements the indices; None outside of the array."""
        for place in np.ndindex(*self.count):
            indices = []
            for tap in np.ndindex(*self.window):
                steps = zip(place, self.stride, tap, self.dilation, self.low, strict=True)
                index = tuple(p * s + t * d - low for p, s, t, d, low in steps)
                inside = all(0 <= i < n for i, n in zip(index, self.size, strict=True))
                indices.append(index if inside else None)
            yield place, indices


@dataclasses.dataclass(frozen=True)
class Flags:
    """What else a plan computes."""

    biased: bool = False
    rectified: bool = False
    through: bool = False
    summed: bool = False
    precision: Precision = Precision.OF_INPUT
    divisor: int = 1


def rounded(numbers, dtype: str) -> np.ndarray:
    """Float32 numbers as the type would hold them, to the nearest, to the even of two."""
    return numbers.astype(ml_dtypes.bfloat16).astype(np.float32) if dtype == "bfloat16" else numbers


@np.errstate(invalid="ignore")
def reference(g: Geometry, kind: Kind, flags: Flags, dtype: str, x, bias, gradient):
    """The result, and for a gradient its sum over all but the channels, of float32 arrays."""
    if flags.biased:
        x = rounded(x + bias, dtype)
    if flags.rectified:
        x = np.maximum(x, np.float32(0))
    result = np.zeros(g.shape if kind is Kind.GRADIENT_OF_LARGEST else g.pooled_shape, np.float32)
    sums = np.zeros(g.channels, np.float32)
    nothing = np.full((g.outer, g.channels), -np.inf, np.float32)
    for place, indices in g.windows():
        there = (slice(None), *place)
        inside = [x[(slice(None), *index)] for index in indices if index is not None]
        if kind is Kind.LARGEST:
            result[there] = np.maximum.reduce([nothing, *inside])
        elif kind is Kind.SUM:
            for value in inside:
                result[there] += value
        else:
            best, chosen = nothing, np.zeros(nothing.shape, int)
            for number, index in enumerate(indices):
                value = nothing if index is None else x[(slice(None), *index)]
                better = ~(best >= value) | (number == 0)
                best, chosen = np.where(better, value, best), np.where(better, number, chosen)
            given_ = gradient[there]
            if flags.rectified and flags.through:
                given_ = np.where(best > 0, given_, np.float32(0))
            for number, index in enumerate(indices):
                if index is not None:
                    part = np.where(chosen == number, given_, np.float32(0))
                    result[(slice(None), *index)] += part
                    sums += part.sum(axis=0, dtype=np.float32)
    # A mean is a sum's quotient, each rounded to the type.
    if flags.precision is Precision.WIDE:
        dtype = "float32"
    if flags.precision is not Precision.ROUNDED_ONCE:
        result = rounded(result, dtype)
    return rounded(result / np.float32(flags.divisor), dtype), sums


@st.composite
def geometries(draw) -> Geometry:
    """Windows on up to three axes."""
    rank = draw(st.integers(1, 3))

    def each(*choices):
        return tuple(draw(st.sampled_from(choices)) for _ in range(rank))

    window, tiled = each(1, 2, 2, 3, 3, 5), draw(st.integers(0, 3)) == 0
    low, stride, dilation = (0,) * rank, window, (1,) * rank
    if tiled:
        count = each(1, 2, 3, 20)
        size = tuple(n * w for n, w in zip(count, window, strict=True))
    else:
        size = each(1, 2, 4, 5, 7, 9, 30)
        stride = each(1, 1, 2, 2, 3, 4, 7)
        if draw(st.booleans()):
            dilation = each(1, 2, 3)
        low, high = (each(0, 0, 1, 2, 7) if draw(st.booleans()) else low for _ in range(2))
        count = tuple(
            (n + a + b - (w - 1) * d - 1) // s + 1
            for n, a, b, w, d, s in zip(size, low, high, window, dilation, stride, strict=True)
        )
    assume(min(count) > 0)
    assume(math.prod(count) * math.prod(window) < 3000)
    # Enough for several threads to share, or little.
    outer, channels = draw(st.sampled_from([1, 2, 3, 3, 200])), draw(st.sampled_from(CHANNELS))
    assume(outer * math.prod(size) * channels < 500_000)
    return Geometry(outer, channels, size, window, stride, dilation, low, count)


def draw_flags(kind: Kind, dtype: str, numbers: int) -> Flags:
    """Those of the flags that the kind has."""
    precision = Precision(numbers % 3 if dtype == "bfloat16" else 0)
    if kind is Kind.SUM:
        return Flags(divisor=1 + numbers, precision=precision)
    flags = Flags(*(bool(numbers >> bit & 1) for bit in range(4)), precision=precision)
    if kind is Kind.GRADIENT_OF_LARGEST:
        return flags
    return dataclasses.replace(flags, through=False, summed=False, precision=Precision.OF_INPUT)


def arrays(g: Geometry, dtype: str, hostile: bool, seed: int) -> list[np.ndarray]:
    """An input, a bias and a gradient, in float32, of numbers that the type holds."""
    draw = np.random.default_rng(seed)
    shapes = g.shape, (g.channels,)
    made = [draw.choice(HOSTILE, s) if hostile else draw.normal(size=s) for s in shapes]
    # Sums of small integers are exact, whatever their order; bfloat16 has not all of the sums.
    gradient = draw.integers(-200, 201, g.pooled_shape).astype(np.float32)
    if hostile:
        gradient = np.where(draw.random(gradient.shape) < 0.1, draw.choice(HOSTILE), gradient)
    return [rounded(array.astype(np.float32), dtype) for array in (*made, gradient)]


def operands_of(plan: Plan, dtype: str, x, bias, gradient) -> list[jax.Array]:
    """What the plan's call takes."""
    taken = [x, *([bias] if plan.biased else []), *([gradient] if plan.is_gradient else [])]
    types = [dtype] * len(taken)
    if plan.is_gradient and plan.is_wide:
        types[-1] = "float32"
    return [jnp.asarray(array, each) for array, each in zip(taken, types, strict=True)]


def check(g: Geometry, plan: Plan, shape: tuple[int, ...], hostile: bool, seed: int) -> None:
    """That the plan, for an array of the shape, computes what NumPy does."""
    flags = Flags(**{f.name: getattr(plan, f.name) for f in dataclasses.fields(Flags)})
    x, bias, gradient = arrays(g, plan.dtype, hostile, seed)
    expected, sums = reference(g, plan.kind, flags, plan.dtype, x, bias, gradient)
    operands = operands_of(plan, plan.dtype, x.reshape(shape), bias, gradient)
    got = jax.jit(plan.run)(*operands)
    dtype = "float32" if plan.is_wide else plan.dtype
    assert [r.dtype for r in got] == [dtype, *["float32"] * plan.summed]
    assert got[0].shape == plan.shape
    np.testing.assert_array_equal(np.asarray(got[0], np.float32).reshape(expected.shape), expected)
    if plan.summed:
        np.testing.assert_array_equal(got[1], sums)
    assert Plan.of(plan.numbers, plan.shape) == plan


kinds, dtypes = st.sampled_from(Kind), st.sampled_from(DTYPES)
seeds = st.integers(0, 2**32 - 1)


@pytest.fixture
def however_small(native, monkeypatch):
    monkeypatch.setattr(pooling_native, "_FEWEST_ELEMENTS", 1)
    monkeypatch.setattr(pooling_native, "_FEWEST_ELEMENTS_OF_RELU", 1)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", Kind)
@settings(max_examples=80)
@given(
    geometries(),
    st.integers(0, 15),
    st.lists(st.integers(1, 3), max_size=2),
    st.booleans(),
    seeds,
)
@pytest.mark.usefixtures("however_small")
def test_drawn_poolings_are_those_of_numpy(kind, dtype, g, numbers, outer, hostile, seed):
    # More outer axes, and two last ones that are pooled alike, are the same in memory.
    last = (2, g.channels // 2) if g.channels % 2 == 0 and seed % 2 else (g.channels,)
    g = dataclasses.replace(g, outer=g.outer * math.prod(outer))
    around = (g.outer // math.prod(outer), *outer)
    before, after = (1,) * len(around), (1,) * len(last)
    high = [
        max((n - 1) * s + (w - 1) * d + 1 - low - size, 0)
        for n, s, w, d, low, size in zip(
            g.count, g.stride, g.window, g.dilation, g.low, g.size, strict=True
        )
    ]
    none = [(0, 0)]
    window = Window(
        (*around, *g.size, *last),
        (*before, *g.window, *after),
        (*before, *g.stride, *after),
        (*none * len(before), *zip(g.low, high, strict=True), *none * len(after)),
        (*before, *g.dilation, *after),
    )
    plan = pooling_native.plan(kind, window, np.dtype(dtype))
    if isinstance(plan, str):
        assert plan == "the window is a single element"
        return
    flags = draw_flags(kind, dtype, numbers)
    if plan.channels != g.channels:
        flags = dataclasses.replace(flags, biased=False, summed=False)
    plan = dataclasses.replace(plan, **dataclasses.asdict(flags))
    check(g, plan, window.shape, hostile, seed)


@settings(max_examples=60)
@given(
    st.lists(st.integers(1, 5), min_size=1, max_size=4),
    st.sampled_from([1, 1, 1, 4000]),
    st.sampled_from(CHANNELS),
    st.sampled_from([Kind.LARGEST, Kind.GRADIENT_OF_LARGEST]),
    dtypes,
    st.integers(0, 15),
    st.booleans(),
    seeds,
)
@pytest.mark.usefixtures("however_small")
def test_a_relu_and_its_gradient_are_those_of_numpy(
    shape, times, channels, kind, dtype, numbers, hostile, seed
):
    shape = (*shape[:-1], shape[-1] * times, channels)
    assume(math.prod(shape) < 500_000)
    relu = pooling_native.relu(shape, np.dtype(dtype))
    assert relu is not None
    assert relu.is_relu
    assert not pooling_native.relu_gradient(shape, np.dtype(dtype)).is_relu
    flags = draw_flags(kind, dtype, numbers)
    plan = dataclasses.replace(relu, kind=kind, **dataclasses.asdict(flags))
    size, ones = (math.prod(shape[:-1]),), (1,)
    g = Geometry(1, channels, size, ones, ones, ones, (0,), size)
    check(g, plan, shape, hostile, seed)


def call(numbers, operands, results):
    """What the library makes of any numbers and arrays."""
    configuration = np.asarray(numbers, np.int64)
    run = jax.ffi.ffi_call(native_library.POOLING_TARGET, results)
    made = run(*operands, configuration=configuration)
    return [np.asarray(result, np.float32) for result in made]


SMALL = Geometry(2, 7, (2, 5, 4), (1, 3, 2), (1, 2, 1), (1, 1, 2), (0, 1, 0), (2, 3, 2))


def numbers_of(g: Geometry, kind: int, dtype: int, flags: Flags) -> list[int]:
    """As native/pooling.h has them."""
    fields = (g.size, g.window, g.stride, g.dilation, g.low, g.count)
    head = [2, kind, dtype, *map(int, dataclasses.astuple(flags)), g.outer, g.channels]
    return [*head, *itertools.chain(*fields)]


def geometry_of(numbers) -> Geometry:
    """The other way round."""
    axes = [tuple(numbers[at : at + 3]) for at in range(11, 29, 3)]
    return Geometry(numbers[9], numbers[10], *axes)


@settings(max_examples=150)
@given(
    kinds,
    st.integers(0, 1),
    st.integers(0, 15),
    st.lists(st.tuples(st.integers(0, 28), st.sampled_from(ODD)), max_size=3),
    st.sampled_from([29, 29, 29, 29, 29, 29, 29, 29, 0, 1, 28, 30]),
    st.booleans(),
    seeds,
)
@pytest.mark.usefixtures("native")
def test_any_numbers_are_computed_or_refused(kind, dtype, flags, changes, length, fitting, seed):
    told = draw_flags(kind, DTYPES[dtype], flags)
    numbers = numbers_of(SMALL, kind, dtype, told)
    for place, number in changes:
        numbers[place] = number
    numbers = [*numbers, 1][:length]
    g, whole = SMALL, [2, kind, dtype, *map(int, dataclasses.astuple(told))]
    # Arrays that the numbers describe, where those are of some size; else the ones before.
    if fitting and length == 29:
        there = geometry_of(numbers)
        sizes = (*there.shape, *there.pooled_shape, *there.window)
        taps = math.prod(there.window) * math.prod(there.count)
        if min(sizes) > 0 and max(map(math.prod, (there.shape, there.pooled_shape))) < 10**5:
            assume(taps < 5000)
            g, whole = there, numbers
    is_gradient = whole[1] == Kind.GRADIENT_OF_LARGEST
    name = DTYPES[whole[2] == 1]
    x, bias, gradient = arrays(g, name, False, seed)
    taken = [x, *[bias] * bool(whole[3]), *[gradient] * is_gradient]
    result_type = "float32" if whole[7] == Precision.WIDE else name
    types = [name] * (1 + bool(whole[3])) + [result_type] * is_gradient
    results = [jax.ShapeDtypeStruct(g.shape if is_gradient else g.pooled_shape, result_type)]
    results += [jax.ShapeDtypeStruct((g.channels,), "float32")] * bool(whole[6])
    operands = [jnp.asarray(array, each) for array, each in zip(taken, types, strict=True)]
    try:
        got = call(numbers, operands, results)
    except jax.errors.JaxRuntimeError as error:
        event(str(error).rsplit(": ", 1)[-1])
        # What is not altered is computed.
        assert changes or length != 29
        return
    event("computed")
    assert length == 29
    biased, rectified, through, summed = map(bool, numbers[3:7])
    told = Flags(biased, rectified, through, summed, Precision(numbers[7]), numbers[8])
    expected, sums = reference(
        geometry_of(numbers), Kind(numbers[1]), told, DTYPES[numbers[2]], x, bias, gradient
    )
    np.testing.assert_array_equal(got[0].ravel(), expected.ravel())
    if told.summed:
        np.testing.assert_array_equal(got[1], sums)


def sized(size, dtype="float32"):
    return jax.ShapeDtypeStruct((size,), dtype)


_FEWER = "the arrays are not as many as the configuration says"
_OTHERS = "the arrays are not those of the configuration"
_X, _Y = math.prod(SMALL.shape), math.prod(SMALL.pooled_shape)
WRONG = [
    ([], [sized(_X), sized(7)], _FEWER),
    ([sized(_X), sized(7)], [sized(_X), sized(7)], _FEWER),
    ([sized(_X), sized(7), sized(_Y), sized(_Y)], [sized(_X), sized(7)], _FEWER),
    ([sized(_X), sized(7), sized(_Y)], [sized(_X)], _FEWER),
    ([sized(_X), sized(7), sized(_Y)], [sized(_X), sized(7), sized(7)], _FEWER),
    ([sized(_X), sized(8), sized(_Y)], [sized(_X), sized(7)], _OTHERS),
    ([sized(_X), sized(7), sized(_Y)], [sized(_X), sized(8)], _OTHERS),
    ([sized(_X), sized(_Y), sized(7)], [sized(_X), sized(7)], _OTHERS),
    ([sized(_X + 1), sized(7), sized(_Y)], [sized(_X), sized(7)], _OTHERS),
    ([sized(_X), sized(7), sized(_Y)], [sized(_X - 1), sized(7)], _OTHERS),
    ([sized(_X, "int32"), sized(7), sized(_Y)], [sized(_X), sized(7)], _OTHERS),
    ([sized(_X), sized(7, "bfloat16"), sized(_Y)], [sized(_X), sized(7)], _OTHERS),
    ([sized(_X), sized(7), sized(_Y, "float16")], [sized(_X), sized(7)], _OTHERS),
    ([sized(_X), sized(7), sized(_Y)], [sized(_X, "bfloat16"), sized(7)], _OTHERS),
    ([sized(_X), sized(7), sized(_Y)], [sized(_X), sized(7, "bfloat16")], _OTHERS),
]


@pytest.mark.parametrize(("operands", "results", "why"), WRONG)
def test_arrays_of_another_number_size_or_type_are_refused(native, operands, results, why):
    flags = Flags(biased=True, summed=True)
    numbers = numbers_of(SMALL, Kind.GRADIENT_OF_LARGEST, 0, flags)
    given_ = [jnp.ones(operand.shape, operand.dtype) for operand in operands]
    with pytest.raises(jax.errors.JaxRuntimeError, match=why):
        call(numbers, given_, results)


@pytest.mark.parametrize(
    ("kind", "flags", "why"),
    [
        (Kind.SUM, Flags(biased=True), "a sum is of the elements as they are"),
        (Kind.SUM, Flags(rectified=True), "a sum is of the elements as they are"),
        (Kind.SUM, Flags(summed=True), "only a gradient goes through what is pooled, or is summed"),
        (Kind.LARGEST, Flags(through=True), "only a gradient goes through what is pooled"),
        (Kind.LARGEST, Flags(divisor=4), "only sums are divided"),
        (Kind.SUM, Flags(divisor=0), "sums are divided by zero"),
        (Kind.SUM, Flags(precision=Precision.WIDE), "only sums and gradients of bfloat16 have"),
    ],
)
def test_flags_that_a_kind_has_not_are_refused(native, kind, flags, why):
    operands = [jnp.ones(SMALL.shape), *[jnp.ones(7)] * flags.biased]
    results = [jax.ShapeDtypeStruct(SMALL.pooled_shape, "float32")]
    results += [sized(7)] * flags.summed
    with pytest.raises(jax.errors.JaxRuntimeError, match=why):
        call(numbers_of(SMALL, kind, 0, flags), operands, results)


def test_sums_are_the_same_with_one_thread_and_with_several(native, run_alone):
    program = """
import jax, numpy as np
from cnn_jax.cpu import native_library, pooling_native
native_library.load()
plan = pooling_native.relu_gradient((64, 64, 33), np.dtype("float32"))
draw = np.random.default_rng(0)
x, g = (draw.normal(size=(64, 64, 33)).astype("float32") for _ in range(2))
result, sums = jax.jit(plan.run)(x, g)
print(np.asarray(sums).tobytes().hex())
"""
    flags = "--xla_cpu_multi_thread_eigen=false"
    one = run_alone(program, XLA_FLAGS=flags, JAX_PLATFORMS="cpu", NPROC="1")
    assert one == run_alone(program, XLA_FLAGS="", JAX_PLATFORMS="cpu")
