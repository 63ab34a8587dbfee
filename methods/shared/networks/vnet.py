"""The V-Net (Milletari et al., 3DV 2016, in the form of the UA-MT release), and the ResV-Net with its decoder.

A normalisation and ReLU follow every convolution. There are no residuals inside a block, and skip connections are
additions after the up-block's ReLU. Channel dropout follows the V-Net's deepest block and precedes the heads.
"""

import torch
from torch import Tensor, nn

from methods.shared.networks.layers import (
    CHANNEL_DROPOUT,
    CONVOLUTION,
    LINEAR,
    TRANSPOSED,
    Normalisation,
    normalisation,
)
from methods.shared.networks.network import Change, NetworkError, Parts, unchanged
from methods.shared.networks.registry import register_network

MULTIPLE = 16  # four halvings
DROPOUT = 0.5
UPSAMPLINGS = ("transposed", "linear", "nearest")
RESNET34 = (3, 4, 6, 3)  # blocks of each stage


@register_network("vnet")
def vnet(channels: int, dimensions: int, width: int, *, normalisation: Normalisation = "batch") -> Parts:
    """The V-Net that every method shares by default.

    Args:
        channels: of the images.
        dimensions: 2 or 3.
        width: channels of the first level; 16 as published.
        normalisation: after each convolution.

    Example:
        >>> parts = vnet(channels=1, dimensions=3, width=2)
        >>> encoded = parts.encoder(torch.zeros(2, 1, 16, 16, 16))
        >>> [tuple(level.shape) for level in parts.decoder("transposed")(encoded)][-1]
        (2, 2, 16, 16, 16)
    """
    layers = _Layers(dimensions, normalisation)
    return _with_decoder_of_vnet(_Encoder(layers, channels, width), layers, width)


@register_network("resvnet")
def resvnet(channels: int, dimensions: int, width: int, *, normalisation: Normalisation = "batch") -> Parts:
    """A ResNet-34 as the encoder of a V-Net, and the V-Net's decoder. Channel dropout precedes the heads alone.

    Args:
        channels: of the images.
        dimensions: 2 or 3.
        width: channels of the first level; 16 as published.
        normalisation: after each convolution. MCF has batch, SDCL instance norm.

    Source:
        SDCL release, `code/pancreas/ResVNet.py` and `resnet.py`; a copy of MCF's `networks/ResNet34.py` by others.

    Example:
        >>> encoded = resvnet(channels=1, dimensions=2, width=2).encoder(torch.zeros(1, 1, 32, 32))
        >>> [tuple(level.shape[1:]) for level in encoded]
        [(2, 32, 32), (4, 16, 16), (8, 8, 8), (16, 4, 4), (32, 2, 2)]
    """
    layers = _Layers(dimensions, normalisation)
    return _with_decoder_of_vnet(_ResNetEncoder(layers, channels, width), layers, width)


def _with_decoder_of_vnet(encoder: nn.Module, layers: "_Layers", width: int) -> Parts:
    return Parts(
        encoder, lambda upsampling: _Decoder(layers, width, upsampling),
        channels=tuple(width * times for times in (8, 4, 2, 1)), multiple=MULTIPLE, upsamplings=UPSAMPLINGS,
        dropout=DROPOUT, encoder_channels=tuple(width * 2**level for level in range(5)),
    )  # fmt: skip


class _Layers:
    """Units of a convolution, a normalisation and ReLU, in 2D or 3D."""

    def __init__(self, dimensions: int, normalisation: Normalisation):
        self.dimensions, self.normalisation = dimensions, normalisation

    def norm(self, channels: int) -> nn.Module:
        return normalisation(self.normalisation, self.dimensions, channels)

    def unit(self, convolution: nn.Module, channels: int) -> nn.Sequential:
        return nn.Sequential(convolution, self.norm(channels), nn.ReLU(inplace=True))

    def block(self, convolutions: int, channels_in: int, channels: int) -> nn.Sequential:
        widths = [channels_in] + [channels] * convolutions
        convolution = CONVOLUTION[self.dimensions]
        return nn.Sequential(
            *(self.unit(convolution(a, b, 3, padding=1), b) for a, b in zip(widths, widths[1:], strict=False))
        )

    def down(self, channels_in: int, channels: int) -> nn.Sequential:
        return self.unit(CONVOLUTION[self.dimensions](channels_in, channels, 2, stride=2), channels)

    def up(self, kind: str, channels_in: int, channels: int) -> nn.Sequential:
        if kind == "transposed":
            return self.unit(TRANSPOSED[self.dimensions](channels_in, channels, 2, stride=2), channels)
        if kind == "linear":
            resize = nn.Upsample(scale_factor=2, mode=LINEAR[self.dimensions], align_corners=True)
        elif kind == "nearest":
            resize = nn.Upsample(scale_factor=2, mode="nearest")
        else:
            raise NetworkError(f"unknown upsampling {kind!r}: {', '.join(UPSAMPLINGS)}")
        convolution = CONVOLUTION[self.dimensions](channels_in, channels, 3, padding=1)
        return nn.Sequential(resize, self.unit(convolution, channels))


class _Encoder(nn.Module):
    """The encoder of five levels. It returns their outputs, fine to coarse, the last one after dropout."""

    def __init__(self, layers: _Layers, channels: int, width: int):
        super().__init__()
        widths = [width * 2**level for level in range(5)]
        self.blocks = nn.ModuleList(
            [
                layers.block(n, channels if level == 0 else widths[level], widths[level])
                for level, n in enumerate((1, 2, 3, 3, 3))
            ]
        )
        self.downs = nn.ModuleList([layers.down(a, b) for a, b in zip(widths, widths[1:], strict=False)])
        self.dropout = CHANNEL_DROPOUT[layers.dimensions](DROPOUT)

    def forward(self, images: Tensor, change: Change = unchanged) -> list[Tensor]:
        outputs = [change(0, self.blocks[0](images))]
        for level, (down, block) in enumerate(zip(self.downs, self.blocks[1:], strict=True), 1):
            outputs.append(change(level, block(down(outputs[-1]))))
        outputs[-1] = self.dropout(outputs[-1])
        return outputs


class _Decoder(nn.Module):
    """A decoder of four levels (blocks 6 to 9 of the original). It returns their outputs, coarse to fine."""

    def __init__(self, layers: _Layers, width: int, upsampling: str):
        super().__init__()
        widths = [width * 2**level for level in (4, 3, 2, 1, 0)]
        pairs = list(zip(widths, widths[1:], strict=False))
        self.ups = nn.ModuleList([layers.up(upsampling, a, b) for a, b in pairs])
        self.blocks = nn.ModuleList([layers.block(n, b, b) for n, (_, b) in zip((3, 3, 2, 1), pairs, strict=True)])

    def forward(self, encoded: list[Tensor]) -> list[Tensor]:
        outputs = []
        deeper = encoded[-1]
        for up, block, skip in zip(self.ups, self.blocks, encoded[-2::-1], strict=True):
            deeper = block(up(deeper) + skip)
            outputs.append(deeper)
        return outputs


class _ResNetEncoder(nn.Module):
    """A ResNet-34 without its pooling: a convolution of 7 at full size, then four stages that halve."""

    def __init__(self, layers: _Layers, channels: int, width: int):
        super().__init__()
        convolution = CONVOLUTION[layers.dimensions]
        self.stem = layers.unit(convolution(channels, width, 7, padding=3, bias=False), width)
        widths = [width * 2**level for level in range(5)]
        self.stages = nn.ModuleList(
            [
                nn.Sequential(_Residual(layers, a, b, stride=2), *(_Residual(layers, b, b) for _ in range(count - 1)))
                for a, b, count in zip(widths, widths[1:], RESNET34, strict=False)
            ]
        )

    def forward(self, images: Tensor, change: Change = unchanged) -> list[Tensor]:
        outputs = [change(0, self.stem(images))]
        for level, stage in enumerate(self.stages, 1):
            outputs.append(change(level, stage(outputs[-1])))
        return outputs


class _Residual(nn.Module):
    """Two convolutions and a shortcut (He et al., CVPR 2016, the basic block)."""

    def __init__(self, layers: _Layers, channels_in: int, channels: int, stride: int = 1):
        super().__init__()
        convolution = CONVOLUTION[layers.dimensions]
        self.layers = nn.Sequential(
            layers.unit(convolution(channels_in, channels, 3, stride=stride, padding=1, bias=False), channels),
            convolution(channels, channels, 3, padding=1, bias=False),
            layers.norm(channels),
        )
        self.shortcut = nn.Sequential()
        if stride != 1:
            self.shortcut = nn.Sequential(
                convolution(channels_in, channels, 1, stride=stride, bias=False), layers.norm(channels)
            )

    def forward(self, features: Tensor) -> Tensor:
        return torch.relu(self.layers(features) + self.shortcut(features))
