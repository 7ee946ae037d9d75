"""Every name that JAX keeps to itself and this package relies on.

A test pins each name and what is used of it, so that a new JAX fails there and nowhere else.
"""

from typing import Any

from jax._src.interpreters import mlir
from jax._src.lib.mlir.dialects import hlo
from jax._src.sharding_impls import ShardingContext, SPMDAxisContext

PLATFORM = "cpu"


def platform_rules() -> dict:
    """The table of lowering rules for the CPU, from primitive to entry."""
    return mlir._platform_specific_lowerings[PLATFORM]


def common_rules() -> dict:
    """The table of lowering rules for every platform."""
    return mlir._lowerings


def uncacheable_primitives() -> set:
    """Primitives whose lowered body JAX doesn't share between equal equations of a module."""
    return mlir._uncacheable_primitives


def stock_rule(primitive, saved_entry):
    """The function that lowers a primitive where nothing is installed."""
    entry = saved_entry if saved_entry is not None else common_rules()[primitive]
    return entry.rule


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


def padding_behind(value):
    """Of a lowered value that pads another with zeros: that, its shape and the padding's numbers.

    The numbers are (low, high, interior) for each axis; None for any other value.
    """
    pad = value.owner
    if not isinstance(pad, hlo.PadOp) or not isinstance(pad.padding_value.owner, hlo.ConstantOp):
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


def uses(value) -> int:
    """How many operations of the module use a lowered value so far."""
    return sum(1 for _ in value.uses)


def call_behind(value, target: str):
    """Of a lowered value that a call of `target` makes: its operands, their shapes, its numbers.

    The numbers are those of its attribute `configuration`; None for any other value.
    """
    call = value.owner
    if not isinstance(call, hlo.CustomCallOp) or call.call_target_name.value != target:
        return None
    operands = list(call.inputs)
    config: Any = call.attributes["mhlo.backend_config"]
    numbers = tuple(int(number) for number in config["configuration"])
    return operands, [tuple(operand.type.shape) for operand in operands], numbers
