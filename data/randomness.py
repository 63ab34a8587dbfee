"""Random numbers as a function of (seed, stream name, step). No generator keeps state from one step to the next.

Steps can therefore be computed in any order, in any process, and again after a crash, always with the same numbers.
"""

import hashlib

import numpy as np


def generator(seed: int, stream: str, step: int = 0) -> np.random.Generator:
    """A new generator that depends on its arguments alone. It is the same on every platform and in every process.

    Args:
        seed: of the experiment or the draw.
        stream: names what the numbers are for. Generators of different streams are independent.
        step: of the training. Generators of different steps are independent.

    Example:
        >>> int(generator(7, "labelled order", step=3).integers(1000))
        400
    """
    # The stream's name comes last, so that no two different triples give the same text. PCG64 is named, because
    # numpy does not promise what `default_rng` will be.
    digest = hashlib.sha256(f"{int(seed)}/{int(step)}/{stream}".encode()).digest()
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(int.from_bytes(digest, "big"))))


def integer_seed(seed: int, stream: str, step: int = 0) -> int:
    """A seed in 0..2^63-1 for libraries that take one, such as `torch.manual_seed`; arguments as for `generator`."""
    return int(generator(seed, stream, step).integers(2**63))
