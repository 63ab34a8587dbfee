"""The convolutions at the end of a network. They compute in fp32, without an fp32 copy of a bf16 input."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

CHUNK = 2**17  # voxels converted at a time on a CPU: an fp32 copy of 16 channels of them stays in the cache


class _Head:
    """What heads in 2D and 3D have in common: a 1x1 convolution as a product of matrices.

    Channel dropout scales the weights instead of the features, because these are the largest tensors of a network.
    """

    def forward(self, features: Tensor, scale: Tensor) -> Tensor:
        """Logits (B, C, ...) of features (B, F, ...).

        Args:
            features: of any precision.
            scale: (B, F, 1, ...), by what the dropout multiplies each channel.
        """
        if any(size != 1 for size in self.kernel_size):
            with torch.autocast(features.device.type, enabled=False):
                return super().forward(features.float() * scale)
        weights = self.weight.flatten(1) * scale.flatten(1)[:, None]
        return _Products.apply(features, weights) + self.bias.view(-1, *[1] * (features.ndim - 2))


class Head3d(_Head, nn.Conv3d):
    """A head for volumes, see `make_head`."""


class Head2d(_Head, nn.Conv2d):
    """A head for slices, see `make_head`."""


def make_head(dimensions: int, channels_in: int, channels: int, kernel: int = 1) -> Head2d | Head3d:
    """A convolution of features of any precision, with channel dropout before it. The output is fp32.

    Args:
        dimensions: 2 or 3.
        channels_in: the number F of feature channels.
        channels: the number C of output channels.
        kernel: its size along each axis, odd. The output has the size of the input.

    Example:
        >>> head = make_head(3, channels_in=16, channels=1)
        >>> features = torch.zeros(2, 16, 4, 4, 4, dtype=torch.bfloat16)
        >>> logits = head(features, scale=torch.ones(2, 16, 1, 1, 1))
        >>> logits.shape, logits.dtype
        (torch.Size([2, 1, 4, 4, 4]), torch.float32)
    """
    return (Head2d if dimensions == 2 else Head3d)(channels_in, channels, kernel, padding=kernel // 2)


class _Products(torch.autograd.Function):
    """Features (B, F, ...) times weights (B, C, F) as (B, C, ...) in fp32.

    Gradients have the precision of their operands, and can be taken once only.
    """

    @staticmethod
    def forward(ctx, features: Tensor, weights: Tensor) -> Tensor:
        ctx.save_for_backward(features, weights)
        voxels = _by_voxel(features)
        products = torch.empty(*voxels.shape[:2], weights.shape[1], device=features.device)
        for part in _chunks(voxels):
            for i, weight in enumerate(weights):
                torch.mm(voxels[i, part].float(), weight.t(), out=products[i, part])
        return _by_channel(products, features)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, Tensor]:
        features, weights = ctx.saved_tensors
        voxels, upstream = _by_voxel(features), _by_voxel(gradient)
        of_voxels, of_weights = torch.empty_like(voxels), torch.zeros_like(weights)
        for part in _chunks(voxels):
            for i, weight in enumerate(weights):
                of_voxels[i, part] = upstream[i, part] @ weight
                of_weights[i] += upstream[i, part].t() @ voxels[i, part].float()
        return _by_channel(of_voxels, features), of_weights


def _by_voxel(volumes: Tensor) -> Tensor:
    """(B, F, H, W, D) as (B, HWD, F), without a copy if the memory format is channels-last; slices alike."""
    return volumes.movedim(1, -1).flatten(1, -2)


def _by_channel(voxels: Tensor, like: Tensor) -> Tensor:
    return voxels.unflatten(1, like.shape[2:]).movedim(-1, 1)


def _chunks(voxels: Tensor) -> Iterator[slice]:
    count = voxels.shape[1]
    size = CHUNK if voxels.device.type == "cpu" else count
    return (slice(start, start + size) for start in range(0, count, size))
