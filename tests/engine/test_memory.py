"""Freed memory is kept for later allocations if the C library supports it."""

import platform
import subprocess
import sys

import pytest

from ovavss_d2.engine import memory

# Prints the page faults of an array that is allocated after another one was freed.
SCRIPT = """
import resource
import runpy
import sys
import threading
import numpy as np
path, setting, where = sys.argv[1:]
if setting == "kept":
    assert runpy.run_path(path)["keep_freed_memory"]()
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    if where == "thread":
        thread = threading.Thread(target=np.full, args=(80 << 20, 1, np.uint8))
        thread.start()
        thread.join()
    else:
        np.full(200 << 20, 1, np.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
print(faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="not glibc")
@pytest.mark.parametrize("where", ["process", "thread"])
def test_freed_memory_is_not_mapped_again(where):
    def faults(setting):
        command = [sys.executable, "-c", SCRIPT, memory.__file__, setting, where]
        return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    assert faults("kept") < 20 < faults("default")


def test_other_c_libraries_are_not_changed(monkeypatch):
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: object())
    assert not memory.keep_freed_memory()
