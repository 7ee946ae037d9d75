"""Pictures of a training and of what a network has learned, as Matplotlib figures.

Every function returns a `matplotlib.figure.Figure` and draws on no screen; `figure.savefig(path)`
writes it. In a notebook a figure as a cell's last value is shown.
"""

from cnn_jax.plots.confusion import confusion_matrix
from cnn_jax.plots.curves import learning_curves
from cnn_jax.plots.feature_maps import activations, feature_maps
from cnn_jax.plots.filters import filters
from cnn_jax.plots.mistakes import worst_mistakes
from cnn_jax.plots.style import NothingToDrawError
from cnn_jax.plots.sweep import sweep

__all__ = [
    "NothingToDrawError",
    "activations",
    "confusion_matrix",
    "feature_maps",
    "filters",
    "learning_curves",
    "sweep",
    "worst_mistakes",
]
