"""Every name that JAX keeps to itself and this package relies on.

A test pins each name and what is used of it, so that a new JAX fails there and nowhere else.
"""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from jax._src.interpreters import mlir
from jax._src.lib.mlir.dialects import hlo
from jax._src.sharding_impls import ShardingContext, SPMDAxisContext
from jaxlib.mlir import ir
from jaxlib.mlir.dialects import func

PLATFORM = "cpu"


def platform_rules() -> dict:
    """The table of lowering rules for the CPU, from primitive to entry."""
    return mlir._platform_specific_lowerings[PLATFORM]


def common_rules() -> dict:
    """The table of lowering rules for every platform."""
    return mlir._lowerings


def entries(primitive) -> tuple[tuple[dict, Any, Any], ...]:
    """Where a primitive's rules stand, for all platforms and for single ones.

    Each is a table, the primitive and its entry there, or None for none.
    """
    tables = (common_rules(), *mlir._platform_specific_lowerings.values())
    return tuple((table, primitive, table.get(primitive)) for table in tables)


def replace_rules(primitive, rule) -> None:
    """Let one rule lower a primitive for every platform, alone or among others.

    JAX 0.10 can't lower for several platforms a primitive that it may not cache and that has a rule
    for one of them.
    """
    for table in mlir._platform_specific_lowerings.values():
        table.pop(primitive, None)
    mlir.register_lowering(primitive, rule, cacheable=False)


def for_cpu_alone(context) -> bool:
    """Whether an equation is lowered for the CPU and no other platform."""
    return mlir._platforms_for_eqn(context) == (PLATFORM,)


def uncacheable_primitives() -> set:
    """Primitives whose lowered body JAX doesn't share between equal equations of a module."""
    return mlir._uncacheable_primitives


def stock_rule(primitive):
    """A function that lowers a primitive by the rules that stand now, for any platforms."""
    tables = mlir._platform_specific_lowerings.items()
    special = {name: table[primitive].rule for name, table in tables if primitive in table}
    common = common_rules().get(primitive)
    default = None if common is None else common.rule

    def lower(context, *operands, **params):
        platforms = mlir._platforms_for_eqn(context)
        rules = [special.get(platform, default) for platform in platforms]
        alone = len(rules) == 1 or special.keys().isdisjoint(platforms)
        rule = rules[0] if alone else None
        if rule is not None:
            return rule(context, *operands, **params)
        # JAX expects a list, and has a tuple for primitives that it may not cache. None of those
        # with a rule for one platform has effects.
        context = context.replace(avals_out=list(context.avals_out))
        return mlir.lower_per_platform(
            context, str(primitive), special, default, frozenset(), *operands, **params
        )

    return lower


def automatically_partitioned(context) -> bool:
    """Whether XLA's partitioner will split the operation over several devices.

    Inside `shard_map` over all axes of the mesh each device has its own, whole operation.
    """
    axis_context = context.module_context.axis_context
    if isinstance(axis_context, ShardingContext):
        return axis_context.num_devices > 1
    if isinstance(axis_context, SPMDAxisContext):
        automatic = set(axis_context.mesh.axis_names) - set(axis_context.manual_axes)
        return any(axis_context.mesh.shape[name] > 1 for name in automatic)
    return False


def exporting(context) -> bool:
    """Whether the module is lowered by `jax.export`, to be run elsewhere."""
    return bool(context.module_context.lowering_parameters.for_export)


def lower_program(context, program, *operands):
    """The results of a traced program without constants, lowered in the place of an equation."""
    module = context.module_context
    if context.platforms is not None:
        module = module.replace(platforms=context.platforms)
    results, tokens = mlir.jaxpr_subcomp(
        module,
        program.jaxpr,
        context.name_stack,
        context.tokens_in,
        (),
        *operands,
        dim_var_values=context.dim_var_values,
        const_lowering=context.const_lowering,
        outer_traceback=None,
    )
    context.set_tokens_out(tokens)
    return results


def attributes_of_call(call: hlo.CustomCallOp) -> dict[str, list[int]]:
    """The attributes of a lowered `jax.ffi.ffi_call` that are arrays of integers."""
    config = ir.DictAttr(call.attributes["mhlo.backend_config"])
    lists = {named.name: ir.DenseIntElementsAttr(named.attr) for named in config}
    return {name: [numbers[i] for i in range(len(numbers))] for name, numbers in lists.items()}


def padding_behind(value):
    """Of a lowered value that pads another with zeros: that, its shape and the padding's numbers.

    The numbers are (low, high, interior) for each axis; None for any other value.
    """
    pad = value.owner
    if not isinstance(pad, hlo.PadOp) or not isinstance(pad.padding_value.owner, hlo.ConstantOp):
        return None
    # The bindings can't read complex constants.
    if "complex" in str(value.type.element_type):
        return None
    if not str(pad.padding_value.owner.value).startswith(("dense<0.000000e+00>", "dense<0>")):
        return None
    numbers = (pad.edge_padding_low, pad.edge_padding_high, pad.interior_padding)
    config = tuple(zip(*(tuple(map(int, each)) for each in numbers), strict=True))
    return pad.operand, tuple(pad.operand.type.shape), config


def matrix_behind(value):
    """Of a lowered value that is a transposed matrix: that matrix; None for any other value."""
    transpose = value.owner
    if not isinstance(transpose, hlo.TransposeOp) or list(transpose.permutation) != [1, 0]:
        return None
    return transpose.operand


def array_reversed(value, axes: tuple[int, ...]):
    """Of a lowered value that is an array reversed along these axes: that; None for any other."""
    reverse = value.owner
    if not isinstance(reverse, hlo.ReverseOp) or tuple(reverse.dimensions) != axes:
        return None
    return reverse.operand


def type_of(value, sizes: Sequence[int]):
    """The type of an array of a lowered value's numbers with another shape."""
    return ir.RankedTensorType.get(sizes, value.type.element_type)


def whole_numbers(numbers: Sequence[int]):
    """The attribute that is a list of whole numbers."""
    return ir.DenseI64ArrayAttr.get(numbers)


def repeated(operation, operands, sizes: Sequence[int]):
    """The result of an operation of a module, done again with operands of another shape."""
    again = ir.Operation.create(
        operation.operation.name,
        results=[type_of(operation.result, sizes)],
        operands=operands,
        attributes={name: operation.attributes[name] for name in operation.attributes},
    )
    return again.result


def number_repeated(constant, sizes: Sequence[int]):
    """A constant that is one number throughout in another shape; None for any other constant."""
    numbers = constant.value
    if not isinstance(numbers, ir.DenseElementsAttr) or not numbers.is_splat:
        return None
    kind = type_of(constant.result, sizes)
    return hlo.constant(ir.DenseElementsAttr.get_splat(kind, numbers.get_splat_value()))


@contextlib.contextmanager
def just_after(value) -> Iterator[None]:
    """Within the `with` block, operations are put where a lowered value has just been computed."""
    operation = value.owner
    if isinstance(operation, ir.Block):
        with ir.InsertionPoint.at_block_begin(operation):
            yield
    else:
        with ir.InsertionPoint.after(operation.operation), operation.location:
            yield


def notes(context) -> dict:
    """What this package remembers of the module that is being lowered."""
    return context.module_context.cached_primitive_lowerings.setdefault("cnn_jax.cpu", {})


def is_marked(context) -> bool:
    """Whether an equation has metadata for XLA, or a place of its own to be computed in."""
    equation = context.jaxpr_eqn_ctx
    return equation is not None and bool(equation.xla_metadata or equation.compute_type)


def is_marked_call(operation) -> bool:
    """Whether an operation calls a function with metadata for XLA, as one that stays apart has."""
    return isinstance(operation, func.CallOp) and "mhlo.frontend_attributes" in operation.attributes


def uses(value) -> int:
    """How many operations of the module use a lowered value so far."""
    return sum(1 for _ in value.uses)


def is_main(operation) -> bool:
    """Whether an operation is the function that runs the whole module."""
    return isinstance(operation.opview, func.FuncOp) and operation.opview.name.value == "main"
