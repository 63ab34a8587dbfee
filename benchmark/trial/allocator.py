"""How glibc hands out a trial's memory: it keeps what is freed, since tensors of the same sizes come back every step.

By default every tensor above 32 MiB is mapped and unmapped anew, and the kernel zeroes each of its pages on first use:
a fifth of a V-Net's training step on the CPU, two fifths where tensors are fp32 (docs/performance.md).
"""

import ctypes
from contextlib import suppress

# glibc reads these when a process starts; other C libraries ignore them.
SETTINGS = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(2**60),
    "MALLOC_TOP_PAD_": str(2**26),
}


def release() -> None:
    """Give what is free back to the system: the next trial in this process neither holds nor counts it."""
    with suppress(OSError, AttributeError):  # no such function outside glibc
        ctypes.CDLL(None).malloc_trim(0)
