"""The field's U-Nets, as SSL4MIS has them: `unet_2d` of the ACDC protocol, `unet_3d` of the BraTS protocol."""

import torch
from torch import Tensor, nn

from methods.shared.networks.layers import (
    CONVOLUTION,
    INSTANCE_NORM,
    LINEAR,
    MAX_POOL,
    TRANSPOSED,
    Normalisation,
    normalisation,
)
from methods.shared.networks.network import Change, Parts, unchanged
from methods.shared.networks.registry import register_network

MULTIPLE = 16  # four halvings
UPSAMPLINGS = ("linear", "transposed", "nearest")  # the releases have the first one
DROPOUT_2D = (0.05, 0.1, 0.2, 0.3, 0.5)  # of single values, in each encoder level
DROPOUT_3D = 0.3


@register_network("unet_2d")
def unet_2d(channels: int, dimensions: int, width: int, *, normalisation: Normalisation = "batch") -> Parts:
    """The 2D U-Net of the ACDC protocol: LeakyReLU, dropout in the encoder, linear upsampling, a 3x3 head.

    It also takes volumes, with the same layers in 3D.

    Args:
        channels: of the images.
        dimensions: 2 or 3.
        width: channels of the first level; 16 as published.
        normalisation: after each convolution; batch as published.

    Source:
        SSL4MIS, `networks/unet.py`. Its second decoder, with transposed convolutions, is that of MC-Net in 2D.

    Example:
        >>> encoded = unet_2d(channels=1, dimensions=2, width=2).encoder(torch.zeros(2, 1, 16, 16))
        >>> [tuple(level.shape[1:]) for level in encoded]
        [(2, 16, 16), (4, 8, 8), (8, 4, 4), (16, 2, 2), (32, 1, 1)]
    """
    widths = [width * 2**level for level in range(5)]

    def block(channels_in: int, channels: int, rate: float) -> nn.Sequential:
        return nn.Sequential(
            *_unit(dimensions, channels_in, channels, normalisation),
            nn.Dropout(rate),
            *_unit(dimensions, channels, channels, normalisation),
        )

    encoder = _Encoder(
        dimensions, [block(a, b, p) for a, b, p in zip([channels, *widths], widths, DROPOUT_2D, strict=False)]
    )
    return Parts(
        encoder, lambda upsampling: _Decoder2D(dimensions, widths, upsampling, block),
        channels=tuple(widths[-2::-1]), multiple=MULTIPLE, upsamplings=UPSAMPLINGS,
        head_kernel=3, encoder_channels=tuple(widths),
    )  # fmt: skip


@register_network("unet_3d")
def unet_3d(channels: int, dimensions: int, width: int) -> Parts:
    """The 3D U-Net of the BraTS protocol: instance norm, linear upsampling, dropout at the bottom and before the head.

    Convolutions begin with Kaiming's normal weights. It also takes slices, with the same layers in 2D.

    Args:
        channels: of the images.
        dimensions: 2 or 3.
        width: channels of the first level; 16 as published.

    Source:
        SSL4MIS, `networks/unet_3D.py` and `networks/utils.py`.

    Example:
        >>> parts = unet_3d(channels=1, dimensions=3, width=2)
        >>> encoded = parts.encoder(torch.zeros(1, 1, 32, 32, 32))
        >>> parts.decoder("linear")(encoded)[-1].shape
        torch.Size([1, 2, 32, 32, 32])
    """
    widths = [width * 2**level for level in range(5)]

    def block(channels_in: int, channels: int) -> nn.Sequential:
        layers = []
        for a in (channels_in, channels):
            convolution = CONVOLUTION[dimensions](a, channels, 3, padding=1)
            nn.init.kaiming_normal_(convolution.weight)
            nn.init.zeros_(convolution.bias)
            layers += [convolution, INSTANCE_NORM[dimensions](channels), nn.ReLU(inplace=True)]
        return nn.Sequential(*layers)

    blocks = [block(a, b) for a, b in zip([channels, *widths], widths, strict=False)]
    encoder = _Encoder(dimensions, [*blocks[:-1], nn.Sequential(blocks[-1], nn.Dropout(DROPOUT_3D))])
    return Parts(
        encoder, lambda upsampling: _Decoder3D(dimensions, widths, upsampling, block),
        channels=tuple(widths[-2::-1]), multiple=MULTIPLE, upsamplings=UPSAMPLINGS,
        encoder_channels=tuple(widths),
    )  # fmt: skip


def _unit(dimensions: int, channels_in: int, channels: int, norm: Normalisation) -> tuple[nn.Module, ...]:
    convolution = CONVOLUTION[dimensions](channels_in, channels, 3, padding=1)
    return convolution, normalisation(norm, dimensions, channels), nn.LeakyReLU(inplace=True)


class _Encoder(nn.Module):
    """Blocks with max pooling between them. It returns their outputs, fine to coarse."""

    def __init__(self, dimensions: int, blocks: list[nn.Module]):
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.pool = MAX_POOL[dimensions](2)

    def forward(self, images: Tensor, change: Change = unchanged) -> list[Tensor]:
        outputs = [change(0, self.blocks[0](images))]
        for level, block in enumerate(self.blocks[1:], 1):
            outputs.append(change(level, block(self.pool(outputs[-1]))))
        return outputs


class _Decoder2D(nn.Module):
    def __init__(self, dimensions: int, widths: list[int], upsampling: str, block):
        super().__init__()
        pairs = list(zip(widths[:0:-1], widths[-2::-1], strict=True))
        self.ups = nn.ModuleList([_upsampling(dimensions, upsampling, a, b) for a, b in pairs])
        self.blocks = nn.ModuleList([block(2 * b, b, 0.0) for _, b in pairs])

    def forward(self, encoded: list[Tensor]) -> list[Tensor]:
        outputs = [encoded[-1]]
        for up, block, skip in zip(self.ups, self.blocks, encoded[-2::-1], strict=True):
            outputs.append(block(torch.cat([skip, up(outputs[-1])], 1)))
        return outputs[1:]


def _upsampling(dimensions: int, kind: str, channels_in: int, channels: int) -> nn.Module:
    if kind == "transposed":
        return TRANSPOSED[dimensions](channels_in, channels, 2, stride=2)
    linear = kind == "linear"
    resize = nn.Upsample(
        scale_factor=2, mode=LINEAR[dimensions] if linear else kind, align_corners=True if linear else None
    )
    return nn.Sequential(CONVOLUTION[dimensions](channels_in, channels, 1), resize)


class _Decoder3D(nn.Module):
    def __init__(self, dimensions: int, widths: list[int], upsampling: str, block):
        super().__init__()
        modes = {"linear": LINEAR[dimensions], "nearest": "nearest"}
        self.ups = nn.ModuleList(
            [
                nn.Upsample(scale_factor=2, mode=modes[upsampling])
                if upsampling in modes
                else TRANSPOSED[dimensions](width, width, 2, stride=2)
                for width in widths[:0:-1]
            ]
        )
        self.blocks = nn.ModuleList([block(a + b, b) for a, b in zip(widths[:0:-1], widths[-2::-1], strict=True)])
        self.dropout = nn.Dropout(DROPOUT_3D)

    def forward(self, encoded: list[Tensor]) -> list[Tensor]:
        outputs = [encoded[-1]]
        for up, block, skip in zip(self.ups, self.blocks, encoded[-2::-1], strict=True):
            outputs.append(block(torch.cat([skip, up(outputs[-1])], 1)))
        return [*outputs[1:-1], self.dropout(outputs[-1])]
