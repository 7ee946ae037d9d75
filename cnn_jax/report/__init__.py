"""What people look at after a training: a page in the run folder, and events for TensorBoard."""

from cnn_jax.report.events import add_pictures, check_tensorboard, event_log
from cnn_jax.report.page import write_report

__all__ = ["add_pictures", "check_tensorboard", "event_log", "write_report"]
