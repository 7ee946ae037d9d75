"""Layers within a wrapping that does something before and after them."""

from collections.abc import Callable

from cnn_jax.layers.layer import Apply, Layer


def wrap(model: Layer, around: Callable[[Apply], Apply]) -> Layer:
    """Return `model` with `around(model.apply)` for its `apply`.

    The parameters, the kind and the children stay, so that whatever walks through the layers (a
    summary, a plot of feature maps) sees the model as it was.

    >>> import cnn_jax as cnn, jax.numpy as jnp
    >>> def halve(apply):
    ...     return lambda params, x, *, rng=None: apply(params, x, rng=rng) / 2
    >>> model = wrap(cnn.serial(cnn.relu, cnn.flatten), halve)
    >>> list(model.children), model.apply({}, jnp.ones((1, 2, 1)))
    (['relu_0', 'flatten_0'], Array([0.5, 0.5], dtype=float32))
    """

    def rebuild(children: dict[str, Layer]) -> Layer:
        return wrap(model.map_children(lambda name, _: children[name]), around)

    return Layer(model.init, around(model.apply), model.kind, model.children, rebuild)
