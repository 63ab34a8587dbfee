"""Networks of MONAI. It is imported where one of them is built, because that takes seconds."""

import math

from torch import Tensor, nn

from methods.shared.networks.network import NetworkError, Parts, whole
from methods.shared.networks.registry import register_network

MOST_FILTERS = {2: 512, 3: 320}  # of nnU-Net


@register_network("dynunet")
def dynunet(
    channels: int, dimensions: int, width: int, *,
    strides: tuple[int | tuple[int, ...], ...] = (1, 2, 2, 2, 2),
    kernels: tuple[int | tuple[int, ...], ...] | None = None,
    residual: bool = False,
) -> Parts:  # fmt: skip
    """MONAI's DynUNet, which is nnU-Net's network: instance norm, LeakyReLU, strided convolutions.

    Args:
        channels: of the images.
        dimensions: 2 or 3.
        width: channels of the first level, 32 in nnU-Net. Each level doubles them, up to nnU-Net's limit.
        strides: of each level, one number or one an axis; the first is 1. nnU-Net plans them from the voxel size.
        kernels: of each level; 3 by default.
        residual: whether blocks have shortcuts, as in nnU-Net's residual encoder.

    Raises:
        NetworkError: fewer than three levels, a first stride other than 1, or kernels of another number.

    Example:
        >>> parts = dynunet(channels=1, dimensions=2, width=4, strides=(1, 2, 2))
        >>> parts.channels, parts.multiple
        ((8, 4), 4)
    """
    from monai.networks.nets.dynunet import DynUNet

    per_axis = [_per_axis(stride, dimensions, "strides") for stride in strides]
    kernels = kernels or (3,) * len(strides)
    if len(strides) < 3 or set(per_axis[0]) != {1} or len(kernels) != len(strides):
        raise NetworkError("network dynunet: give strides of three levels or more, the first 1, and as many kernels")
    filters = [min(width * 2**level, MOST_FILTERS[dimensions]) for level in range(len(strides))]

    def build() -> DynUNet:
        return DynUNet(
            spatial_dims=dimensions, in_channels=channels, out_channels=1, filters=filters, strides=per_axis,
            kernel_size=[_per_axis(kernel, dimensions, "kernels") for kernel in kernels],
            upsample_kernel_size=per_axis[1:], res_block=residual,
        )  # fmt: skip

    multiple = max(math.prod(axis) for axis in zip(*per_axis, strict=True))
    return Parts(
        _DynUNetEncoder(build()), lambda upsampling: _DynUNetDecoder(build()), channels=tuple(filters[-2::-1]),
        multiple=multiple, upsamplings=("transposed",),
    )  # fmt: skip


@register_network("swin_unetr")
def swin_unetr(
    channels: int, dimensions: int, width: int, *, depths: tuple[int, ...] = (2, 2, 2, 2),
    heads: tuple[int, ...] = (3, 6, 12, 24),
) -> Parts:  # fmt: skip
    """MONAI's SwinUNETR, a transformer whose stages halve an image five times.

    Args:
        channels: of the images.
        dimensions: 2 or 3.
        width: channels of the first stage, a multiple of 12; 24 or 48 as published.
        depths: transformer blocks of each of the four stages.
        heads: attention heads of each of the four stages.

    Raises:
        NetworkError: a width that is no multiple of 12, or depths and heads that are not four.
    """
    from monai.networks.nets.swin_unetr import SwinUNETR

    if width % 12:
        raise NetworkError(f"network swin_unetr: training.width {width} must be a multiple of 12: take 12, 24 or 48")
    if len(depths) != 4 or len(heads) != 4:
        raise NetworkError("network swin_unetr: give four depths and four heads, one of each stage")
    network = SwinUNETR(
        in_channels=channels, out_channels=width, feature_size=width, spatial_dims=dimensions, depths=depths,
        num_heads=heads,
    )  # fmt: skip
    return whole(network, channels=width, multiple=32)


def _per_axis(value: int | tuple[int, ...], dimensions: int, name: str) -> tuple[int, ...]:
    values = (value,) * dimensions if isinstance(value, int) else tuple(value)
    if len(values) != dimensions or min(values) < 1:
        raise NetworkError(f"network dynunet: {name} {value} of a level must be one number, or {dimensions} of them")
    return values


class _DynUNetEncoder(nn.Module):
    def __init__(self, network: nn.Module):
        super().__init__()
        self.levels = nn.ModuleList([network.input_block, *network.downsamples, network.bottleneck])

    def forward(self, images: Tensor) -> list[Tensor]:
        outputs = [images]
        for level in self.levels:
            outputs.append(level(outputs[-1]))
        return outputs[1:]


class _DynUNetDecoder(nn.Module):
    def __init__(self, network: nn.Module):
        super().__init__()
        self.levels = network.upsamples

    def forward(self, encoded: list[Tensor]) -> list[Tensor]:
        outputs = [encoded[-1]]
        for level, skip in zip(self.levels, encoded[-2::-1], strict=True):
            outputs.append(level(outputs[-1], skip))
        return outputs[1:]
