"""For losses that a test writes a second time in numpy: fixed networks, and gradients by differences."""

import numpy as np
import torch
from torch import nn

from methods.shared.networks.network import NetworkOutput


class FixedNetwork(nn.Module):
    """A network whose outputs are parameters, whatever the images are; each call gives the next ones."""

    def __init__(self, *logits, features=None, channels=()):
        super().__init__()
        self.logits = nn.ParameterList([nn.Parameter(values) for values in logits])
        self.features = nn.Parameter(features) if features is not None else None
        self.channels, self.calls = channels, []

    def forward(self, images, features=False):
        logits = self.logits[len(self.calls) % len(self.logits)]
        self.calls.append(images)
        return NetworkOutput(logits=logits, features=() if self.features is None else (self.features,))


def random_logits(*shape, seed):
    return 2 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def as_numpy(*tensors):
    return [tensor.detach().double().numpy() for tensor in tensors]


def slope(loss, arrays, index, direction, by=1e-5):
    """The derivative of `loss(*arrays)` where `arrays[index]` moves along `direction`."""
    moved = [[a + sign * by * direction if i == index else a for i, a in enumerate(arrays)] for sign in (1, -1)]
    return (loss(*moved[0]) - loss(*moved[1])) / (2 * by)


def slopes(total, parameters, loss, arrays):
    """For each parameter: the derivative along a random direction by autograd, and that of the loss in numpy."""
    rng = np.random.default_rng(0)
    gradients = torch.autograd.grad(total, parameters)
    pairs = []
    for index, gradient in enumerate(gradients):
        direction = rng.standard_normal(gradient.shape)
        pairs.append(((gradient.double().numpy() * direction).sum(), slope(loss, arrays, index, direction)))
    return pairs
