"""The allocator option, each case in a process of its own: much of it can't be undone."""

import subprocess
import sys

import pytest

from cnn_jax.cpu import memory

_PROGRAM = """
import resource
import jax, jax.numpy as jnp
import cnn_jax.cpu

def fresh_pages():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

if {computed_before}:
    jnp.ones(2).block_until_ready()
cnn_jax.cpu.install(keep_memory={keep})
# Its temporary memory is one block of 64 MiB, more than a thread's own arena can hold.
work = jax.jit(lambda x: jnp.sort(jnp.sin(x))[::7].sum())
x = jnp.arange(1 << 24, dtype=jnp.float32)
for _ in range(4):
    work(x).block_until_ready()
start = fresh_pages()
for _ in range(4):
    work(x).block_until_ready()
print((fresh_pages() - start) // 4)
print(cnn_jax.cpu.status().memory)
"""


def run(*, keep: bool, computed_before: bool = False) -> tuple[int, str]:
    program = _PROGRAM.format(keep=keep, computed_before=computed_before)
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120
    )
    pages, status = result.stdout.splitlines()
    return int(pages), status


@pytest.mark.skipif(sys.platform != "linux", reason="the option is glibc's")
def test_kept_memory_is_used_again():
    returned, status = run(keep=False)
    assert status == "returned"
    assert returned > 16_384  # 64 MiB in pages of 4 KiB
    kept, status = run(keep=True)
    assert status == "kept"
    assert kept < returned / 3


@pytest.mark.skipif(sys.platform != "linux", reason="the option is glibc's")
def test_a_late_installation_says_that_threads_keep_nothing():
    _, status = run(keep=True, computed_before=True)
    assert status.startswith("kept in part: install() came after JAX")


def test_another_c_library_is_named(monkeypatch):
    monkeypatch.setattr(memory.platform, "libc_ver", lambda: ("", ""))
    assert memory.keep() == "returned: the C library is not glibc"
    memory.release()
