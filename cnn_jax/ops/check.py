"""The checks on arrays that every operation makes, and the form of its errors."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

FLOATING = ("float16", "bfloat16", "float32", "float64")
INTEGER = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")

Shape = tuple[int, ...]


class Call(NamedTuple):
    """An operation's name and operands, which every error message of that operation repeats."""

    name: str
    operands: Mapping[str, Any]

    def shape(self, operand: str) -> Shape:
        """The shape of an operand, which may be an array or itself a bare shape."""
        value = self.operands[operand]
        return tuple(getattr(value, "shape", value))

    def value_error(self, text: str) -> ValueError:
        """A `ValueError` that ends in the operands' dtypes and shapes."""
        return ValueError(self._message(text))

    def type_error(self, text: str) -> TypeError:
        """A `TypeError` that ends in the operands' dtypes and shapes."""
        return TypeError(self._message(text))

    def _message(self, text: str) -> str:
        operands = ", ".join(f"{name}: {describe(value)}" for name, value in self.operands.items())
        return f"{self.name}: {text} ({operands})"


def describe(value: Any) -> str:
    """An array as `float32[2,8,8,6]`; a bare shape as `[2,8,8,6]`."""
    dtype = getattr(value, "dtype", "")
    return f"{dtype}[{','.join(str(length) for length in getattr(value, 'shape', value))}]"


def as_array(name: str, argument: str, value: ArrayLike) -> Array:
    """`value` as a JAX array, or an error that says what came instead."""
    try:
        return jnp.asarray(value)
    except (TypeError, ValueError) as error:
        kind = type(value).__name__
        raise TypeError(f"{name}: {argument} must be an array, not {kind} ({error})") from error


def check_dtypes(call: Call, accepted: tuple[str, ...]) -> None:
    """Raises unless all operands share one dtype, and it is among those `accepted`."""
    (first, *_), dtypes = call.operands, {n: v.dtype for n, v in call.operands.items()}
    for name, dtype in dtypes.items():
        if str(dtype) not in accepted:
            raise call.type_error(f"{name} is {dtype}; accepted are {', '.join(accepted)}")
    for name, dtype in dtypes.items():
        if dtype != dtypes[first]:
            raise call.type_error(
                f"{name} is {dtype} and {first} is {dtypes[first]}; they must be the same"
            )


def check_bias(call: Call, features: int) -> None:
    """Raises unless the operand `bias`, where there is one, has shape `[features]`."""
    bias = call.operands.get("bias")
    if bias is not None and bias.shape != (features,):
        raise call.value_error(f"bias must have shape [{features}], one for each output channel")
