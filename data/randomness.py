"""The one way to get random numbers: from (seed, stream name, step), never from a generator that carries state.

A step can so be computed in any order, in any process, and again after a crash, always with the same numbers.
"""

import hashlib

import numpy as np


def generator(seed: int, stream: str, step: int = 0) -> np.random.Generator:
    """A fresh generator that depends on (seed, stream, step) alone; the same on every platform and in every process.

    Two generators that differ in any of the three are independent of each other.
    """
    # The stream's name comes last, so that no two different triples give the same text. PCG64 is named, because
    # numpy does not promise what `default_rng` will be.
    digest = hashlib.sha256(f"{int(seed)}/{int(step)}/{stream}".encode()).digest()
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(int.from_bytes(digest, "big"))))


def integer_seed(seed: int, stream: str, step: int = 0) -> int:
    """The same as one number in 0..2^63-1, for libraries that want a seed (`torch.manual_seed`)."""
    return int(generator(seed, stream, step).integers(2**63))
