"""A bias and a ReLU taken into native calls: to the same end, in every kind of program."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import PartitionSpec

import cnn_jax
from cnn_jax import cpu
from cnn_jax.cpu import native_library, planar, pooling_native

LARGEST, SUM, GRADIENT = range(3)
RELU, THROUGH_RELU = 1, 2
POOL, GRADIENT_THROUGH_RELU = (LARGEST, 0, 0, 0, 0), (GRADIENT, 0, 1, 1, 1)


@pytest.fixture(autouse=True)
def _by_onednn(native, monkeypatch):
    # What is drawn here has few channels.
    monkeypatch.setattr(planar, "wins", lambda convolution: False)


def correlate(x, kernel):
    return lax.conv_general_dilated(
        x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def pool(x, *, size: int = 2, stride: int = 2, padding="VALID", start=-jnp.inf, by=lax.max):
    start = np.asarray(start, x.dtype)
    return lax.reduce_window(x, start, by, (1, size, size, 1), (1, stride, stride, 1), padding)


total = functools.partial(pool, start=0, by=lax.add)


def average(x):
    return total(x) / 4


overlapping = functools.partial(pool, size=3, padding="SAME")


def biased(kernel, bias, x):
    return correlate(x, kernel) + bias.reshape(1, 1, 1, -1)


def block(kernel, bias, x):
    return pool(jax.nn.relu(biased(kernel, bias, x)))


def of_sum(*functions):
    """The results of functions, one around the other, of the sum; the first is called last."""

    def program(kernel, bias, x):
        z = biased(kernel, bias, x)
        for function in reversed(functions):
            z = function(z)
        return z

    return program


def used_twice(kernel, bias, x):
    y = jax.nn.relu(biased(kernel, bias, x))
    return pool(y), y


def sum_used_again(kernel, bias, x):
    z = biased(kernel, bias, x)
    return pool(jax.nn.relu(z)), z


def pooled_twice(kernel, bias, x):
    y = jax.nn.relu(biased(kernel, bias, x))
    return pool(y), overlapping(y), average(y)


def no_bias(kernel, bias, x):
    return pool(jax.nn.relu(correlate(x, kernel))) + bias.reshape(1, 1, 1, -1)


def scalar_bias(kernel, bias, x):
    return pool(jax.nn.relu(correlate(x, kernel) + bias[0]))


def bias_along_columns(kernel, bias, x):
    return pool(jax.nn.relu(correlate(x, kernel) + jnp.tile(bias, 4).reshape(1, 1, 32, 1)))


def bias_of_each_image(kernel, bias, x):
    return pool(jax.nn.relu(correlate(x, kernel) + bias[:4].reshape(4, 1, 1, 1)))


def bias_of_each_place(kernel, bias, x):
    return pool(jax.nn.relu(correlate(x, kernel) + x[..., :1] * bias.reshape(1, 1, 1, -1)))


def bias_on_the_left(kernel, bias, x):
    return pool(jax.nn.relu(bias.reshape(1, 1, 1, -1) + correlate(x, kernel)))


def bias_added_twice(kernel, bias, x):
    row = bias.reshape(1, 1, 1, -1)
    return pool(jax.nn.relu(correlate(x, kernel) + row + row))


def two_branches(kernel, bias, x):
    # The same product with two biases: each gradient must find its own.
    z, row = correlate(x, kernel), bias.reshape(1, 1, 1, -1)
    return pool(jax.nn.relu(z + row)), pool(jax.nn.relu(z + row[..., ::-1])), jax.nn.relu(z + row)


def two_layers(kernel, bias, x):
    y = jax.nn.relu(biased(kernel, bias, x))
    again = jnp.concatenate([kernel, kernel[:, :, :2], kernel], axis=2)
    return pool(jax.nn.relu(biased(again, bias, y) - 3))


def two_blocks(kernel, bias, x):
    again = jnp.concatenate([kernel, kernel[:, :, :2], kernel], axis=2)
    return block(again, bias, jax.nn.relu(biased(kernel, bias, x)))


def coarse_bias(kernel, bias, x):
    # More exact than that the bias may not become.
    row = jnp.broadcast_to((bias / 3).astype(jnp.int8), (*x.shape[:3], bias.size))
    return jax.nn.relu(correlate(x, kernel) + row.astype(x.dtype))


def sum_of_coarse_gradients(kernel, bias, x):
    y, back = jax.vjp(jax.nn.relu, biased(kernel, bias, x))
    (gradient,) = back(correlate(x, kernel[..., ::-1] / 4))
    return y, jnp.sum(gradient.astype(jnp.int32), (0, 1, 2)).astype(x.dtype) / 64


def mask_of_another_type(kernel, bias, x):
    z, other = biased(kernel, bias, x), correlate(x.astype("float16"), kernel.astype("float16"))
    masked = lax.select(z > 0, other, jnp.zeros_like(other))
    also = lax.select(z > 0, -other, jnp.zeros_like(other))
    return jax.nn.relu(z), masked.astype(x.dtype), also.astype(x.dtype)


def wide_layer(kernel, bias, x):
    return jax.nn.relu(x.reshape(-1, 3) @ kernel[0, 0] + bias.reshape(1, -1))


def looked_at(kernel, bias, x):
    # Calls without results take what is added to the bias.
    z = correlate(x, kernel)
    jax.debug.callback(_ignore, z)
    y = jax.nn.relu(z + bias.reshape(1, 1, 1, -1))
    jax.debug.callback(_ignore, z)
    return y


def _ignore(array):
    pass


def of_scalars(kernel, bias, x):
    row = jnp.squeeze(lax.broadcast(bias[0], (1,)))
    return jax.nn.relu(bias[1] + row), lax.select(bias[1] + row > 0, kernel, jnp.zeros_like(kernel))


PROGRAMS = {
    "bias, ReLU and pooling": block,
    "bias and ReLU": of_sum(jax.nn.relu),
    "bias and pooling": of_sum(pool),
    "pooling before the ReLU": of_sum(jax.nn.relu, pool),
    "pooling with overlap": of_sum(overlapping, jax.nn.relu),
    "pooling with overlap of a sum": of_sum(overlapping),
    "average": of_sum(average),
    "average of a ReLU": of_sum(average, jax.nn.relu),
    "sum": of_sum(total),
    "sum of a ReLU": of_sum(lambda y: total(y, size=3) / 9 + total(y, size=3), jax.nn.relu),
    "smallest": of_sum(functools.partial(pool, start=jnp.inf, by=lax.min), jax.nn.relu),
    "two poolings": of_sum(pool, overlapping, jax.nn.relu),
    "two ReLUs": of_sum(pool, jax.nn.relu, jax.nn.relu),
    "maximum": of_sum(pool, lambda z: jnp.maximum(z, jnp.zeros_like(z))),
    "ReLU6": of_sum(pool, jax.nn.relu6),
    "leaky ReLU": of_sum(pool, jax.nn.leaky_relu),
    "GELU": of_sum(pool, jax.nn.gelu),
    "mask": of_sum(pool, lambda z: jnp.where(z > 0, z, 0)),
}
PROGRAMS |= {
    function.__name__.replace("_", " "): function
    for function in (
        used_twice,
        sum_used_again,
        pooled_twice,
        no_bias,
        scalar_bias,
        bias_along_columns,
        bias_of_each_image,
        bias_of_each_place,
        bias_on_the_left,
        bias_added_twice,
        two_branches,
        two_layers,
        two_blocks,
        coarse_bias,
        sum_of_coarse_gradients,
        mask_of_another_type,
        wide_layer,
        looked_at,
        of_scalars,
    )
}


def whole(dtype="float32"):
    """A kernel, a bias and an input of small integers: sums of them are exact, and often equal."""
    draw = np.random.default_rng(0)
    shapes = (3, 3, 3, 8), (8,), (4, 32, 32, 3)
    return [jnp.asarray(draw.integers(-2, 3, shape), dtype) for shape in shapes]


def normal():
    draw = np.random.default_rng(1)
    shapes = (3, 3, 3, 8), (8,), (4, 32, 32, 3)
    return [jnp.asarray(draw.normal(size=shape), "float32") for shape in shapes]


def weighted(program, *arrays):
    """A sum of all results with weights, of which each gradient is an integer, and the results."""
    results = program(*arrays)
    draw, total = np.random.default_rng(2), jnp.float32(0)
    for result in jax.tree.leaves(results):
        weights = jnp.asarray(draw.integers(-2, 3, result.shape), result.dtype)
        total += jnp.sum((result * weights).astype("float32"))
    return total, results


def gradients(program, *arrays):
    function = jax.value_and_grad(functools.partial(weighted, program), (0, 1, 2), has_aux=True)
    return function(*arrays)


def agree(mine, theirs, tolerance=1e-5):
    def check(a, b):
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        largest = np.max(np.abs(b), initial=0, where=np.isfinite(b))
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * largest)

    jax.tree.map(check, mine, theirs)


def installed_and_not(function, *arrays):
    """What the function makes of the arrays with the kernels, and without."""
    function = jax.jit(function)
    with cpu.installed(keep_memory=False):
        mine = function(*arrays)
    with cpu.uninstalled():
        return mine, function(*arrays)


def compiled(function, *arrays) -> str:
    return jax.jit(function).lower(*arrays).compile().as_text() or ""


def calls(text: str) -> list[tuple[int, ...]]:
    """Of each native pooling of a compiled program its kind, and the four flags."""
    numbers = configurations(text, native_library.POOLING_TARGET)
    return sorted((each[1], *each[3:7]) for each in numbers)


def epilogues(text: str) -> list[int]:
    """Of each native convolution of a compiled program what is computed of its result, if any."""
    numbers = configurations(text, native_library.TARGET)
    return sorted(each[3] for each in numbers if each[3])


def configurations(text: str, target: str) -> list[list[int]]:
    lines = [line for line in text.splitlines() if target in line]
    found = [re.search(r"configuration = \D*\[([^]]*)\]", line) for line in lines]
    numbers = [list(map(int, match[1].split(","))) for match in found if match]
    assert len(numbers) == len(lines)
    return numbers


def sums_of_channels(text: str) -> int:
    return len(re.findall(r"(?:f32|bf16)\[8\]\S* reduce\(", text))


def calls_of(program, *arrays) -> tuple[list[int], list[tuple[int, ...]]]:
    with cpu.installed(keep_memory=False):
        text = compiled(functools.partial(gradients, program), *(arrays or whole()))
    return epilogues(text), calls(text)


@pytest.mark.parametrize("name", PROGRAMS)
def test_results_and_gradients_are_those_without_it(name):
    function = functools.partial(gradients, PROGRAMS[name])
    mine, theirs = installed_and_not(function, *whole())
    agree(mine, theirs)
    if name in ("GELU", "coarse bias", "sum of coarse gradients", "mask of another type"):
        return
    with cpu.installed(keep_memory=False):
        (_, narrow), narrow_gradients = jax.jit(function)(*whole("bfloat16"))
    assert {result.dtype for result in jax.tree.leaves((narrow, narrow_gradients))} == {
        jnp.dtype("bfloat16")
    }
    # Of bfloat16 the truth is what float32 gives: each number before the last sums is exact.
    (_, wide), wide_gradients = theirs
    agree((narrow, narrow_gradients), (wide, wide_gradients), 0.03)


def largest_of_windows(y, size):
    """XLA's own rule gives a number for some windows that hold a NaN."""
    padded = np.pad(y, ((0, 0), (0, size - 2), (0, size - 2), (0, 0)), constant_values=-np.inf)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (size, size), (1, 2))
    return windows[:, ::2, ::2].max(axis=(-1, -2))


@pytest.mark.parametrize(
    ("name", "size"),
    [("bias, ReLU and pooling", 2), ("bias and ReLU", None), ("pooling with overlap", 3)],
)
@pytest.mark.parametrize("hostile", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_reaches_the_result_and_the_same_gradients(name, size, hostile):
    kernel, bias, x = whole()
    function = functools.partial(gradients, PROGRAMS[name])
    for arrays in [
        (kernel, bias, x.at[1, 4, 5, 1].set(hostile)),
        (kernel, bias.at[3].set(hostile), x),
    ]:
        ((_, mine), slopes), (_, stock_slopes) = installed_and_not(function, *arrays)
        expected = np.maximum(biased(*arrays), 0)
        agree(mine, expected if size is None else largest_of_windows(expected, size))
        assert np.isfinite(mine).all() == (hostile == -np.inf and arrays[1] is not bias)
        agree(slopes, stock_slopes)


def test_of_a_block_and_its_gradient_nothing_is_left_to_xla():
    program = PROGRAMS["bias, ReLU and pooling"]
    with cpu.installed(keep_memory=False):
        text = compiled(block, *whole())
        assert (epilogues(text), calls(text)) == ([RELU], [POOL])
        for dtype in ("float32", "bfloat16"):
            text = compiled(functools.partial(gradients, program), *whole(dtype))
            assert (epilogues(text), calls(text)) == ([RELU], [POOL, GRADIENT_THROUGH_RELU])
            assert sums_of_channels(text) == 0
            assert "select-and-scatter" not in text
    text = compiled(functools.partial(gradients, program), *whole())
    assert calls(text) == []
    assert sums_of_channels(text) == 1


def test_which_calls_each_program_has():
    plain = [], [POOL, (GRADIENT, 0, 0, 0, 0)]
    expected = {
        "bias and pooling": ([], [(LARGEST, 1, 0, 0, 0), (GRADIENT, 1, 0, 1, 1)]),
        "pooling with overlap": ([RELU], [POOL, GRADIENT_THROUGH_RELU]),
        # The pooling's gradient is added to that of the other use.
        "used twice": ([RELU], plain[1]),
        # One ReLU's gradient is that of the convolution after it, the other one's of the pooling.
        "two blocks": ([RELU, RELU, THROUGH_RELU], [POOL, GRADIENT_THROUGH_RELU]),
        "average": ([], [(SUM, 0, 0, 0, 0)]),
        "average of a ReLU": ([RELU], [(SUM, 0, 0, 0, 0)]),
        **dict.fromkeys(["ReLU6", "leaky ReLU", "GELU", "mask"], plain),
        **dict.fromkeys(["no bias", "scalar bias", "bias along columns"], plain),
        **dict.fromkeys(["bias of each image", "bias of each place"], plain),
        "coarse bias": ([], []),
    }
    assert {name: calls_of(PROGRAMS[name]) for name in expected} == expected


def test_without_the_poolings_nothing_of_it_happens():
    with cpu.installed(kernels=["onednn"], keep_memory=False):
        text = compiled(functools.partial(gradients, block), *whole())
    assert native_library.TARGET in text
    assert calls(text) == []


def test_small_arrays_are_left_to_xla():
    kernel, bias, x = whole()
    assert calls_of(PROGRAMS["bias and ReLU"], kernel, bias, x[:, :31]) == ([], [])
    assert calls_of(PROGRAMS["bias and ReLU"]) == ([RELU], [])


def of_one_image(kernel, bias, x):
    return jax.nn.relu(biased(kernel, bias, jnp.tile(x[:1], (1, 4, 1, 1))))


def test_a_single_image_is_not_left_to_one_thread():
    agree(*installed_and_not(functools.partial(gradients, of_one_image), *whole()))
    assert calls_of(of_one_image) == ([], [(LARGEST, 1, 1, 0, 0)])


def forward_and_mask(kernel, bias, x):
    z = biased(kernel, bias, x)
    return jax.nn.relu(z), z > 0


def test_a_mask_kept_for_later_does_not_need_the_sum():
    # As where the gradient is a function of its own.
    agree(*installed_and_not(forward_and_mask, *whole()))
    with cpu.installed(keep_memory=False):
        text = compiled(forward_and_mask, *whole())
    assert [each[3] for each in configurations(text, native_library.TARGET)] == [RELU]


@pytest.mark.parametrize("channels", [4, 5, 19, 40])
@pytest.mark.parametrize("batch", [4, 9, 16])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_channels_and_images_that_fill_no_vector_and_no_part(channels, batch, dtype):
    draw = np.random.default_rng(channels)
    shapes = (3, 3, 3, channels), (channels,), (batch, 48, 48, 3), (3, 3, channels, channels)
    arrays = [jnp.asarray(draw.integers(-1, 2, shape), dtype) for shape in shapes]

    def program(kernel, bias, x, again):
        return jax.nn.relu(biased(again, bias, jax.nn.relu(biased(kernel, bias, x))))

    function = jax.grad(lambda *given: weighted(program, *given)[0], (0, 1, 2, 3))
    mine, _ = installed_and_not(function, *arrays)
    # Of bfloat16 the truth is what float32 gives: each number before the last sums is exact.
    with cpu.uninstalled():
        agree(mine, jax.jit(function)(*(each.astype("float32") for each in arrays)), 0.02)


def test_comparing_with_xla_finds_no_difference():
    with cpu.installed(compare=True, keep_memory=False):
        for name in ("bias, ReLU and pooling", "bias and pooling", "average", "used twice"):
            jax.block_until_ready(jax.jit(functools.partial(gradients, PROGRAMS[name]))(*whole()))


def scanned(kernel, bias, x):
    def step(total, bias):
        return total + jnp.sum(block(kernel, bias, x)), block(kernel, -bias, x)

    return lax.scan(step, jnp.float32(0), jnp.stack([bias, bias + 1, 2 * bias]))


def under_condition(kernel, bias, x):
    blocks = block, lambda *arrays: pool(biased(*arrays)), lambda *arrays: -block(*arrays)
    z = correlate(x, kernel)

    def outside():
        # What is added and what it is added to lie outside of the branch.
        return pool(jax.nn.relu(z + bias.reshape(1, 1, 1, -1)))

    either = lax.cond(jnp.sum(bias) > 0, outside, lambda: pool(z))
    return lax.switch(x.shape[0] % 3, blocks, kernel, bias, x), either


def half_outside(kernel, bias, x):
    # The ReLU lies within a function of its own, the pooling outside.
    return pool(jax.jit(lambda x: jax.nn.relu(biased(kernel, bias, x)))(x))


def mapped(kernel, bias, x):
    biases = jnp.stack([bias, bias + 1])
    many = jax.vmap(block, (None, 0, None))(kernel, biases, x)
    both = jax.vmap(block, (0, 0, 0))(jnp.stack([kernel, -kernel]), biases, jnp.stack([x, x + 1]))
    return many, both, jax.vmap(block, (None, None, 0))(kernel, bias, x[:, None])


def on_one_device(kernel, bias, x):
    mesh = jax.make_mesh((1,), ("batch",), axis_types=(jax.sharding.AxisType.Auto,))
    batch, each = PartitionSpec("batch"), PartitionSpec()
    return jax.shard_map(
        block, mesh=mesh, in_specs=(each, each, batch), out_specs=batch, check_vma=False
    )(kernel, bias, x)


TRANSFORMED = {
    "checkpoint": jax.checkpoint(block),
    "checkpoint of what is saved": jax.checkpoint(
        two_blocks, policy=jax.checkpoint_policies.everything_saveable
    ),
    "scan": scanned,
    "conditions": under_condition,
    "a program within": jax.jit(jax.jit(block)),
    "half of it within": half_outside,
    "vmap": mapped,
    "shard_map": on_one_device,
}


@pytest.mark.parametrize("name", TRANSFORMED)
def test_transformed_programs_are_those_without_it(name):
    function = functools.partial(gradients, TRANSFORMED[name])
    agree(*installed_and_not(function, *whole()))
    with cpu.installed(keep_memory=False):
        assert calls(compiled(function, *whole()))


def test_tangents_and_second_derivatives_are_those_without_it():
    arrays, tangents = normal(), [jnp.sin(3 * array) for array in normal()]

    def tangent(program):
        return lambda *given: jax.jvp(program, given, tuple(tangents))

    def loss(*given):
        return jnp.sum(jnp.sin(two_blocks(*given)))

    for function in (tangent(block), tangent(used_twice), tangent(jax.grad(loss, (0, 1, 2)))):
        mine, theirs = installed_and_not(function, *arrays)
        agree(mine, theirs, 1e-3)


def test_donated_arrays_are_not_overwritten_too_early():
    def step(kernel, bias, x):
        _, (by_kernel, by_bias, by_x) = gradients(two_blocks, kernel, bias, x)
        return kernel - by_kernel, bias - by_bias, x - by_x

    theirs = jax.jit(step)(*whole())
    with cpu.installed(keep_memory=False):
        given = whole()
        agree(jax.jit(step, donate_argnums=(0, 1, 2))(*given), theirs)
        assert all(array.is_deleted() for array in given)


def compiled_gradient(apply, parameters, x):
    """The gradient of a function of `apply(parameters, x)`, found to agree with JAX's, compiled."""

    def loss(parameters, x):
        return jnp.sum(jnp.sin(apply(parameters, x)))

    gradient = jax.grad(loss, (0, 1))
    agree(*installed_and_not(gradient, parameters, x), 1e-4)
    with cpu.installed(keep_memory=False):
        return compiled(gradient, parameters, x)


def test_the_layers_of_this_package_have_it():
    start = jax.nn.initializers.normal()
    model = cnn_jax.serial(
        cnn_jax.conv(8, 3, padding="SAME", bias_init=start), cnn_jax.relu, cnn_jax.max_pool(2)
    )
    x = normal()[2]
    parameters = model.init(jax.random.key(0), x.shape[1:])

    text = compiled_gradient(model.apply, parameters, x)
    assert (epilogues(text), calls(text)) == ([RELU], [POOL, GRADIENT_THROUGH_RELU])


def test_the_layers_of_flax_have_it():
    import flax.linen as nn

    class Block(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.relu(nn.Conv(8, (3, 3), bias_init=nn.initializers.normal())(x))
            x = nn.max_pool(x, (2, 2), (2, 2))
            return nn.max_pool(nn.Conv(8, (3, 3))(x), (3, 3), (2, 2), "SAME")

    x = normal()[2]
    parameters = Block().init(jax.random.key(0), x)

    text = compiled_gradient(Block().apply, parameters, x)
    assert epilogues(text) == [RELU]
    assert calls(text) == [
        POOL,
        (LARGEST, 1, 0, 0, 0),
        GRADIENT_THROUGH_RELU,
        (GRADIENT, 1, 0, 1, 1),
    ]
    assert sums_of_channels(text) == 0


def test_blocks_of_haiku_have_it():
    import haiku as hk

    def network(x):
        x = jax.nn.relu(hk.Conv2D(8, 3, b_init=hk.initializers.RandomNormal())(x))
        return hk.max_pool(x, (2, 2, 1), (2, 2, 1), "VALID")

    transformed = hk.without_apply_rng(hk.transform(network))
    x = normal()[2]
    parameters = transformed.init(jax.random.key(0), x)

    text = compiled_gradient(transformed.apply, parameters, x)
    assert (epilogues(text), calls(text)) == ([RELU], [POOL, GRADIENT_THROUGH_RELU])


def test_blocks_of_equinox_whose_channels_come_first_have_it():
    import equinox as eqx

    key = jax.random.key(0)
    layers = eqx.nn.Conv2d(3, 8, 3, padding=1, key=key), eqx.nn.MaxPool2d(2, 2)

    def apply(convolution, x):
        return jax.vmap(lambda x: layers[1](jax.nn.relu(convolution(x))))(x)

    text = compiled_gradient(apply, layers[0], jnp.transpose(normal()[2], (0, 3, 1, 2)))
    assert calls(text) == [(LARGEST, 1, 1, 0, 0), (GRADIENT, 1, 1, 1, 1)]
    assert sums_of_channels(text) == 0


def wide_mean(x):
    return average(x.astype("float32"))


@pytest.mark.parametrize(
    ("dtype", "kernel"),
    [
        ("float32", "native windows"),
        ("bfloat16", "native windows"),
        ("float16", "slices"),
        ("int8", "slices"),
    ],
)
def test_a_pooling_of_converted_numbers_takes_them_as_they_were_or_is_left_to_xla(dtype, kernel):
    x = jnp.ones((4, 32, 32, 8), dtype)
    with cpu.installed(keep_memory=False):
        text = jax.jit(wide_mean).lower(x).as_text()
        assert ("cnn_jax_pooling" in text) == (kernel == "native windows")
        (row,) = cpu.explain(wide_mean, x).rows
    assert (row.kernel, row.shapes.split("[")[0] == dtype) == (kernel, kernel == "native windows")


def rectified_in_bfloat16(x):
    unit = jnp.eye(x.shape[-1], dtype=x.dtype)[None, None]
    row = jnp.linspace(-1, 0, x.shape[-1], dtype=x.dtype)
    return jax.nn.relu(correlate(x, unit) + row.reshape(1, 1, 1, -1))


OF_BFLOAT16 = {
    "mean": wide_mean,
    "narrowed": lambda x: wide_mean(x).astype("bfloat16"),
    "largest": lambda x: pool(x.astype("float32")),
    "overlapping": lambda x: overlapping(x.astype("float32")).astype("bfloat16"),
    "channels first": lambda x: lax.reduce_window(
        jnp.transpose(rectified_in_bfloat16(x), (0, 3, 1, 2)).astype("float32"),
        -np.inf,
        lax.max,
        (1, 1, 3, 3),
        (1, 1, 2, 2),
        "SAME",
    ),
    "after a ReLU": lambda x: overlapping(rectified_in_bfloat16(x).astype("float32")),
    "before a ReLU": lambda x: jax.nn.relu(pool(x.astype("float32"))),
    "in both types": lambda x: (pool(x), pool(x.astype("float32")), wide_mean(x)),
    "ops.max_pool": lambda x: cnn_jax.max_pool((3, 3), stride=2, padding=1).apply({}, x),
    "ops.avg_pool": lambda x: cnn_jax.avg_pool((3, 3), stride=2).apply({}, x),
}


@pytest.mark.parametrize("name", OF_BFLOAT16)
def test_poolings_of_bfloat16_in_float32_are_those_of_jax(name):
    draw = np.random.default_rng(0)
    x = jnp.asarray(draw.normal(size=(4, 15, 18, 8)), "bfloat16")
    # Small integers, whose sums are exact in any order.
    shapes = jax.tree.leaves(jax.eval_shape(OF_BFLOAT16[name], x))
    weights = [jnp.asarray(draw.integers(-8, 9, s.shape), "float32") for s in shapes]

    def loss(x):
        results = jax.tree.leaves(OF_BFLOAT16[name](x))
        return sum((r.astype("float32") * w).sum() for r, w in zip(results, weights, strict=True))

    def both(x):
        return OF_BFLOAT16[name](x), jax.grad(loss)(x)

    expected = jax.jit(both)(x)
    with cpu.installed(keep_memory=False):
        compiled = jax.jit(both).lower(x)
        assert "cnn_jax_pooling" in compiled.as_text()
        got = compiled.compile()(x)
    for mine, stock in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        assert mine.dtype == stock.dtype
        # XLA divides by multiplying, which can fall on the other side of where bfloat16 rounds.
        close = 1e-6 if mine.dtype == "float32" else 2**-8
        mine, stock = (np.asarray(array, "float32") for array in (mine, stock))
        np.testing.assert_allclose(mine, stock, rtol=close, atol=0)


def precisions(program, x) -> list[tuple[int, int]]:
    """Of each native pooling of a program and its gradient the kind, and how its result is held."""

    def both(x):
        y, pullback = jax.vjp(program, x)
        return y, pullback(jnp.sin(y))

    with cpu.installed(keep_memory=False):
        found = configurations(compiled(both, x), native_library.POOLING_TARGET)
    return sorted((numbers[1], numbers[7]) for numbers in found)


def test_what_is_narrowed_after_a_pooling_is_so_within_its_call():
    x = jnp.ones((4, 15, 18, 8), "bfloat16")
    of_input, wide, once = pooling_native.Precision
    assert precisions(OF_BFLOAT16["overlapping"], x) == [(LARGEST, of_input), (GRADIENT, of_input)]
    assert precisions(lambda x: overlapping(x.astype("float32")), x) == [
        (LARGEST, of_input),
        (GRADIENT, wide),
    ]
    assert precisions(OF_BFLOAT16["narrowed"], x)[:1] == [(SUM, once)]
    assert precisions(wide_mean, x)[:1] == [(SUM, wide)]


def test_means_of_padded_windows_of_converted_numbers_are_left_to_xla():
    x = jnp.ones((4, 32, 32, 8), jnp.bfloat16)
    mean = cnn_jax.avg_pool((3, 3), stride=2, padding=1)
    with cpu.installed(keep_memory=False):
        (row,) = cpu.explain(lambda x: mean.apply({}, x), x).rows
        assert "cnn_jax_pooling" not in jax.jit(lambda x: mean.apply({}, x)).lower(x).as_text()
    assert row.kernel == "slices"


@pytest.mark.parametrize("dtype", ["complex64", "int32", "float16", "bfloat16", "float8_e4m3fn"])
def test_constants_of_any_type_can_be_divided_by_and_selected(dtype):
    def program(x):
        halves = lax.div(x, lax.full_like(x, 2))
        return lax.select(jnp.ones(x.shape, bool), halves, lax.full_like(x, 0))

    x = jnp.asarray([4, 2, 0, -2], dtype)
    with cpu.installed(keep_memory=False):
        halves = jax.jit(program)(x)
    np.testing.assert_array_equal(np.asarray(halves, "complex64"), [2, 1, 0, -1])
