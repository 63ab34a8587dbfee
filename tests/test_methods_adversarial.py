"""The direction of virtual adversarial training."""

import pytest
import torch
from torch import nn

from methods.shared.adversarial import steepest_direction


@pytest.mark.parametrize("size", [(6, 4), (6, 4, 3)])
def test_it_is_the_slope_at_a_random_place_at_the_given_distance(size):
    torch.manual_seed(0)
    images, places = torch.randn(3, 2, *size), []

    def loss(moved):
        places.append(moved.detach())
        return (moved**3).sum() / 3  # its slope is moved²

    direction = steepest_direction(loss, images, probe=5.0)
    [place] = places
    torch.testing.assert_close((place - images).flatten(1).norm(dim=1), torch.full((3,), 5.0))
    torch.testing.assert_close(direction.flatten(1), nn.functional.normalize(place.square().flatten(1), dim=1))
    assert not direction.requires_grad


def test_parameters_get_no_gradient_and_a_flat_loss_gives_no_direction():
    layer, images = nn.Conv2d(1, 1, 3), torch.randn(2, 1, 5, 5)
    steepest_direction(lambda moved: layer(moved).square().sum(), images, probe=1.0)
    assert all(parameter.grad is None for parameter in layer.parameters())
    assert not steepest_direction(lambda moved: (0 * moved).sum(), images, probe=1.0).any()
