"""For losses that a test writes a second time in numpy: fixed networks, and gradients by differences."""

import numpy as np
import torch
from torch import nn

from methods.shared.networks.network import NetworkOutput


class FixedNetwork(nn.Module):
    """A network whose outputs are parameters, whatever the images are: those of one call after the other."""

    def __init__(self, *logits, features=None):
        super().__init__()
        self.logits = nn.ParameterList([nn.Parameter(values) for values in logits])
        self.features = features
        self.seen = []

    def forward(self, images, features=False):
        logits = self.logits[len(self.seen) % len(self.logits)]
        self.seen.append(images)
        return NetworkOutput(logits=logits, features=() if self.features is None else (self.features,))


def random_logits(*shape, seed):
    return 2 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def as_numpy(*tensors):
    return [tensor.detach().double().numpy() for tensor in tensors]


def slopes(total, parameters, loss, by=1e-6):
    """The derivative of a loss along a random direction of each parameter, by autograd and by differences.

    Args:
        total: the loss in torch.
        parameters: tensors that it depends on.
        loss: the same loss in numpy, of one array for each of them.

    Returns:
        The derivatives by autograd, and those by differences.
    """
    rng, arrays = np.random.default_rng(0), as_numpy(*parameters)
    exact, expected = [], []
    for index, gradient in enumerate(torch.autograd.grad(total, parameters, retain_graph=True)):
        direction = rng.standard_normal(gradient.shape)
        exact.append((gradient.double().numpy() * direction).sum())
        ahead, behind = (
            loss(*[a + sign * by * direction if i == index else a for i, a in enumerate(arrays)]) for sign in (1, -1)
        )
        expected.append((ahead - behind) / (2 * by))
    return exact, expected
