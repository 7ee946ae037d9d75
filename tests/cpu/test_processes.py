"""Other processes after install(): forked ones, and those that start anew."""

import concurrent.futures
import multiprocessing
import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from cnn_jax import cpu
from cnn_jax.cpu import native_library

_PROGRAM = """
import multiprocessing, os, signal, sys, warnings
import jax, jax.numpy as jnp, numpy as np
from jax import lax
from cnn_jax import cpu

def convolve(x, kernel):
    return lax.conv_general_dilated(
        x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))

# Work enough for oneDNN to use all its threads.
draw = np.random.default_rng(0)
X, KERNEL = (draw.normal(size=s).astype("float32") for s in [(8, 28, 28, 16), (3, 3, 16, 32)])
both = jax.jit(jax.value_and_grad(lambda x, k: jnp.sum(jnp.sin(convolve(x, k))), (0, 1)))

def compute():
    return [np.asarray(leaf) for leaf in jax.tree.leaves(both(X, KERNEL))]

def check(expected):
    for mine, theirs in zip(compute(), expected, strict=True):
        scale = np.abs(theirs).max()
        np.testing.assert_allclose(mine, theirs, rtol=0, atol=1e-4 * scale)

def in_child(work, *args):
    process = multiprocessing.get_context("fork").Process(target=work, args=args)
    process.start()
    process.join(60)
    assert process.exitcode == 0, process.exitcode
"""

_FORKED = """
cpu.install()

def send(writer):
    writer.send((compute(), cpu.status().native))

# Two children at once compute before their parent has.
pipes = [multiprocessing.Pipe(duplex=False) for _ in range(2)]
fork = multiprocessing.get_context("fork")
children = [fork.Process(target=send, args=(writer,)) for _, writer in pipes]
for child in children:
    child.start()
received = [reader.recv() for reader, _ in pipes]
for child in children:
    child.join(60)
    assert child.exitcode == 0
check(received[0][0])
check(received[1][0])
print(received[0][1] == cpu.status().native)

# JAX warns of a fork once it has computed: its threads are not in the child.
warnings.simplefilter("ignore", RuntimeWarning)

def without_jax():
    rows = X.reshape(-1, 16)
    np.testing.assert_allclose((rows.T @ rows).trace(), (rows**2).sum(), rtol=1e-4)
    assert cpu.status().installed
    cpu.uninstall()
    assert not cpu.status().installed

in_child(without_jax)
child = os.fork()
if child == 0:
    without_jax()
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
assert cpu.status().installed
check(received[0][0])
with cpu.uninstalled():
    check(received[0][0])
print("done")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system does not fork")
def test_forked_children_compute_before_their_parent_has_and_do_without_jax_after(run_alone):
    assert run_alone(_PROGRAM + _FORKED, XLA_FLAGS="") == "True\ndone\n"


def _gradients(x: np.ndarray, kernel: np.ndarray) -> tuple[np.ndarray, ...]:
    def loss(x, kernel):
        y = lax.conv_general_dilated(
            x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        return jnp.sum(jnp.sin(y))

    return tuple(map(np.asarray, jax.jit(jax.grad(loss, (0, 1)))(x, kernel)))


def _close(gradients, expected) -> None:
    for mine, theirs in zip(gradients, expected, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=0, atol=1e-4 * np.abs(theirs).max())


def _gradients_installed(x: np.ndarray, kernel: np.ndarray):
    cpu.install()
    return _gradients(x, kernel), cpu.status().native, sum(cpu.status().chosen.values())


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_a_process_that_starts_anew_installs_for_itself(method):
    draw = np.random.default_rng(0)
    x, kernel = (draw.normal(size=s).astype("float32") for s in [(8, 28, 28, 16), (3, 3, 16, 32)])
    stock = _gradients(x, kernel)
    cpu.install(keep_memory=False)
    _close(_gradients(x, kernel), stock)
    context = multiprocessing.get_context(method)
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
        future = pool.submit(_gradients_installed, x, kernel)
        gradients, native, chosen = future.result(timeout=120)
    assert native == cpu.status().native
    assert chosen >= 3
    _close(gradients, stock)


@pytest.mark.parametrize(
    ("given", "seen"),
    [
        ({}, {"OMP_WAIT_POLICY": "active", "GOMP_SPINCOUNT": "1000"}),
        ({"OMP_WAIT_POLICY": "active"}, {"OMP_WAIT_POLICY": "active"}),
        ({"GOMP_SPINCOUNT": "0"}, {"GOMP_SPINCOUNT": "0"}),
    ],
)
def test_how_long_threads_wait_is_the_users_to_say(given, seen, monkeypatch):
    names = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
    for name in names:
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    with native_library._waiting_shortly():
        assert {name: os.environ[name] for name in names if name in os.environ} == seen
    assert {name: os.environ[name] for name in names if name in os.environ} == given
