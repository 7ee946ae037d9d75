"""Convolutional neural networks as pure functions in JAX, fast on CPUs."""

__version__ = "0.1.0"
