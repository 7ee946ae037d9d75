"""The pictures of a run folder."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import jax
import numpy as np
from matplotlib.figure import Figure

from cnn_jax import plots
from cnn_jax.data import Dataset
from cnn_jax.layers import Layer
from cnn_jax.train import RunWriter, predict


def draw_pictures(
    run: RunWriter,
    model: Layer,
    params: Mapping[str, Any],
    held_out: Dataset,
    history: Sequence[Mapping[str, float]],
) -> None:
    """Draw every picture that suits the model and the data, and put it into the run folder.

    A model without a convolution has no filters, for example, and gets the other pictures.
    """
    names = held_out.class_names
    labels = np.asarray(held_out.labels)
    probabilities = np.asarray(jax.nn.softmax(predict(model, params, held_out.images)))
    draw: dict[str, Callable[[], Figure]] = {
        "learning_curves": lambda: plots.learning_curves(history),
        "confusion_matrix": lambda: plots.confusion_matrix(
            labels, probabilities.argmax(axis=1), names
        ),
    }
    if held_out.images.ndim == 4:
        some = _one_of_each(labels, 4)
        draw |= {
            "filters": lambda: plots.filters(model, params),
            "feature_maps": lambda: plots.feature_maps(
                model, params, held_out.images[some], titles=[names[k] for k in labels[some]]
            ),
            "worst_mistakes": lambda: plots.worst_mistakes(
                held_out.images, labels, probabilities, names
            ),
        }
    for name, figure in draw.items():
        with suppress(plots.NothingToDrawError):
            run.save_picture(name, figure())


def _one_of_each(labels: np.ndarray, count: int) -> np.ndarray:
    """Return the first example of each of `count` classes, spread over the classes."""
    present = np.unique(labels)
    chosen = present[np.linspace(0, len(present) - 1, min(count, len(present))).round().astype(int)]
    return np.array([np.flatnonzero(labels == label)[0] for label in chosen])
