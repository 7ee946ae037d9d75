"""Convolutions whose padding oneDNN has no kernel for: which are padded before, and how exactly."""

import channels_last
import exact_sums
import jax
import jax.numpy as jnp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnn_jax.cpu import outer_products, padded_first

pytestmark = pytest.mark.usefixtures("native")

MINE = "padded, then chosen again"


def kernels_of(size, kernel, batch=16, dtype="float32", **keywords):
    """Those of the result, and of its gradients by x and by the kernel."""
    return channels_last.kernels_of((batch, *size, kernel[-2]), kernel, dtype, **keywords)


def test_a_padding_as_large_as_the_window_is_made_before():
    assert kernels_of((20, 20), (3, 1, 16, 32), padding=1)[::2] == [MINE] * 2
    assert kernels_of((20, 20), (3, 1, 16, 32), padding=1, dtype="bfloat16")[::2] == [MINE] * 2
    assert kernels_of((8, 8, 8), (1, 5, 3, 16, 32), padding=2)[0] == MINE


def test_so_is_one_that_some_weight_meets_alone(monkeypatch):
    # Outer products are faster, on processors that have them.
    monkeypatch.setattr(outer_products, "helps", lambda convolution: False)
    assert kernels_of((4, 20), (7, 3, 16, 32), padding=((4, 4), (1, 1)))[2] == MINE


def test_so_is_one_with_which_onednn_goes_wrong():
    x, kernel = (16, 6, 12, 12, 64), (7, 7, 7, 16, 32)
    assert channels_last.kernels_of(x, kernel, stride=3, padding=3, groups=4)[2] == MINE


def test_others_are_not():
    assert MINE not in kernels_of((20, 20), (3, 3, 16, 32), padding=1)
    assert MINE not in kernels_of((5, 5), (3, 1, 4, 8), batch=1, padding=1)[::2]
    assert MINE not in kernels_of((20, 20), (3, 1, 16, 32), padding=1, dtype="float16")


def by_both_of_the_padded(x, kernel, weight, padding, **keywords):
    """XLA's gradient of a padding past the window is wrong, that of a padding apart is not."""

    def result(x, kernel):
        return channels_last.correlate(jnp.pad(x, ((0, 0), *padding, (0, 0))), kernel, **keywords)

    value, pullback = jax.vjp(result, x, kernel)
    return value, *pullback(weight)


@st.composite
def hostile(draw):
    """Shapes and settings with more padding than a window calls for."""
    rank, groups = draw(st.integers(1, 3)), draw(st.sampled_from([1, 1, 2, 3]))

    def sizes(*choices):
        return tuple(draw(st.sampled_from(choices)) for _ in range(rank))

    size, window = sizes(1, 3, 6, 9), sizes(1, 2, 3, 5)
    padding = tuple((draw(st.integers(0, w + 2)), draw(st.integers(0, w + 2))) for w in window)
    stride, dilation = sizes(1, 1, 2, 3), sizes(1, 1, 2)
    inputs, outputs = draw(st.sampled_from([1, 2, 8, 16])), draw(st.sampled_from([1, 4, 16]))
    result = [
        (n + sum(pad) - (w - 1) * d - 1) // s + 1
        for n, pad, w, d, s in zip(size, padding, window, dilation, stride, strict=True)
    ]
    batch = draw(st.sampled_from([1, 2, 5]))
    x, kernel = (batch, *size, inputs * groups), (*window, inputs, outputs * groups)
    keywords = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    return x, kernel, (batch, *result, outputs * groups), keywords


@pytest.mark.parametrize(("dtype", "precision"), exact_sums.PRECISIONS)
@settings(max_examples=60)
@given(hostile().filter(lambda drawn: min(drawn[2]) > 0), st.integers(0, 2**32 - 1))
def test_it_is_as_exact_as_any_sum(dtype, precision, shapes, seed):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(padded_first, "_LEAST_WORK", 0)
        exact_sums.check(exact_sums.by_both, "onednn", None, MINE, shapes, seed, dtype, precision)
