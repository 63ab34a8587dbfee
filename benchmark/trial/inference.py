"""Sliding-window inference as the released left-atrium codes do it (UA-MT release, `test_util.py`)."""

import copy
import itertools
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from data.resample import resample

Predict = Callable[[Tensor], Tensor]


def window_starts(size: int, patch: int, stride: int) -> list[int]:
    """Starts min(i * stride, size - patch) for i = 0 .. ceil((size - patch) / stride) along one axis."""
    room = max(size - patch, 0)
    return [min(i * stride, room) for i in range(-(-room // stride) + 1)]


def windows(shape: tuple[int, ...], patch: tuple[int, ...], stride: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Corner of every window over a volume that is at least as large as the patch."""
    return list(itertools.product(*map(window_starts, shape, patch, stride)))


def fold_batch_norm(network: nn.Module) -> nn.Module:
    """A copy in eval mode whose convolutions do the batch norm that follows them, too: its statistics are fixed now."""
    folded = copy.deepcopy(network).eval()
    for block in folded.modules():
        layers = list(block) if isinstance(block, nn.Sequential) else []
        for i, (layer, norm) in enumerate(itertools.pairwise(layers)):
            if isinstance(layer, nn.Conv3d | nn.ConvTranspose3d) and getattr(norm, "running_var", None) is not None:
                block[i] = fuse_conv_bn_eval(layer, norm, transpose=isinstance(layer, nn.ConvTranspose3d))
                block[i + 1] = nn.Identity()
    return folded


@torch.inference_mode()
def predict_volume(
    predict: Predict,
    image: np.ndarray,
    classes: int,
    patch: tuple[int, int, int],
    stride: tuple[int, int, int],
    window_batch: int,
    device: torch.device,
    max_windows: int | None = None,
) -> np.ndarray:
    """Foreground probabilities (C,H,W,D) float32 of `image` (H,W,D): the mean over all windows that see a voxel.

    patch, stride: in voxels of `image`, which is on the training grid; window_batch: windows a forward pass. A volume
    smaller than the patch is padded with zeros, evenly on both sides, to exactly the patch. With `max_windows`, voxels
    that no window saw are 0.
    """
    padding = [
        (max(p - n, 0) // 2, max(p - n, 0) - max(p - n, 0) // 2) for n, p in zip(image.shape, patch, strict=True)
    ]
    volume = torch.from_numpy(np.pad(image, padding)).to(device)
    total = torch.zeros((classes, *volume.shape), device=device)
    visits = torch.zeros(volume.shape, device=device)
    corners = windows(volume.shape, patch, stride)[:max_windows]
    for first in range(0, len(corners), window_batch):
        batch = corners[first : first + window_batch]
        areas = [tuple(slice(c, c + p) for c, p in zip(corner, patch, strict=True)) for corner in batch]
        probabilities = predict(torch.stack([volume[area] for area in areas]).unsqueeze(1))
        for area, window in zip(areas, probabilities, strict=True):
            total[(slice(None), *area)] += window
            visits[area] += 1
    total /= visits.clamp_(min=1)
    inside = tuple(slice(low, low + n) for (low, _), n in zip(padding, image.shape, strict=True))
    return total[(slice(None), *inside)].cpu().numpy()


def label_map(probabilities: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """Labels (H,W,D) uint8 on a grid of `shape`: the likeliest class where its probability exceeds 0.5, else 0.

    Probabilities (C,h,w,d) on another grid are resampled first, so that a case is graded on its own grid.
    """
    labels, highest = np.zeros(shape, np.uint8), np.full(shape, 0.5, np.float32)
    for number, channel in enumerate(probabilities, start=1):  # one at a time: they may be many, on a large grid
        own = channel if channel.shape == tuple(shape) else resample(channel, shape)
        labels[own > highest] = number
        np.maximum(highest, own, out=highest)
    return labels
