"""Faster CPU kernels for JAX's own convolutions and poolings, in any program, with one line.

`install()` changes how JAX lowers its convolution and pooling primitives for the CPU, and the
products of fully connected layers; its differentiation and batching rules turn every gradient and
every vmap into these same primitives, so that training, inference and higher derivatives all gain,
in any library on JAX.
"""

from cnn_jax.cpu.explanation import Explanation, explain
from cnn_jax.cpu.installation import install, installed, uninstall, uninstalled
from cnn_jax.cpu.report import Status, status
from cnn_jax.cpu.rules import FallbackError

__all__ = [
    "Explanation",
    "FallbackError",
    "Status",
    "explain",
    "install",
    "installed",
    "status",
    "uninstall",
    "uninstalled",
]
