"""Matrix products, such as those of fully connected layers, by oneDNN."""

import dataclasses
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import ShapedArray

from cnn_jax.cpu import lowered, native_library, private
from cnn_jax.cpu.choice import Choice, stock

PRIMITIVE = lax.dot_general_p

_FORMAT = 1
_TYPES = {"float32": 0, "bfloat16": 1}

# Measured on shapes drawn at random and on those of usual layers, inside a loop that XLA compiles:
# a program that is called for one product alone gains from some 10^4 multiply-adds on.
_FEWEST, _FEWEST_TURNED, _FEWEST_LEFT_TURNED = 1_000_000, 3_000_000, 5_000_000  # multiply-adds
_NARROW = 8  # along each side
# Beyond the caches, reading and writing the arrays takes all the time. In bfloat16, where XLA takes
# two to five times as long, the shorter sums do so at any size.
_LARGE, _SHORT_SUM, _FEW_ROWS = 4_000_000, 64, 128
# Columns that lie one after the other are copied first, which few rows don't repay.
_RATHER_LARGE, _VERY_FEW_ROWS = 1_050_000, 32


@dataclasses.dataclass(frozen=True)
class Product:
    """A matrix `[rows, inner]` times a matrix `[inner, columns]`.

    Each lies in its array row by row, or column by column where it is transposed.
    """

    dtype: str
    rows: int
    inner: int
    columns: int
    left_transposed: bool
    right_transposed: bool

    @property
    def flops(self) -> int:
        """A multiply-add counts as two."""
        return 2 * self.rows * self.inner * self.columns

    @property
    def exchanged(self) -> "Product":
        """The product of the transposed operands in the other order: the transposed result."""
        return dataclasses.replace(
            self,
            rows=self.columns,
            columns=self.rows,
            left_transposed=not self.right_transposed,
            right_transposed=not self.left_transposed,
        )

    @property
    def configuration(self) -> tuple[int, ...]:
        """The numbers that cross to the library; see native/product.h."""
        return (
            _FORMAT,
            _TYPES[self.dtype],
            self.rows,
            self.inner,
            self.columns,
            int(self.left_transposed),
            int(self.right_transposed),
        )


def describe(avals_in, avals_out, params) -> Product | None:
    """The product that `lax.dot_general` is, or None where it is no product of two matrices."""
    (lhs, rhs), (out,) = avals_in, avals_out
    (lhs_contract, rhs_contract), batch = params["dimension_numbers"]
    if any(batch) or not lhs_contract or params["out_sharding"] is not None:
        return None
    if not _plain(params["precision"]):
        return None
    # From bfloat16 to float32 XLA is as fast.
    if not lhs.dtype == rhs.dtype == out.dtype or out.dtype.name not in _TYPES:
        return None
    if not all(isinstance(size, int) and size > 0 for size in (*lhs.shape, *rhs.shape)):
        return None
    pairs = sorted(zip(lhs_contract, rhs_contract, strict=True))
    left_first = _first([axis for axis, _ in pairs], len(lhs.shape))
    right_first = _first([axis for _, axis in pairs], len(rhs.shape))
    if left_first is None or right_first is None:
        return None
    inner = int(np.prod([lhs.shape[axis] for axis in lhs_contract]))
    return Product(
        dtype=out.dtype.name,
        rows=lhs.size // inner,
        inner=inner,
        columns=rhs.size // inner,
        left_transposed=left_first,
        right_transposed=not right_first,
    )


def wins(p: Product) -> bool:
    """Whether oneDNN's product is faster than XLA's."""
    multiply_adds, narrow = p.flops // 2, min(p.rows, p.inner, p.columns) < _NARROW
    if p.dtype != "float32":
        return multiply_adds >= _FEWEST and p.inner >= _SHORT_SUM and not narrow
    fewest = _FEWEST_TURNED if p.right_transposed else _FEWEST
    fewest = _FEWEST_LEFT_TURNED if p.left_transposed else fewest
    if multiply_adds < fewest or narrow:
        return False
    if p.rows * p.columns >= _LARGE and p.inner <= _SHORT_SUM:
        return False
    large = _RATHER_LARGE if p.rows < _VERY_FEW_ROWS else _LARGE
    return not (p.right_transposed and p.inner * p.columns >= large and p.rows < _FEW_ROWS)


def concerned(avals_in, avals_out, params, kernels: tuple[str, ...]) -> bool:
    """Whether there is a choice: all other products are XLA's."""
    described = describe(avals_in, avals_out, params) if "dense" in kernels else None
    return described is not None and wins(described)


def choose(avals_in, avals_out, params, elsewhere: str | None) -> Choice:
    """The kernel for a product that is concerned; `elsewhere` says where it runs, if not here."""
    described = describe(avals_in, avals_out, params)
    assert described is not None
    if elsewhere is not None:
        return stock(elsewhere)
    try:
        reason = native_library.reason_against_product(described.configuration)
    except native_library.NativeLibraryError:
        return stock(native_library.MISSING)
    if reason is not None:
        return stock(reason)
    (out,) = avals_out
    return Choice("oneDNN", "matrix product", call(described, out.shape))


def call(product: Product, shape: Sequence[int]) -> Callable[[jax.Array, jax.Array], jax.Array]:
    """The function of the two operands that runs the product."""

    def run(lhs: jax.Array, rhs: jax.Array) -> jax.Array:
        return jax.ffi.ffi_call(
            native_library.PRODUCT_TARGET,
            jax.ShapeDtypeStruct(tuple(shape), product.dtype),
            vmap_method="sequential",
        )(
            lhs,
            rhs,
            configuration=np.asarray(product.configuration, np.int64),
        )

    return run


def behind(value) -> tuple[Product, list, list[ShapedArray]] | None:
    """The product that makes a lowered value, its operands and their abstract values.

    None where it is not `call` that makes the value.
    """
    made = lowered.first_of_call(value, native_library.PRODUCT_TARGET)
    if made is None:
        return None
    numbers = private.attributes_of_call(made)["configuration"]
    _, dtype, rows, inner, columns, left, right = numbers
    name = list(_TYPES)[dtype]
    product = Product(name, rows, inner, columns, bool(left), bool(right))
    operands = list(made.operands)
    return product, operands, [ShapedArray(lowered.shape(x), jnp.dtype(name)) for x in operands]


def _plain(precision) -> bool:
    # Float32 arithmetic is the most precise that there is; an algorithm may be another one.
    each = precision if isinstance(precision, tuple) else (precision,)
    return all(p is None or isinstance(p, lax.Precision) for p in each)


def _first(axes: Sequence[int], rank: int) -> bool | None:
    """Whether the axes are an array's first ones, in order; False: its last; None: neither."""
    axes = list(axes)
    if axes == list(range(rank - len(axes), rank)):
        return False
    return True if axes == list(range(len(axes))) else None
