"""Each private name of JAX that the package relies on, and what it relies on."""

import dataclasses
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.experimental.xla_metadata import set_xla_metadata
from jax.extend.core import Primitive
from jax.interpreters import mlir

from cnn_jax.cpu import inlined, lowered, private
from cnn_jax.cpu.choose import PRIMITIVES


def test_the_rule_tables_map_primitives_to_entries_with_a_rule():
    assert callable(private.common_rules()[lax.conv_general_dilated_p].rule)
    assert callable(private.platform_rules()[lax.select_and_scatter_add_p].rule)
    assert all(
        primitive in private.common_rules() or primitive in private.platform_rules()
        for primitive in PRIMITIVES
    )


def test_uncacheable_primitives_is_a_mutable_set():
    assert isinstance(private.uncacheable_primitives(), set)


def test_register_lowering_takes_a_platform_and_cacheable():
    parameters = inspect.signature(mlir.register_lowering).parameters
    assert list(parameters)[:2] == ["prim", "rule"]
    assert {"platform", "cacheable"} <= set(parameters)


def test_lower_per_platform_takes_the_rules_of_a_primitive():
    assert list(inspect.signature(private.mlir.lower_per_platform).parameters) == [
        "ctx",
        "description",
        "platform_rules",
        "default_rule",
        "effects",
        "rule_args",
        "rule_kwargs",
    ]


def test_lower_fun_takes_a_function_and_multiple_results():
    assert list(inspect.signature(mlir.lower_fun).parameters) == ["fun", "multiple_results"]


@pytest.mark.parametrize("times", [1, 2])
def test_a_traced_program_is_lowered_in_the_place_of_an_equation(times):
    traced = jax.make_jaxpr(lambda x, y: (jnp.sin(x) - y, 3 * y))(1.0, 1.0)
    probe = Primitive("probe")
    probe.multiple_results = True
    probe.def_abstract_eval(lambda x, y: [x, y])

    def lower(context, *operands):
        return private.lower_program(context, traced, *operands)

    mlir.register_lowering(probe, lower, cacheable=False)

    def program(x, y):
        for _ in range(times):
            x, y = probe.bind(x, y)
        return x, y

    x, y = 0.5, 2.0
    for _ in range(times):
        x, y = np.sin(x) - y, 3 * y
    np.testing.assert_allclose(jax.jit(program)(0.5, 2.0), (x, y), rtol=1e-6)


def test_the_lowering_context_has_the_fields_that_are_read():
    fields = {field.name for field in dataclasses.fields(mlir.LoweringRuleContext)}
    assert {"module_context", "avals_in", "avals_out", "tokens_out"} <= fields


def test_convolutions_have_the_parameters_that_are_read():
    x, kernel = jnp.ones((1, 4, 4, 1)), jnp.ones((2, 2, 1, 1))
    dimensions = ("NHWC", "HWIO", "NHWC")
    jaxpr = jax.make_jaxpr(
        lambda x, kernel: lax.conv_general_dilated(
            x, kernel, (1, 1), "VALID", dimension_numbers=dimensions
        )
    )(x, kernel)
    (equation,) = jaxpr.jaxpr.eqns
    assert equation.primitive is lax.conv_general_dilated_p
    assert set(equation.params) >= {
        "window_strides",
        "padding",
        "lhs_dilation",
        "rhs_dilation",
        "dimension_numbers",
        "feature_group_count",
        "batch_group_count",
    }


def test_the_contexts_that_tell_where_an_operation_runs():
    def fields(cls):
        return {field.name for field in dataclasses.fields(cls)}

    assert "num_devices" in fields(private.ShardingContext)
    assert {"mesh", "manual_axes"} <= fields(private.SPMDAxisContext)
    assert "for_export" in fields(mlir.LoweringParameters)
    assert {"axis_context", "lowering_parameters"} <= set(
        inspect.signature(mlir.ModuleContext.__init__).parameters
    )


def test_a_padding_is_seen_behind_the_value_that_it_makes():
    seen = []

    def lower(context, operand):
        seen.append(private.padding_behind(operand))
        return [operand]

    probe = Primitive("probe")
    probe.def_abstract_eval(lambda aval: aval)
    mlir.register_lowering(probe, lower, platform="cpu", cacheable=False)
    for value in (0, 1):
        for dtype in (jnp.float32, jnp.bfloat16, jnp.int32):

            def padded(x, value=value):
                return probe.bind(lax.pad(x, lax.full_like(x, value, shape=()), [(1, 2, 3)]))

            jax.jit(padded).lower(jnp.ones(4, dtype))
    for zero, one in zip(seen[:3], seen[3:], strict=True):
        assert zero is not None
        assert zero[1:] == ((4,), ((1, 2, 3),))
        assert one is None
    seen.clear()
    jax.jit(lambda x: probe.bind(lax.pad(x, jnp.complex64(0), [(1, 2, 3)]))).lower(
        jnp.ones(4, jnp.complex64)
    )
    assert seen == [None]
    seen.clear()
    jax.jit(lambda x: probe.bind(x + 1)).lower(jnp.ones(4))
    assert seen == [None]


def test_a_transposition_is_seen_behind_the_value_that_it_makes_and_uses_are_counted():
    seen = []

    def lower(context, operand):
        before = private.matrix_behind(operand)
        seen.append((before is not None, private.uses(operand)))
        return [operand]

    probe = Primitive("probe")
    probe.def_abstract_eval(lambda aval: aval)
    mlir.register_lowering(probe, lower, platform="cpu", cacheable=False)

    def program(x, y):
        first = probe.bind(x)
        turned = probe.bind(lax.transpose(x, (1, 0)))
        return first, turned, probe.bind(x), probe.bind(lax.transpose(y, (0, 2, 1)))

    jax.jit(program).lower(jnp.ones((2, 3)), jnp.ones((2, 3, 4)))
    assert seen == [(False, 0), (True, 0), (False, 1), (False, 0)]


def test_products_and_transpositions_have_the_parameters_that_are_read():
    jaxpr = jax.make_jaxpr(lambda x: lax.transpose(x @ x, (1, 0)))(jnp.ones((2, 2)))
    product, transposition = jaxpr.jaxpr.eqns
    assert product.primitive is lax.dot_general_p
    assert set(product.params) == {
        "dimension_numbers",
        "precision",
        "preferred_element_type",
        "out_sharding",
    }
    assert transposition.primitive is lax.transpose_p
    assert set(transposition.params) == {"permutation"}


def test_arguments_of_the_program_are_told_from_those_of_functions_and_loops_within():
    seen = []

    def lower(context, operand):
        seen.append(lowered.is_argument(operand))
        return [operand]

    probe = Primitive("probe")
    probe.def_abstract_eval(lambda aval: aval)
    probe.def_impl(lambda x: x)
    mlir.register_lowering(probe, lower, platform="cpu", cacheable=False)

    def program(x):
        return (
            probe.bind(x),
            probe.bind(lax.reshape(x, (2, 1, 3))),  # the same array in memory
            probe.bind(lax.transpose(x, (1, 0))),
            probe.bind(x + 1),
            jax.jit(probe.bind)(x),
            lax.fori_loop(0, 2, lambda _, x: probe.bind(x), x),
        )

    jax.jit(program).lower(jnp.ones((2, 3)))
    assert seen == [True, True, False, False, False, False]


def test_operations_are_done_again_where_their_operands_are_computed():
    seen = []

    def lower(context, operand):
        seen.append(private.is_marked(context))
        assert private.notes(context) is private.notes(context)
        add = operand.owner
        three, six = add.rhs.owner.operand.owner, add.lhs.owner.operands[1].owner
        with private.just_after(add.lhs):
            flat = private.hlo.reshape(private.type_of(add.lhs, (6,)), add.lhs)
        with private.just_after(operand):
            assert private.number_repeated(six, (6,)) is None
            number = private.number_repeated(three, (6,))
            again = private.repeated(add, [flat, number], (6,))
        return [private.hlo.reshape(operand.type, again)]

    probe = Primitive("probe")
    probe.def_abstract_eval(lambda aval: aval)
    mlir.register_lowering(probe, lower, platform="cpu", cacheable=False)
    given = np.arange(6, dtype="float32").reshape(2, 3)

    def plain(x):
        return probe.bind(lax.add(lax.mul(x, given), lax.full_like(x, 3)))

    def marked(x):
        with set_xla_metadata(a="b"):
            return plain(x)

    for function in (plain, marked):
        text = jax.jit(function).lower(given).as_text()
        assert text.count("stablehlo.add") == 2
        np.testing.assert_array_equal(jax.jit(function)(given), given**2 + 3)
    assert seen == [False, True]


def test_calls_of_functions_with_metadata_are_told_from_others():
    seen = []

    def lower(context, operand):
        seen.append(private.is_marked_call(operand.owner))
        return [operand]

    probe = Primitive("probe")
    probe.def_abstract_eval(lambda aval: aval)
    mlir.register_lowering(probe, lower, platform="cpu", cacheable=False)

    def program(x):
        double = jax.jit(lambda x: 2 * x)
        plain = probe.bind(double(x))
        with set_xla_metadata(a="b"):
            marked = double(x)
        return plain, probe.bind(marked), probe.bind(x)

    jax.jit(program).lower(jnp.ones(3))
    assert seen == [False, True, False]


def test_functions_under_jit_have_the_parameters_that_are_read():
    jaxpr = jax.make_jaxpr(jax.jit(lambda x: x + 1))(jnp.ones(3))
    (equation,) = jaxpr.jaxpr.eqns
    assert equation.primitive is inlined.PRIMITIVE
    assert set(equation.params) >= {
        "jaxpr",
        "in_shardings",
        "out_shardings",
        "compiler_options_kvs",
    }
