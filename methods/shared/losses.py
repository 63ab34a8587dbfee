"""Losses shared by methods. All take fp32 tensors; probabilities and targets are (B,C,H,W,D), labels (B,H,W,D)."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def one_hot(labels: Tensor, classes: int) -> Tensor:
    """Labels (B,H,W,D) with values 0..C as C binary foreground channels (B,C,H,W,D), float32."""
    values = torch.arange(1, classes + 1, device=labels.device, dtype=labels.dtype).view(1, -1, 1, 1, 1)
    return (labels.unsqueeze(1) == values).float()


def dice_loss(probabilities: Tensor, targets: Tensor) -> Tensor:
    """Soft Dice with squared denominator over all voxels of the batch at once, mean over classes (UA-MT release).

    1 - (2 sum(p y) + e) / (sum(p^2) + sum(y^2) + e), e = 1e-5.
    """
    axes = (0, 2, 3, 4)
    overlap = (probabilities * targets).sum(axes)
    size = probabilities.square().sum(axes) + targets.square().sum(axes)
    return (1 - (2 * overlap + 1e-5) / (size + 1e-5)).mean()


def segmentation_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """0.5 (cross-entropy + Dice), the supervised loss of UA-MT and of DTML's M_s (their releases)."""
    targets = one_hot(labels, logits.shape[1])
    return 0.5 * (F.binary_cross_entropy_with_logits(logits, targets) + dice_loss(logits.sigmoid(), targets))


def binary_entropy(probabilities: Tensor) -> Tensor:
    """Voxel-wise entropy of a foreground probability in nats, at most ln 2: -(p ln(p + 1e-6) + q ln(q + 1e-6))."""
    background = 1 - probabilities
    return -(probabilities * torch.log(probabilities + 1e-6) + background * torch.log(background + 1e-6))


MAX_ENTROPY = math.log(2)
