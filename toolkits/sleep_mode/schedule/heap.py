"""Memory that was freed, given back to the system.

A cycle makes and drops hundreds of megabytes of frames and texts in several threads, and glibc keeps what it was once
given: a process that sleeps for weeks would grow by its own fragments (20 MB a day with six tokens) although nothing
leaks.
"""

from __future__ import annotations

import ctypes
import sys
from functools import cache


def give_back() -> bool:
    """Return free heap pages to the system, in tens of milliseconds; False where the C library cannot do that."""
    trim = _malloc_trim()
    return bool(trim(0)) if trim is not None else False


@cache
def _malloc_trim():
    if not sys.platform.startswith("linux"):
        return None
    try:
        trim = ctypes.CDLL("libc.so.6").malloc_trim
    except (OSError, AttributeError):  # another C library, such as musl
        return None
    trim.argtypes = [ctypes.c_size_t]
    trim.restype = ctypes.c_int
    return trim
