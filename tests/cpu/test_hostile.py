"""Programs that XLA's own rules abort on, or compute wrongly, with the kernels installed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from cnn_jax import cpu
from cnn_jax.cpu import native_library


@pytest.mark.parametrize("primitive", [lax.reduce_window_max_p, lax.reduce_window_sum_p])
def test_a_pooling_of_a_scalar_is_the_scalar(primitive):
    # XLA's own rule aborts the process.
    def pool(x):
        return primitive.bind(
            x,
            window_dimensions=(),
            window_strides=(),
            padding=(),
            base_dilation=(),
            window_dilation=(),
        )

    with cpu.installed(keep_memory=False):
        value, gradient = jax.jit(jax.value_and_grad(pool))(jnp.float32(-3.5))
        _, tangent = jax.jit(lambda x: jax.jvp(pool, (x,), (2 * x,)))(jnp.float32(-3.5))
    assert (value, gradient, tangent) == (-3.5, 1.0, -7.0)


# Memory is filled with 8.5e37 as it is allocated, which shows in sums of what was never written.
_NEVER_WRITTEN = """
import itertools
import jax, jax.numpy as jnp, numpy as np
from jax import lax
from cnn_jax import cpu

draw = np.random.default_rng(0)
computed = 0
for dtype, groups in [("float32", 1), ("float32", 8), ("bfloat16", 8)]:
    for depth, window, stride in itertools.product((2, 4, 7), (3, 5, 7), (1, 2)):
        def gradient(x, weight):
            def convolve(kernel):
                return lax.conv_general_dilated(
                    x, kernel, (stride, 1, 1), [(window // 2,) * 2, (1, 1), (1, 1)],
                    feature_group_count=groups, dimension_numbers=("NDHWC", "DHWIO", "NDHWC"))
            return jax.vjp(convolve, jnp.zeros((window, 3, 3, 8 // groups, 8), x.dtype))[1](weight)
        out = (depth + window // 2 * 2 - window) // stride + 1
        sizes = (2, depth, 4, 4, 8), (2, out, 4, 4, 8)
        arrays = [jnp.asarray(draw.integers(-2, 3, size), dtype) for size in sizes]
        with cpu.installed(kernels=["onednn"], keep_memory=False):
            (mine,) = jax.jit(gradient)(*arrays)
            computed += cpu.explain(gradient, *arrays).rows[-1].kernel == "oneDNN"
        (theirs,) = gradient(*(array.astype("float32") for array in arrays))
        np.testing.assert_allclose(mine.astype("float32"), theirs, rtol=1e-2, atol=1e-2)
dilated = 0
for channels, width, groups in itertools.product((13, 24, 32), (28, 36, 70), (1, 4)):
    def gradient(x, weight):
        def convolve(kernel):
            return lax.conv_general_dilated(
                x, kernel, (1, 1), [(2, 2), (2, 2)], rhs_dilation=(2, 2),
                feature_group_count=groups, dimension_numbers=("NHWC", "HWIO", "NHWC"))
        return jax.vjp(convolve, jnp.zeros((3, 3, channels, 20), x.dtype))[1](weight)
    sizes = (2, 9, width, channels * groups), (2, 9, width, 20)
    arrays = [jnp.asarray(draw.integers(-2, 3, size), "bfloat16") for size in sizes]
    for kernels in (["onednn"], None):
        with cpu.installed(kernels=kernels, keep_memory=False):
            (mine,) = jax.jit(gradient)(*arrays)
            dilated += cpu.explain(gradient, *arrays).rows[-1].kernel == "oneDNN"
        (theirs,) = gradient(*(array.astype("float32") for array in arrays))
        np.testing.assert_allclose(mine.astype("float32"), theirs, rtol=1e-2, atol=1e-2)
print(computed, dilated)
"""


def test_no_kernel_adds_up_memory_that_was_never_written(native, run_alone):
    computed, dilated = map(int, run_alone(_NEVER_WRITTEN, MALLOC_PERTURB_="129").split())
    assert computed > 10
    assert dilated > 10


# Programs on which XLA's own rule aborts the process: an axis with an input dilated by two, a
# window of two and no padding, beside one with a kernel longer than the input.
_ABORTING = """
import jax, jax.numpy as jnp, numpy as np
from jax import lax
from cnn_jax import cpu

def spelt(x, k, padding, dilation, groups):
    # [n, c, h, w] times [o, i, p, q], one product at a time.
    full = np.zeros((*x.shape[:2], *[(n - 1) * d + 1 for n, d in zip(x.shape[2:], dilation)]))
    full[:, :, :: dilation[0], :: dilation[1]] = x
    full = np.pad(full, [(0, 0), (0, 0), *padding])
    windows = np.lib.stride_tricks.sliding_window_view(full, k.shape[2:], (2, 3))
    split = np.split(windows, groups, 0), np.split(k, groups, 0)
    return np.concatenate(
        [np.einsum("nchwpq,ocpq->nohw", a, b) for a, b in zip(*split)], 1)

cases = [
    ((1, 2, 5, 2), (1, 2, 2, 4), ((0, 0), (2, 2)), (2, 2), 1),
    ((2, 1, 4, 2), (4, 1, 2, 4), ((0, 0), (1, 1)), (2, 2), 2),
    ((2, 1, 5, 2), (1, 1, 2, 4), ((0, 0), (0, 0)), (2, 3), 1),
]
draw = np.random.default_rng(0)
cpu.install(keep_memory=False, kernels={kernels}, compare={compare})
for dtype in ["float32", "int32"]:
    for x_shape, k_shape, padding, dilation, groups in cases:
        x = draw.integers(-3, 4, x_shape).astype(dtype)
        k = draw.integers(-3, 4, k_shape).astype(dtype)
        def convolve(x, k):
            return lax.conv_general_dilated(
                x, k, (1, 1), padding, dilation, batch_group_count=groups)
        def channels_last(x, k):
            y = lax.conv_general_dilated(
                x.transpose(0, 2, 3, 1), k.transpose(2, 3, 1, 0), (1, 1), padding, dilation,
                dimension_numbers=("NHWC", "HWIO", "NHWC"), batch_group_count=groups)
            return y.transpose(0, 3, 1, 2)
        true = spelt(x, k, padding, dilation, groups)
        np.testing.assert_array_equal(jax.jit(convolve)(x, k), true)
        np.testing.assert_array_equal(jax.jit(channels_last)(x, k), true)
# The same as an input gradient, of a stride of two beside a window as long as its input.
def forward(x, k):
    return lax.conv_general_dilated(x, k, (2, 1), ((1, 1), (0, 0)))
x, k = np.ones((1, 2, 6, 7), np.float32), np.ones((3, 2, 2, 7), np.float32)
ct = draw.integers(-3, 4, (1, 3, 4, 1)).astype(np.float32)
gradient, kernel_gradient = jax.jit(lambda x, k: jax.vjp(forward, x, k)[1](ct))(x, k)
expected = np.broadcast_to(ct.sum(1, keepdims=True).repeat(2, 2)[:, :, 1:-1], x.shape)
np.testing.assert_array_equal(gradient, expected)
first, last = ct[0, :, 1:, 0].sum(1), ct[0, :, :-1, 0].sum(1)
expected = np.broadcast_to(np.stack([first, last], 1)[:, None, :, None], k.shape)
np.testing.assert_array_equal(kernel_gradient, expected)
print("survived")
"""


@pytest.mark.parametrize(("kernels", "compare"), [((), True), (None, False)])
def test_a_dilation_that_aborts_xla_is_survived(run_alone, kernels, compare):
    program = _ABORTING.format(kernels=kernels, compare=compare)
    assert run_alone(program) == "survived\n"


def test_negative_padding_counts_for_integers_too():
    # XLA's own rule forgets it on an axis of size 1.
    x, kernel = jnp.full((1, 1, 1, 3), 5), jnp.full((1, 1, 1, 1), 2)

    def crop(x, kernel):
        return lax.conv_general_dilated(x, kernel, (1, 1), ((-1, 2), (0, 0)))

    with cpu.installed(keep_memory=False):
        assert jax.jit(crop)(x, kernel).tolist() == [[[[0] * 3] * 2]]


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_with_a_float32_result_is_the_convolution_of_widened_arrays(native, dtype):
    def convolve(x, kernel):
        return lax.conv_general_dilated(
            x, kernel, (1, 1), "SAME", preferred_element_type=jnp.float32
        )

    draw = np.random.default_rng(0)
    x, kernel = (jnp.asarray(draw.normal(size=s), dtype) for s in [(2, 3, 6, 7), (4, 3, 3, 2)])
    rows = cpu.explain(convolve, x, kernel).rows
    assert [row.kernel for row in rows] == ["widened, then chosen again"]
    wide = x.astype(jnp.float32), kernel.astype(jnp.float32)
    with cpu.installed(keep_memory=False):
        text = jax.jit(convolve).lower(x, kernel).as_text()
        narrow, expected = jax.jit(convolve)(x, kernel), jax.jit(convolve)(*wide)
    assert native_library.TARGET in text
    np.testing.assert_array_equal(narrow, expected)


def test_an_empty_array_that_is_broadcast_is_summed():
    def total(x):
        return jnp.sum(jnp.broadcast_to(x, (0, 5)) + 1, 0)

    with cpu.installed(keep_memory=False):
        assert jax.jit(total)(jnp.ones((0, 1))).tolist() == [0] * 5
