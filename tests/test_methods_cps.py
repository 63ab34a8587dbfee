"""CPS: how its two networks begin."""

import math

import pytest
import torch
from helpers.tiny_methods import build


def test_it_starts_as_the_release_or_as_pytorch_does():
    def spread(network):
        weight = network.encoder.blocks[2][1][0].weight
        return weight.std().item() * math.sqrt(weight[0].numel())  # times the root of the fan-in

    release, plain = build("cps"), build("cps", initialisation="pytorch")
    assert spread(release.first) == pytest.approx(math.sqrt(2), rel=0.1)
    assert spread(release.second) == pytest.approx(1, rel=0.1)
    assert spread(plain.first) == pytest.approx(math.sqrt(1 / 3), rel=0.1) == spread(plain.second)
    assert not torch.equal(next(plain.first.parameters()), next(plain.second.parameters()))
