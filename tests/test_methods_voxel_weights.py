"""Learned weights of voxels, and the distance of two weighted sets, against what the SS-Net release computes."""

import torch
import torch.nn.functional as F
from torch import nn

from methods.shared.voxel_weights import VoxelWeights, weighted_cosine_distance


def test_weights_are_those_of_a_perceptron_that_is_given_the_class_alone():
    torch.manual_seed(0)
    weights, features, mask = VoxelWeights(features=4), torch.randn(20, 4), (torch.rand(20, 1) < 0.5).float()
    norm = nn.BatchNorm1d(4)
    released = nn.Sequential(weights.first, norm, nn.LeakyReLU(0.2), weights.last, nn.Sigmoid())
    inside = mask[:, 0] == 1
    found = weights(features, mask)
    torch.testing.assert_close(found[inside], released(features[inside]))
    assert not found[~inside].any()


def test_a_class_without_voxels_has_finite_weights_and_gradients():
    weights, features = VoxelWeights(features=4), torch.randn(5, 4, requires_grad=True)
    distance = weighted_cosine_distance(features, weights(features, torch.zeros(5, 1)), features, torch.zeros(5, 1))
    distance.backward()
    assert distance.item() == 1 and features.grad.isfinite().all()


def test_the_distance_is_the_mean_over_the_table_of_all_pairs():
    torch.manual_seed(0)
    v, u, w, x = torch.randn(7, 3), torch.randn(5, 3), torch.rand(7, 1), torch.rand(5, 1)
    table = (1 - F.normalize(v, dim=1) @ F.normalize(u, dim=1).T) * (w / w.mean()) * (x / x.mean()).T
    torch.testing.assert_close(weighted_cosine_distance(v, w, u, x), table.mean())
    alone = weighted_cosine_distance(v[:4], w[:4], u, x)
    torch.testing.assert_close(weighted_cosine_distance(v, w * (torch.arange(7) < 4)[:, None], u, x), alone)
