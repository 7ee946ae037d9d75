"""The allocator option: freed memory is kept, so that the next step's arrays are not fresh pages.

The C library gives large blocks back to the system as soon as they are freed, and every training
step then pays for the same pages again: the kernel clears them one by one as they are first
written, which can take longer than the arithmetic. With `keep()` freed blocks stay with the
process. The price is that its memory stays at the highest level that it ever reached.

Only the process's one growing heap keeps its pages. A thread that has an arena of its own, which is
what the C library gives most threads at their first allocation, gets every large block fresh from
the system. So threads are kept from making arenas, and XLA's must not have begun. Those that
compile then share the heap, too, and wait for one another: a large program takes longer to compile.
"""

import ctypes
import platform

# From glibc's <malloc.h>.
_TRIM_THRESHOLD = -1
_TOP_PAD = -2
_MMAP_THRESHOLD = -3
_MMAP_MAX = -4
_ARENA_MAX = -8

_NEVER = -1
_GROWTH = 64 << 20  # bytes asked of the system at a time, beyond what is needed
_KEEP = {_MMAP_MAX: 0, _TRIM_THRESHOLD: _NEVER, _TOP_PAD: _GROWTH, _ARENA_MAX: 1}
_DEFAULTS = {
    _TRIM_THRESHOLD: 128 << 10,
    _TOP_PAD: 0,
    _MMAP_MAX: 65536,
    _MMAP_THRESHOLD: 128 << 10,
    _ARENA_MAX: 0,
}


def keep() -> str:
    """Let the C library keep what is freed; returns "kept", or how far it does not."""
    reason = _set(_KEEP)
    if reason is not None:
        return f"returned: {reason}"
    if _arenas() > 1:
        return "kept in part: install() came after JAX, or another library, had started its threads"
    return "kept"


def release() -> None:
    """Put the C library's own settings back, and give it the chance to return idle memory."""
    if _set(_DEFAULTS) is None:
        _libc().malloc_trim(0)


def _set(options: dict[int, int]) -> str | None:
    if platform.libc_ver()[0] != "glibc":
        return "the C library is not glibc"
    refused = [option for option, value in options.items() if not _libc().mallopt(option, value)]
    return f"the C library refused option {refused[0]}" if refused else None


def _arenas() -> int:
    """How many arenas there are, the process's own heap included."""
    libc = _libc()
    libc.open_memstream.restype = ctypes.c_void_p
    text, size = ctypes.c_char_p(), ctypes.c_size_t()
    stream = ctypes.c_void_p(libc.open_memstream(ctypes.byref(text), ctypes.byref(size)))
    if not stream:
        return 1
    libc.malloc_info(0, stream)
    libc.fclose(stream)
    count = (text.value or b"").count(b"<heap nr=")
    libc.free(text)
    return max(count, 1)


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None)
