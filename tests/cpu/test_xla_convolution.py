"""Convolutions made of plain XLA operations against XLA's own rule: values and both gradients."""

import dataclasses
import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax

from cnn_jax import cpu
from cnn_jax.cpu import convolution, onednn, onednn_limits, xla_convolution
from cnn_jax.cpu import xla_convolution_depthwise as depthwise
from cnn_jax.cpu import xla_convolution_dot as dot
from cnn_jax.cpu import xla_convolution_grouped as grouped
from cnn_jax.cpu import xla_convolution_narrow as narrow

TOLERANCE = {"float64": 1e-12, "float32": 2e-5, "bfloat16": 2e-2, "float16": 4e-3}


@st.composite
def convolutions(draw):
    """Shapes, type and keywords of `lax.conv_general_dilated`, hostile ones among them."""
    rank = draw(st.sampled_from([1, 1, 2, 2, 2, 3]))
    groups = draw(st.sampled_from([1, 1, 2, 3, 4, 6]))

    def sizes(*choices):
        return tuple(draw(st.sampled_from(choices)) for _ in range(rank))

    window, spatial = sizes(1, 2, 3), sizes(1, 2, 4, 5)
    inputs = groups * draw(st.sampled_from([1, 1, 2, 3]))
    outputs = groups * draw(st.sampled_from([1, 1, 2, 4]))
    batch = draw(st.integers(1, 3))
    padding = tuple((draw(st.integers(-1, 3)), draw(st.integers(-1, 3))) for _ in range(rank))
    letters = "WHD"[:rank]
    if draw(st.booleans()):
        dimensions = (f"N{letters}C", f"{letters}IO", f"N{letters}C")
        shapes = (batch, *spatial, inputs), (*window, inputs // groups, outputs)
    else:
        dimensions = (f"NC{letters}", f"OI{letters}", f"N{letters}C")
        shapes = (batch, inputs, *spatial), (outputs, inputs // groups, *window)
    keywords = {
        "window_strides": sizes(1, 1, 2),
        "padding": padding,
        "lhs_dilation": draw(st.sampled_from([(1,) * rank, sizes(1, 2)])),
        "rhs_dilation": sizes(1, 1, 2),
        "dimension_numbers": dimensions,
        "feature_group_count": groups,
    }
    dtype = draw(st.sampled_from(["float32", "float32", "bfloat16", "float16"]))
    return shapes, dtype, keywords, draw(st.integers(0, 2**32 - 1))


def equations(shapes, dtype, keywords, seed):
    """The forward convolution, its input gradient and its kernel gradient, as equations.

    Each is a description, the operands, and the true result.
    """
    generator = np.random.default_rng(seed)
    x, kernel = (jnp.asarray(generator.normal(size=shape), dtype) for shape in shapes)
    function = functools.partial(lax.conv_general_dilated, **keywords)
    try:
        out = jax.eval_shape(function, x, kernel)
    except (TypeError, ValueError):
        return  # an output of negative size is refused before any rule is asked
    dy = jnp.asarray(generator.normal(size=out.shape), dtype)
    programs = [
        (function, (x, kernel)),
        (lambda dy, kernel: jax.vjp(lambda x: function(x, kernel), x)[1](dy)[0], (dy, kernel)),
        (lambda dy, x: jax.vjp(lambda kernel: function(x, kernel), kernel)[1](dy)[0], (dy, x)),
    ]
    for program, arguments in programs:
        traced = jax.make_jaxpr(program)(*arguments).jaxpr
        for equation in traced.eqns:
            if equation.primitive is lax.conv_general_dilated_p and _depends(traced, equation):
                # What an equation computes does not depend on where its operands come from.
                operands = [
                    jnp.asarray(generator.normal(size=var.aval.shape), dtype)
                    for var in equation.invars
                ]
                lhs, rhs = (var.aval for var in equation.invars)
                out = equation.outvars[0].aval
                described = convolution.describe(lhs, rhs, out, equation.params)
                yield described, operands, functools.partial(truth, equation, described)


def truth(equation, c, lhs, rhs):
    """XLA's own result; it is wrong for some negative paddings, so those crop the array first."""
    params = dict(equation.params)
    if any(low < 0 or high < 0 for low, high in c.padding):
        config = [(0, 0, 0)] * lhs.ndim
        for axis, (low, high), step in zip(
            c.lhs_axes.spatial, c.padding, c.lhs_dilation, strict=True
        ):
            config[axis] = (low, high, step - 1)
        lhs = lax.pad(lhs, jnp.zeros((), lhs.dtype), config)
        params |= {"padding": ((0, 0),) * c.rank, "lhs_dilation": (1,) * c.rank}
    return equation.primitive.bind(lhs, rhs, **params)


def _depends(traced, equation):
    # The forward convolution of a gradient's program is there too, unused.
    used = {id(var) for other in traced.eqns for var in other.invars} | {
        id(var) for var in traced.outvars
    }
    return id(equation.outvars[0]) in used


def applicable(c):
    """Every form that can compute the convolution, chosen or not."""
    if c.empty:
        return
    yield from _named(c)
    choice = xla_convolution.choose(c)
    if choice.build is not None:
        yield "chosen", choice.build


def _named(c):
    part = functools.partial
    if c.batch_groups > 1:
        if c.batch_groups == c.batch:
            yield "depthwise kernel gradient", part(depthwise.kernel_gradient, c)
        together = [n for n in (1, 2, 3) if c.batch_groups % n == 0][-1]
        yield "grouped kernel gradient", part(grouped.kernel_gradient, c, together=together)
    elif c.feature_groups > 1:
        if c.feature_groups == c.in_channels:
            yield "depthwise", part(depthwise.forward, c)
        if c.feature_groups == c.out_channels:
            yield "to one", part(depthwise.to_one, c)
        together = [n for n in (1, 2, 3) if c.feature_groups % n == 0][-1]
        yield "grouped", part(grouped.forward, c, together=together)
    else:
        yield "kernel gradient", part(dot.kernel_gradient, c)
        if set(c.window) == {1}:
            yield "pointwise", part(dot.pointwise, c)
        if c.in_channels == 1:
            yield "one input", part(dot.one_input_channel, c)
        if c.out_channels == 1:
            yield "one output", part(dot.one_output_channel, c)
        if set(c.stride) == {1} and min(map(min, c.padding)) >= 0:
            yield "few outputs", part(dot.few_output_channels, c)
        if narrow.applies(c):
            yield "rows as channels", part(narrow.merged, c)


def check(forms, bind, operands, dtype):
    """One program for all of them, so that a case costs one compilation."""
    results, theirs = jax.jit(
        lambda *operands: ([build(*operands) for build in forms.values()], bind(*operands))
    )(*operands)
    expected = np.asarray(theirs, np.float64)
    scale = np.abs(expected).max(initial=0) + 1e-3
    for name, mine in zip(forms, results, strict=True):
        assert mine.dtype == theirs.dtype == jnp.dtype(dtype), name
        assert mine.shape == theirs.shape, name
        np.testing.assert_allclose(
            np.asarray(mine, np.float64),
            expected,
            rtol=0,
            atol=TOLERANCE[dtype] * scale,
            err_msg=name,
        )


@settings(max_examples=210)
@given(convolutions(), st.integers(0, 2))
def test_every_form_computes_what_the_stock_rule_does(case, which):
    drawn = list(equations(*case))
    if drawn:
        c, operands, bind = drawn[which % len(drawn)]
        forms = dict(applicable(c))
        if forms:
            check(forms, bind, operands, case[1])


def described(x, kernel, *, groups=1, stride=1, dtype="float32", kind="forward"):
    """The description of a channels-last convolution with padding SAME, or of a gradient of it."""
    letters = "WHD"[: len(x) - 2]
    keywords = {
        "window_strides": (stride,) * len(letters),
        "padding": "SAME",
        "dimension_numbers": (f"N{letters}C", f"{letters}IO", f"N{letters}C"),
        "feature_group_count": groups,
    }
    found = list(equations((x, kernel), dtype, keywords, 0))
    return found[["forward", "input gradient", "kernel gradient"].index(kind)][0]


CHOSEN = [
    ((8, 28, 28, 32), (3, 3, 1, 32), 32, "forward", "shifted products"),
    ((8, 28, 28, 32), (3, 3, 1, 32), 32, "input gradient", "shifted products"),
    ((8, 28, 28, 32), (3, 3, 1, 32), 32, "kernel gradient", "shifted products by row"),
    ((8, 28, 28, 32), (3, 3, 1, 64), 32, "input gradient", "shifted products"),
    ((8, 28, 28, 64), (3, 3, 16, 64), 4, "forward", "dense by group"),
    ((8, 28, 28, 64), (3, 3, 16, 64), 4, "kernel gradient", "dense by group"),
    ((8, 28, 28, 64), (1, 1, 64, 64), 1, "forward", "matrix product"),
    ((8, 28, 28, 64), (1, 1, 64, 64), 1, "input gradient", "matrix product"),
    ((8, 28, 28, 64), (1, 1, 64, 64), 1, "kernel gradient", "matrix product"),
    ((64, 28, 28, 1), (5, 5, 1, 6), 1, "forward", "shifted products"),
    ((64, 28, 28, 1), (5, 5, 1, 6), 1, "input gradient", "shifted sum of products"),
    ((64, 32, 32, 3), (3, 3, 3, 64), 1, "kernel gradient", "matrix product"),
    ((8, 28, 28, 64), (3, 3, 64, 64), 1, "forward", "stock XLA"),
    ((8, 64, 1, 16), (5, 5, 16, 8), 1, "forward", "rows as channels"),
    ((8, 64, 2, 16), (3, 3, 16, 8), 1, "input gradient", "rows as channels"),
    ((8, 64, 3, 16), (3, 3, 16, 8), 1, "input gradient", "stock XLA"),
    ((1, 16, 2, 16), (3, 3, 16, 8), 1, "input gradient", "stock XLA"),
]


@pytest.mark.parametrize(("x", "kernel", "groups", "kind", "name"), CHOSEN)
def test_the_chosen_kernels(x, kernel, groups, kind, name):
    choice = xla_convolution.choose(described(x, kernel, groups=groups, kind=kind))
    assert choice.kernel == name


STOCK = [
    ((1, 4, 4, 4), (3, 3, 2, 4), 2, 1, "float32", "little work"),
    ((8, 28, 28, 64), (1, 1, 64, 64), 1, 2, "float32", "a strided 1x1 kernel"),
    ((8, 28, 28, 64), (3, 3, 64, 64), 1, 1, "float32", "XLA's dense kernel"),
    ((0, 8, 8, 2), (3, 3, 1, 2), 2, 1, "float32", "an array is empty"),
    ((1, 2), (2, 2), 1, 1, "float32", "no kernel for 0 spatial dimensions"),
    ((1, 4, 4, 2), (3, 3, 1, 2), 2, 1, "int32", "no kernel for int32"),
    ((4, 12, 12, 12, 8), (3, 3, 3, 4, 8), 2, 1, "float32", "XLA's kernel is as fast"),
]


@pytest.mark.parametrize(("x", "kernel", "groups", "stride", "dtype", "why"), STOCK)
def test_the_stock_rule_stays_for_a_reason(x, kernel, groups, stride, dtype, why):
    c = described(x, kernel, groups=groups, stride=stride, dtype=dtype)
    choice = xla_convolution.choose(c)
    assert choice.build is None
    assert choice.reason == why


def test_groups_of_few_channels_are_not_joined_in_a_volume():
    few = described((16, 13, 8, 11, 4), (5, 5, 5, 2, 8), groups=2, kind="kernel gradient")
    assert xla_convolution.choose(few).reason == "XLA's kernel is as fast"
    enough = described((16, 13, 8, 11, 8), (5, 5, 5, 4, 8), groups=2, kind="kernel gradient")
    assert xla_convolution.choose(enough).kernel == "dense by group"


# Shape, kernel, groups, stride, kind, whether oneDNN has only its general kernel: who is faster.
FASTER = [
    ((8, 100, 64), (1, 1, 64), 64, 1, "forward", False, True),
    ((8, 100, 64), (3, 1, 64), 64, 1, "forward", False, False),
    ((8, 100, 64), (3, 1, 64), 64, 1, "kernel gradient", True, True),
    ((8, 32, 32, 64), (5, 5, 1, 64), 64, 1, "kernel gradient", False, True),
    ((8, 32, 32, 64), (3, 3, 1, 64), 64, 1, "kernel gradient", False, False),
    ((8, 32, 32, 32), (5, 5, 1, 32), 32, 1, "kernel gradient", False, False),
    ((64, 1089, 8), (1, 8, 128), 1, 2, "input gradient", True, True),
    ((64, 1089, 8), (1, 8, 128), 1, 2, "input gradient", False, False),
    ((32, 50, 50, 64), (1, 1, 64, 1), 1, 1, "forward", False, True),
    ((1, 28, 57, 1), (3, 3, 1, 128), 1, 1, "input gradient", False, True),
    ((1, 14, 28, 1), (3, 3, 1, 64), 1, 1, "input gradient", False, False),
    ((2, 32, 32, 3), (3, 3, 3, 64), 1, 1, "input gradient", False, False),
    ((64, 32, 32, 3), (3, 3, 3, 64), 1, 1, "input gradient", False, True),
    ((8, 32, 31, 4), (5, 5, 4, 64), 1, 1, "input gradient", False, False),
    ((8, 32, 31, 17), (3, 3, 17, 512), 1, 3, "input gradient", False, True),
    ((8, 32, 31, 17), (3, 3, 17, 512), 1, 2, "input gradient", False, False),
    ((4, 48, 48, 256), (2, 2, 256, 96), 1, 3, "input gradient", False, True),
    ((4, 48, 48, 64), (2, 2, 64, 64), 1, 3, "input gradient", False, False),
    ((4, 44, 1, 24), (3, 3, 24, 24), 1, 1, "forward", False, True),
    ((8, 12, 12, 12, 64), (1, 1, 1, 64, 64), 1, 2, "input gradient", False, True),
    ((8, 42, 42, 64), (1, 1, 64, 64), 1, 2, "input gradient", False, False),
    ((32, 78, 12, 17), (1, 1, 17, 8), 1, 2, "input gradient", False, True),
    ((8, 42, 42, 64), (1, 1, 64, 64), 1, 2, "input gradient", True, True),
    ((64, 26, 61, 1), (5, 5, 1, 24), 1, 3, "input gradient", False, False),
    ((64, 26, 61, 1), (5, 5, 1, 24), 1, 2, "input gradient", False, True),
    ((16, 57, 57, 1), (3, 3, 1, 96), 1, 3, "input gradient", False, True),
]


@pytest.mark.parametrize(("x", "kernel", "groups", "stride", "kind", "general", "plain"), FASTER)
def test_which_plain_kernels_beat_onednn(x, kernel, groups, stride, kind, general, plain):
    c = described(x, kernel, groups=groups, stride=stride, kind=kind)
    assert xla_convolution.beats_onednn(c, general) == plain
    assert not plain or xla_convolution.choose(c).build is not None


@pytest.mark.skipif(
    "avx512bw" not in pathlib.Path("/proc/cpuinfo").read_text(), reason="the vectors are no wider"
)
def test_a_kernel_of_onednn_for_older_processors_is_its_last_resort(native):
    c = described((64, 4, 87, 256), (1, 1, 256, 256), stride=3, kind="input gradient")
    plan = onednn.plan(c)
    assert isinstance(plan, onednn.Plan)
    assert plan.general
    even = described((64, 6, 87, 256), (1, 1, 256, 256), stride=2, kind="input gradient")
    plan = onednn.plan(even)
    assert isinstance(plan, onednn.Plan)
    assert not plan.general


# The same, with the reason for which XLA's own kernel is faster.
SLOWER = [
    ((64, 36, 17, 48), (7, 7, 48, 16), 1, 3, "kernel gradient", True, "for this kernel gradient"),
    ((64, 36, 17, 48), (7, 7, 48, 16), 1, 3, "kernel gradient", False, None),
    ((2, 36, 17, 4), (7, 7, 4, 16), 1, 3, "kernel gradient", True, None),
    ((8, 14, 5, 9, 24), (2, 2, 2, 6, 4), 4, 1, "kernel gradient", True, "for these groups"),
    ((64, 2, 2, 512), (3, 3, 512, 512), 1, 1, "forward", False, None),
    ((64, 2, 2, 512), (3, 3, 512, 512), 1, 1, "kernel gradient", False, "the weights are large"),
    ((64, 4, 4, 512), (3, 3, 512, 512), 1, 1, "kernel gradient", False, None),
    ((64, 16, 18, 8), (2, 2, 8, 512), 1, 3, "forward", False, None),
    ((2, 32, 32, 3), (3, 3, 3, 64), 1, 1, "input gradient", False, "few output channels"),
    ((4, 32, 32, 24), (5, 5, 24, 4), 1, 1, "forward", False, "few output channels"),
    ((4, 32, 32, 24), (3, 3, 24, 4), 1, 1, "forward", False, None),
    ((4, 32, 32, 16), (5, 5, 16, 4), 1, 1, "forward", False, None),
    ((4, 44, 7, 512), (3, 3, 512, 1), 1, 2, "forward", False, None),
    ((4, 87, 9, 4), (3, 3, 4, 256), 1, 3, "forward", False, None),
    ((4, 87, 9, 256), (3, 3, 256, 4), 1, 3, "input gradient", False, "the rows are narrow"),
    ((8, 56, 56, 64), (3, 3, 64, 64), 1, 1, "forward", False, None),
    ((16, 36, 5, 64), (3, 3, 64, 17), 1, 2, "forward", False, "the rows are short"),
    ((16, 36, 5, 64), (3, 3, 64, 16), 1, 2, "forward", False, None),
    ((16, 36, 7, 64), (3, 3, 64, 17), 1, 2, "forward", False, None),
    ((16, 5, 36, 64), (3, 3, 64, 17), 1, 2, "forward", False, None),
]


@pytest.mark.parametrize(("x", "kernel", "groups", "stride", "kind", "general", "why"), SLOWER)
def test_the_limits_of_onednn(x, kernel, groups, stride, kind, general, why):
    c = described(x, kernel, groups=groups, stride=stride, kind=kind)
    reason = onednn_limits.slower(c, general)
    assert (reason is None) == (why is None)
    assert why is None or why in (reason or "")
    half = dataclasses.replace(c, dtype="bfloat16")
    assert onednn_limits.slower(half, general) is None


def test_the_limits_of_onednn_in_bfloat16():
    c = described((2, 9, 9, 9, 4), (3, 3, 3, 4, 8), kind="kernel gradient", dtype="bfloat16")
    assert onednn_limits.slower(c, general=False) is None
    assert "general kernel" in (onednn_limits.slower(c, general=True) or "")


def test_groups_are_joined_to_enough_channels_in_few_calls():
    assert grouped.joined(32, 4, 32, 16) == 8
    assert grouped.joined(4, 32, 32, 16) == 1
    assert grouped.joined(6, 4, 16, 16) == 3
    assert grouped.joined(256, 32, 32, 16) == 16
    assert grouped.joined(7, 4, 16, 16) == 1


@pytest.mark.parametrize(
    ("x", "kernel", "groups"),
    [
        ((2, 9, 9, 6), (3, 3, 1, 12), 6),
        ((2, 9, 9, 8), (3, 3, 2, 8), 4),
        ((2, 9, 9, 5), (1, 1, 5, 7), 1),
        ((2, 9, 9, 1), (3, 3, 1, 7), 1),
    ],
)
def test_float64_stays_float64(x, kernel, groups):
    with jax.enable_x64(True):
        keywords = {
            "window_strides": (2, 1),
            "padding": "SAME",
            "dimension_numbers": ("NHWC", "HWIO", "NHWC"),
            "feature_group_count": groups,
        }
        for c, operands, bind in equations((x, kernel), "float64", keywords, 0):
            check(dict(applicable(c)), bind, operands, "float64")


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_half_precision_is_summed_in_single(rank):
    # 512 ones and a half: bfloat16 sums would stand still at 256.
    shape, window = (1, *(8,) * rank, 2), (3,) * rank
    x = jnp.full(shape, 8.5, "bfloat16")
    kernel = jnp.ones((*window, 1, 2), "bfloat16")
    letters = "WHD"[:rank]
    keywords = {
        "window_strides": (1,) * rank,
        "padding": "VALID",
        "dimension_numbers": (f"N{letters}C", f"{letters}IO", f"N{letters}C"),
        "feature_group_count": 2,
    }
    c, _, _ = next(equations((shape, kernel.shape), "bfloat16", keywords, 0))
    y = depthwise.forward(c, x, kernel)
    assert y.dtype == jnp.bfloat16
    expected = jnp.asarray(8.5 * 3**rank, "bfloat16")
    np.testing.assert_array_equal(np.asarray(y), np.full(y.shape, expected))


def test_negative_padding_counts_where_xla_forgets_it():
    x, kernel = jnp.ones((1, 1, 18)), jnp.ones((1, 3, 6))
    rows = cpu.explain(crop_all, x, kernel).rows
    assert [row.reason for row in rows] == ["the padding is negative"]
    with cpu.installed(kernels=["xla"], keep_memory=False):
        got = jax.jit(crop_all)(x[..., :3], kernel)
    np.testing.assert_array_equal(got, np.zeros((1, 1, 6)))


def crop_all(x, kernel):
    """Of an axis of size 1, the padding takes the element away and puts a zero in its place."""
    return lax.conv_general_dilated(
        x[..., :3], kernel, (1,), ((1, -1),), dimension_numbers=("NWC", "WIO", "NWC")
    )
