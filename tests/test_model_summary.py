"""The summary: shapes, counts and operations against sums done by hand; its table to the letter."""

import io

import jax
import jax.numpy as jnp
import pytest
from rich.console import Console

import cnn_jax as cnn
from cnn_jax.model_summary import count_flops


def flops(layer, shape, **options):
    return cnn.summary(layer, shape, **options).flops


@pytest.mark.parametrize(
    ("layer", "shape", "expected"),
    [
        (cnn.conv(6, 5), (28, 28, 1), 2 * 24 * 24 * 6 * 25),
        (cnn.conv(6, 5, padding="SAME", stride=2), (28, 28, 3), 2 * 14 * 14 * 6 * 25 * 3),
        (cnn.conv(8, 3, groups=4), (8, 8, 4), 2 * 6 * 6 * 8 * 9),
        (cnn.depthwise_conv(3), (8, 8, 4), 2 * 6 * 6 * 4 * 9),
        (cnn.conv(8, (3,), dilation=2), (10, 4), 2 * 6 * 8 * 3 * 4),
        (cnn.conv(2, (2, 2, 2)), (3, 3, 3, 5), 2 * 8 * 2 * 8 * 5),
        (cnn.conv_transpose(3, 2, stride=2), (4, 4, 5), 2 * 16 * 5 * 4 * 3),
        (cnn.dense(10), (84,), 2 * 84 * 10),
        (cnn.max_pool(2), (8, 8, 3), 8 * 8 * 3),
        (cnn.max_pool(3, stride=1), (8, 8, 3), 6 * 6 * 3 * 9),
        (cnn.relu, (8, 8, 3), 0),
        (cnn.flatten, (8, 8, 3), 0),
    ],
)
def test_operations_are_counted_as_by_hand(layer, shape, expected):
    assert flops(layer, shape) == expected
    assert flops(cnn.serial(inner=cnn.serial(layer)), shape) == expected


def test_loops_and_branches():
    a = jnp.ones((2, 2))
    product = 2 * 2 * 2 * 2

    def scanned(a):
        return jax.lax.scan(lambda carry, _: (carry @ a, None), a, length=5)[0]

    def branched(a):
        return jax.lax.cond(a[0, 0] > 0, lambda a: a @ a @ a, lambda a: a, a)

    assert count_flops(jax.make_jaxpr(scanned)(a)) == 5 * product
    assert count_flops(jax.make_jaxpr(branched)(a)) == 2 * product
    assert count_flops(jax.make_jaxpr(jax.jit(lambda a: a @ a))(a)) == product
    assert count_flops(jax.make_jaxpr(jax.checkpoint(lambda a: a @ a))(a).jaxpr) == product


MODEL = cnn.serial(
    stem=cnn.serial(cnn.conv(4, 3, padding="SAME"), cnn.relu),
    block=cnn.residual(cnn.conv(4, 3, padding="SAME", bias=False), cnn.conv(4, 1)),
    head=cnn.serial(cnn.dropout(0.5), cnn.global_avg_pool(), cnn.dense(2)),
)
TABLE = """\
input [6, 6, 1]
----------------------------------------------------------------------
layer                kind             output shape  parameters   FLOPs
----------------------------------------------------------------------
stem                 serial           [6, 6, 4]             40   2,592
  conv_0             conv             [6, 6, 4]             40   2,592
  relu_0             relu             [6, 6, 4]              0       0
block                residual         [6, 6, 4]            164  11,520
  body               conv             [6, 6, 4]            144  10,368
  shortcut           conv             [6, 6, 4]             20   1,152
head                 serial           [2]                   10      16
  dropout_0          dropout          [6, 6, 4]              0       0
  global_avg_pool_0  global_avg_pool  [4]                    0       0
  dense_0            dense            [2]                   10      16
----------------------------------------------------------------------
total                                 [2]                  214  14,128
parameters take 856 B; FLOPs are for one input, two per multiply-add"""


def test_the_table_to_the_letter():
    assert str(cnn.summary(MODEL, (6, 6, 1))) == TABLE


def test_rich_shows_the_same_numbers():
    text = io.StringIO()
    Console(file=text, width=100).print(cnn.summary(MODEL, (6, 6, 1)))
    for number in ("164", "11,520", "14,128", "dropout_0", "[6, 6, 1]"):
        assert number in text.getvalue()


def test_a_layer_alone_is_one_row():
    summary = cnn.summary(cnn.dense(3), (4,))
    (row,) = summary.rows
    assert (row.name, row.kind, row.depth, row.output_shape) == ("dense", "dense", 0, (3,))
    assert row.parameters == summary.parameters == 15


def test_bytes_follow_the_parameters_dtype():
    half = cnn.summary(cnn.dense(3, dtype=jnp.bfloat16), (4,))
    assert half.parameter_bytes == 30
    assert "30 B" in str(half)
    assert "MiB" in str(cnn.summary(cnn.dense(1024), (1024,)))


def test_inputs_of_another_dtype():
    assert cnn.summary(cnn.flatten, (2, 2, 1), dtype=jnp.uint8).output_shape == (4,)


def test_nothing_is_computed():
    # 8 TB of parameters: it can only be traced.
    huge = cnn.summary(cnn.serial(cnn.dense(10**6), cnn.dense(10**6)), (10**6,))
    assert huge.parameters == 2 * (10**12 + 10**6)
    assert "GiB" in str(huge)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: cnn.summary(MODEL, (6, 6)),
            ValueError,
            "stem: conv_0: conv: shape must be [h, w, channels] without batch, got (6, 6)",
        ),
        (
            lambda: cnn.summary(cnn.models.small, (8, 8, 1)),  # pyright: ignore[reportArgumentType]
            TypeError,
            "summary: model must be a Layer, got the function small: call it, as in "
            "cnn.small(...), or wrap a function of arrays by cnn.activation(small)",
        ),
        (
            lambda: cnn.summary(MODEL, (6, 6, 0)),
            ValueError,
            "summary: every size of shape must be at least 1, got (6, 6, 0)",
        ),
    ],
)
def test_wrong_input_is_refused(call, error, message):
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value) == message
