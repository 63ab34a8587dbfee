"""Mixed precision, and the one convolution that it breaks."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn


class AutocastNetwork(nn.Module):
    """A network that runs its trunk under autocast by itself, so that losses outside it are fp32 without a thought.

    `amp_dtype` None means fp32 throughout.
    """

    def __init__(self, amp_dtype: torch.dtype | None):
        super().__init__()
        self.amp_dtype = amp_dtype

    def autocast(self, images: Tensor) -> AbstractContextManager:
        return nullcontext() if self.amp_dtype is None else torch.autocast(images.device.type, dtype=self.amp_dtype)


class Conv3d(nn.Conv3d):
    """Conv3d that leaves autocast where the CPU's bf16 weight gradient is wrong.

    With torch 2.13 on CPUs with AVX-512 bf16 the weight gradient of a 3x3x3 convolution is garbage where the first
    spatial axis of its input is 2, that is deep in the V-Net for patches of 16 or 32 voxels along that axis.
    """

    def forward(self, images: Tensor) -> Tensor:
        if images.shape[2] > 2 or images.device.type != "cpu":
            return super().forward(images)
        with torch.autocast("cpu", enabled=False):
            return super().forward(images.float())
