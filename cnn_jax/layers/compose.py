"""Layers made of layers: one after another, and around a shortcut."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp

from cnn_jax.layers.layer import (
    Layer,
    Parameters,
    check_layer,
    check_name,
    check_shape,
)


def serial(*layers: Layer, **named_layers: Layer) -> Layer:
    """Apply layers one after another.

    Children given by position are named by their kind and their position among that kind:
    `conv_0`, `relu_0`, `conv_1`, `relu_1`, `dense_0`; so adding an activation or dropout renames
    no parameters. Children given by keyword keep that name and come after those given by position.
    The parameters are a dict by these names, from which children without parameters are left out.

    A child's initial parameters and its `rng` are drawn from the key folded with its name: they do
    not change when other layers are added or taken away.

    An error from a child is preceded by the child's name.

    Raises:
        TypeError: a child is not a `Layer`, or `params` is not a mapping.
        ValueError: two children have the same name, or `params` has a name that no child has.

    >>> import jax, jax.numpy as jnp, cnn_jax as cnn
    >>> model = cnn.serial(
    ...     stem=cnn.serial(cnn.conv(4, 3), cnn.relu, cnn.conv(8, 3), cnn.relu),
    ...     head=cnn.serial(cnn.global_avg_pool(), cnn.dense(10)),
    ... )
    >>> params = model.init(jax.random.key(0), (8, 8, 1))
    >>> jax.tree.map(jnp.shape, params["head"])
    {'dense_0': {'bias': (10,), 'kernel': (8, 10)}}
    >>> sorted(params["stem"])
    ['conv_0', 'conv_1']
    >>> model.apply(params, jnp.zeros((5, 8, 8, 1))).shape
    (5, 10)
    """
    return _serial("serial", name_children("serial", layers, named_layers))


def residual(body: Layer, shortcut: Layer | None = None) -> Layer:
    """Add a layer's output to its input, or to what `shortcut` makes of the input.

        y = body(x) + shortcut(x),    with shortcut(x) = x by default

    Where the body changes the shape, the shortcut must too: a 1x1 convolution of the same stride is
    usual. The parameters are `{"body": ..., "shortcut": ...}`, less those that are empty.
    Source: He et al., 'Deep residual learning for image recognition', CVPR 2016.

    Raises:
        ValueError: the two outputs differ in shape.

    >>> import jax, jax.numpy as jnp, cnn_jax as cnn
    >>> block = cnn.residual(cnn.serial(cnn.relu, cnn.conv(4, 3, padding="SAME")))
    >>> params = block.init(jax.random.key(0), (8, 8, 4))
    >>> block.apply(params, jnp.ones((8, 8, 4))).shape
    (8, 8, 4)
    """
    children = {"body": check_layer("residual", "body", body)}
    if shortcut is not None:
        children["shortcut"] = check_layer("residual", "shortcut", shortcut)
    return _residual(children)


def name_children(
    where: str, layers: Sequence[Layer], named_layers: Mapping[str, Layer]
) -> dict[str, Layer]:
    """Name layers given by position as kind and position among the kind; keep the other names."""
    children: dict[str, Layer] = {}
    seen: Counter[str] = Counter()
    for position, layer in enumerate(layers):
        kind = check_layer(where, f"child {position}", layer).kind
        children[f"{kind}_{seen[kind]}"] = layer
        seen[kind] += 1
    for name, layer in named_layers.items():
        check_name(where, "a child's name", name)
        if name in children:
            raise ValueError(f"{where}: two children are named {name!r}; give one another name")
        children[name] = check_layer(where, f"child {name!r}", layer)
    return children


def composite(kind: str, children: Mapping[str, Layer]) -> Layer:
    """Apply children in order, as `serial` does, under a kind of their own."""
    return _serial(kind, dict(children))


def _serial(kind: str, children: dict[str, Layer]) -> Layer:
    def init(key: jax.Array, shape: Sequence[int], /) -> dict[str, Any]:
        params: dict[str, Any] = {}
        x = jax.ShapeDtypeStruct(check_shape(kind, shape), jnp.float32)
        for name in children:
            params[name], x = _init_child(children, name, key, x)
        return _without_empty(params)

    def apply(params: Parameters, x: jax.Array, /, *, rng: jax.Array | None = None) -> jax.Array:
        _check_names(kind, params, children)
        for name in children:
            x = _apply_child(children, name, params, x, rng)
        return x

    return Layer(init, apply, kind, children, lambda others: _serial(kind, others))


def _residual(children: dict[str, Layer]) -> Layer:
    def init(key: jax.Array, shape: Sequence[int], /) -> dict[str, Any]:
        x = jax.ShapeDtypeStruct(check_shape("residual", shape), jnp.float32)
        made = {name: _init_child(children, name, key, x) for name in children}
        outputs = {name: output for name, (_, output) in made.items()}
        _check_sum(outputs["body"], outputs.get("shortcut", x))
        return _without_empty({name: params for name, (params, _) in made.items()})

    def apply(params: Parameters, x: jax.Array, /, *, rng: jax.Array | None = None) -> jax.Array:
        _check_names("residual", params, children)
        y = _apply_child(children, "body", params, x, rng)
        if "shortcut" in children:
            x = _apply_child(children, "shortcut", params, x, rng)
        _check_sum(y, x)
        return y + x

    return Layer(init, apply, "residual", children, _residual)


def _init_child(
    children: Mapping[str, Layer], name: str, key: jax.Array, x: jax.ShapeDtypeStruct
) -> tuple[dict[str, Any], jax.ShapeDtypeStruct]:
    """Return the child's parameters and what it makes of `x`, which is only a shape and a dtype.

    The dtype of inputs is unknown to `init`; they have to match the parameters, so a child is
    tried with inputs of its own parameters' dtype.
    """
    with _naming(name):
        params = children[name].init(_fold(key, name), x.shape)
        if not isinstance(params, Mapping):
            raise TypeError(f"init must return a dict of arrays, got {type(params).__name__}")
        dtypes = [leaf.dtype for leaf in jax.tree.leaves(params)]
        dtype = next((dtype for dtype in dtypes if jnp.issubdtype(dtype, jnp.inexact)), x.dtype)
        output = jax.eval_shape(children[name].apply, params, jax.ShapeDtypeStruct(x.shape, dtype))
    return params, jax.ShapeDtypeStruct(output.shape, output.dtype)


def _apply_child(
    children: Mapping[str, Layer],
    name: str,
    params: Parameters,
    x: jax.Array,
    rng: jax.Array | None,
) -> jax.Array:
    child_rng = None if rng is None else _fold(rng, name)
    with _naming(name), jax.named_scope(name):
        return children[name].apply(params.get(name, {}), x, rng=child_rng)


def _fold(key: jax.Array, name: str) -> jax.Array:
    return jax.random.fold_in(key, zlib.crc32(name.encode()))


@contextmanager
def _naming(name: str) -> Iterator[None]:
    """Precede the message of an error in a child by the child's name."""
    try:
        yield
    except (ValueError, TypeError) as error:
        if type(error) in (ValueError, TypeError) and len(error.args) == 1:
            error.args = (f"{name}: {error.args[0]}",)
        raise


def _without_empty(params: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    return {name: value for name, value in params.items() if value}


def _check_names(kind: str, params: Parameters, children: Mapping[str, Layer]) -> None:
    if not isinstance(params, Mapping):
        raise TypeError(
            f"{kind}: params must be a dict by the children's names, got {type(params).__name__}"
        )
    foreign = [repr(name) for name in params if name not in children]
    if foreign:
        raise ValueError(
            f"{kind}: params has {', '.join(foreign)}, but the children are "
            f"{', '.join(children) or 'none'}; are the parameters another model's?"
        )


def _check_sum(body: Any, shortcut: Any) -> None:
    if body.shape != shortcut.shape:
        raise ValueError(
            f"residual: body makes {list(body.shape)}, but the shortcut has "
            f"{list(shortcut.shape)}; pass a shortcut that changes the shape alike, "
            "such as cnn.conv(channels, 1, stride=...)"
        )
