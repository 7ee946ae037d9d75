"""Networks whose channels come first: stock values, native calls alone, and no copies between."""

import math
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax
from jax.experimental.xla_metadata import set_xla_metadata

from cnn_jax import cpu
from cnn_jax.cpu import channels, convolution

LETTERS = "DHW"
MOVING, IDLE = {"copy", "transpose"}, {"parameter", "bitcast", "convert"}
SMALL = {1: (256,), 2: (20, 16), 3: (8, 6, 8)}
SIZES = {1: (2048,), 2: (32, 64), 3: (8, 16, 16)}
TOLERANCE = {"float32": 1e-3, "bfloat16": 0.03}


@pytest.fixture(autouse=True)
def _native(native):
    pass


def normal(shape, dtype="float32", seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), dtype)


def convolve(x, kernel, *, groups: int = 1, **keywords):
    letters = LETTERS[5 - x.ndim :]
    keywords = {"window_strides": (1,) * len(letters), "padding": "SAME"} | keywords
    return lax.conv_general_dilated(
        x,
        kernel,
        dimension_numbers=(f"NC{letters}", f"OI{letters}", f"NC{letters}"),
        feature_group_count=groups,
        **keywords,
    )


def biased(x, kernel, bias, **keywords):
    return convolve(x, kernel, **keywords) + bias.reshape(1, -1, *[1] * (x.ndim - 2))


def pool(x, *, size: int = 2, stride: int = 2, padding="VALID", by=lax.max):
    rank = x.ndim - 2
    start = np.asarray(0 if by is lax.add else -np.inf, x.dtype)
    return lax.reduce_window(
        x, start, by, (1, 1, *[size] * rank), (1, 1, *[stride] * rank), padding
    )


def average(x):
    return pool(x, by=lax.add) / 2 ** (x.ndim - 2)


def overlapping(x):
    return pool(x, size=3, padding="SAME")


def normalised(x):
    axes = (0, *range(2, x.ndim))
    return (x - x.mean(axes, keepdims=True)) * lax.rsqrt(x.var(axes, keepdims=True) + 1)


def upside_down(x):
    """Back with the channels in the middle, and forth."""
    return jnp.moveaxis(jnp.moveaxis(x, 1, -1)[::-1], -1, 1)


def normalised_in_groups(x):
    """Each example's halves of the channels, as a function of one example."""

    def one(x):
        halves = x.reshape(2, x.shape[0] // 2, *x.shape[1:])
        mean = jax.vmap(lambda half: jnp.mean(half, keepdims=True))(halves)
        variance = jax.vmap(lambda half: jnp.var(half, keepdims=True))(halves)
        return ((halves - mean) * lax.rsqrt(variance + 1)).reshape(x.shape)

    return jax.vmap(one)(x)


def joined(x):
    """With what it is at half its resolution, if that is a whole number."""
    if any(size % 2 for size in x.shape[2:]):
        return x
    small = jnp.tanh(pool(x))
    for axis in range(2, x.ndim):
        small = jnp.repeat(small, 2, axis)
    return jnp.concatenate([x, small], axis=1)[:, ::2]


AFTER = {
    "nothing": lambda x: x,
    "relu": jax.nn.relu,
    "tanh": jnp.tanh,
    "max-pool": pool,
    "relu, max-pool": lambda x: pool(jax.nn.relu(x)),
    "relu, overlapping": lambda x: overlapping(jax.nn.relu(x)),
    "relu, average": lambda x: average(jax.nn.relu(x)),
    "average, relu": lambda x: jax.nn.relu(average(x)),
    "normalised": lambda x: jax.nn.relu(normalised(x)),
    "normalised in groups": lambda x: jax.nn.silu(normalised_in_groups(x)),
    "gelu": jax.nn.gelu,
    "leaky": lambda x: jax.nn.leaky_relu(x) + jnp.where(x > 1, x, 0),
    "softmax": lambda x: x * jax.nn.softmax(x, axis=1),
    "joined": joined,
    "residual": lambda x: jax.nn.elu(x + jnp.clip(x, -1, 1)),
    "transposed": lambda x: jax.nn.relu(upside_down(x)),
}


@st.composite
def networks(draw):
    """Two to three layers, the sizes of the input, its type, and a seed."""
    rank = draw(st.integers(1, 3))
    shape = draw(st.integers(1, 3)), draw(st.sampled_from([1, 3, 8])), *SMALL[rank]
    layers, width = [], shape[1]
    for _ in range(draw(st.integers(2, 3))):
        out = draw(st.sampled_from([4, 16, 32]))
        groups = draw(st.sampled_from([1, 1, width])) if out % width == 0 else 1
        window = (draw(st.sampled_from([1, 3])),) * rank
        stride = (draw(st.sampled_from([1, 1, 2])),) * rank
        after = draw(st.sampled_from(sorted(AFTER)))
        layers.append(((out, width // groups, *window), groups, stride, after))
        width = out
    dtype = draw(st.sampled_from(["float32", "float32", "bfloat16"]))
    return layers, shape, dtype, draw(st.integers(0, 2**32 - 1))


def drawn(layers, shape, dtype, seed):
    """The parameters and the input."""
    generator = np.random.default_rng(seed)
    parameters = [
        (generator.normal(size=kernel) / math.sqrt(math.prod(kernel[1:])), 0.5 * bias)
        for kernel, *_ in layers
        for bias in [generator.normal(size=kernel[0])]
    ]
    arrays = parameters, generator.normal(size=shape)
    return jax.tree.map(lambda array: jnp.asarray(array, dtype), arrays)


def results(layers, parameters, x, *, batched: bool = False):
    """The value and the gradients with respect to everything, in one program."""

    def network(parameters, x):
        for (_, groups, stride, after), (kernel, bias) in zip(layers, parameters, strict=True):
            if min(x.shape[2:]) > 3:
                x = AFTER[after](biased(x, kernel, bias, groups=groups, window_strides=stride))
        return x

    def one_by_one(parameters, x):
        return jax.vmap(lambda x: network(parameters, x[None])[0])(x)

    def loss(parameters, x):
        y = (one_by_one if batched else network)(parameters, x)
        return jnp.sum(jnp.sin(y.astype("float32")) * jnp.cos(jnp.arange(y.size).reshape(y.shape)))

    # Anew each time: what is installed decides what it is lowered to.
    compute = jax.jit(lambda *arrays: (network(*arrays), jax.grad(loss, (0, 1))(*arrays)))
    return [np.asarray(leaf, "float64") for leaf in jax.tree.leaves(compute(parameters, x))]


@settings(max_examples=40)
@given(networks(), st.booleans())
def test_drawn_networks_agree_with_the_stock_rules(case, batched):
    layers, _, dtype, _ = case
    parameters, x = drawn(*case)
    cpu.uninstall()
    exact = jax.tree.map(lambda array: array.astype("float32"), (parameters, x))
    true = results(layers, *exact, batched=batched)
    stock = results(layers, parameters, x, batched=batched) if dtype == "bfloat16" else true
    with cpu.installed(keep_memory=False):
        fast = results(layers, parameters, x, batched=batched)
    for mine, theirs, exactly in zip(fast, stock, true, strict=True):
        # Rounding makes a maximum of another element here and there, so that few may be far off.
        allowed = TOLERANCE[dtype] * (norm(exactly) + 1e-3) + 2 * norm(theirs - exactly)
        assert norm(mine - exactly) < allowed


def norm(array) -> float:
    return float(np.sqrt(np.mean(array**2)))


def compiled(function, *arrays) -> str:
    with cpu.installed(keep_memory=False):
        text = jax.jit(function).lower(*arrays).compile().as_text()
    assert text is not None
    return text


def copies(text: str, least: int) -> list[str]:
    """The shapes of so many elements that are copied or transposed, and nothing else done to them.

    In a loop that computes something, transposing forth and back takes nothing away.
    """
    found = []
    for entry, body in re.findall(r"\n(ENTRY )?%[^\n]*\{\n(.*?)\n\}", text, re.S):
        lines = re.findall(r"= \w+\[([\d,]*)\]\S* ([\w-]+)\(", body)
        idle = {operation for _, operation in lines} <= {*MOVING, *IDLE}
        found += [sizes for sizes, operation in lines if (entry or idle) and operation in MOVING]
    return [sizes for sizes in found if math.prod(map(int, sizes.split(","))) >= least]


def calls(text: str, target: str) -> int:
    return text.count(f'custom_call_target="cnn_jax_{target}_v1"')


def channel_strides(text: str, rank: int) -> list[tuple[int, int]]:
    """How far apart the channels of each convolution's two pictures lie in memory."""
    calls = re.findall(r"cnn_jax_convolution_v1.*?configuration = dense<\[([\d, ]+)\]", text)
    found = []
    for numbers in (list(map(int, call.split(","))) for call in calls):
        # At the end stand the strides of the source, the weights (with groups), the destination.
        tail = numbers[-(3 * rank + 7) :]
        found.append((tail[1], tail[-rank - 1]))
    return found


def gradient_of(network):
    def loss(parameters, x):
        return jnp.sum(network(parameters, x).astype("float32") ** 2)

    return jax.grad(loss)


def parameters_for(rank: int, dtype="float32"):
    kernels = normal((16, 3, *[3] * rank), dtype), normal((16, 16, *[3] * rank), dtype)
    return kernels, normal(16, dtype)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_nothing_large_is_copied_between_two_layers(rank, dtype):
    def network(parameters, x):
        (first, second), bias = parameters
        x = pool(jax.nn.relu(biased(x, first, bias)))
        x = jnp.tanh(biased(x, second, bias))
        x = average(jax.nn.relu(biased(x, second, bias)))
        return biased(x, second, bias).mean(range(2, x.ndim))

    x = normal((8, 3, *SIZES[rank]), dtype)
    text = compiled(gradient_of(network), parameters_for(rank, dtype), x)
    strides = channel_strides(text, rank)
    assert len(strides) == calls(text, "convolution") >= 10
    assert {after for _, after in strides} == {1}
    # Only the pictures given lie as they are given.
    assert sorted({before for before, _ in strides}) == [1, math.prod(SIZES[rank])]
    assert sum(before > 1 for before, _ in strides) == 2
    # The pictures given have 3 channels, those between the layers 16.
    assert copies(text, x.size + 1) == []


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_what_is_between_two_layers_is_computed_with_the_channels_last(rank, dtype):
    (first, second), _ = parameters_for(rank, dtype)
    half = second[:, :8]

    def network(parameters, x):
        first, second, half, scale = parameters
        x = convolve(x, first)
        y = x
        for activation in (jax.nn.silu, jax.nn.gelu, jax.nn.elu):
            y = y + activation(normalised_in_groups(convolve(y, second)) * scale)
        x = convolve(joined(x + y), second)
        left, right = convolve(x, half.swapaxes(0, 1)), convolve(jnp.tanh(x), half.swapaxes(0, 1))
        return convolve(jnp.concatenate([left, jax.nn.sigmoid(right)], axis=1), second)

    scale = normal((1, 16, *[1] * rank), dtype)
    spatial = {1: (2040,), 2: (36, 60), 3: (12, 20, 10)}[rank]
    x = normal((8, 3, *spatial), dtype)
    text = compiled(gradient_of(network), (first, second, half, scale), x)
    entry = text.split("ENTRY")[-1]
    made = re.findall(r"= \w+\[([\d,]+)\]\S* (?!bitcast|parameter|get-tuple)[\w-]+\(", entry)
    sizes = [tuple(map(int, shape.split(","))) for shape in made]
    # The picture given has 3 channels, those between the layers have 8 to 32.
    large = [shape for shape in sizes if math.prod(shape) > x.size]
    assert len(large) > 20
    ends = {*spatial, *(size // 2 for size in spatial)}
    assert [shape for shape in large if shape[-1] in ends] == []
    assert copies(text, x.size + 1) == []


@pytest.mark.parametrize("groups", [1, 4, 8])
def test_groups_of_channels_are_summed_in_the_order_of_memory(groups):
    x = jax.random.normal(jax.random.key(0), (3, 4, 72, 40))
    kernel = jax.random.normal(jax.random.key(1), (8, 4, 3, 3))

    def deviations(x, kernel):
        y = lax.conv_general_dilated(x, kernel, (1, 1), "SAME")
        y = y.reshape(3, groups, 8 // groups, 72, 40)
        mean = jnp.mean(y, (2, 3, 4), keepdims=True)
        return jnp.sqrt(jnp.mean(jnp.square(y - mean), (2, 3, 4)))

    expected = jax.jit(deviations)(x, kernel)
    with cpu.installed(keep_memory=False):
        compiled = jax.jit(deviations).lower(x, kernel).compile()
    np.testing.assert_allclose(compiled(x, kernel), expected, rtol=1e-5)
    channels_first = (
        rf"f32\[3,{groups},{8 // groups},72,40\]{{4,3,2,1,0}} (copy|fusion|transpose)\("
    )
    entry = str(compiled.as_text()).split("ENTRY")[-1]
    assert not re.search(channels_first, entry)


def test_a_network_of_equinox_is_computed_as_that_of_flax():
    import equinox as eqx
    from flax import linen as nn

    class Last(nn.Module):
        @nn.compact
        def __call__(self, x):
            for channels_out in (16, 24):
                x = nn.relu(nn.Conv(channels_out, (3, 3), bias_init=nn.initializers.ones)(x))
                x = nn.max_pool(x, (2, 2), (2, 2))
            return nn.relu(nn.Conv(8, (3, 3))(x)).mean((1, 2))

    x = normal((8, 32, 32, 3))
    last: Any = Last().init(jax.random.key(0), x)
    keys = jax.random.split(jax.random.key(0), 3)
    first = [
        eqx.nn.Conv2d(inputs, outputs, 3, padding=1, key=key)
        for inputs, outputs, key in zip((3, 16, 24), (16, 24, 8), keys, strict=True)
    ]
    for i in range(3):
        given = last["params"][f"Conv_{i}"]
        values = jnp.transpose(given["kernel"], (3, 2, 0, 1)), given["bias"].reshape(-1, 1, 1)
        first[i] = eqx.tree_at(lambda layer: (layer.weight, layer.bias), first[i], values)
    largest = eqx.nn.MaxPool2d(2, 2)

    def of_equinox(layers, x):
        def one(x):
            for layer in layers[:2]:
                x = largest(jax.nn.relu(layer(x)))
            return jax.nn.relu(layers[2](x)).mean((1, 2))

        return jax.vmap(one)(x)

    texts = [
        compiled(gradient_of(network), parameters, x)
        for network, parameters, x in (
            (Last().apply, last, x),
            (of_equinox, first, jnp.moveaxis(x, -1, 1)),
        )
    ]
    for target in ("convolution", "pooling"):
        assert calls(texts[0], target) == calls(texts[1], target)
    assert copies(texts[1], x.size + 1) == []
    with cpu.installed(keep_memory=False):
        theirs = jax.jit(gradient_of(Last().apply))(last, x)["params"]
        mine = jax.jit(gradient_of(of_equinox))(first, jnp.moveaxis(x, -1, 1))
    for i, layer in enumerate(mine):
        true = theirs[f"Conv_{i}"]
        kernel = jnp.transpose(layer.weight, (2, 3, 1, 0))
        np.testing.assert_allclose(kernel, true["kernel"], rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(layer.bias.ravel(), true["bias"], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("within", [lambda function: function, jax.jit])
def test_poolings_follow_the_convolutions_before_them_and_are_explained_so(within):
    (kernel, _), bias = parameters_for(2)
    x = normal((8, 3, 32, 64))

    def network(x):
        y = normalised_in_groups(biased(x, kernel, bias))
        return within(lambda y: pool(jnp.tanh(y)))(y)

    def explained(function, x):
        return {row.operation: row.kernel for row in cpu.explain(function, x).rows}

    def both(x):
        return jax.vjp(network, x)[0]

    with cpu.installed(keep_memory=False):
        assert explained(both, x)["max-pool"] == "native windows"
        # By itself it would be transposed for it, which takes longer than to pool.
        assert explained(pool, x)["max-pool"] == "slices"
    assert calls(compiled(network, x), "pooling") == 1
    assert calls(compiled(pool, x), "pooling") == 0


@pytest.mark.parametrize("loop", ["scan", "remat", "shard_map"])
def test_inside_of_loops_and_shards_the_values_are_the_same(loop):
    (_, kernel), bias = parameters_for(2)
    x = normal((4, 16, 16, 32))

    def layer(x):
        return jax.nn.relu(biased(x, kernel / 12, bias))

    def network(x):
        if loop == "scan":
            return lax.scan(lambda x, _: (layer(x), ()), x, length=3)[0]
        if loop == "remat":
            return jax.checkpoint(layer)(jax.checkpoint(layer)(x))
        mesh = jax.make_mesh((1,), ("batch",), axis_types=(jax.sharding.AxisType.Auto,))
        spec = jax.sharding.PartitionSpec("batch")
        return jax.shard_map(layer, mesh=mesh, in_specs=spec, out_specs=spec)(layer(x))

    def both(x):
        y, back = jax.vjp(network, x)
        return y, back(jnp.cos(y))

    stock = jax.jit(both)(x)
    with cpu.installed(keep_memory=False):
        fast = jax.jit(lambda x: both(x))(x)
    for mine, true in zip(fast, stock, strict=True):
        np.testing.assert_allclose(mine, true, rtol=1e-3, atol=1e-3)


def test_functions_with_a_sharding_effects_or_metadata_of_their_own_stay_functions():
    (kernel, _), bias = parameters_for(2)
    x = normal((4, 3, 32, 32))
    one = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    double = jax.jit(lambda y: 2 * y)

    def marked(y):
        with set_xla_metadata(inlineable="false"):
            return double(y)

    def spoken(y):
        jax.debug.print("{}", y.size, ordered=True)
        return 2 * y

    def functions(function) -> int:
        with cpu.installed(keep_memory=False):
            lowered = jax.jit(lambda x: function(biased(x, kernel, bias))).lower(x)
        assert lowered.compile()(x).shape == (4, 16, 32, 32)
        return len(re.findall(r"call @", lowered.as_text()))

    others = functions(lambda y: 2 * y)
    assert functions(double) == others
    assert functions(jax.jit(lambda y: 2 * y, out_shardings=one)) == others + 1
    assert functions(marked) == others + 1
    assert functions(jax.jit(spoken)) > others


def test_only_pictures_whose_channels_come_first_are_moved():
    def moved(spec, lhs, rhs, fixed=(False, False)):
        arrays = [jax.ShapeDtypeStruct(shape, "float32") for shape in (lhs, rhs)]
        jaxpr = jax.make_jaxpr(
            lambda lhs, rhs: lax.conv_general_dilated(
                lhs, rhs, (1, 1), "SAME", dimension_numbers=spec
            )
        )(*arrays)
        (equation,) = jaxpr.eqns
        avals = [variable.aval for variable in (*equation.invars, *equation.outvars)]
        lhs, rhs, out = avals
        return channels.last(convolution.describe(lhs, rhs, out, equation.params), fixed)

    first = moved(("NCHW", "OIHW", "NCHW"), (2, 3, 4, 5), (7, 3, 3, 3))
    assert (first.left, first.right, first.result) == (True, False, True)
    assert first.convolution.lhs_shape == (2, 4, 5, 3)
    assert first.convolution.out_shape == (2, 4, 5, 7)
    assert first.convolution.rhs_shape == (7, 3, 3, 3)
    assert first.convolution.kind is convolution.Kind.FORWARD
    assert first.convolution.input == (4, 5)
    fixed = moved(("NCHW", "OIHW", "NCHW"), (2, 3, 4, 5), (7, 3, 3, 3), (True, True))
    assert (fixed.left, fixed.right, fixed.result) == (False, False, True)
    for spec, lhs, rhs in (
        (("NHWC", "HWIO", "NHWC"), (2, 4, 5, 3), (3, 3, 3, 7)),
        (("HWNC", "HWIO", "HWNC"), (4, 5, 2, 3), (3, 3, 3, 7)),
    ):
        assert not any(moved(spec, lhs, rhs)[1:])
    # A kernel gradient: both operands are pictures, the result is a kernel.
    gradient = moved(("CNHW", "IOHW", "CNHW"), (8, 3, 9, 9), (8, 7, 9, 9))
    assert (gradient.left, gradient.right, gradient.result) == (True, True, False)
    assert gradient.convolution.kind is convolution.Kind.KERNEL_GRADIENT
