"""The allocator option: freed memory is kept, so that the next step's arrays are not fresh pages.

The C library gives large blocks back to the system as soon as they are freed, and every training
step then pays for the same pages again: the kernel clears them one by one as they are first
written, which can take longer than the arithmetic. With `keep()` freed blocks stay with the
process. The price is that its memory stays at the highest level that it ever reached.
"""

import ctypes
import platform

# From glibc's <malloc.h>.
_TRIM_THRESHOLD = -1
_TOP_PAD = -2
_MMAP_THRESHOLD = -3
_MMAP_MAX = -4

_NEVER = -1
_GROWTH = 64 << 20  # bytes asked of the system at a time, beyond what is needed
_DEFAULTS = {_TRIM_THRESHOLD: 128 << 10, _TOP_PAD: 0, _MMAP_MAX: 65536, _MMAP_THRESHOLD: 128 << 10}


def keep() -> str | None:
    """Let the C library keep what is freed; returns the reason where it can't be told to."""
    return _set({_MMAP_MAX: 0, _TRIM_THRESHOLD: _NEVER, _TOP_PAD: _GROWTH})


def release() -> None:
    """Put the C library's own settings back, and give it the chance to return idle memory."""
    if _set(_DEFAULTS) is None:
        _libc().malloc_trim(0)


def _set(options: dict[int, int]) -> str | None:
    if platform.libc_ver()[0] != "glibc":
        return "the C library is not glibc"
    refused = [option for option, value in options.items() if not _libc().mallopt(option, value)]
    return f"the C library refused option {refused[0]}" if refused else None


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None)
