"""What a model is made of: its layers, their output shapes, parameters and operations."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn
from jax.typing import DTypeLike

from cnn_jax.layers.layer import Layer, Parameters, check_layer, check_shape


@dataclass(frozen=True)
class Row:
    """One layer of a model. `depth` counts the layers around it."""

    name: str
    depth: int
    kind: str
    output_shape: tuple[int, ...]
    parameters: int
    flops: int


@dataclass(frozen=True)
class Summary:
    """A model's layers in the order in which they run, and its totals; `print` shows a table.

    `flops` counts two operations per multiply-add of convolutions and dense layers and one per
    number that a pooling window covers, for one input without batch. Padding is counted as if it
    were data; activations, normalisations and additions of biases are not counted, being of a
    smaller order.
    """

    input_shape: tuple[int, ...]
    rows: tuple[Row, ...]
    output_shape: tuple[int, ...]
    parameters: int
    parameter_bytes: int
    flops: int

    def __str__(self) -> str:
        """Return the table in plain text, with nested layers indented."""
        table = [("layer", "kind", "output shape", "parameters", "FLOPs")]
        table += [
            ("  " * row.depth + row.name, row.kind, _shape(row.output_shape), *_numbers(row))
            for row in self.rows
        ]
        table.append(("total", "", _shape(self.output_shape), *_numbers(self)))
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        lines = [_line(cells, widths) for cells in table]
        rule = "-" * max(map(len, lines))
        return "\n".join(
            [
                f"input {_shape(self.input_shape)}",
                rule,
                lines[0],
                rule,
                *lines[1:-1],
                rule,
                lines[-1],
                f"parameters take {_bytes(self.parameter_bytes)}; "
                "FLOPs are for one input, two per multiply-add",
            ]
        )

    def __rich__(self) -> Any:
        """Return the table as rich draws it: `rich.print(summary)`."""
        from rich.table import Table

        table = Table(
            title=f"input {_shape(self.input_shape)}",
            caption=f"parameters take {_bytes(self.parameter_bytes)}",
            show_footer=True,
        )
        parameters, flops = _numbers(self)
        table.add_column("layer", "total")
        table.add_column("kind")
        table.add_column("output shape", _shape(self.output_shape))
        table.add_column("parameters", parameters, justify="right")
        table.add_column("FLOPs", flops, justify="right")
        for row in self.rows:
            name = "  " * row.depth + row.name
            table.add_row(name, row.kind, _shape(row.output_shape), *_numbers(row))
        return table


def summary(model: Layer, shape: Sequence[int], *, dtype: DTypeLike | None = None) -> Summary:
    """Describe a model for inputs of `shape`, without batch, by tracing it: nothing is computed.

    `dtype` is the input's; by default that of the parameters.

    Raises:
        ValueError: the model does not take that shape; the layer is named.
        TypeError: `model` is not a `Layer`.

    >>> import cnn_jax as cnn
    >>> model = cnn.serial(cnn.conv(8, 3), cnn.relu, cnn.flatten, cnn.dense(10))
    >>> print(cnn.summary(model, (8, 8, 1)))
    input [8, 8, 1]
    ----------------------------------------------------
    layer      kind     output shape  parameters   FLOPs
    ----------------------------------------------------
    conv_0     conv     [6, 6, 8]             80   5,184
    relu_0     relu     [6, 6, 8]              0       0
    flatten_0  flatten  [288]                  0       0
    dense_0    dense    [10]               2,890   5,760
    ----------------------------------------------------
    total               [10]               2,970  10,944
    parameters take 11.6 KiB; FLOPs are for one input, two per multiply-add
    """
    model = check_layer("summary", "model", model)
    sizes = check_shape("summary", shape)
    params = jax.eval_shape(lambda key: model.init(key, sizes), jax.random.key(0))
    leaves = jax.tree.leaves(params)
    if dtype is None:
        dtype = leaves[0].dtype if leaves else jnp.float32
    rows: dict[tuple[str, ...], Row] = {}
    x = jax.ShapeDtypeStruct(sizes, dtype)
    output = jax.eval_shape(_watch(model, (), rows).apply, params, x)
    return Summary(
        input_shape=sizes,
        rows=tuple(rows[path] for path in _paths(model, ()) if path in rows),
        output_shape=output.shape,
        parameters=_count(params),
        parameter_bytes=sum(leaf.size * leaf.dtype.itemsize for leaf in leaves),
        flops=_flops_of(model, params, x),
    )


def count_flops(jaxpr: Jaxpr | ClosedJaxpr) -> int:
    """Count the operations of a traced function's convolutions, matrix products and poolings.

    Two per multiply-add, one per number in a pooling window. A scan's body counts once per turn,
    a while loop's once, and of a conditional's branches the largest.

    >>> import jax, jax.numpy as jnp
    >>> count_flops(jax.make_jaxpr(jnp.matmul)(jnp.ones((2, 3)), jnp.ones((3, 4))))
    48
    """
    equations = jaxpr.jaxpr.eqns if isinstance(jaxpr, ClosedJaxpr) else jaxpr.eqns
    return sum(_equation_flops(equation) for equation in equations)


def _equation_flops(equation: JaxprEqn) -> int:
    name, params = equation.primitive.name, equation.params
    output: Any = equation.outvars[0].aval
    if name == "conv_general_dilated":
        return _convolution_flops(equation)
    if name == "dot_general":
        left: Any = equation.invars[0].aval
        (contracted, _), _ = params["dimension_numbers"]
        return 2 * output.size * math.prod(left.shape[axis] for axis in contracted)
    if name.startswith("reduce_window"):
        return output.size * math.prod(params["window_dimensions"])
    inner = [count_flops(jaxpr) for jaxpr in _inner_jaxprs(params)]
    if name == "cond":
        return max(inner, default=0)
    return sum(inner) * (params["length"] if name == "scan" else 1)


def _convolution_flops(equation: JaxprEqn) -> int:
    """Count one multiply-add per output number and kernel number that makes it.

    A transposed convolution reads its input with holes between; a hole costs nothing, so there each
    input number counts, with the kernel numbers that it meets.
    """
    inputs: Any = equation.invars[0].aval
    kernel: Any = equation.invars[1].aval
    output: Any = equation.outvars[0].aval
    numbers = equation.params["dimension_numbers"]
    out_channels = kernel.shape[numbers.rhs_spec[0]]
    if math.prod(equation.params["lhs_dilation"]) == 1:
        return 2 * output.size * (kernel.size // out_channels)
    in_channels = inputs.shape[numbers.lhs_spec[1]]
    return 2 * inputs.size * (kernel.size // in_channels)


def _inner_jaxprs(params: dict[str, Any]) -> Iterator[Jaxpr | ClosedJaxpr]:
    for value in params.values():
        for item in value if isinstance(value, tuple | list) else (value,):
            if isinstance(item, Jaxpr | ClosedJaxpr):
                yield item


def _watch(layer: Layer, path: tuple[str, ...], rows: dict[tuple[str, ...], Row]) -> Layer:
    """Return the layer with every layer in it made to write down its row when it is traced."""
    inner = layer.map_children(lambda name, child: _watch(child, (*path, name), rows))

    def apply(params: Parameters, x: jax.Array, /, *, rng: jax.Array | None = None) -> jax.Array:
        y = inner.apply(params, x, rng=rng)
        if path or not layer.children:
            rows[path] = Row(
                name=path[-1] if path else layer.kind,
                depth=max(len(path) - 1, 0),
                kind=layer.kind,
                output_shape=y.shape,
                parameters=_count(params),
                flops=_flops_of(layer, params, x),
            )
        return y

    return Layer(layer.init, apply, layer.kind)


def _paths(layer: Layer, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    yield path
    for name, child in layer.children.items():
        yield from _paths(child, (*path, name))


def _flops_of(layer: Layer, params: Any, x: Any) -> int:
    params, x = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), (params, x))
    return count_flops(jax.make_jaxpr(layer.apply)(params, x))


def _count(params: Any) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def _numbers(counted: Row | Summary) -> tuple[str, str]:
    return f"{counted.parameters:,}", f"{counted.flops:,}"


def _shape(shape: tuple[int, ...]) -> str:
    return f"[{', '.join(map(str, shape))}]"


def _bytes(count: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.4g} {unit}"
        count /= 1024
    return f"{count:.4g} GiB"


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    left = [cell.ljust(width) for cell, width in zip(cells[:3], widths[:3], strict=True)]
    right = [cell.rjust(width) for cell, width in zip(cells[3:], widths[3:], strict=True)]
    return "  ".join([*left, *right]).rstrip()
