"""Sliding-window inference as the released left-atrium codes do it (UA-MT release, `test_util.py`)."""

import copy
import itertools
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from benchmark.trial.probabilities import Extremes
from data.resample import resample

Predict = Callable[[Tensor], Tensor]
CONVOLUTIONS = (nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose2d, nn.ConvTranspose3d)


def window_starts(size: int, patch: int, stride: int) -> list[int]:
    """Where windows start along one axis: min(i stride, size - patch) for i = 0 .. ceil((size - patch) / stride).

    Args:
        size: voxels of the volume.
        patch: voxels of a window.
        stride: voxels from one window to the next. The last window ends with the volume and may be closer.

    Returns:
        First voxels, at least one. A volume smaller than the patch has the one start 0.

    Source:
        UA-MT release, `test_util.py`.

    Example:
        >>> window_starts(size=88, patch=80, stride=5)
        [0, 5, 8]
    """
    room = max(size - patch, 0)
    return [min(i * stride, room) for i in range(-(-room // stride) + 1)]


def windows(shape: tuple[int, ...], patch: tuple[int, ...], stride: tuple[int, ...]) -> list[tuple[int, ...]]:
    """The first voxel of every window over a volume.

    Args:
        shape: (H, W, D) of the volume, at least as large as the patch.
        patch: (h, w, d) of a window.
        stride: voxels from one window to the next, along each axis.

    Returns:
        One index a window; the last axis varies fastest.

    Example:
        >>> windows((5, 4, 4), patch=(4, 4, 4), stride=(2, 2, 2))
        [(0, 0, 0), (1, 0, 0)]
    """
    return list(itertools.product(*map(window_starts, shape, patch, stride)))


def fold_batch_norm(network: nn.Module) -> nn.Module:
    """Merge each batch norm into the convolution before it, which makes inference faster.

    This is possible because the statistics of a batch norm are fixed in eval mode.

    Args:
        network: any module. Convolution and batch norm must be neighbours in an `nn.Sequential`. It is not changed.

    Returns:
        A copy in eval mode. Its outputs are the same up to rounding.

    Example:
        >>> network = nn.Sequential(nn.Conv3d(1, 2, 1), nn.BatchNorm3d(2)).eval()
        >>> images = torch.rand(1, 1, 4, 4, 4)
        >>> torch.allclose(fold_batch_norm(network)(images), network(images), atol=1e-6)
        True
    """
    folded = copy.deepcopy(network).eval()
    for block in folded.modules():
        layers = list(block) if isinstance(block, nn.Sequential) else []
        for i, (layer, norm) in enumerate(itertools.pairwise(layers)):
            if isinstance(layer, CONVOLUTIONS + TRANSPOSED) and getattr(norm, "running_var", None) is not None:
                block[i] = fuse_conv_bn_eval(layer, norm, transpose=isinstance(layer, TRANSPOSED))
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
    """Foreground probabilities of a volume: at each voxel the mean over all windows that contain it.

    A volume smaller than the patch is padded with zeros to the size of the patch, evenly on both sides.

    Args:
        predict: probabilities (B, C, h, w, d) of patches (B, 1, h, w, d), for instance `Method.predict`.
        image: (H, W, D), float32, on the training grid.
        classes: the number C of foreground classes.
        patch: (h, w, d) of a window, in voxels of `image`.
        stride: voxels from one window to the next, along each axis.
        window_batch: windows in one call of `predict`.
        device: where `predict` runs and the mean is computed.
        max_windows: only this many windows are predicted; the remaining voxels are 0. None for all.

    Returns:
        (C, H, W, D), float32.

    Raises:
        DivergedError: a probability is infinite or not a number.
        PredictionError: `predict` gives another shape, or values below 0 or above 1.

    Source:
        UA-MT release, `test_util.py`.

    Example:
        >>> image = np.full((6, 5, 4), 3.0, np.float32)
        >>> volume = predict_volume(torch.sigmoid, image, 1, (4, 4, 4), (2, 2, 2), 2, torch.device("cpu"))
        >>> volume.shape, round(float(volume.min()), 3), round(float(volume.max()), 3)
        ((1, 6, 5, 4), 0.953, 0.953)
    """
    padding = [
        (max(p - n, 0) // 2, max(p - n, 0) - max(p - n, 0) // 2) for n, p in zip(image.shape, patch, strict=True)
    ]
    volume = torch.from_numpy(np.pad(image, padding)).to(device)
    total = torch.zeros((classes, *volume.shape), device=device)
    visits = torch.zeros(volume.shape, device=device)
    corners = windows(volume.shape, patch, stride)[:max_windows]
    extremes = Extremes()
    for first in range(0, len(corners), window_batch):
        batch = corners[first : first + window_batch]
        areas = [tuple(slice(c, c + p) for c, p in zip(corner, patch, strict=True)) for corner in batch]
        probabilities = predict(torch.stack([volume[area] for area in areas]).unsqueeze(1))
        extremes.add(probabilities, (len(batch), classes, *patch))
        for area, window in zip(areas, probabilities, strict=True):
            total[(slice(None), *area)] += window
            visits[area] += 1
    extremes.check()
    total /= visits.clamp_(min=1)
    inside = tuple(slice(low, low + n) for (low, _), n in zip(padding, image.shape, strict=True))
    return total[(slice(None), *inside)].cpu().numpy()


def label_map(probabilities: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """The class with the highest probability at each voxel, or background if none exceeds 0.5.

    Probabilities on another grid are resampled first, so that a case is scored on its native grid.

    Args:
        probabilities: of foreground, (C, h, w, d), on a grid of the same extent.
        shape: (H, W, D) of the labels.

    Returns:
        (H, W, D), uint8, 0 for background and 1..C.

    Example:
        >>> probabilities = np.array([[0.4, 0.6, 0.7], [0.1, 0.2, 0.8]], np.float32).reshape(2, 3, 1, 1)
        >>> label_map(probabilities, (3, 1, 1)).ravel().tolist()
        [0, 1, 2]
    """
    labels, highest = np.zeros(shape, np.uint8), np.full(shape, 0.5, np.float32)
    for number, channel in enumerate(probabilities, start=1):  # one at a time, for the sake of memory
        on_grid = channel if channel.shape == tuple(shape) else resample(channel, shape)
        labels[on_grid > highest] = number
        np.maximum(highest, on_grid, out=highest)
    return labels
