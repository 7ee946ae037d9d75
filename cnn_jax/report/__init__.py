"""What people look at after a training: a page in the run folder, and events for TensorBoard."""

from cnn_jax.report.page import write_report

__all__ = ["write_report"]
