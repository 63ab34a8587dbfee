"""Sliding-window inference as the released left-atrium codes do it (UA-MT release, `test_util.py`)."""

import copy
import itertools
from collections.abc import Callable

import numpy as np
import torch
from scipy import ndimage
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
    patch: tuple[int, ...],
    stride: tuple[int, ...],
    window_batch: int,
    device: torch.device,
    max_windows: int | None = None,
    resizes: bool = False,
) -> np.ndarray:
    """Foreground probabilities of a volume: at each voxel the mean over all windows that contain it.

    A volume smaller than the patch is padded with zeros to the size of the patch, evenly on both sides. With a patch
    (h, w) the slices of the last axis are predicted one by one.

    Args:
        predict: probabilities (B, C, h, w, d) of patches (B, M, h, w, d), for instance `Method.predict`. There is no d
            with a patch (h, w).
        image: (H, W, D), float32, on the training grid; (H, W, D, M) with several channels.
        classes: the number C of foreground classes.
        patch: (h, w, d) of a window, in voxels of `image`, or (h, w).
        stride: voxels from one window to the next, along each axis of the patch.
        window_batch: windows in one call of `predict`.
        device: where `predict` runs and the mean is computed.
        max_windows: only this many windows are predicted; the remaining voxels are 0. None for all.
        resizes: whether each slice as a whole is resized to the patch, instead of covered by windows. Nearest voxels
            are taken, on the way back, too (SSL4MIS, `test_2D_fully.py`).

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
    shape = image.shape[:3]
    if resizes:
        image = _nearest(image, patch)
    patch, stride = _of_volumes(patch, stride)
    padding = [
        (max(p - n, 0) // 2, max(p - n, 0) - max(p - n, 0) // 2) for n, p in zip(image.shape, patch, strict=False)
    ]
    padded = torch.from_numpy(np.pad(image, padding + [(0, 0)] * (image.ndim - 3)))
    volume = (padded.movedim(-1, 0) if image.ndim > 3 else padded[None]).to(device)
    total = torch.zeros((classes, *volume.shape[1:]), device=device)
    visits = torch.zeros(volume.shape[1:], device=device)
    corners = windows(volume.shape[1:], patch, stride)[:max_windows]
    flat = patch[2] == 1
    extremes = Extremes()
    for first in range(0, len(corners), window_batch):
        batch = corners[first : first + window_batch]
        areas = [tuple(slice(c, c + p) for c, p in zip(corner, patch, strict=True)) for corner in batch]
        patches = torch.stack([volume[(slice(None), *area)] for area in areas])
        probabilities = predict(patches.squeeze(-1) if flat else patches)
        extremes.add(probabilities, (len(batch), classes, *(patch[:2] if flat else patch)))
        for area, window in zip(areas, probabilities, strict=True):
            total[(slice(None), *area)] += window.unsqueeze(-1) if flat else window
            visits[area] += 1
    extremes.check()
    total /= visits.clamp_(min=1)
    inside = tuple(slice(low, low + n) for (low, _), n in zip(padding, image.shape, strict=False))
    found = total[(slice(None), *inside)].cpu().numpy()
    return np.stack([_nearest(channel, shape[:2]) for channel in found]) if resizes else found


def _of_volumes(patch: tuple[int, ...], stride: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Patch and stride along three axes: a slice is one voxel thick."""
    return (patch, stride) if len(patch) == 3 else ((*patch, 1), (*stride[:2], 1))


def _nearest(volume: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """The volume with slices of another size, of nearest voxels, as the released code resizes them."""
    factors = [new / old for new, old in zip(size[:2], volume.shape, strict=False)] + [1] * (volume.ndim - 2)
    return ndimage.zoom(volume, factors, order=0)


def label_map(probabilities: np.ndarray, shape: tuple[int, int, int], head: str = "sigmoid") -> np.ndarray:
    """The class with the highest probability at each voxel, or background.

    With sigmoid channels a voxel is background if no class exceeds 0.5. With a softmax it is if background is the most
    likely.

    Probabilities on another grid are resampled first, so that a case is scored on its native grid.

    Args:
        probabilities: of foreground, (C, h, w, d), on a grid of the same extent.
        shape: (H, W, D) of the labels.
        head: "sigmoid" or "softmax".

    Returns:
        (H, W, D), uint8, 0 for background and 1..C.

    Example:
        >>> probabilities = np.array([[0.4, 0.6, 0.7], [0.1, 0.2, 0.8]], np.float32).reshape(2, 3, 1, 1)
        >>> label_map(probabilities, (3, 1, 1)).ravel().tolist()
        [0, 1, 2]
        >>> label_map(0.5 * probabilities, (3, 1, 1), head="softmax").ravel().tolist()
        [0, 0, 2]
    """

    def on_shape(channel: np.ndarray) -> np.ndarray:
        return channel if channel.shape == tuple(shape) else resample(channel, shape)

    labels, highest = np.zeros(shape, np.uint8), np.full(shape, 0.5, np.float32)
    if head == "softmax":
        highest = np.array(on_shape(1 - probabilities.sum(0)))
    for number, channel in enumerate(probabilities, start=1):  # one at a time, for the sake of memory
        on_grid = on_shape(channel)
        labels[on_grid > highest] = number
        np.maximum(highest, on_grid, out=highest)
    return labels
