"""Pooling kernels against XLA's own rules and against windows visited one by one."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax

from cnn_jax import cpu
from cnn_jax.cpu import pooling

HOSTILE = [0.0, -0.0, 1.0, 1.0, -1.0, 2.0, np.inf, -np.inf, np.nan]


@st.composite
def windows(draw, dilated: bool):
    """The shape of an array and the parameters of a pooling of it."""
    rank = draw(st.integers(1, 4))

    def sizes(*choices):
        return tuple(draw(st.sampled_from(choices)) for _ in range(rank))

    no_padding = draw(st.booleans())
    padding = tuple(
        (0, 0) if no_padding else (draw(st.integers(0, 3)), draw(st.integers(0, 4)))
        for _ in range(rank)
    )
    # Every place of a window and of a stride is compiled: two axes with large ones are enough.
    large = draw(st.permutations(range(rank)))[:2]
    parameters = {
        "window_dimensions": tuple(
            draw(st.sampled_from([2, 3, 5] if axis in large else [1, 1, 1, 2]))
            for axis in range(rank)
        ),
        "window_strides": tuple(
            draw(st.sampled_from([1, 2, 2, 3] if axis in large else [1, 1, 1, 2]))
            for axis in range(rank)
        ),
        "padding": padding,
    }
    if dilated:
        parameters["base_dilation"] = (1,) * rank
        parameters["window_dilation"] = draw(st.sampled_from([(1,) * rank, sizes(1, 2)]))
    return sizes(1, 4, 6, 7, 8), parameters


def values(seed: int, shape, dtype, hostile: bool):
    """Random numbers; hostile ones have ties, zeros of both signs, infinities and NaN."""
    generator = np.random.default_rng(seed)
    numbers = generator.choice(HOSTILE, shape) if hostile else generator.normal(size=shape)
    return jnp.asarray(numbers, dtype)


def output_shape(operand, parameters):
    """The number of windows along each axis."""
    ones = (1,) * operand.ndim
    keywords = {"base_dilation": ones, "window_dilation": ones, **parameters}
    return jax.eval_shape(lambda x: lax.reduce_window_max_p.bind(x, **keywords), operand).shape


def both(primitive, operands, parameters):
    """What the chosen kernel makes of the operands, and what XLA's own rule makes."""
    choice = pooling.choose(primitive, operands, parameters)
    if choice.build is None:
        return None
    mine = jax.jit(choice.build)(*operands)
    theirs = jax.jit(functools.partial(primitive.bind, **parameters))(*operands)
    assert mine.dtype == theirs.dtype
    return np.asarray(mine), np.asarray(theirs)


def as_seen_by_windows(operand, parameters):
    """Of each window, the indices of the elements inside the array, in reading order."""
    shape = operand.shape
    dilation = parameters.get("window_dilation", (1,) * len(shape))
    for out in np.ndindex(*output_shape(operand, parameters)):
        inside = []
        for place in np.ndindex(*parameters["window_dimensions"]):
            index = tuple(
                o * step + at * apart - low
                for o, step, at, apart, (low, _) in zip(
                    out,
                    parameters["window_strides"],
                    place,
                    dilation,
                    parameters["padding"],
                    strict=True,
                )
            )
            if all(0 <= i < n for i, n in zip(index, shape, strict=True)):
                inside.append(index)
        yield out, inside


dtypes = st.sampled_from(["float32", "float32", "bfloat16", "float16"])


@settings(max_examples=200)
@given(windows(dilated=True), dtypes, st.booleans(), st.booleans(), st.integers(0, 2**32 - 1))
def test_maximum_and_minimum_are_the_stock_rules_to_the_bit(case, dtype, hostile, largest, seed):
    shape, parameters = case
    operand = values(seed, shape, dtype, hostile)
    primitive = lax.reduce_window_max_p if largest else lax.reduce_window_min_p
    results = both(primitive, (operand,), parameters)
    if results is None:
        return
    mine, theirs = results
    np.testing.assert_array_equal(mine.astype(np.float64), theirs.astype(np.float64))
    zero = theirs == 0
    np.testing.assert_array_equal(np.signbit(mine[zero]), np.signbit(theirs[zero]))


@st.composite
def dilated_arrays(draw):
    """The shape of an array and the parameters of a sum over windows of its dilation."""
    rank = draw(st.integers(1, 3))

    def sizes(*choices):
        return tuple(draw(st.sampled_from(choices)) for _ in range(rank))

    dilation = sizes(1, 2, 3)
    window = dilation if draw(st.booleans()) else sizes(1, 2, 3, 5)
    padding = tuple((draw(st.integers(0, 5)), draw(st.integers(0, 5))) for _ in range(rank))
    return sizes(1, 2, 4, 5), {
        "window_dimensions": window,
        "window_strides": (1,) * rank,
        "padding": padding,
        "base_dilation": dilation,
        "window_dilation": draw(st.sampled_from([(1,) * rank, sizes(1, 2)])),
    }


@settings(max_examples=200)
@given(dilated_arrays(), dtypes, st.integers(0, 2**32 - 1))
def test_sums_over_dilated_arrays_are_those_of_numpy(case, dtype, seed):
    shape, parameters = case
    operand = values(seed, shape, dtype, hostile=False)
    choice = pooling.choose(lax.reduce_window_sum_p, (operand,), parameters)
    if choice.build is None:
        return
    dilation = parameters["base_dilation"]
    wide = np.zeros([(n - 1) * step + 1 for n, step in zip(shape, dilation, strict=True)])
    wide[tuple(slice(None, None, step) for step in dilation)] = np.asarray(operand, np.float64)
    wide = np.pad(wide, parameters["padding"])
    reach = [
        (k - 1) * apart + 1
        for k, apart in zip(
            parameters["window_dimensions"], parameters["window_dilation"], strict=True
        )
    ]
    every = np.lib.stride_tricks.sliding_window_view(wide, reach)
    taps = tuple(slice(None, None, apart) for apart in parameters["window_dilation"])
    expected = every[(..., *taps)].sum(axis=tuple(range(-len(shape), 0)))
    mine = jax.jit(choice.build)(operand)
    assert mine.dtype == operand.dtype
    np.testing.assert_allclose(
        np.asarray(mine, np.float64), expected, rtol=float(jnp.finfo(dtype).eps), atol=1e-5
    )


@settings(max_examples=200)
@given(windows(dilated=True), dtypes, st.booleans(), st.integers(0, 2**32 - 1))
def test_sums_are_at_least_as_exact_as_half_a_unit_of_their_type(case, dtype, hostile, seed):
    shape, parameters = case
    operand = values(seed, shape, dtype, hostile)
    choice = pooling.choose(lax.reduce_window_sum_p, (operand,), parameters)
    if choice.build is None:
        return
    mine = np.asarray(jax.jit(choice.build)(operand), np.float64)
    exact = np.asarray(operand, np.float64)
    expected, size = np.zeros(mine.shape), np.zeros(mine.shape)
    for out, inside in as_seen_by_windows(operand, parameters):
        with np.errstate(invalid="ignore"):
            expected[out] = sum(exact[index] for index in inside)
            size[out] = sum(abs(exact[index]) for index in inside)
    unit = float(jnp.finfo(dtype).eps)
    with np.errstate(invalid="ignore"):
        # Rounded once to the type; before that only float32's own error.
        bound = unit / 2 * abs(expected) + 64 * np.finfo(np.float32).eps * size
        close = abs(mine - expected) <= bound
    same = (mine == expected) | (np.isnan(mine) & np.isnan(expected))
    assert np.all(close | same)


@settings(max_examples=200)
@given(windows(dilated=False), dtypes, st.booleans(), st.booleans(), st.integers(0, 2**32 - 1))
def test_gradients_go_where_the_stock_rule_sends_them(case, dtype, hostile, largest, seed):
    shape, parameters = case
    operand = values(seed, shape, dtype, hostile)
    windows_ = output_shape(operand, parameters)
    # Small integers add up exactly in any order, so that the results must be equal.
    source = jnp.asarray(np.random.default_rng(seed).integers(-2, 3, windows_), dtype)
    parameters = {**parameters, "select_prim": lax.ge_p if largest else lax.le_p}
    results = both(lax.select_and_scatter_add_p, (source, operand), parameters)
    if results is not None:
        np.testing.assert_array_equal(*results)


@settings(max_examples=200)
@given(windows(dilated=True), dtypes, st.booleans(), st.booleans(), st.integers(0, 2**32 - 1))
def test_tangents_come_from_the_first_best_element(case, dtype, hostile, largest, seed):
    # XLA's own rule takes the last of equal elements for some shapes, so a plain loop is the truth.
    shape, parameters = case
    operand = values(seed, shape, dtype, hostile)
    tangents = values(seed + 1, shape, dtype, hostile=False)
    parameters = {**parameters, "select_prim": lax.ge_p if largest else lax.le_p}
    choice = pooling.choose(lax.select_and_gather_add_p, (tangents, operand), parameters)
    if choice.build is None:
        return
    mine = np.asarray(jax.jit(choice.build)(tangents, operand))
    del parameters["select_prim"]
    expected = np.zeros(mine.shape, mine.dtype)
    x, t = np.asarray(operand), np.asarray(tangents)
    for out, inside in as_seen_by_windows(operand, parameters):
        best = -np.inf if largest else np.inf
        for index in inside:
            if not (best >= x[index] if largest else best <= x[index]):
                best, expected[out] = x[index], t[index]
    np.testing.assert_array_equal(mine, expected)


def pool_parameters(rank: int, window, stride, padding):
    ones = (1,) * rank
    return {
        "window_dimensions": window,
        "window_strides": stride,
        "padding": padding,
        "base_dilation": ones,
        "window_dilation": ones,
    }


OVERLAPPING = {
    "window_dimensions": (1, 3, 3, 1),
    "window_strides": (1, 2, 2, 1),
    "padding": ((0, 0), (0, 1), (1, 1), (0, 0)),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_gather_is_the_exact_transpose_of_scatter(dtype):
    with jax.enable_x64(dtype == "float64"):
        operand = values(0, (2, 9, 8, 3), dtype, hostile=False)
        tangents = values(1, operand.shape, dtype, hostile=False)
        ones = (1,) * 4
        dilated = {**OVERLAPPING, "base_dilation": ones, "window_dilation": ones}
        source = values(2, output_shape(operand, OVERLAPPING), dtype, hostile=False)
        gather = pooling.choose(
            lax.select_and_gather_add_p, (tangents, operand), {**dilated, "select_prim": lax.ge_p}
        )
        scatter = pooling.choose(
            lax.select_and_scatter_add_p,
            (source, operand),
            {**OVERLAPPING, "select_prim": lax.ge_p},
        )
        assert gather.build is not None
        assert scatter.build is not None
        there = np.asarray(gather.build(tangents, operand), np.float64)
        back = np.asarray(scatter.build(source, operand), np.float64)
        assert there.dtype == back.dtype == np.float64
        # One gathers single numbers as they are, so nothing but the sums' rounding differs.
        np.testing.assert_allclose(
            np.vdot(there, np.asarray(source, np.float64)),
            np.vdot(np.asarray(tangents, np.float64), back),
            rtol=1e-5 if dtype == "float32" else 1e-13,
        )
        assert set(there.ravel()) <= set(np.asarray(tangents, np.float64).ravel())


def test_the_largest_windows_are_pooled_axis_by_axis():
    operand = values(3, (1, 13, 13, 2), "float32", hostile=True)
    parameters = pool_parameters(4, (1, 9, 9, 1), (1, 1, 1, 1), ((0, 0), (4, 4), (4, 4), (0, 0)))
    choice = pooling.choose(lax.reduce_window_max_p, (operand,), parameters)
    assert choice.kernel == "slices by axis"
    source = jnp.ones(operand.shape)
    del parameters["base_dilation"], parameters["window_dilation"]
    parameters["select_prim"] = lax.ge_p
    gradient = pooling.choose(lax.select_and_scatter_add_p, (source, operand), parameters)
    assert gradient.kernel == "first-match mask by axis"
    results = both(lax.select_and_scatter_add_p, (source, operand), parameters)
    assert results is not None
    np.testing.assert_array_equal(*results)


@pytest.mark.parametrize(
    ("dtype", "primitive"),
    [
        ("int8", lax.reduce_window_max_p),
        ("uint8", lax.reduce_window_min_p),
        ("int32", lax.reduce_window_sum_p),
        ("uint16", lax.reduce_window_max_p),
    ],
)
def test_integers_are_pooled_as_the_stock_rule_does(dtype, primitive):
    numbers = np.random.default_rng(0).integers(0, 100, (2, 7, 9, 3))
    operand = jnp.asarray(numbers, dtype)
    parameters = pool_parameters(4, (1, 3, 2, 1), (1, 2, 2, 1), ((0, 0), (1, 1), (0, 1), (0, 0)))
    results = both(primitive, (operand,), parameters)
    assert results is not None
    np.testing.assert_array_equal(*results)


def test_float64_is_pooled_in_float64():
    with jax.enable_x64(True):
        operand = values(0, (2, 8, 8, 3), "float64", hostile=False)
        parameters = pool_parameters(4, (1, 4, 4, 1), (1, 1, 1, 1), ((0, 0),) * 4)
        results = both(lax.reduce_window_sum_p, (operand,), parameters)
        assert results is not None
        np.testing.assert_allclose(*results, rtol=1e-13)


UNSUITABLE = [
    ((0, 4), (1, 2), (1, 2), ((0, 0), (0, 0)), (1, 1), "float32", "an array is empty"),
    ((4, 1), (1, 2), (1, 1), ((0, 0), (0, 0)), (1, 1), "float32", "an array is empty"),
    ((4, 4), (1, 2), (1, 2), ((0, 0), (0, 0)), (1, 2), "float32", "the array is dilated"),
    ((4, 4), (1, 2), (1, 2), ((0, 0), (-1, 0)), (1, 1), "float32", "the padding is negative"),
    ((4, 4), (1, 1), (1, 1), ((0, 0), (0, 0)), (1, 1), "float32", "the window is a single element"),
    ((4, 4), (1, 2), (1, 2), ((0, 0), (0, 0)), (1, 1), "complex64", "no kernel for complex64"),
    ((4, 4), (4, 4), (1, 1), ((0, 0), (0, 0)), (1, 1), "float32", "XLA reduces whole axes well"),
    (
        (200,),
        (200,),
        (1,),
        ((199, 0),),
        (1,),
        "float32",
        "the window has too many elements to compile",
    ),
]


@pytest.mark.parametrize(
    ("shape", "window", "stride", "padding", "base", "dtype", "why"), UNSUITABLE
)
def test_the_stock_rule_stays_for_a_reason(shape, window, stride, padding, base, dtype, why):
    parameters = pool_parameters(len(shape), window, stride, padding)
    parameters["base_dilation"] = base
    choice = pooling.choose(
        lax.reduce_window_sum_p, (jax.ShapeDtypeStruct(shape, jnp.dtype(dtype)),), parameters
    )
    assert choice.build is None
    assert choice.reason == why


def test_a_partitioned_gradient_stays_partitioned():
    devices = np.array(jax.devices()[:2])
    if len(devices) < 2:
        pytest.skip("needs two devices")
    mesh = jax.sharding.Mesh(devices, ("batch",))
    split = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("batch"))
    operand = values(0, (4, 9, 8, 3), "float32", hostile=False)
    source = values(1, output_shape(operand, OVERLAPPING), "float32", hostile=False)
    choice = pooling.choose(
        lax.select_and_scatter_add_p, (source, operand), {**OVERLAPPING, "select_prim": lax.ge_p}
    )
    assert choice.build is not None
    compiled = (
        jax.jit(choice.build, in_shardings=(split, split), out_shardings=split)
        .lower(source, operand)
        .compile()
    )
    assert "all-gather" not in str(compiled.as_text())
    apart = compiled(jax.device_put(source, split), jax.device_put(operand, split))
    np.testing.assert_allclose(apart, choice.build(source, operand), rtol=1e-6)


@settings(max_examples=60)
@given(windows(dilated=True), st.integers(0, 2**32 - 1))
def test_gradients_of_sums_skip_the_zeros_that_jax_puts_in(case, seed):
    shape, parameters = case
    operand = values(seed, shape, "float32", hostile=False)
    total = functools.partial(lax.reduce_window_sum_p.bind, **parameters)
    weights = values(seed + 1, output_shape(operand, parameters), "float32", hostile=False)
    if 0 in weights.shape:
        return

    def gradient(operand, weights):
        return jax.vjp(total, operand)[1](weights)[0]

    expected = np.zeros(shape)
    for out, inside in as_seen_by_windows(operand, parameters):
        for index in inside:
            expected[index] += float(weights[out])
    with cpu.installed(keep_memory=False):
        rows = cpu.explain(gradient, operand, weights).rows
        mine = jax.jit(gradient)(operand, weights)
        chosen = cpu.status().chosen
    np.testing.assert_allclose(mine, expected, rtol=1e-5, atol=1e-5)
    told = {row.kernel for row in rows if row.operation == "sum-pool"}
    # The forward sum is traced, but a program that does not use it has it not.
    assert {kernel for _, kernel, _ in chosen} <= told
