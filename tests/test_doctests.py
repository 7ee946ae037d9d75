"""The examples in every docstring."""

import doctest
import importlib
import pkgutil

import pytest

import cnn_jax

MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(cnn_jax.__path__, "cnn_jax.")
    if not module.name.endswith("__main__") and ".native" not in module.name
)


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    module = importlib.import_module(name)
    assert doctest.testmod(module, optionflags=doctest.ELLIPSIS).failed == 0
