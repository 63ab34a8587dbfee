"""Layers by the number of dimensions: slices and volumes go through the same code."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor, nn

from methods.shared.networks.autocast import Conv2d, Conv3d, ConvTranspose2d, ConvTranspose3d

Normalisation = Literal["batch", "instance", "group"]

CONVOLUTION = {2: Conv2d, 3: Conv3d}
TRANSPOSED = {2: ConvTranspose2d, 3: ConvTranspose3d}
BATCH_NORM = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
MAX_POOL = {2: nn.MaxPool2d, 3: nn.MaxPool3d}
CHANNEL_DROPOUT = {2: nn.Dropout2d, 3: nn.Dropout3d}
LINEAR = {2: "bilinear", 3: "trilinear"}  # torch's names of linear interpolation
MEMORY_FORMAT = {2: torch.channels_last, 3: torch.channels_last_3d}
GROUPS = 16  # of group norm, as in the released V-Nets; fewer where there are fewer channels


class _Predicting:
    """An instance norm that predicts for the smallest patches. A single value minus its mean is 0; torch refuses it."""

    def forward(self, features: Tensor) -> Tensor:
        if not self.training and features.shape[2:].numel() == 1:
            return torch.zeros_like(features)
        return super().forward(features)


class _InstanceNorm2d(_Predicting, nn.InstanceNorm2d):
    pass


class _InstanceNorm3d(_Predicting, nn.InstanceNorm3d):
    pass


INSTANCE_NORM = {2: _InstanceNorm2d, 3: _InstanceNorm3d}


def normalisation(name: Normalisation, dimensions: int, channels: int) -> nn.Module:
    """A normalisation layer.

    Args:
        name: batch, instance (without weights, as in the released networks) or group.
        dimensions: 2 or 3.
        channels: of its input.

    Raises:
        ValueError: an unknown name.

    Example:
        >>> normalisation("group", 2, channels=8).num_groups
        8
    """
    if name == "batch":
        return BATCH_NORM[dimensions](channels)
    if name == "instance":
        return INSTANCE_NORM[dimensions](channels)
    if name == "group":
        return nn.GroupNorm(math.gcd(GROUPS, channels), channels)
    raise ValueError(f"unknown normalisation {name!r}: batch, instance or group")


@contextmanager
def frozen_statistics(network: nn.Module) -> Iterator[None]:
    """Let batch norms use the statistics of their batch without adding them to their running ones.

    Example:
        >>> norm = nn.BatchNorm1d(1)
        >>> with frozen_statistics(norm):
        ...     _ = norm(torch.tensor([[1.0], [3.0]]))
        >>> norm.running_mean
        tensor([0.])
    """
    norms = [module for module in network.modules() if getattr(module, "track_running_stats", False)]
    for norm in norms:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True


def convolution_format(module: nn.Module) -> None:
    """Put the weights of all convolutions into channels-last order, in place. Other tensors keep theirs.

    A method may hold parameters and buffers of any number of axes, such as a memory bank.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Conv3d | nn.ConvTranspose3d):
            memory_format = MEMORY_FORMAT[layer.weight.ndim - 2]
            layer.weight.data = layer.weight.data.to(memory_format=memory_format, copy=True)


def perceptron(features_in: int, features: int) -> nn.Sequential:
    """Two linear layers with batch norm and ReLU between them, for features of voxels (N, features_in).

    Source:
        SS-Net and CAML releases, projection and prediction heads.

    Example:
        >>> perceptron(16, 32)(torch.zeros(4, 16)).shape
        torch.Size([4, 32])
    """
    return nn.Sequential(
        nn.Linear(features_in, features), nn.BatchNorm1d(features), nn.ReLU(inplace=True), nn.Linear(features, features)
    )


def crop(volume: Tensor, size: torch.Size) -> Tensor:
    """The first `size` voxels of (B, C, ...) along each spatial axis."""
    return volume[(..., *(slice(n) for n in size))]


def padding_to_multiple(size: torch.Size, multiple: int) -> list[int]:
    """What `torch.nn.functional.pad` appends to spatial axes of `size`, so that each is a multiple of `multiple`.

    Example:
        >>> padding_to_multiple(torch.Size([20, 16]), 16)
        [0, 0, 0, 12]
    """
    return [n for side in reversed(size) for n in (0, -side % multiple)]
