"""Settings of the C library's memory allocator."""

import ctypes

# glibc's malloc.h
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX, M_ARENA_MAX = -1, -2, -4, -8
TOP_PAD = 64 << 20  # bytes


def keep_freed_memory() -> bool:
    """Keep freed memory in the process for later allocations instead of returning it.

    By default glibc returns large arrays to the system at once, which must clear and map pages for
    the same arrays in every training step. One arena is shared by all threads, because memory that
    the forward pass frees is allocated by the backward pass in another thread.

    Returns:
        Whether the C library supports it.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # not glibc
        return False
    settings = ((M_ARENA_MAX, 1), (M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, -1), (M_TOP_PAD, TOP_PAD))
    return all([mallopt(key, value) == 1 for key, value in settings])
