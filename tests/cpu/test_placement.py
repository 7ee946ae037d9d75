"""Threads keep the processors that they were given, whatever oneDNN's own threads do."""

import sys

import pytest

_PROGRAM = """
import os, threading
import jax, jax.numpy as jnp, numpy as np
from jax import lax
from cnn_jax import cpu

def allowed():
    tasks = {{}}
    for task in os.listdir("/proc/self/task"):
        try:
            tasks[int(task)] = os.sched_getaffinity(int(task))
        except ProcessLookupError:
            pass
    return tasks

one = {{min(os.sched_getaffinity(0))}}
{before}
cpu.install(keep_memory=False)
draw = np.random.default_rng(0)
shapes = (4, 28, 28, 16), (3, 3, 16, 32)
x, kernel = (jnp.asarray(draw.normal(size=shape), jnp.float32) for shape in shapes)
convolve = jax.jit(lambda x, kernel: lax.conv_general_dilated(
    x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")))
with cpu.uninstalled():
    expected = np.asarray(convolve(x, kernel))
cpu.install(keep_memory=False)

def work():
    for _ in range(50):
        got = np.asarray(convolve(x, kernel))
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)

start = allowed()  # oneDNN has no threads yet
work()
{between}
threads = [threading.Thread(target=work) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
work()
end = allowed()
changed = {{task: mask for task, mask in end.items() if task in start and mask != {expected}}}
assert not changed, (changed, start)
print("unchanged")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="affinity is Linux's")
@pytest.mark.parametrize(
    ("before", "between", "expected"),
    [
        ("", "", "start[task]"),
        ("os.sched_setaffinity(0, one)", "", "start[task]"),
        ("", "os.sched_setaffinity(0, one)", "(one if task == os.getpid() else start[task])"),
    ],
    ids=["no limits", "limits before", "the caller limited"],
)
def test_threads_keep_their_processors(native, run_alone, before, between, expected):
    program = _PROGRAM.format(before=before, between=between, expected=expected)
    assert run_alone(program, XLA_FLAGS="") == "unchanged\n"
