"""Layers as text: what is written is read back, sizes are right, nonsense is refused."""

import math

import jax
import pytest

from benchmarks.layer import QUICK_TABLE, TABLE, Layer, arrays, draw
from cnn_jax import ops

DRAWN = draw(60, seed=3)


@pytest.mark.parametrize("text", TABLE)
def test_the_table_is_written_as_it_is_read(text):
    assert Layer.parse(text).text == text


def test_drawn_layers_are_read_back_and_have_the_shapes_of_the_operations():
    for layer in DRAWN:
        assert Layer.parse(layer.text) == layer
        made = arrays(layer)
        if layer.operation == "conv":
            output = jax.eval_shape(
                lambda x, kernel, layer=layer: ops.correlate(
                    x,
                    kernel,
                    stride=layer.stride,
                    padding=layer.padding,
                    dilation=layer.dilation,
                    groups=layer.groups,
                ),
                made["x"],
                made["kernel"],
            )
        else:
            output = jax.eval_shape(
                lambda x, layer=layer: ops.max_pool(
                    x, layer.window, stride=layer.stride, padding=layer.padding
                ),
                made["x"],
            )
        assert output.shape == layer.output == made["dy"].shape


def test_draws_repeat_and_vary():
    assert draw(60, seed=3) == DRAWN
    assert draw(5, seed=4) != DRAWN[:5]
    assert {layer.operation for layer in DRAWN} == {"conv", "max_pool", "avg_pool"}
    assert {layer.rank for layer in DRAWN} == {1, 2, 3}
    assert any(layer.groups == layer.inputs > 1 for layer in DRAWN)


def test_worked_numbers():
    layer = Layer.parse("conv 3x3 32->64 14x14 batch=64")
    assert (layer.padding, layer.kernel, layer.output) == (1, (3, 3, 32, 64), (64, 14, 14, 64))
    assert layer.flops("forward") == 2 * 64 * 14 * 14 * 64 * 9 * 32
    numbers = 64 * 14 * 14 * 32 + 64 * 14 * 14 * 64 + 9 * 32 * 64
    assert layer.bytes("input gradient", 2) == 2 * numbers
    pool = Layer.parse("max_pool 2x2 32 28x28 batch=64")
    assert pool.output == (64, 14, 14, 32)
    assert pool.bytes("forward and gradient", 4) == 8 * (math.prod(pool.input) + 64 * 14 * 14 * 32)
    grouped = Layer.parse("conv 3x3 128->128 8x8 groups=128 dilation=2")
    assert (grouped.kernel, grouped.padding, grouped.output[1]) == ((3, 3, 1, 128), 2, 8)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "layer '' is not understood; write 'conv 3x3 32->64"),
        ("conv", "is not understood"),
        ("dense 3x3 3->4 8x8", "is not understood"),
        ("conv 3x3 3->4 8x8 stride=-1", "'stride=-1' is not understood"),
        ("conv 3x3 3->4 8x8 colour=1", "'colour=1' is not understood"),
        ("conv 3x3 3->4 8x8x8", "need the same 1 to 3 dimensions"),
        ("conv 3x3 3->4 8x8 stride=0", "sizes must be positive"),
        ("conv 3x3 0->4 8x8", "sizes must be positive"),
        ("conv 3x3 3->4 8x8 groups=2", "2 groups do not divide the channels"),
        ("conv 9x9 3->4 4x4 padding=0", "the window is larger than the padded picture"),
        ("max_pool 2x2 3->4 8x8", "pooling keeps the channels"),
        ("max_pool 2x2 3 8x8 padding=2", "padding up to half the window"),
    ],
)
def test_errors(text, message):
    with pytest.raises(ValueError, match=message):
        Layer.parse(text)


def test_the_quick_table_is_part_of_the_whole():
    assert set(QUICK_TABLE) < set(TABLE)
