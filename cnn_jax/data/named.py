"""Data sets by name, for the command line and for run folders."""

from collections.abc import Callable

from cnn_jax.data.dataset import Dataset
from cnn_jax.data.digits import digits

_LOADERS: dict[str, Callable[[], Dataset]] = {"digits": digits}


def names() -> tuple[str, ...]:
    """Return the names that `load` accepts.

    >>> names()
    ('digits',)
    """
    return tuple(sorted(_LOADERS))


def load(name: str) -> Dataset:
    """Return the data set called `name`.

    Raises `ValueError` for a name that is not in `names()`.

    >>> load("digits").size
    1797
    """
    if name not in _LOADERS:
        raise ValueError(f"dataset: unknown name {name!r}; the data sets are {', '.join(names())}")
    return _LOADERS[name]()
