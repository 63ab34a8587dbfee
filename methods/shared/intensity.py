"""Intensity augmentation of a whole batch, on its device: weak and strong views.

Images are taken to have a deviation of about 1. Each patch draws its own strengths. `torch.manual_seed` decides them,
which the training loop calls at each step, so that a view depends on (seed, step).
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from data.intensity import Intensity
from methods.shared.networks.layers import LINEAR

GRID = 4  # points of a bias field along each axis
REACH = 3  # deviations of a blur's kernel on either side


@torch.no_grad()
def change_intensity(images: Tensor, intensity: Intensity) -> Tensor:
    """A view of images, each with strengths of its own.

    Args:
        images: (B, M, ...), fp32, in 2D or 3D.
        intensity: what happens to them.

    Returns:
        A new tensor of the same shape, or the images themselves if nothing is changed.

    Example:
        >>> images = torch.randn(2, 1, 16, 16, 16)
        >>> change_intensity(images, Intensity(gamma=0.5, blur=(0.1, 2))).shape
        torch.Size([2, 1, 16, 16, 16])
        >>> change_intensity(images, Intensity()) is images
        True
    """
    if intensity.brightness or intensity.contrast:
        images = _chosen(images, _jittered(images, intensity), intensity.probability)
    if intensity.gamma:
        images = _chosen(images, _with_gamma(images, intensity.gamma), intensity.probability)
    if intensity.bias_field:
        images = _chosen(images, _with_bias(images, intensity.bias_field), intensity.probability)
    if intensity.blur[1]:
        images = _chosen(images, _blurred(images, *intensity.blur), intensity.blur_probability)
    if intensity.noise[1]:
        deviation = uniform(images, *intensity.noise)
        images = _chosen(images, images + deviation * torch.randn_like(images), intensity.noise_probability)
    return images


def _chosen(images: Tensor, changed: Tensor, probability: float) -> Tensor:
    """Changed images, each with a probability. Both are computed, so that nothing waits for a GPU."""
    return torch.where(uniform(images, 0, 1) < probability, changed, images)


def uniform(images: Tensor, low: float, high: float) -> Tensor:
    """A number for each image, (B, 1, ...)."""
    shape = (len(images), *[1] * (images.ndim - 1))
    return low + (high - low) * torch.rand(shape, device=images.device)


def _axes(images: Tensor) -> tuple[int, ...]:
    return tuple(range(1, images.ndim))


def _jittered(images: Tensor, intensity: Intensity) -> Tensor:
    deviation, mean = torch.std_mean(images, _axes(images), keepdim=True)
    factor = 1 + uniform(images, -intensity.contrast, intensity.contrast)
    shift = deviation * uniform(images, -intensity.brightness, intensity.brightness)
    return torch.addcmul(mean * (1 - factor) + shift, images, factor)


def _with_gamma(images: Tensor, gamma: float) -> Tensor:
    low, high = images.amin(_axes(images), keepdim=True), images.amax(_axes(images), keepdim=True)
    span = (high - low).clamp(min=1e-6)
    return low + span * ((images - low) / span) ** uniform(images, 1 - gamma, 1 + gamma)


def _with_bias(images: Tensor, strength: float) -> Tensor:
    size = images.shape[2:]
    points = strength * (2 * torch.rand(len(images), 1, *[GRID] * len(size), device=images.device) - 1)
    field = F.interpolate(points, size, mode=LINEAR[len(size)], align_corners=True).exp()
    low = images.amin(_axes(images), keepdim=True)
    return low + (images - low) * field


def _blurred(images: Tensor, low: float, high: float) -> Tensor:
    """A Gaussian blur, one axis after the other. Beyond the border the outermost voxels go on."""
    reach = math.ceil(REACH * high)
    offsets = torch.arange(-reach, reach + 1, device=images.device, dtype=images.dtype)
    weights = torch.exp(-0.5 * (offsets / uniform(images, low, high).view(-1, 1).clamp(min=1e-3)) ** 2)
    weights = weights / weights.sum(1, keepdim=True)
    for axis in range(2, images.ndim):
        count = images.shape[axis]
        first, last = images.narrow(axis, 0, 1), images.narrow(axis, count - 1, 1)
        repeats = [reach if i == axis else 1 for i in range(images.ndim)]
        padded = torch.cat([first.repeat(repeats), images, last.repeat(repeats)], axis)
        total = torch.zeros_like(images)
        for i in range(len(offsets)):
            total.addcmul_(padded.narrow(axis, i, count), weights[:, i].view(-1, *[1] * (images.ndim - 1)))
        images = total
    return images
