"""Every error of the operations, by its whole message."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax import ops

PADDINGS = (
    "one of 'VALID', 'SAME', 'SAME_LOWER', 'FULL', 'CAUSAL', an int, a sequence of ints, "
    "or a sequence of (low, high) pairs"
)
DTYPES = "float16, bfloat16, float32, float64"
ALL_DTYPES = DTYPES + ", int8, int16, int32, int64, uint8, uint16, uint32, uint64"
PLAIN = "(x: float32[2,8,8,6], kernel: float32[3,3,6,4])"
POOLED = "(x: float32[2,8,8,6])"


def ones(*shape: int, dtype: Any = "float32") -> jax.Array:
    return jnp.ones(shape, dtype)


def correlate(**how: Any) -> Callable[[], Any]:
    return lambda: ops.correlate(ones(2, 8, 8, 6), ones(3, 3, 6, 4), **how)


def transpose(**how: Any) -> Callable[[], Any]:
    return lambda: ops.correlate_transpose(ones(2, 8, 8, 6), ones(3, 3, 6, 4), **how)


def pool(size: Any = 2, **how: Any) -> Callable[[], Any]:
    return lambda: ops.max_pool(ones(2, 8, 8, 6), size, **how)


Row = tuple[Callable[[], Any], type[Exception], str]

OPERANDS: list[Row] = [
    (
        lambda: ops.correlate(ones(2, 8, 8, 6), ones(3, 3, 4, 16)),
        ValueError,
        "correlate: kernel has 4 input channels per group, but x has 6 channels in 1 group "
        "(x: float32[2,8,8,6], kernel: float32[3,3,4,16])",
    ),
    (
        lambda: ops.convolve(ones(8, 8, 6), ones(3, 3, 6, 16), groups=2),
        ValueError,
        "convolve: kernel has 6 input channels per group, but x has 6 channels in 2 groups "
        "(x: float32[8,8,6], kernel: float32[3,3,6,16])",
    ),
    (
        lambda: ops.correlate(ones(8, 8, 6), ones(3, 3, 3, 5), groups=2),
        ValueError,
        "correlate: groups must divide the output channels, but the kernel has 5 and groups is 2 "
        "(x: float32[8,8,6], kernel: float32[3,3,3,5])",
    ),
    (
        lambda: ops.correlate(ones(8, 6), ones(6, 5)),
        ValueError,
        "correlate: kernel must be [*window, in_channels / groups, out_channels] with at least one "
        "window dimension, but it has 2 dimensions (x: float32[8,6], kernel: float32[6,5])",
    ),
    (
        lambda: ops.correlate(ones(8, 6), ones(3, 3, 6, 5)),
        ValueError,
        "correlate: x must be [*batch, *spatial, channels] with 2 spatial dimensions as in the "
        "kernel's window, so at least 3 dimensions, but it has 2 "
        "(x: float32[8,6], kernel: float32[3,3,6,5])",
    ),
    (
        lambda: ops.correlate(ones(8, 6), ones(3, 6, 0)),
        ValueError,
        "correlate: kernel is empty (x: float32[8,6], kernel: float32[3,6,0])",
    ),
    (
        lambda: ops.correlate(ones(2, 0, 8, 6), ones(3, 3, 6, 4), padding="SAME"),
        ValueError,
        "correlate: x is empty: its spatial sizes are [0, 8] "
        "(x: float32[2,0,8,6], kernel: float32[3,3,6,4])",
    ),
    (
        lambda: ops.correlate(ones(8, 6), ones(3, 6, 4), ones(1, 4)),
        ValueError,
        "correlate: bias must have shape [4], one for each output channel "
        "(x: float32[8,6], kernel: float32[3,6,4], bias: float32[1,4])",
    ),
    (
        lambda: ops.correlate(ones(8, 6), ones(3, 6, 4, dtype="bfloat16")),
        TypeError,
        "correlate: kernel is bfloat16 and x is float32; they must be the same "
        "(x: float32[8,6], kernel: bfloat16[3,6,4])",
    ),
    (
        lambda: ops.correlate(ones(8, 6), ones(3, 6, 4), ones(4, dtype="int32")),
        TypeError,
        "correlate: bias is int32 and x is float32; they must be the same "
        "(x: float32[8,6], kernel: float32[3,6,4], bias: int32[4])",
    ),
    (
        lambda: ops.correlate(ones(8, 6, dtype="complex64"), ones(3, 6, 4)),
        TypeError,
        f"correlate: x is complex64; accepted are {ALL_DTYPES} "
        "(x: complex64[8,6], kernel: float32[3,6,4])",
    ),
    (
        lambda: ops.correlate(ones(8, 6), ones(3, 6, 4, dtype="bool")),
        TypeError,
        f"correlate: kernel is bool; accepted are {ALL_DTYPES} "
        "(x: float32[8,6], kernel: bool[3,6,4])",
    ),
    (
        lambda: ops.max_pool(ones(8, 8, 6, dtype="bool"), 2),
        TypeError,
        f"max_pool: x is bool; accepted are {ALL_DTYPES} (x: bool[8,8,6])",
    ),
    (
        lambda: ops.avg_pool(ones(8, 8, 6, dtype="int32"), 2),
        TypeError,
        f"avg_pool: x is int32; accepted are {DTYPES} (x: int32[8,8,6])",
    ),
    (
        lambda: ops.global_avg_pool(ones(8, 8, 6, dtype="uint8")),
        TypeError,
        f"global_avg_pool: x is uint8; accepted are {DTYPES} (x: uint8[8,8,6])",
    ),
    (
        lambda: ops.relu(ones(2, dtype="complex64")),
        TypeError,
        f"relu: x is complex64; accepted are {ALL_DTYPES} (x: complex64[2])",
    ),
    (
        lambda: ops.dense(ones(2, 3), ones(4, 5)),
        ValueError,
        "dense: kernel has 4 input features, but x has 3 (x: float32[2,3], kernel: float32[4,5])",
    ),
    (
        lambda: ops.dense(ones(2, 3), ones(3)),
        ValueError,
        "dense: kernel must be [in_features, out_features], but it has 1 dimensions "
        "(x: float32[2,3], kernel: float32[3])",
    ),
    (
        lambda: ops.dense(ones(), ones(3, 2)),
        ValueError,
        "dense: x must be [*batch, in_features], but it has no dimensions "
        "(x: float32[], kernel: float32[3,2])",
    ),
    (
        lambda: ops.dense(ones(0), ones(0, 2)),
        ValueError,
        "dense: kernel is empty (x: float32[0], kernel: float32[0,2])",
    ),
    (
        lambda: ops.dense(ones(3), ones(3, 2), ones(3)),
        ValueError,
        "dense: bias must have shape [2], one for each output channel "
        "(x: float32[3], kernel: float32[3,2], bias: float32[3])",
    ),
    (
        lambda: ops.dense(ones(3), ones(3, 2, dtype="float16")),
        TypeError,
        "dense: kernel is float16 and x is float32; they must be the same "
        "(x: float32[3], kernel: float16[3,2])",
    ),
]

NUMBERS: list[Row] = [
    (
        correlate(stride=0),
        ValueError,
        f"correlate: stride must be at least 1, not 0 {PLAIN}",
    ),
    (
        correlate(stride=(1, -2)),
        ValueError,
        f"correlate: stride must be at least 1, not (1, -2) {PLAIN}",
    ),
    (
        correlate(stride=1.5),
        TypeError,
        "correlate: stride must be an int, or a sequence of ints for 2 spatial axes, not 1.5 "
        + PLAIN,
    ),
    (
        correlate(stride=True),
        TypeError,
        "correlate: stride must be an int, or a sequence of ints for 2 spatial axes, not True "
        + PLAIN,
    ),
    (
        correlate(stride="12"),
        TypeError,
        "correlate: stride must be an int, or a sequence of ints for 2 spatial axes, not '12' "
        + PLAIN,
    ),
    (
        correlate(dilation=(1, 2.0)),
        TypeError,
        "correlate: dilation must be an int, or a sequence of ints for 2 spatial axes, "
        f"not (1, 2.0) {PLAIN}",
    ),
    (
        correlate(stride=(1, 2, 3)),
        ValueError,
        f"correlate: stride has 3 entries, (1, 2, 3), for 2 spatial axes {PLAIN}",
    ),
    (
        correlate(dilation=0),
        ValueError,
        f"correlate: dilation must be at least 1, not 0 {PLAIN}",
    ),
    (
        correlate(stride=2**31),
        ValueError,
        f"correlate: stride must be at most 2147483647, not 2147483648 {PLAIN}",
    ),
    (
        correlate(groups=0),
        ValueError,
        f"correlate: groups must be at least 1, not 0 {PLAIN}",
    ),
    (
        correlate(groups=(1,)),
        TypeError,
        f"correlate: groups must be a positive int, not (1,) {PLAIN}",
    ),
    (
        correlate(padding="same"),
        ValueError,
        f"correlate: padding must be {PADDINGS}, not 'same' {PLAIN}",
    ),
    (
        correlate(padding=None),
        TypeError,
        f"correlate: padding must be {PADDINGS}, not None {PLAIN}",
    ),
    (
        correlate(padding=((1, 2, 3), 1)),
        TypeError,
        f"correlate: padding must be {PADDINGS}, not ((1, 2, 3), 1) {PLAIN}",
    ),
    (
        correlate(padding=("SAME", "SAME")),
        TypeError,
        f"correlate: padding must be {PADDINGS}, not ('SAME', 'SAME') {PLAIN}",
    ),
    (
        correlate(padding=(1, 2, 3)),
        ValueError,
        f"correlate: padding has 3 entries, (1, 2, 3), for 2 spatial axes {PLAIN}",
    ),
    (
        lambda: ops.correlate(ones(8, 6), ones(3, 6, 4), padding=(1, 2)),
        ValueError,
        "correlate: padding has 2 entries, (1, 2), for 1 spatial axis; write a pair for one axis "
        "as ((low, high),) (x: float32[8,6], kernel: float32[3,6,4])",
    ),
    (
        correlate(padding=-1),
        ValueError,
        f"correlate: padding must be at least 0, not -1; to crop, slice x {PLAIN}",
    ),
    (
        correlate(padding_mode="mirror"),
        ValueError,
        "correlate: padding_mode must be one of 'zeros', 'reflect', 'replicate', 'circular', "
        f"not 'mirror' {PLAIN}",
    ),
    (
        correlate(padding=((0, 0), (1, 8)), padding_mode="reflect"),
        ValueError,
        "correlate: a reflection is at most 7 wide on spatial axis 1, which has 8 elements, but "
        f"padding is (1, 8) there {PLAIN}",
    ),
    (
        correlate(dilation=(1, 4)),
        ValueError,
        "correlate: the window spans 9 elements on spatial axis 1, but the input has only 8 there, "
        f"padding included; the output would be empty {PLAIN}",
    ),
    (
        correlate(padding=2**31 - 1),
        ValueError,
        "correlate: the padded input would have shape [2, 4294967302, 4294967302, 6]: more than "
        f"2**63 - 1 elements {PLAIN}",
    ),
    (
        transpose(stride=(2**31 - 1, 2**30)),
        ValueError,
        "correlate_transpose: the output would have shape [2, 15032385532, 7516192771, 4]: more "
        f"than 2**63 - 1 elements {PLAIN}",
    ),
    (
        transpose(stride=2, output_padding=(0, 2)),
        ValueError,
        "correlate_transpose: output_padding must be smaller than stride, but they are (0, 2) and "
        f"(2, 2) {PLAIN}",
    ),
    (
        transpose(stride=2, output_padding=1, padding="SAME"),
        ValueError,
        "correlate_transpose: output_padding must be 0 with padding 'SAME', which by itself makes "
        f"the output stride times the input, not (1, 1) {PLAIN}",
    ),
    (
        transpose(stride=2, output_padding=-1),
        ValueError,
        f"correlate_transpose: output_padding must be at least 0, not -1 {PLAIN}",
    ),
    (
        transpose(padding=5),
        ValueError,
        "correlate_transpose: the output would have 0 elements on spatial axis 0; padding (5, 5) "
        f"crops more than there is {PLAIN}",
    ),
]

POOLS: list[Row] = [
    (pool(0), ValueError, f"max_pool: size must be at least 1, not 0 {POOLED}"),
    (
        pool(()),
        ValueError,
        f"max_pool: size must have at least one entry, but it is empty {POOLED}",
    ),
    (
        pool(2.5),
        TypeError,
        "max_pool: size must be an int, or a sequence of ints for 2 spatial axes, not 2.5 "
        + POOLED,
    ),
    (pool(stride=0), ValueError, f"max_pool: stride must be at least 1, not 0 {POOLED}"),
    (
        pool(9),
        ValueError,
        "max_pool: the window spans 9 elements on spatial axis 0, but the input has only 8 there, "
        f"padding included; the output would be empty {POOLED}",
    ),
    (
        pool((2, 2, 2, 2)),
        ValueError,
        "max_pool: x must be [*batch, *spatial, channels] with 4 spatial dimensions, so at least 5 "
        f"dimensions, but it has 4 {POOLED}",
    ),
    (
        pool(padding=((0, 0), (2, 0))),
        ValueError,
        "max_pool: some windows hold nothing but padding on spatial axis 1: 8 elements, padding "
        f"(2, 0), size 2, stride 2, dilation 1 {POOLED}",
    ),
    (
        pool(padding=((0, 0), (0, 2)), stride=1),
        ValueError,
        "max_pool: some windows hold nothing but padding on spatial axis 1: 8 elements, padding "
        f"(0, 2), size 2, stride 1, dilation 1 {POOLED}",
    ),
    (
        lambda: ops.min_pool(ones(1, 1), (2,), dilation=2, padding=1),
        ValueError,
        "min_pool: some windows hold nothing but padding on spatial axis 0: 1 elements, padding "
        "(1, 1), size 2, stride 2, dilation 2 (x: float32[1,1])",
    ),
    (
        pool(padding=2**31 - 1),
        ValueError,
        "max_pool: some windows hold nothing but padding on spatial axis 0: 8 elements, padding "
        f"(2147483647, 2147483647), size 2, stride 2, dilation 1 {POOLED}",
    ),
    (
        lambda: ops.avg_pool(ones(8, 8, 6), 2, count_include_pad=1),  # pyright: ignore
        TypeError,
        "avg_pool: count_include_pad must be a bool, not 1 (x: float32[8,8,6])",
    ),
    (
        lambda: ops.max_pool(ones(0, 8, 6), 2),
        ValueError,
        "max_pool: x is empty: its spatial sizes are [0, 8] (x: float32[0,8,6])",
    ),
    (
        lambda: ops.global_max_pool(ones(2, 0, 8, 6)),
        ValueError,
        "global_max_pool: x is empty: its spatial sizes are [0, 8] (x: float32[2,0,8,6])",
    ),
    (
        lambda: ops.global_avg_pool(ones(8, 6)),
        ValueError,
        "global_avg_pool: x must be [*batch, *spatial, channels] with 2 spatial dimensions, so at "
        "least 3 dimensions, but it has 2 (x: float32[8,6])",
    ),
    (
        lambda: ops.global_max_pool(ones(8, 6), spatial=0),
        ValueError,
        "global_max_pool: spatial must be at least 1, not 0 (x: float32[8,6])",
    ),
    (
        lambda: ops.global_max_pool(ones(8, 6), spatial=(1,)),  # pyright: ignore
        TypeError,
        "global_max_pool: spatial must be a positive int, not (1,) (x: float32[8,6])",
    ),
]


@pytest.mark.parametrize("row", OPERANDS + NUMBERS + POOLS, ids=lambda row: row[2][:60])
def test_the_message(row: Row) -> None:
    call, kind, message = row
    with pytest.raises(kind) as caught:
        call()
    assert str(caught.value) == message
    assert caught.value.args == (message,)


def test_what_is_no_array_at_all() -> None:
    with pytest.raises(TypeError, match=r"^correlate: x must be an array, not object "):
        ops.correlate(object(), ones(3, 1, 1))  # pyright: ignore
    with pytest.raises(TypeError, match=r"^dense: kernel must be an array, not str "):
        ops.dense(ones(3), "kernel")  # pyright: ignore


def test_numbers_known_only_at_run_time_are_refused_by_name() -> None:
    def strided(stride: Any) -> Any:
        return ops.correlate(ones(8, 6), ones(3, 6, 4), stride=stride)

    with pytest.raises(
        TypeError, match=r"^correlate: stride must be an int, or a sequence of ints"
    ):
        jax.jit(strided)(2)


def test_numpy_integers_and_lists_are_numbers_too() -> None:
    x, kernel = ones(8, 8, 6), ones(3, 3, 6, 4)
    want = ops.correlate_shape(x.shape, kernel.shape, stride=2, padding=1)
    for stride in (np.int32(2), np.array([2, 2]), [2, 2], np.array(2), jnp.array(2)):
        how: Any = {"stride": stride, "padding": [np.int64(1), (1, 1)]}
        assert ops.correlate(x, kernel, **how).shape == want
