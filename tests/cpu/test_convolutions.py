"""Every installed kernel against the stock rule: values, gradients, their tangents and vmap."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax

from cnn_jax import cpu
from cnn_jax.cpu import native_library


@st.composite
def convolutions(draw):
    """Arguments of `lax.conv_general_dilated`, hostile ones among them."""
    rank = draw(st.integers(0, 3))
    groups = draw(st.sampled_from([1, 1, 2, 3]))

    def sizes(*choices):
        return tuple(draw(st.sampled_from(choices)) for _ in range(rank))

    window = sizes(1, 2, 3)
    spatial = sizes(1, 3, 5, 8)
    rhs_dilation = sizes(1, 1, 2)
    lhs_dilation = draw(st.sampled_from([(1,) * rank, sizes(1, 2)]))
    padding = tuple((draw(st.integers(-1, 4)), draw(st.integers(-1, 4))) for _ in range(rank))
    in_channels = groups * draw(st.sampled_from([1, 2, 3, 17]))
    out_channels = groups * draw(st.sampled_from([1, 2, 5]))
    batch = draw(st.sampled_from([0, 1, 1, 2, 3]))
    letters = "WHD"[:rank]
    if draw(st.booleans()):
        dimensions = (f"N{letters}C", f"{letters}IO", f"N{letters}C")
        shapes = (batch, *spatial, in_channels), (*window, in_channels // groups, out_channels)
    else:
        dimensions = (f"NC{letters}", f"OI{letters}", f"NC{letters}")
        shapes = (batch, in_channels, *spatial), (out_channels, in_channels // groups, *window)
    keywords = {
        "window_strides": sizes(1, 1, 2, 3),
        "padding": padding,
        "lhs_dilation": lhs_dilation,
        "rhs_dilation": rhs_dilation,
        "dimension_numbers": dimensions,
        "feature_group_count": groups,
    }
    dtype = draw(st.sampled_from(["float32"] * 6 + ["bfloat16", "bfloat16", "float16"]))
    return shapes, dtype, keywords, draw(st.integers(0, 2**32 - 1))


def cropping(x, kernel, *, padding, lhs_dilation, dimension_numbers, **keywords):
    """The convolution with its padding and dilation written out.

    XLA's own rule is wrong for some negative paddings.
    """
    config = [(0, 0, 0)] * x.ndim
    letters = dimension_numbers[0].replace("N", "").replace("C", "")
    for letter, (low, high), step in zip(letters, padding, lhs_dilation, strict=True):
        config[dimension_numbers[0].index(letter)] = (low, high, step - 1)
    return lax.conv_general_dilated(
        lax.pad(x, jnp.zeros((), x.dtype), config),
        kernel,
        padding=((0, 0),) * len(letters),
        dimension_numbers=dimension_numbers,
        **keywords,
    )


def everything(shapes, dtype, keywords, seed, convolve=lax.conv_general_dilated):
    """The value, both gradients, their tangents and a vmap over both operands, in one program."""
    generator = np.random.default_rng(seed)
    x, kernel = (jnp.asarray(generator.normal(size=shape), dtype) for shape in shapes)

    def function(x, kernel):
        return convolve(x, kernel, **keywords)

    try:
        out = jax.eval_shape(function, x, kernel)
    except (TypeError, ValueError):
        return None  # an output of negative size, say: refused before any rule is asked
    weight = jnp.asarray(generator.normal(size=out.shape), dtype)

    def gradients(x, kernel):
        return jax.vjp(function, x, kernel)[1](weight)

    @jax.jit
    def compute(x, kernel):
        both = jnp.stack([x, -x]), jnp.stack([kernel, 2 * kernel])
        return (
            function(x, kernel),
            jax.jvp(gradients, (x, kernel), (jnp.sin(x), jnp.cos(kernel))),
            jax.vmap(function)(*both),
        )

    return lambda: [np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(compute(x, kernel))]


TOLERANCE = {"float32": 1e-4, "bfloat16": 4e-2, "float16": 1e-2}


@settings(max_examples=120)
@given(convolutions())
def test_drawn_convolutions_agree_with_the_stock_rule(case):
    compute = everything(*case)
    if compute is None:
        return
    cpu.uninstall()
    negative = any(low < 0 or high < 0 for low, high in case[2]["padding"])
    true = everything(*case, convolve=cropping) if negative else compute
    assert true is not None
    stock = true()
    with cpu.installed(keep_memory=False):
        fast = compute()
    for mine, theirs in zip(fast, stock, strict=True):
        scale = np.abs(theirs).max(initial=0) + 1e-3
        np.testing.assert_allclose(mine, theirs, rtol=0, atol=TOLERANCE[case[1]] * scale)


@pytest.mark.parametrize("kernels", [("onednn",), ("onednn", "xla")])
def test_a_dilated_depthwise_gradient_in_bfloat16_is_right(kernels):
    # oneDNN 3.2 gives numbers of any size there.
    draw = np.random.default_rng(0)
    x, dy = (jnp.asarray(draw.normal(size=(8, 32, 32, 32)), "bfloat16") for _ in range(2))

    def gradient(x, dy):
        def convolve(kernel):
            return lax.conv_general_dilated(
                x,
                kernel,
                (1, 1),
                ((2, 2), (2, 2)),
                rhs_dilation=(2, 2),
                dimension_numbers=("NHWC", "HWIO", "NHWC"),
                feature_group_count=32,
            )

        return jax.vjp(convolve, jnp.zeros((3, 3, 1, 32), x.dtype))[1](dy)[0]

    cpu.uninstall()
    expected = np.asarray(jax.jit(gradient)(x.astype("float32"), dy.astype("float32")))
    with cpu.installed(kernels=kernels, keep_memory=False):
        found = np.asarray(jax.jit(gradient)(x, dy), np.float32)
    np.testing.assert_allclose(found, expected, rtol=0, atol=0.01 * np.abs(expected).max())


def test_convolutions_of_every_family_member_reach_the_library(native):
    """Forward, both gradients, strided, dilated, grouped, depthwise, transposed, 1-D to 3-D."""
    cases = [
        ((2, 9, 4), (3, 4, 8), {"window_strides": (2,)}, 1),
        ((2, 9, 9, 4), (3, 3, 4, 8), {"window_strides": (1, 1)}, 1),
        ((2, 9, 9, 4), (3, 3, 4, 8), {"window_strides": (2, 2)}, 1),
        ((2, 9, 9, 4), (3, 3, 4, 8), {"window_strides": (1, 1), "rhs_dilation": (2, 2)}, 1),
        ((2, 9, 9, 8), (3, 3, 4, 8), {"window_strides": (1, 1)}, 2),
        ((2, 9, 9, 8), (3, 3, 1, 8), {"window_strides": (1, 1)}, 8),
        ((2, 5, 5, 4), (3, 3, 4, 8), {"window_strides": (1, 1), "lhs_dilation": (2, 2)}, 1),
        ((2, 5, 5, 5, 4), (3, 3, 3, 4, 8), {"window_strides": (1, 1, 1)}, 1),
    ]
    for x_shape, kernel_shape, keywords, groups in cases:
        letters = "WHD"[: len(x_shape) - 2]

        def loss(x, kernel, letters=letters, keywords=keywords, groups=groups):
            y = lax.conv_general_dilated(
                x,
                kernel,
                padding=((1, 2),) * len(letters),
                dimension_numbers=(f"N{letters}C", f"{letters}IO", f"N{letters}C"),
                feature_group_count=groups,
                **keywords,
            )
            return jnp.sum(y * y)

        shapes = [jax.ShapeDtypeStruct(s, jnp.float32) for s in (x_shape, kernel_shape)]
        # Whether or not another family is faster.
        with cpu.installed(keep_memory=False, kernels=["onednn"]):
            rows = cpu.explain(jax.grad(loss, (0, 1)), *shapes).rows
        assert [row.kernel for row in rows] == ["oneDNN"] * 3, (x_shape, keywords, rows)


def hostile(**changes) -> tuple[int, ...]:
    """A forward 1-D configuration with some of its numbers changed."""
    numbers = {
        "format": native_library.FORMAT, "kind": 0, "method": 0, "after": 0, "type": 0, "rank": 1,
        "groups": 1, "batch": 1, "in": 1, "out": 1, "input": 8, "output": 6, "window": 3,
        "stride": 1, "dilation": 1, "low": 0, "high": 0,
        "sn": 8, "sc": 8, "sw": 1, "wg": 3, "wo": 3, "wi": 3, "ww": 1, "dn": 6, "dc": 6, "dw": 1,
    }  # fmt: skip
    assert changes.keys() <= numbers.keys()
    return tuple((numbers | changes).values())


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"format": 1}, "another version"),
        ({"kind": 3}, "unknown kind"),
        ({"method": 8}, "unknown kind, method"),
        ({"rank": 4}, "unknown kind, method, epilogue, type or rank"),
        ({"batch": 0}, "zero, negative or too large"),
        ({"stride": -1}, "zero, negative or too large"),
        ({"stride": 2**31 - 1, "output": 1, "dn": 1, "dc": 1}, "the stride is too long"),
        ({"low": 3, "output": 9}, "as large as the dilated window"),
        ({"low": -1, "output": 5}, "negative or as large"),
        ({"output": 7}, "does not follow"),
        ({"groups": 2}, "do not divide"),
        ({"sw": 2}, "not dense"),
        ({"dilation": 2**31 - 1}, "too large"),
        ({"dilation": 9, "low": 2, "high": 11, "output": 3, "dn": 3, "dc": 3}, "jumps over"),
    ],
)
def test_the_library_refuses_configurations_that_would_not_be_safe(native, changes, reason):
    assert native_library.reason_against(hostile()) is None
    assert reason in (native_library.reason_against(hostile(**changes)) or "")


def test_the_library_refuses_a_configuration_of_the_wrong_length(native):
    for wrong in (hostile()[:-1], (*hostile(), 1), ()):
        assert native_library.reason_against(wrong)


def test_the_handler_refuses_arrays_of_another_size(native):
    call = jax.ffi.ffi_call(native_library.TARGET, jax.ShapeDtypeStruct((1, 6, 1), jnp.float32))
    small = jnp.ones((1, 4, 1))
    with pytest.raises(Exception, match="not those of the configuration"):
        jax.block_until_ready(
            call(small, jnp.ones((3, 1, 1)), configuration=np.asarray(hostile(), np.int64))
        )


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_the_three_convolutions_of_a_layer_count_the_same_work(groups):
    def loss(x, kernel):
        y = lax.conv_general_dilated(
            x,
            kernel,
            (1, 1),
            "SAME",
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=groups,
        )
        return jnp.sum(y * y)

    x = jax.ShapeDtypeStruct((2, 6, 6, 4), jnp.float32)
    kernel = jax.ShapeDtypeStruct((3, 3, 4 // groups, 8), jnp.float32)
    flops = [row.flops for row in cpu.explain(jax.grad(loss, (0, 1)), x, kernel).rows]
    assert flops == [2 * (2 * 6 * 6) * (3 * 3) * (4 // groups) * 8] * 3


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    ("size", "window", "stride", "padding"),
    [(1, 2, 3, (0, 1)), (1, 3, 2, (2, 2)), (1, 3, 1, (2, 0)), (2, 3, 3, (2, 0))],
)
def test_a_kernel_element_on_padding_alone_has_no_gradient(dtype, size, window, stride, padding):
    def function(x, kernel):
        return lax.conv_general_dilated(
            x, kernel, (stride,), (padding,), dimension_numbers=("NWC", "WIO", "NWC")
        )

    x, kernel = jnp.ones((2, size, 3), dtype), jnp.ones((window, 3, 5), dtype)
    y = function(x, kernel)
    places = np.arange(y.shape[1])[:, None] * stride + np.arange(window) - padding[0]
    touched = ((places >= 0) & (places < size)).sum(axis=0)
    rows = cpu.explain(lambda x, k: jax.vjp(function, x, k)[1](y), x, kernel).rows
    (row,) = [row for row in rows if row.operation == "convolution, kernel gradient"]
    assert (row.kernel == "oneDNN") <= bool(touched.all())
    with cpu.installed(keep_memory=False):
        gradient = jax.jit(lambda x, k: jax.vjp(function, x, k)[1](jnp.ones_like(y))[1])(x, kernel)
    expected = np.broadcast_to(2.0 * touched[:, None, None], kernel.shape)
    np.testing.assert_array_equal(np.asarray(gradient, np.float32), expected)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    ("size", "window", "stride", "dilation", "padding"),
    [(64, 5, 2, 11, (22, 22)), (65, 4, 2, 8, (18, 4)), (110, 5, 3, 12, (24, 23))],
)
def test_a_kernel_gradient_with_long_padding_at_half_a_row_is_right(
    dtype, size, window, stride, dilation, padding
):
    def function(x, kernel):
        return lax.conv_general_dilated(
            x, kernel, (stride,), (padding,), rhs_dilation=(dilation,),
            dimension_numbers=("NWC", "WIO", "NWC"),
        )  # fmt: skip

    draw = np.random.default_rng(0)
    x = draw.integers(-2, 3, (2, size, 3))
    kernel = np.zeros((window, 3, 16))
    y = jax.eval_shape(function, jnp.asarray(x, dtype), jnp.asarray(kernel, dtype))
    cotangent = draw.integers(-1, 2, y.shape)
    padded = np.pad(x, ((0, 0), padding, (0, 0)))
    reach = (y.shape[1] - 1) * stride + 1
    taps = [padded[:, tap * dilation :][:, :reach:stride] for tap in range(window)]
    expected = [np.einsum("nwi,nwo->io", tap, cotangent) for tap in taps]
    with cpu.installed(keep_memory=False):
        gradient = jax.jit(lambda x, k, c: jax.vjp(function, x, k)[1](c)[1])(
            *(jnp.asarray(array, dtype) for array in (x, kernel, cotangent))
        )
    np.testing.assert_array_equal(np.asarray(gradient, np.float32), np.stack(expected))


def test_a_dilated_window_that_jumps_over_the_input_is_survived(native):
    # oneDNN crashes on it where the processor has matrix units for bfloat16.
    def convolve(x, kernel):
        return lax.conv_general_dilated(
            x,
            kernel,
            (5, 2),
            ((5, 6), (11, 11)),
            rhs_dilation=(11, 11),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )

    generator = np.random.default_rng(0)
    x, kernel = (jnp.asarray(generator.normal(size=s)) for s in [(4, 2, 9, 8), (2, 3, 8, 1)])
    with cpu.installed(keep_memory=False):
        narrow = jax.jit(convolve)(x.astype(jnp.bfloat16), kernel.astype(jnp.bfloat16))
    expected = np.asarray(convolve(x, kernel))
    scale = np.abs(expected).max()
    np.testing.assert_allclose(np.asarray(narrow, np.float32), expected, rtol=0, atol=0.04 * scale)


def test_a_narrow_result_of_a_large_stride_is_left_to_others(native):
    x, kernel = jnp.ones((2, 6, 6, 3)), jnp.ones((3, 3, 3, 8))

    def correlate(x):
        return lax.conv_general_dilated(
            x, kernel, (3, 3), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )

    def gradient(x):
        return jax.vjp(correlate, x)[1](jnp.ones((2, 2, 2, 8)))[0]

    with cpu.installed(keep_memory=False):
        (row,) = [r for r in cpu.explain(gradient, x).rows if "input gradient" in r.operation]
    assert row.reason.startswith("oneDNN reads past its array where few channels")


@pytest.mark.parametrize(("stride", "groups"), [(2, 6), (1, 6), (2, 3)])
def test_strided_depthwise_input_gradients_in_bfloat16_go_through_float32(native, stride, groups):
    draw = np.random.default_rng(0)
    x = jnp.asarray(draw.normal(size=(2, 9, 9, 6)), jnp.bfloat16)
    kernel = jnp.asarray(draw.normal(size=(3, 3, 6 // groups, 6)), jnp.bfloat16)

    def function(x, kernel):
        return lax.conv_general_dilated(
            x,
            kernel,
            (stride, stride),
            "SAME",
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=groups,
        )

    weight = jnp.asarray(draw.normal(size=function(x, kernel).shape), jnp.bfloat16)

    def gradient(x, kernel, weight):
        return jax.vjp(lambda x: function(x, kernel), x)[1](weight)[0]

    # Where the processor has nothing better.
    with cpu.installed(keep_memory=False, strict=True, kernels=["onednn", "xla"]):
        kernels = [row.kernel for row in cpu.explain(gradient, x, kernel, weight).rows]
        got = jax.jit(gradient)(x, kernel, weight)
    expected = gradient(*(array.astype(jnp.float32) for array in (x, kernel, weight)))
    assert ("widened, then chosen again" in kernels) == (stride > 1 and groups == 6)
    assert got.dtype == jnp.bfloat16
    np.testing.assert_allclose(
        np.asarray(got, np.float32), expected, rtol=0, atol=2e-2 * float(jnp.abs(expected).max())
    )
