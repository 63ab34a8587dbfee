"""What the networks of a method were given and gave, and slopes of a loss that is written again in numpy."""

from dataclasses import dataclass

import numpy as np
from torch import Tensor


@dataclass
class Pass:
    """One pass: the images, the features that were decoded, and the logits, whose gradient is kept."""

    images: Tensor
    encoded: list[Tensor] | None = None
    logits: Tensor | None = None

    def values(self) -> np.ndarray:
        return self.logits.detach().double().numpy()

    def gradient(self) -> np.ndarray:
        return self.logits.grad.numpy()


def watch(network) -> list[Pass]:
    """The passes of a network from now on, in order."""
    passes, encode, decode = [], network.encode, network.decode

    def watched_encode(images):
        passes.append(Pass(images))
        return encode(images)

    def watched_decode(encoded, *args, **options):
        output = decode(encoded, *args, **options)
        if output.logits.requires_grad:
            output.logits.retain_grad()
        passes[-1].encoded, passes[-1].logits = encoded, output.logits
        return output

    network.encode, network.decode = watched_encode, watched_decode
    return passes


def slopes(loss, values: np.ndarray, places, width: float = 1e-3) -> list[float]:
    """The slope of `loss`, a function of an array, in each of these places of it, by central differences."""
    found = []
    for place in places:
        shift = np.zeros_like(values)
        shift[place] = width
        found.append((loss(values + shift) - loss(values - shift)) / (2 * width))
    return found


def some_places(shape, count: int = 12, seed: int = 0) -> list[tuple[int, ...]]:
    rng = np.random.default_rng(seed)
    return [tuple(int(rng.integers(n)) for n in shape) for _ in range(count)]


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def softmax(z):
    """Over the second axis."""
    powers = np.exp(z - z.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


def hot(labels, channels):
    """Labels (B, ...) as one channel for each value, (B, K, ...)."""
    return np.stack([labels == k for k in range(channels)], 1) * 1.0


def dice_of_channels(p, y, trusted=1.0):
    """The mean of `dice` over the second axis; `trusted` is (B, ...)."""
    return np.mean([dice(p[:, k], y[:, k], trusted) for k in range(p.shape[1])])


def confidence(z):
    """Of the more likely of two labels."""
    return np.maximum(sigmoid(z), sigmoid(-z))


def cross_entropy(z, y):
    return np.logaddexp(0, z) - y * z


def dice(p, y, trusted=1.0):
    """1 - (2 sum p y + e) / (sum p² + sum y² + e) over trusted voxels, e = 1e-5."""
    overlap, size = (trusted * p * y).sum(), (trusted * (p**2 + y**2)).sum()
    return 1 - (2 * overlap + 1e-5) / (size + 1e-5)


def supervised(z, y):
    """Half cross-entropy, half Dice."""
    return 0.5 * (cross_entropy(z, y).mean() + dice(sigmoid(z), y))
