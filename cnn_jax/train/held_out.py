"""Measuring on held-out examples after each epoch: in memory, or streamed."""

from collections.abc import Iterable, Mapping
from functools import partial
from itertools import islice
from typing import Any

import jax
import jax.numpy as jnp

from cnn_jax.data import Dataset, Source, Stream, stream
from cnn_jax.data.closing import Closing
from cnn_jax.layers import Layer
from cnn_jax.train.batch import Batch, as_input, check_batch
from cnn_jax.train.evaluate import evaluate
from cnn_jax.train.feed import batches_device
from cnn_jax.train.measures import CLASSIFICATION, Measure, cross_entropy, measure, weighted_sum
from cnn_jax.train.step import Metrics, check_measures, means


class HeldOut(Closing):
    """Examples to measure on, the same ones again and again.

    It is used in a `with` block, at whose end it stops reading. Streamed examples are read ahead
    from the start again once they have come to their end, up to `times` times.
    """

    def __init__(
        self,
        data: Dataset | Source,
        model: Layer,
        *,
        batch_size: int,
        loss: Measure = cross_entropy,
        measures: Mapping[str, Measure] = CLASSIFICATION,
        times: int = 1,
        workers: int = 0,
    ) -> None:
        self._model, self._loss, self._measures = model, loss, measures
        self._batch_size = batch_size
        self._source = None if isinstance(data, Dataset) else data
        self._data = jax.device_put(data[:2]) if isinstance(data, Dataset) else None
        self._options = {"epochs": times, "workers": workers}
        self._stream: Stream | None = None

    def measure(self, params: Any) -> Metrics:
        """Return the means of the loss and of the measures over all examples."""
        if self._data is not None:
            return evaluate(
                self._model,
                params,
                self._data,
                batch_size=self._batch_size,
                loss=self._loss,
                measures=self._measures,
            )
        assert self._source is not None
        if self._stream is None:
            self._stream = stream(
                self._source,
                self._batch_size,
                seed=None,
                device=batches_device(),
                **self._options,
            )
        return evaluate_batches(
            self._model,
            params,
            islice(self._stream, self._stream.batches_per_epoch),
            loss=self._loss,
            measures=self._measures,
        )

    def close(self) -> None:
        """Stop reading."""
        if self._stream is not None:
            self._stream.close()


def evaluate_batches(
    model: Layer,
    params: Any,
    batches: Iterable[Any],
    *,
    loss: Measure = cross_entropy,
    measures: Mapping[str, Measure] = CLASSIFICATION,
) -> Metrics:
    """Return what `evaluate` returns, for examples that come in batches, as those of a stream.

    Each batch is `(images, labels)` or has weights besides; only one is needed at a time. Batches
    of one shape are compiled for once.

    Raises `ValueError` where there is no batch.

    >>> import cnn_jax as cnn
    >>> model = cnn.serial(cnn.flatten, cnn.dense(10))
    >>> params = jax.tree.map(jnp.zeros_like, model.init(jax.random.key(0), (8, 8, 1)))
    >>> source = cnn.data.InMemory(cnn.data.digits())
    >>> with cnn.data.stream(source, 500, seed=None) as batches:
    ...     evaluate_batches(model, params, batches)["loss"].round(4)
    Array(2.3026, dtype=float32)
    """
    functions = tuple({"loss": loss, **check_measures("evaluate_batches", loss, measures)}.items())
    sums: Metrics | None = None
    for images_labels_weights in batches:
        new = _sums(model, functions, params, Batch(*images_labels_weights))
        sums = new if sums is None else jax.tree.map(jnp.add, sums, new)
        # Batches that wait for the device would pile up otherwise.
        jax.block_until_ready(sums)
    if sums is None:
        raise ValueError("evaluate_batches: there are no batches")
    return means(sums)


@partial(jax.jit, static_argnums=(0, 1))
def _sums(
    model: Layer, measures: tuple[tuple[str, Measure], ...], params: Any, batch: Batch
) -> Metrics:
    images, labels = jnp.asarray(batch.images), jnp.asarray(batch.labels)
    check_batch("evaluate_batches", images, labels)
    weights = jnp.ones(len(images), jnp.float32) if batch.weights is None else batch.weights
    weights = jnp.asarray(weights)
    values = measure(dict(measures), model.apply(params, as_input(images)), labels)
    sums = {name: weighted_sum(value, weights) for name, value in values.items()}
    return {**sums, "examples": jnp.sum(weights)}
