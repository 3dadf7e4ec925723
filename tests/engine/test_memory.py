"""Freed memory is kept for the next step where the C library can be told so."""

import platform
import subprocess
import sys

import pytest

from ovavss_d2.engine import memory

# page faults of an array that follows a freed one: by default, and with freed memory kept
SCRIPT = """
import resource
import numpy as np
from ovavss_d2.engine.memory import keep_freed_memory
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.full(200 << 20, 1, np.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
usual = faults()
assert keep_freed_memory()
faults()
print(usual, faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="not glibc")
def test_an_array_in_place_of_a_freed_one_is_not_mapped_again():
    run = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    usual, kept = map(int, run.stdout.split())
    assert kept < 10 < usual


# page faults of a thread that makes an array larger than a thread's arena, after another freed one
THREAD = """
import resource
import sys
import threading
import numpy as np
from ovavss_d2.engine.memory import keep_freed_memory
if sys.argv[1] == "kept":
    assert keep_freed_memory()
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    thread = threading.Thread(target=np.full, args=(80 << 20, 1, np.uint8))
    thread.start()
    thread.join()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
print(faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="not glibc")
def test_what_one_thread_frees_serves_the_next():
    def faults(how):
        run = [sys.executable, "-c", THREAD, how]
        return int(subprocess.run(run, capture_output=True, text=True, check=True).stdout)

    assert faults("kept") < 20 < faults("usual")


def test_a_library_without_the_switch_is_left_alone(monkeypatch):
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: object())
    assert not memory.keep_freed_memory()
