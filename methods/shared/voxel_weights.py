"""Voxels of a class with a learned weight each, and how far two such sets are from one another."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class VoxelWeights(nn.Module):
    """A weight in 0..1 for each voxel of a class, from a perceptron whose batch norm sees these voxels alone.

    It has no running statistics, because weights are used in training alone.

    Args:
        features: the number F of features of a voxel.

    Source:
        Alonso et al., ICCV 2021; SS-Net release, `networks/VNet.py` (contrastive_class_selector).

    Example:
        >>> weights = VoxelWeights(features=3)
        >>> weights(torch.randn(4, 3), torch.tensor([[1.0], [1.0], [1.0], [0.0]]))[3].item()
        0.0
    """

    def __init__(self, features: int):
        super().__init__()
        self.first, self.last = nn.Linear(features, features), nn.Linear(features, 1)
        self.weight, self.bias = nn.Parameter(torch.ones(features)), nn.Parameter(torch.zeros(features))

    def forward(self, features: Tensor, mask: Tensor) -> Tensor:
        """Weights (N, 1) of features (N, F). The mask (N, 1) is 1 for voxels of the class; the others weigh 0."""
        hidden, count = self.first(features), mask.sum().clamp(min=1)
        centred = hidden - (mask * hidden).sum(0) / count
        variance = (mask * centred.square()).sum(0) / count
        normed = self.weight * centred * (variance + 1e-5).rsqrt() + self.bias
        return mask * self.last(F.leaky_relu(normed, 0.2)).sigmoid()


def weighted_cosine_distance(vectors: Tensor, weights: Tensor, others: Tensor, other_weights: Tensor) -> Tensor:
    """The mean of w_i w_j (1 - cos(v_i, u_j)) over all pairs, with both weights scaled to a mean of 1.

    No table of pairs is made. Since the weights have mean 1, the mean is 1 minus the product of the two weighted means
    of unit vectors.

    Args:
        vectors: v, (N, F).
        weights: (N, 1), at least 0. Vectors that weigh 0 do not count.
        others: u, (M, F).
        other_weights: (M, 1).

    Source:
        SS-Net release, `utils/contrastive_losses.py`.

    Example:
        >>> vectors = torch.tensor([[2.0, 0.0], [0.0, 1.0]])
        >>> round(weighted_cosine_distance(vectors, torch.ones(2, 1), vectors[:1], torch.ones(1, 1)).item(), 3)
        0.5
    """
    return 1 - _mean_direction(vectors, weights) @ _mean_direction(others, other_weights)


def _mean_direction(vectors: Tensor, weights: Tensor) -> Tensor:
    return (weights * F.normalize(vectors, dim=1)).sum(0) / weights.sum().clamp(min=1e-6)
