"""How the process handles memory that it frees."""

import ctypes

# glibc's malloc.h
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX, M_ARENA_MAX = -1, -2, -4, -8
GROWTH = 64 << 20  # bytes


def keep_freed_memory() -> bool:
    """Have freed memory kept for what is allocated next, instead of handed back to the system.

    By default glibc hands large arrays back at once, so that the system has to clear and map pages
    for the same arrays in each training step. All threads share one arena: what the forward pass
    frees serves the thread of the backward pass, and the arenas of threads hand back regardless.

    Returns:
        Whether the C library is one that can be told so.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # not glibc
        return False
    settings = ((M_ARENA_MAX, 1), (M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, -1), (M_TOP_PAD, GROWTH))
    return all([mallopt(key, value) == 1 for key, value in settings])
