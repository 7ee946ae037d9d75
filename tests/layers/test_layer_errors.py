"""Every error of the layers, by its message."""

# Wrong types are the point here.
# pyright: reportArgumentType=false

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import cnn_jax as cnn

KEY = jax.random.key(0)


def same(params, x, *, rng=None):
    return x


def make(layer, *shape):
    return lambda: layer.init(KEY, shape)


CONSTRUCTION = [
    (lambda: cnn.conv(0, 3), ValueError, "conv: channels must be an int of at least 1, got 0"),
    (lambda: cnn.conv(4.0, 3), TypeError, "conv: channels must be an int, got 4.0"),
    (
        lambda: cnn.conv(True, 3),
        ValueError,
        "conv: channels must be an int of at least 1, got True",
    ),
    (lambda: cnn.conv(4, (3, 0)), ValueError, "conv: window must be an int of at least 1, got 0"),
    (
        lambda: cnn.conv(4, ()),
        ValueError,
        "conv: window must have at least one dimension, got ()",
    ),
    (
        lambda: cnn.conv(4, 3.0),
        TypeError,
        "conv: window must be an int or a sequence of ints, got 3.0",
    ),
    (
        lambda: cnn.conv(4, "33"),
        TypeError,
        "conv: window must be an int or a sequence of ints, got '33'",
    ),
    (lambda: cnn.conv(4, 3, groups=3), ValueError, "conv: 3 groups do not divide channels=4"),
    (
        lambda: cnn.conv_transpose(4, 3, groups=3),
        ValueError,
        "conv_transpose: 3 groups do not divide channels=4",
    ),
    (
        lambda: cnn.conv(4, 3, dtype=jnp.int32),
        TypeError,
        "conv: dtype must be a floating one, got int32",
    ),
    (
        lambda: cnn.depthwise_conv(3, multiplier=0),
        ValueError,
        "depthwise_conv: multiplier must be an int of at least 1, got 0",
    ),
    (lambda: cnn.dense(-1), ValueError, "dense: features must be an int of at least 1, got -1"),
    (lambda: cnn.max_pool(0), ValueError, "max_pool: size must be an int of at least 1, got 0"),
    (
        lambda: cnn.global_avg_pool(0),
        ValueError,
        "global_avg_pool: spatial must be an int of at least 1, got 0",
    ),
    (
        lambda: cnn.flatten_nd(-1),
        ValueError,
        "flatten: spatial must be an int of at least 0, got -1",
    ),
    (
        lambda: cnn.group_norm(0),
        ValueError,
        "group_norm: groups must be an int of at least 1, got 0",
    ),
    (
        lambda: cnn.layer_norm(epsilon=float("nan")),
        ValueError,
        "layer_norm: epsilon must be positive and finite, got nan",
    ),
    (
        lambda: cnn.dropout(1.0),
        ValueError,
        "dropout: rate must be at least 0 and less than 1, got 1.0",
    ),
    (
        lambda: cnn.dropout(-0.1),
        ValueError,
        "dropout: rate must be at least 0 and less than 1, got -0.1",
    ),
    (
        lambda: cnn.dropout(float("nan")),
        ValueError,
        "dropout: rate must be at least 0 and less than 1, got nan",
    ),
    (lambda: cnn.dropout("0.1"), TypeError, "dropout: rate must be a number, got '0.1'"),
    (lambda: cnn.activation(3), TypeError, "activation: function must be callable, got 3"),
    (
        lambda: cnn.activation(jnp.sin, "a/b"),
        ValueError,
        "Layer: kind must be a non-empty string without '/', got 'a/b'",
    ),
    (
        lambda: cnn.serial(cnn.conv),
        TypeError,
        "serial: child 0 must be a Layer, got the function conv: call it, as in cnn.conv(...), "
        "or wrap a function of arrays by cnn.activation(conv)",
    ),
    (
        lambda: cnn.serial(cnn.relu, head=3),
        TypeError,
        "serial: child 'head' must be a Layer, got int 3",
    ),
    (
        lambda: cnn.serial(cnn.relu, relu_0=cnn.relu),
        ValueError,
        "serial: two children are named 'relu_0'; give one another name",
    ),
    (
        lambda: cnn.serial(**{"": cnn.relu}),
        ValueError,
        "serial: a child's name must be a non-empty string without '/', got ''",
    ),
    (
        lambda: cnn.residual([cnn.relu]),
        TypeError,
        "residual: body must be a Layer, got list",
    ),
]

INIT = [
    (
        make(cnn.serial(cnn.conv(4, 3)), 28, 28),
        ValueError,
        "conv_0: conv: shape must be [h, w, channels] without batch, got (28, 28)",
    ),
    (
        make(cnn.conv(4, (3,)), 28, 28, 1),
        ValueError,
        "conv: shape must be [w, channels] without batch, got (28, 28, 1)",
    ),
    (
        make(cnn.conv(4, (3, 3, 3)), 28, 28, 1),
        ValueError,
        "conv: shape must be [d, h, w, channels] without batch, got (28, 28, 1)",
    ),
    (
        make(cnn.conv(4, 3, groups=2), 8, 8, 3),
        ValueError,
        "conv: 2 groups do not divide the input's 3 channels",
    ),
    (
        make(cnn.flatten, 64, 28, 28, 1),
        ValueError,
        "flatten: shape must be [h, w, channels] without batch, got (64, 28, 28, 1)",
    ),
    (
        make(cnn.group_norm(4), 8, 8, 6),
        ValueError,
        "group_norm: 4 groups do not divide the channels of (8, 8, 6)",
    ),
    (
        make(cnn.layer_norm()),
        ValueError,
        "layer_norm: shape must be of rank 1 or more, got ()",
    ),
    (make(cnn.dense(4)), ValueError, "dense: shape must be of rank 1 or more, got ()"),
    (make(cnn.relu, 0), ValueError, "relu: every size of shape must be at least 1, got (0,)"),
    (
        make(cnn.dropout(0.1), 2.5),
        TypeError,
        "dropout: shape must be a sequence of ints without the batch dimension, got (2.5,)",
    ),
    (
        lambda: cnn.serial().init(KEY, 3),
        TypeError,
        "serial: shape must be a sequence of ints without the batch dimension, got 3",
    ),
    (
        make(cnn.residual(cnn.conv(4, 3)), 8, 8, 4),
        ValueError,
        "residual: body makes [6, 6, 4], but the shortcut has [8, 8, 4]; pass a shortcut that "
        "changes the shape alike, such as cnn.conv(channels, 1, stride=...)",
    ),
    (
        make(cnn.serial(cnn.Layer(lambda key, shape: jnp.ones(3), same)), 3),
        TypeError,
        "layer_0: init must return a dict of arrays, got ArrayImpl",
    ),
]

MODEL = cnn.serial(cnn.conv(4, 3), cnn.relu, cnn.flatten, cnn.dense(2))
PARAMS = MODEL.init(KEY, (4, 4, 1))
X = jnp.zeros((4, 4, 1))
OTHER = "are they another model's, or is x of another shape than in init?"

APPLY = [
    (
        lambda: MODEL.apply({}, X),
        ValueError,
        "conv_0: conv: params must hold {kernel: [3, 3, 1, 4], bias: [4]} for x float32[4, 4, 1], "
        f"got {{}}; {OTHER}",
    ),
    (
        lambda: MODEL.apply(PARAMS | {"conv_1": PARAMS["conv_0"]}, X),
        ValueError,
        "serial: params has 'conv_1', but the children are conv_0, relu_0, flatten_0, dense_0; "
        "are the parameters another model's?",
    ),
    (
        lambda: MODEL.apply(PARAMS | {"relu_0": {"slope": 0.1, "more": {}}}, X),
        ValueError,
        "relu_0: relu: takes no parameters, got {slope: float, more: {...}}",
    ),
    (
        lambda: MODEL.apply(PARAMS["conv_0"]["kernel"], X),
        TypeError,
        "serial: params must be a dict by the children's names, got ArrayImpl",
    ),
    (
        lambda: MODEL.apply(PARAMS | {"conv_0": PARAMS["dense_0"]}, X),
        ValueError,
        "conv_0: conv: params must hold {kernel: [3, 3, 1, 4], bias: [4]} for x float32[4, 4, 1], "
        f"got {{kernel: [16, 2], bias: [2]}}; {OTHER}",
    ),
    (
        lambda: MODEL.apply(PARAMS, jnp.zeros((2, 5, 5, 1))),
        ValueError,
        "dense_0: dense: params must hold {kernel: [36, 2], bias: [2]} for x float32[2, 36], "
        f"got {{kernel: [16, 2], bias: [2]}}; {OTHER}",
    ),
    (
        lambda: MODEL.apply(PARAMS, jnp.zeros((4, 4, 3))),
        ValueError,
        "conv_0: conv: params must hold {kernel: [3, 3, 3, 4], bias: [4]} for x float32[4, 4, 3], "
        f"got {{kernel: [3, 3, 1, 4], bias: [4]}}; {OTHER}",
    ),
    (
        lambda: cnn.serial(stem=MODEL).apply({"stem": PARAMS}, jnp.zeros((4, 4))),
        ValueError,
        "stem: conv_0: conv: x must be [*batch, h, w, channels], got shape (4, 4)",
    ),
    (
        lambda: MODEL.apply(PARAMS, [[0.0]]),
        TypeError,
        "conv_0: conv: x must be an array, got list",
    ),
    (
        lambda: cnn.max_pool(2).apply({}, jnp.zeros((4, 4))),
        ValueError,
        "max_pool: x must be [*batch, h, w, channels], got shape (4, 4)",
    ),
    (
        lambda: cnn.dropout(0.5).apply({}, jnp.zeros(4, jnp.int32), rng=KEY),
        TypeError,
        "dropout: x must be floating, got int32[4]",
    ),
    (
        lambda: cnn.layer_norm().apply(
            cnn.layer_norm().init(KEY, (4,)), jnp.zeros(4, jnp.bfloat16)
        ),
        TypeError,
        "layer_norm: x must be floating and of the parameters' dtype, "
        "got x bfloat16 and scale float32",
    ),
    (
        lambda: cnn.residual(cnn.flatten).apply({}, jnp.zeros((2, 2, 1))),
        ValueError,
        "residual: body makes [4], but the shortcut has [2, 2, 1]; pass a shortcut that "
        "changes the shape alike, such as cnn.conv(channels, 1, stride=...)",
    ),
]


@pytest.mark.parametrize(("call", "error", "message"), [*CONSTRUCTION, *INIT, *APPLY])
def test_errors_say_what_came_and_what_is_accepted(call, error, message):
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value).startswith(message)
    assert type(caught.value) is error
    assert len(caught.value.args) == 1


@pytest.mark.parametrize(
    ("call", "error", "beginning"),
    [
        (make(cnn.serial(cnn.conv(4, 5)), 4, 4, 1), ValueError, "conv_0: correlate: "),
        (make(cnn.serial(cnn.conv(4, 3, stride=0)), 4, 4, 1), ValueError, "conv_0: correlate: "),
        (make(cnn.serial(cnn.max_pool(5)), 4, 4, 1), ValueError, "max_pool_0: max_pool: "),
        (lambda: MODEL.apply(PARAMS, X.astype(jnp.bfloat16)), TypeError, "conv_0: correlate: "),
        (lambda: MODEL.apply(PARAMS, np.zeros((4, 4, 1), np.uint8)), TypeError, "conv_0: correl"),
    ],
)
def test_errors_of_the_operations_name_the_layer(call, error, beginning):
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value).startswith(beginning)
