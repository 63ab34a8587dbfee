"""Mixed precision, and the convolutions that it breaks."""

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

    def compile_trunk(self, mode: str) -> None:
        """torch.compile, in place, what runs under autocast."""
        self.compile(mode=mode)


class Conv3d(nn.Conv3d):
    """Conv3d that leaves autocast where the CPU's bf16 weight gradient is wrong.

    With torch 2.13 on CPUs with AVX-512 bf16 the weight gradient is garbage, and may be written out of bounds, where
    the first spatial axis of the input is 2 (kernel 3), or the second is 2 and the first 4 or more (kernel 4, stride
    2). That is deep in the V-Net for patches of 16 or 32 voxels along the first axis, and late in a discriminator.
    """

    def forward(self, images: Tensor) -> Tensor:
        if min(images.shape[2:4]) > 2 or images.device.type != "cpu":
            return super().forward(images)
        with torch.autocast("cpu", enabled=False):
            return super().forward(images.float())
