import multiprocessing
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from benchmark.trial import allocator

USES = """
import resource
faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def use():
    block = bytearray(256 * 2**20)
    block[:: 4096] = b"x" * (len(block) // 4096)
use()
before = faults()
use()
print(faults() - before)
"""
GLIBC = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="settings of glibc")


def faults(**environment: str) -> int:
    done = subprocess.run([sys.executable, "-c", USES], env=environment, capture_output=True, text=True, check=True)
    return int(done.stdout)


@GLIBC
def test_memory_that_comes_back_is_not_faulted_in_again():
    pages = 256 * 2**20 // 4096
    assert faults() > pages / 2
    assert faults(**allocator.SETTINGS) < pages / 20


@pytest.mark.slow
def test_workers_get_the_settings():
    # In a process of its own: Ray reads its environment when it is imported, and tests of clusters set it.
    code = (
        "import os\n"
        "from benchmark.cluster import connection\n"
        "from benchmark.trial import allocator\n"
        "assert allocator.SETTINGS.items() <= connection.ENVIRONMENT.items()\n"
        "assert allocator.SETTINGS.keys() <= set(os.environ)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(allocator.__file__).parents[2])


def _resident_after_release() -> tuple[int, int]:
    def resident() -> int:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    block = bytearray(256 * 2**20)
    block[::4096] = b"x" * (len(block) // 4096)
    del block
    before = resident()
    allocator.release()
    return before, resident()


@GLIBC
def test_what_is_free_goes_back_before_the_next_trial(monkeypatch):
    for name, value in allocator.SETTINGS.items():
        monkeypatch.setenv(name, value)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        before, after = pool.apply(_resident_after_release)
    assert before - after > 200 * 2**20
