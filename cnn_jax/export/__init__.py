"""Trained models for elsewhere: programs that JAX alone runs, parameters as safetensors files."""

from cnn_jax.export.files import check_free
from cnn_jax.export.parameters import load_safetensors, save_safetensors
from cnn_jax.export.program import PLATFORMS, save_stablehlo, to_stablehlo

__all__ = [
    "PLATFORMS",
    "check_free",
    "load_safetensors",
    "save_safetensors",
    "save_stablehlo",
    "to_stablehlo",
]
