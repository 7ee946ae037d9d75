"""Benchmarks of cnn_jax; `python -m benchmarks --help` says how to run them."""
