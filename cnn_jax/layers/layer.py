"""The pair of pure functions that every layer is, and the checks that all layers share."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

Parameters = Mapping[str, Any]
"""Nested dicts of arrays; a layer without parameters has an empty one."""

Initializer = Callable[..., jax.Array]
"""`(key, shape, dtype) -> array`, as the functions of `jax.nn.initializers` return."""


class Init(Protocol):
    """Draws the parameters for inputs of `shape`, which has no batch dimensions."""

    def __call__(self, key: jax.Array, shape: Sequence[int], /) -> dict[str, Any]:
        """Return nested dicts of arrays."""
        ...


class Apply(Protocol):
    """Computes the output; a layer that draws at random does so only where `rng` is given."""

    def __call__(self, params: Parameters, x: Any, /, *, rng: jax.Array | None = None) -> jax.Array:
        """Return the output for `x`, which may have any number of batch dimensions."""
        ...


class _Pair(NamedTuple):
    init: Init
    apply: Apply


class Layer(_Pair):
    """Two pure functions: `init(key, shape) -> params` and `apply(params, x, *, rng=None) -> y`.

    It is a NamedTuple of exactly these two, so `init, apply = layer` works. `shape` is the input's
    without batch dimensions, as in `(28, 28, 1)`; `x` is `[*batch, *shape]` with any number of
    batch dimensions, none included. `params` is a dict of arrays, empty where there is nothing to
    learn.

    Besides the pair, a layer knows its `kind`, from which `serial` makes names, and a layer made of
    layers knows its `children` and how to be rebuilt from others (see `map_children`).

    >>> import jax, jax.numpy as jnp
    >>> from cnn_jax import Layer, serial
    >>> def init(key, shape):
    ...     return {"scale": jnp.ones(shape[-1:])}
    >>> def apply(params, x, *, rng=None):
    ...     return x * jnp.broadcast_to(params["scale"], x.shape)
    >>> model = serial(Layer(init, apply, kind="scale"))
    >>> model.init(jax.random.key(0), (3,))
    {'scale_0': {'scale': Array([1., 1., 1.], dtype=float32)}}
    """

    kind: str = "layer"
    children: Mapping[str, Layer] = MappingProxyType({})
    _rebuild: Callable[[dict[str, Layer]], Layer] | None = None

    def __new__(
        cls,
        init: Init,
        apply: Apply,
        kind: str = "layer",
        children: Mapping[str, Layer] = MappingProxyType({}),
        rebuild: Callable[[dict[str, Layer]], Layer] | None = None,
    ) -> Layer:
        """Pair `init` with `apply`; layers made of layers also pass `children` and `rebuild`."""
        layer = super().__new__(cls, init, apply)
        layer.kind = check_name("Layer", "kind", kind)
        layer.children = MappingProxyType(dict(children))
        layer._rebuild = rebuild
        return layer

    def map_children(self, function: Callable[[str, Layer], Layer]) -> Layer:
        """Return this layer with each child replaced by `function(name, child)`.

        Names stay, so the parameters fit as before. A layer without children returns itself.

        >>> import jax, cnn_jax as cnn
        >>> def rematerialise(name, layer):  # compute again in the backward pass instead of storing
        ...     return cnn.Layer(layer.init, jax.checkpoint(layer.apply), layer.kind)
        >>> model = cnn.serial(cnn.dense(8), cnn.relu, cnn.dense(2)).map_children(rematerialise)
        >>> list(model.children)
        ['dense_0', 'relu_0', 'dense_1']
        """
        if self._rebuild is None:
            return self
        return self._rebuild({name: function(name, child) for name, child in self.children.items()})


def check_layer(where: str, name: str, layer: object) -> Layer:
    """Return `layer`, or raise a TypeError that says how to make a layer of what came instead."""
    if isinstance(layer, Layer):
        return layer
    if callable(layer):
        called = getattr(layer, "__name__", "it")
        raise TypeError(
            f"{where}: {name} must be a Layer, got the function {called}: call it, "
            f"as in cnn.{called}(...), or wrap a function of arrays by cnn.activation({called})"
        )
    raise TypeError(f"{where}: {name} must be a Layer, got {type(layer).__name__} {layer!r:.60}")


def check_name(where: str, what: str, name: object) -> str:
    """Return `name`, or raise where it could not stand in a path such as `stem/conv_0`."""
    if not isinstance(name, str) or not name or "/" in name:
        raise ValueError(f"{where}: {what} must be a non-empty string without '/', got {name!r}")
    return name


def check_shape(
    kind: str, shape: Sequence[int], rank: int | None = None, least: int = 0
) -> tuple[int, ...]:
    """Return an input shape, without batch: `rank`, or at least `least`, positive ints."""
    try:
        sizes = tuple(operator.index(size) for size in shape)
    except TypeError:
        raise TypeError(
            f"{kind}: shape must be a sequence of ints without the batch dimension, got {shape!r}"
        ) from None
    if any(size < 1 for size in sizes):
        raise ValueError(f"{kind}: every size of shape must be at least 1, got {sizes}")
    if len(sizes) < least:
        raise ValueError(f"{kind}: shape must be of rank {least} or more, got {sizes}")
    if rank is not None and len(sizes) != rank:
        raise ValueError(f"{kind}: shape must be {_spatial_form(rank)} without batch, got {sizes}")
    return sizes


def check_features(kind: str, x: jax.Array, rank: int) -> None:
    """Raise unless `x` is an array of at least the `rank` dimensions that the layer works on."""
    if not hasattr(x, "shape"):
        raise TypeError(f"{kind}: x must be an array, got {type(x).__name__}")
    if jnp.ndim(x) < rank:
        raise ValueError(
            f"{kind}: x must be [*batch, {_spatial_form(rank)[1:]}, got shape {jnp.shape(x)}"
        )


def check_parameters(
    kind: str,
    params: Parameters,
    expected: Mapping[str, tuple[int, ...]],
    x: jax.Array | None = None,
) -> None:
    """Raise unless `params` holds exactly the `expected` names and shapes, which suit `x`."""
    named = isinstance(params, Mapping) and params.keys() == expected.keys()
    if named and all(jnp.shape(params[name]) == shape for name, shape in expected.items()):
        return
    if not expected:
        raise ValueError(f"{kind}: takes no parameters, got {_describe(params)}")
    wanted = ", ".join(f"{name}: {list(shape)}" for name, shape in expected.items())
    inputs = "" if x is None else f" for x {x.dtype}{list(x.shape)}"
    raise ValueError(
        f"{kind}: params must hold {{{wanted}}}{inputs}, got {_describe(params)}; "
        "are they another model's, or is x of another shape than in init?"
    )


def check_int(kind: str, what: str, value: object, least: int = 1) -> int:
    """Return `value` as an int of at least `least`."""
    try:
        number = operator.index(value)  # pyright: ignore[reportArgumentType]
    except TypeError:
        raise TypeError(f"{kind}: {what} must be an int, got {value!r}") from None
    if isinstance(value, bool) or number < least:
        raise ValueError(f"{kind}: {what} must be an int of at least {least}, got {value!r}")
    return number


def check_window(kind: str, what: str, window: int | Sequence[int]) -> tuple[int, ...]:
    """Return the sizes of a window: an int is square and 2-D, a sequence gives the rank."""
    if isinstance(window, str) or not isinstance(window, int | Iterable):
        raise TypeError(f"{kind}: {what} must be an int or a sequence of ints, got {window!r}")
    sizes = (window, window) if isinstance(window, int) else tuple(window)
    if not sizes:
        raise ValueError(f"{kind}: {what} must have at least one dimension, got {window!r}")
    return tuple(check_int(kind, what, size) for size in sizes)


def check_floating(kind: str, dtype: DTypeLike) -> DTypeLike:
    """Return a parameter dtype, which must be a floating or complex one."""
    if not jnp.issubdtype(dtype, jnp.inexact):
        raise TypeError(f"{kind}: dtype must be a floating one, got {jnp.dtype(dtype).name}")
    return dtype


def _describe(params: object) -> str:
    if not isinstance(params, Mapping):
        return f"{type(params).__name__}"
    parts = []
    for name, value in params.items():
        if isinstance(value, Mapping):
            parts.append(f"{name}: {{...}}")
        elif hasattr(value, "shape"):
            parts.append(f"{name}: {list(value.shape)}")
        else:
            parts.append(f"{name}: {type(value).__name__}")
    return f"{{{', '.join(parts)}}}"


def _spatial_form(rank: int) -> str:
    spatial = {1: [], 2: ["w"], 3: ["h", "w"], 4: ["d", "h", "w"]}
    names = spatial.get(rank, [f"size{i}" for i in range(rank - 1)])
    return f"[{', '.join([*names, 'channels'])}]"
