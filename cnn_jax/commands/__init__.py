"""The commands of `cnn-jax`, one file each. Each imports JAX only when it runs."""
