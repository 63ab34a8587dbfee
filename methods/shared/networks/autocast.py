"""Mixed precision, and replacements for the convolutions that CPUs cannot do in bf16."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def _cpu_has_bf16() -> bool:
    """Whether this CPU is quick at bf16 convolutions (AVX-512 or newer); others take 20 times as long as in fp32."""
    return torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()


CPU_HAS_BF16 = _cpu_has_bf16()


class AutocastNetwork(nn.Module):
    """A network that turns autocast on for its trunk alone, so that losses outside it are computed in fp32.

    Args:
        amp_dtype: the precision of the trunk; None is fp32.
    """

    def __init__(self, amp_dtype: torch.dtype | None):
        super().__init__()
        self.amp_dtype = amp_dtype

    def autocast(self, images: Tensor) -> AbstractContextManager:
        """The context in which the trunk runs, on the device of `images`."""
        return nullcontext() if self.amp_dtype is None else torch.autocast(images.device.type, dtype=self.amp_dtype)

    def compile_trunk(self, mode: str) -> None:
        """Apply torch.compile, in place, to what runs under autocast."""
        self.compile(mode=mode)


class Conv3d(nn.Conv3d):
    """Conv3d that leaves autocast where a CPU has no correct bf16 convolution.

    It then rounds the operands to bf16, multiplies them in fp32 and rounds the result. bf16 instructions do the same:
    the numbers agree up to the order of sums.

    With torch 2.13 on CPUs with AVX-512 bf16 some weight gradients are wrong, and may be written out of bounds. This
    happens where the first spatial axis of the input is 2 (kernel 3), or the second is 2 and the first 4 or more
    (kernel 4, stride 2). Such inputs occur deep in the V-Net for patches of 16 or 32 voxels along the first axis, and
    late in a discriminator.
    """

    def forward(self, images: Tensor) -> Tensor:
        if not _autocasts_on_cpu(images) or (CPU_HAS_BF16 and min(images.shape[2:4]) > 2):
            return super().forward(images)
        return _in_fp32(self._conv_forward, images, self.weight, self.bias)

    def _conv_forward(self, images: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Pads the first axis before the convolution if a gradient is needed on a CPU without AVX-512.

        oneDNN has no AVX2 kernel for weight gradients of convolutions that pad that axis. With 8 filters on small
        patches its replacement takes a seventh more of a step than this. With 16 filters on the paper's patches it
        takes less (docs/performance.md).
        """
        first, *others = self.padding
        if CPU_HAS_BF16 or not first or images.device.type != "cpu" or not torch.is_grad_enabled():
            return super()._conv_forward(images, weight, bias)
        images = F.pad(images, (0, 0, 0, 0, first, first))
        return F.conv3d(images, weight, bias, self.stride, (0, *others))


class Conv2d(nn.Conv2d):
    """Conv2d that leaves autocast, as Conv3d does, where a CPU has no bf16.

    A kernel of one pixel with a stride takes its pixels out first, which gives the same sums. With torch 2.13 on CPUs
    with AVX-512 its gradients are written out of bounds if it has fewer than 16 channels, and the process dies.
    """

    def forward(self, images: Tensor) -> Tensor:
        if not _autocasts_on_cpu(images) or CPU_HAS_BF16:
            return super().forward(images)
        return _in_fp32(self._conv_forward, images, self.weight, self.bias)

    def _conv_forward(self, images: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if self.kernel_size != (1, 1) or self.padding != (0, 0):
            return super()._conv_forward(images, weight, bias)
        rows, columns = self.stride
        return F.conv2d(images[:, :, ::rows, ::columns], weight, bias, groups=self.groups)


class _Transposed:
    """A transposed convolution that leaves autocast, as Conv3d does, where a CPU has no bf16."""

    convolve: Callable[..., Tensor]

    def forward(self, images: Tensor) -> Tensor:
        if not _autocasts_on_cpu(images) or CPU_HAS_BF16:
            return super().forward(images)
        convolve = partial(self.convolve, stride=self.stride, padding=self.padding)
        return _in_fp32(convolve, images, self.weight, self.bias)


class ConvTranspose3d(_Transposed, nn.ConvTranspose3d):
    """See above, for volumes."""

    convolve = staticmethod(F.conv_transpose3d)


class ConvTranspose2d(_Transposed, nn.ConvTranspose2d):
    """See above, for slices."""

    convolve = staticmethod(F.conv_transpose2d)


_SAFE = {
    nn.Conv2d: Conv2d,
    nn.Conv3d: Conv3d,
    nn.ConvTranspose2d: ConvTranspose2d,
    nn.ConvTranspose3d: ConvTranspose3d,
}


def use_safe_convolutions(network: nn.Module) -> nn.Module:
    """Replace torch's convolutions, in place, by those of this file. Weights and numbers in fp32 stay as they are.

    Args:
        network: of any library. Convolutions of other classes, and grouped or dilated ones, stay.

    Returns:
        The same network.

    Example:
        >>> type(use_safe_convolutions(nn.Sequential(nn.Conv2d(1, 1, 3)))[0]).__module__
        'methods.shared.networks.autocast'
    """
    for module in network.modules():
        if (
            type(module) in _SAFE
            and module.groups == 1
            and set(module.dilation) == {1}
            and not any(module.output_padding)
        ):
            module.__class__ = _SAFE[type(module)]
    return network


def _autocasts_on_cpu(images: Tensor) -> bool:
    return images.device.type == "cpu" and torch.is_autocast_enabled("cpu")


def _in_fp32(convolve: Callable[..., Tensor], images: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Convolve in fp32 what is rounded to bf16. The casts are part of the graph, so gradients are rounded, too."""
    dtype = torch.get_autocast_dtype("cpu")
    with torch.autocast("cpu", enabled=False):
        rounded = (each if each is None else each.to(dtype).float() for each in (images, weight, bias))
        return convolve(*rounded).to(dtype)
