"""The page of a run folder, with the kernels that the training ran on."""

import sys
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from cnn_jax.layers import Layer
from cnn_jax.report import add_pictures, write_report
from cnn_jax.train import RunWriter, cross_entropy


def write_page(
    run: RunWriter,
    classifier: Layer,
    params: Any,
    shape: tuple[int, ...],
    batch_size: int,
    result: Mapping[str, Any],
) -> None:
    """Write `report.html` of a training that has come to its end, and its last events."""
    add_pictures(run.path, result["epochs"])
    write_report(run.path, result, kernel_rows(classifier, params, shape, batch_size))


def kernel_rows(
    classifier: Layer, params: Any, shape: tuple[int, ...], batch_size: int
) -> list[dict[str, Any]]:
    """Return what `cnn_jax.cpu.explain` says of a training step; nothing where it is not at work.

    The step is traced, which takes a moment, and neither compiled nor run.
    """
    cpu = sys.modules.get("cnn_jax.cpu")
    if cpu is None or not cpu.status().installed or jax.default_backend() != "cpu":
        return []

    def gradient(params: Any, images: jax.Array, labels: jax.Array, key: jax.Array) -> Any:
        def loss(params: Any) -> jax.Array:
            return jnp.mean(cross_entropy(classifier.apply(params, images, rng=key), labels))

        return jax.grad(loss)(params)

    images = jax.ShapeDtypeStruct((batch_size, *shape), jnp.float32)
    labels = jax.ShapeDtypeStruct((batch_size,), jnp.int32)
    explanation = cpu.explain(gradient, params, images, labels, jax.random.key(0))
    return [
        {
            "operation": row.operation,
            "shapes": row.shapes,
            "MFLOP": "" if row.flops is None else f"{row.flops / 1e6:,.1f}",
            "kernel": row.kernel,
            "why": row.reason,
        }
        for row in explanation.rows
    ]
