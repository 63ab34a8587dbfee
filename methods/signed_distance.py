"""Signed distance maps: the regression target of distance heads, and the way back from a map to a mask."""

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

STEEPNESS = 1500  # k of the inverse transform (DTC and DTML releases; "as large as possible" in DTML, Eq. 2)


def signed_distance_map(mask: np.ndarray) -> np.ndarray:
    """Normalised signed distance map of one binary patch (H,W,D): negative inside, positive outside, within [-1, 1].

    outside / max(outside) - inside / max(inside), and exactly 0 on the inner boundary, the foreground voxels with a
    background voxel among their 6 neighbours (DTML, Eq. 1, as the DTC release computes it).
    A patch without foreground is 1 everywhere and one without background -1, so that the inverse transform is right
    there (the release gives 0, probability 0.5, and a division by zero; neither occurs in left-atrium crops).
    """
    mask = mask.astype(bool)
    if not mask.any():
        return np.ones(mask.shape, np.float32)
    if mask.all():
        return -np.ones(mask.shape, np.float32)
    inside = ndimage.distance_transform_edt(mask)
    outside = ndimage.distance_transform_edt(~mask)
    distance = outside / outside.max() - inside / inside.max()
    distance[mask & ~ndimage.binary_erosion(mask, border_value=1)] = 0
    return distance.astype(np.float32)


class SignedDistanceView:
    """A view of the labelled patches: their signed distance maps (B_l,C,H,W,D), one channel a class."""

    def __init__(self, classes: int):
        self.classes = classes

    def __call__(self, arrays: dict[str, np.ndarray], rng: np.random.Generator) -> np.ndarray:
        maps = [
            [signed_distance_map(label == value) for value in range(1, self.classes + 1)] for label in arrays["labels"]
        ]
        return np.asarray(maps, np.float32)


def distance_to_mask(distance: Tensor, shift: float = 0.0) -> Tensor:
    """Smooth inverse transform T(z - shift) = sigmoid(-1500 (z - shift)): probability of foreground.

    The sign is that of the releases; DTML, Eq. 2, prints +k, which is wrong for maps that are negative inside.
    """
    return torch.sigmoid(-STEEPNESS * (distance - shift))


def distance_loss(distance: Tensor, target: Tensor, norm: str) -> Tensor:
    """L_dis: mean squared ("l2", the paper's words) or mean absolute ("l1", the released code) difference."""
    difference = distance - target
    return difference.square().mean() if norm == "l2" else difference.abs().mean()


def active_fraction(distance: Tensor) -> Tensor:
    """Share of voxels where T still passes a gradient, |1500 z| < 7. Logged: training through T lives on these."""
    return (distance.detach().abs() < 7 / STEEPNESS).float().mean()
