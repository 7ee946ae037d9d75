"""Kernel gradients as sums of outer products: which are, how exactly, and to the same end."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from jax import lax

from cnn_jax import cpu
from cnn_jax.cpu import native_library, outer_products


@dataclasses.dataclass(frozen=True)
class Layer:
    """A convolution whose channels come last; the sizes of each axis as tuples."""

    batch: int
    input: tuple[int, ...]
    channels: tuple[int, int]
    window: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]

    @property
    def output(self) -> tuple[int, ...]:
        """The sizes of the result's axes; some may be less than one."""
        return tuple(
            (n + low + high - (w - 1) * d - 1) // s + 1
            for n, (low, high), w, d, s in zip(
                self.input, self.padding, self.window, self.dilation, self.stride, strict=True
            )
        )

    def arrays(self, seed: int) -> list[np.ndarray]:
        """Of the pictures and of the result's gradient."""
        draw = np.random.default_rng(seed)
        shapes = (self.input, self.channels[0]), (self.output, self.channels[1])
        return [draw.normal(size=(self.batch, *sizes, count)) for sizes, count in shapes]

    def kernel_gradient(self, x, dy):
        """That of the sum of dy * result."""
        spatial = "DHW"[-len(self.input) :]
        numbers = f"N{spatial}C", f"{spatial}IO", f"N{spatial}C"

        def result(kernel):
            return lax.conv_general_dilated(
                x,
                kernel,
                self.stride,
                self.padding,
                rhs_dilation=self.dilation,
                dimension_numbers=numbers,
            )

        return jax.vjp(result, jnp.zeros((*self.window, *self.channels), x.dtype))[1](dy)[0]

    def computed(self, arrays, dtype="float32") -> np.ndarray:
        """The kernel gradient of these arrays in that type."""
        with jax.enable_x64(dtype == "float64"):
            given = [jnp.asarray(array, dtype) for array in arrays]
            return np.asarray(jax.jit(self.kernel_gradient)(*given))


def layer(
    window=3, size=56, stride=2, dilation=1, channels=(32, 64), batch=4, rank=2, padding=None
) -> Layer:
    def all_axes(value):
        return (value,) * rank

    half = dilation * (window - 1) // 2 if padding is None else padding
    return Layer(
        batch,
        all_axes(size),
        channels,
        all_axes(window),
        all_axes(stride),
        all_axes(dilation),
        all_axes((half, half)),
    )


def kernel_of(dtype="float32", installed=None, **sizes) -> str:
    made = layer(**sizes)
    given = [jax.ShapeDtypeStruct(array.shape, dtype) for array in made.arrays(0)]
    with cpu.installed(**(installed or {})):
        return cpu.explain(made.kernel_gradient, *given).rows[-1].kernel


@pytest.fixture(autouse=True)
def _on_such_a_processor(native):
    if kernel_of() == "oneDNN":
        pytest.skip("this processor has no AVX-512")


@pytest.fixture
def whatever_the_shape(monkeypatch):
    """Every kernel gradient that the method can compute is computed by it."""
    monkeypatch.setattr(outer_products, "wins", lambda convolution: True)
    with cpu.installed(kernels=["outer"]):
        yield


def test_layers_with_a_stride_or_a_dilation_or_large_pictures_are_computed_by_it():
    mine = "outer products"
    assert kernel_of() == mine
    assert kernel_of(stride=1, dilation=2) == mine
    assert kernel_of(stride=1, window=1) == mine
    assert kernel_of(rank=1, batch=16) == mine
    assert kernel_of(rank=3, size=12) == mine
    assert kernel_of(installed={"kernels": ["onednn"]}) == "oneDNN"


def test_other_layers_are_not():
    assert kernel_of(stride=1) == "oneDNN"
    assert kernel_of(channels=(3, 64)) == "oneDNN"
    assert kernel_of(channels=(32, 40)) == "oneDNN"
    assert kernel_of(size=5) == "oneDNN"
    assert kernel_of(stride=1, dilation=2, size=14) == "oneDNN"
    assert kernel_of(window=1) == "oneDNN"
    assert kernel_of(window=1, stride=1, size=28) == "oneDNN"
    assert kernel_of(window=1, stride=1, channels=(512, 512)) == "oneDNN"
    assert kernel_of(dtype="float16") != "outer products"


def test_so_are_layers_that_onednn_has_a_general_kernel_for_or_none():
    mine, layers = "outer products", {"dilation": 2, "channels": (5, 17)}
    assert kernel_of(padding=0, **layers) == mine
    assert kernel_of(padding=2, **layers) == mine
    assert kernel_of(padding=2, rank=3, size=8, **layers) == mine
    assert kernel_of(padding=2, stride=1, **layers) == "oneDNN"
    # Without a stride planar rows are faster.
    few = {**layers, "channels": (5, 3), "rank": 3, "size": 8, "padding": 2}
    assert kernel_of(stride=1, **few) == "planar rows"
    assert kernel_of(**few) == mine


def need_pairs() -> None:
    if kernel_of(dtype="bfloat16") == "oneDNN":
        pytest.skip("this processor has no products of bfloat16 pairs")


def kernel_in_bfloat16(**sizes) -> str:
    return kernel_of(dtype="bfloat16", **sizes)


def test_in_bfloat16_layers_with_a_stride_or_short_rows_or_large_pictures_are(monkeypatch):
    need_pairs()
    monkeypatch.setattr(native_library, "has_matrix_units", lambda: False)
    mine, kernel = "outer products", kernel_in_bfloat16
    assert kernel() == mine
    assert kernel(window=1) == mine
    assert kernel(window=1, stride=1) == mine
    assert kernel(stride=1, size=7) == mine
    assert kernel(stride=1, dilation=2, size=13) == mine
    assert kernel(rank=3, size=12) == mine
    assert kernel(stride=1) == "oneDNN"
    assert kernel(stride=1, dilation=2) == "oneDNN"
    assert kernel(channels=(16, 64)) == "oneDNN"
    assert kernel(channels=(32, 40)) == "oneDNN"
    assert kernel(window=1, stride=1, size=28) == "oneDNN"
    # oneDNN's own is wrong.
    assert kernel(stride=1, dilation=2, channels=(17, 64)) == mine


def test_with_matrix_units_layers_with_a_stride_or_enough_inputs_and_few_gaps_are(monkeypatch):
    need_pairs()
    monkeypatch.setattr(native_library, "has_matrix_units", lambda: True)
    # What oneDNN has only a slow kernel for depends on the processor.
    monkeypatch.setattr(outer_products, "helps", lambda convolution: False)
    mine, kernel = "outer products", kernel_in_bfloat16
    assert kernel() == mine
    assert kernel(channels=(4, 64)) == mine
    assert kernel(channels=(3, 64)) != mine
    assert kernel(stride=1) == mine
    assert kernel(stride=1, size=8) == mine
    assert kernel(window=1, stride=1, size=28) == mine
    assert kernel(rank=1, stride=1) == mine
    assert kernel(rank=3, stride=1, size=12) == mine
    assert kernel(stride=1, channels=(16, 64)) != mine
    assert kernel(stride=1, channels=(32, 40)) != mine
    # Of 8 by 8 places 2 by 2 are positions.
    assert kernel(stride=1, window=7, size=8, padding=0) != mine


WHOLE_VECTORS = st.integers(1, 5).map(lambda vectors: 16 * vectors)


@st.composite
def layers(draw, outputs=WHOLE_VECTORS) -> Layer:
    rank = draw(st.integers(1, 3))

    def sizes(*choices: int) -> tuple[int, ...]:
        return tuple(draw(st.sampled_from(choices)) for _ in range(rank))

    # Rows of more than 128 positions are cut, and more than 2,048 positions make several parts.
    inputs = {1: (1, 7, 130, 300, 3000), 2: (1, 9, 30, 57, 140), 3: (1, 5, 11, 16)}[rank]
    window, dilation = sizes(1, 2, 3, 5), sizes(1, 1, 2, 7)
    reach = [(w - 1) * d for w, d in zip(window, dilation, strict=True)]
    padding = tuple((draw(st.integers(0, r)), draw(st.integers(0, r))) for r in reach)
    channels = draw(st.sampled_from([1, 2, 13, 14, 15, 29, 70])), draw(outputs)
    made = Layer(
        draw(st.sampled_from([1, 2, 5])),
        sizes(*inputs),
        channels,
        window,
        sizes(1, 1, 2, 3, 9),
        dilation,
        padding,
    )
    assume(min(made.output) > 0)
    work = np.prod(made.output) * made.batch * np.prod(window) * np.prod(channels)
    assume(work < 100_000_000 and np.prod(made.input) * made.batch * sum(channels) < 2_000_000)
    return made


@settings(max_examples=60)
@given(layers(st.integers(1, 80)), st.integers(0, 2**32 - 1))
def test_it_is_as_exact_as_any_sum(made, seed):
    arrays = made.arrays(seed)
    with cpu.uninstalled():
        exact, direct = made.computed(arrays, "float64"), made.computed(arrays)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(outer_products, "wins", lambda convolution: True)
        # Where an element of the kernel meets padding alone, XLA's own rule stays.
        with cpu.installed(kernels=["outer"]):
            mine = made.computed(arrays)
    allowed = 4 * np.abs(direct - exact).max() + 1e-6 * np.abs(exact).max()
    assert np.abs(mine - exact).max() <= allowed


@settings(max_examples=60)
@given(layers(), st.integers(0, 2**32 - 1))
def test_in_bfloat16_it_is_rounded_once(made, seed):
    need_pairs()
    arrays = [np.asarray(jnp.asarray(array, "bfloat16"), "float64") for array in made.arrays(seed)]
    with cpu.uninstalled():
        exact, sizes = (
            made.computed(each, "float64") for each in (arrays, [np.abs(a) for a in arrays])
        )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(outer_products, "wins", lambda convolution: True)
        with cpu.installed(kernels=["outer"]):
            mine = made.computed(arrays, "bfloat16").astype("float64")
    # Sums of numbers that cancel keep the error of float32.
    assert (np.abs(mine - exact) <= 2.0**-8 * np.abs(exact) + 1e-5 * sizes).all()


@settings(max_examples=20)
@given(layers(), st.sampled_from([np.nan, np.inf, -np.inf]), st.data())
def test_in_bfloat16_what_is_not_finite_stays_in_its_channel(made, wrong, data):
    need_pairs()
    draw = np.random.default_rng(0)
    arrays = [draw.integers(-2, 3, array.shape).astype("float32") for array in made.arrays(0)]
    *place, channel = (data.draw(st.integers(0, size - 1)) for size in arrays[0].shape)
    others = [i for i in range(made.channels[0]) if i != channel]
    assume(others)
    with cpu.uninstalled():
        exact = made.computed(arrays, "float64")
    arrays[0][*place, channel] = wrong
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(outer_products, "wins", lambda convolution: True)
        with cpu.installed(kernels=["outer"]):
            mine = made.computed(arrays, "bfloat16")[..., others, :]
    np.testing.assert_array_equal(mine, exact[..., others, :].astype(mine.dtype))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("wrong", [np.nan, np.inf])
@pytest.mark.parametrize("operand", [0, 1])
def test_what_is_not_finite_reaches_the_same_results(whatever_the_shape, wrong, operand, dtype):
    if dtype == "bfloat16":
        need_pairs()
    made = layer(size=7, channels=(5, 32), batch=2)
    arrays = made.arrays(0)
    arrays[operand][1, 2, 1, 3] = wrong
    mine = made.computed(arrays, dtype)
    with cpu.uninstalled():
        theirs = made.computed(arrays)
    np.testing.assert_array_equal(np.isfinite(mine.astype("float32")), np.isfinite(theirs))


_BITS = """
import jax, jax.numpy as jnp, numpy as np
from jax import lax
from cnn_jax import cpu

cpu.install(keep_memory=False)
draw = np.random.default_rng(0)
sizes = (4, 57, 57, 32), (3, 3, 32, 64), (4, 29, 29, 64)
x, kernel, dy = (jnp.asarray(draw.normal(size=size), "DTYPE") for size in sizes)

@jax.jit
def gradient(x, dy):
    def result(kernel):
        padding = ((1, 1), (1, 1))
        numbers = ("NHWC", "HWIO", "NHWC")
        return lax.conv_general_dilated(x, kernel, (2, 2), padding, dimension_numbers=numbers)
    return jax.vjp(result, kernel)[1](dy)[0]

assert cpu.explain(gradient, x, dy).rows[-1].kernel == "outer products"
results = {np.asarray(gradient(x, dy)).tobytes() for _ in range(5)}
print(len(results), hash(results.pop()))
"""


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_same_numbers_give_the_same_bits_on_any_number_of_threads(run_alone, dtype):
    if dtype == "bfloat16":
        need_pairs()
    script = _BITS.replace("DTYPE", dtype)
    printed = {
        run_alone(script, OMP_NUM_THREADS=threads, PYTHONHASHSEED="0")
        for threads in ("1", "2", "3")
    }
    assert len(printed) == 1
    assert printed.pop().startswith("1 ")
