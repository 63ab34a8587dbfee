"""The V-Net that every method shares (Milletari et al., 3DV 2016, in the form of the UA-MT release).

No residuals inside a block, skip connections are additions after the up-block's ReLU, batch norm and ReLU after every
convolution, channel dropout after the deepest block and before the heads.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from methods.shared.networks.autocast import AutocastNetwork, Conv3d, ConvTranspose3d
from methods.shared.networks.heads import Head

MULTIPLE = 16  # four halvings
LEVELS = 4  # decoder levels, coarse to fine
DROPOUT = 0.5


class VNetOutput(NamedTuple):
    """fp32 outputs of one decoder at the input's size; what was not asked for is None or empty.

    logits (B,C,H,W,D); signed_distance (B,C,H,W,D) in (-1, 1), negative inside; level_logits: one (B,C,H,W,D) a
    decoder level, coarse to fine; features: one (B,F,h,w,d) a decoder level, coarse to fine, before dropout, at the
    level's own (padded) size.
    """

    logits: Tensor | None = None
    signed_distance: Tensor | None = None
    level_logits: tuple[Tensor, ...] = ()
    features: tuple[Tensor, ...] = ()


def _unit(convolution: nn.Module, channels: int) -> nn.Sequential:
    return nn.Sequential(convolution, nn.BatchNorm3d(channels), nn.ReLU(inplace=True))


def _block(convolutions: int, channels_in: int, channels: int) -> nn.Sequential:
    widths = [channels_in] + [channels] * convolutions
    return nn.Sequential(*(_unit(Conv3d(a, b, 3, padding=1), b) for a, b in zip(widths, widths[1:], strict=False)))


def _up(kind: str, channels_in: int, channels: int) -> nn.Sequential:
    if kind == "transposed":
        return _unit(ConvTranspose3d(channels_in, channels, 2, stride=2), channels)
    if kind == "trilinear":
        resize = nn.Upsample(scale_factor=2, mode="trilinear", align_corners=True)
    elif kind == "nearest":
        resize = nn.Upsample(scale_factor=2, mode="nearest")
    else:
        raise ValueError(f"unknown upsampling {kind!r}: transposed, trilinear or nearest")
    return nn.Sequential(resize, _unit(Conv3d(channels_in, channels, 3, padding=1), channels))


class Encoder(nn.Module):
    """Five levels; returns their outputs, fine to coarse, the last one after dropout."""

    def __init__(self, width: int):
        super().__init__()
        widths = [width * 2**level for level in range(5)]
        self.blocks = nn.ModuleList(
            [_block(n, 1 if level == 0 else widths[level], widths[level]) for level, n in enumerate((1, 2, 3, 3, 3))]
        )
        self.downs = nn.ModuleList(
            [_unit(Conv3d(a, b, 2, stride=2), b) for a, b in zip(widths, widths[1:], strict=False)]
        )
        self.dropout = nn.Dropout3d(DROPOUT)

    def forward(self, images: Tensor) -> list[Tensor]:
        outputs = [self.blocks[0](images)]
        for down, block in zip(self.downs, self.blocks[1:], strict=True):
            outputs.append(block(down(outputs[-1])))
        outputs[-1] = self.dropout(outputs[-1])
        return outputs


class Decoder(nn.Module):
    """Four levels; returns their outputs, coarse to fine (blocks 6 to 9 of the original)."""

    def __init__(self, width: int, upsampling: str):
        super().__init__()
        widths = [width * 2**level for level in (4, 3, 2, 1, 0)]
        pairs = list(zip(widths, widths[1:], strict=False))
        self.ups = nn.ModuleList([_up(upsampling, a, b) for a, b in pairs])
        self.blocks = nn.ModuleList([_block(n, b, b) for n, (_, b) in zip((3, 3, 2, 1), pairs, strict=True)])

    def forward(self, encoded: list[Tensor]) -> list[Tensor]:
        outputs = []
        deeper = encoded[-1]
        for up, block, skip in zip(self.ups, self.blocks, encoded[-2::-1], strict=True):
            deeper = block(up(deeper) + skip)
            outputs.append(deeper)
        return outputs


class VNet(AutocastNetwork):
    """V-Net for images (B,1,H,W,D) of any size; inputs are zero-padded to multiples of 16 and outputs cropped back.

    classes: C foreground channels. width: channels of the first level, 16 as published.
    segmentation, signed_distance: which heads each decoder has (a 1x1x1 convolution; followed by tanh for distance).
    decoders: the upsampling of each decoder on the one encoder: "transposed" (the original), "trilinear", "nearest".
    level_dropout: four rates, coarse to fine, give a segmentation head at every decoder level, upsampled to full size.
    """

    def __init__(
        self,
        classes: int = 1,
        width: int = 16,
        segmentation: bool = True,
        signed_distance: bool = False,
        decoders: tuple[str, ...] = ("transposed",),
        level_dropout: tuple[float, ...] = (),
        amp_dtype: torch.dtype | None = None,
    ):
        super().__init__(amp_dtype)
        if level_dropout and (len(level_dropout) != LEVELS or not segmentation):
            raise ValueError(f"level_dropout needs {LEVELS} rates and the segmentation head")
        self.classes = classes
        self.encoder = Encoder(width)
        self.decoders = nn.ModuleList([Decoder(width, upsampling) for upsampling in decoders])
        self.dropout = nn.Dropout3d(level_dropout[-1] if level_dropout else DROPOUT)
        self.segmentation = self._heads(segmentation, width)
        self.signed_distance = self._heads(signed_distance, width)
        self.level_dropout = nn.ModuleList([nn.Dropout3d(rate) for rate in level_dropout[:-1]])
        self.level_heads = nn.ModuleList(
            [Head(width * 2**level, classes) for level in (3, 2, 1)[: len(self.level_dropout)]]
        )

    def _heads(self, wanted: bool, width: int) -> nn.ModuleList:
        return nn.ModuleList([Head(width, self.classes) for _ in self.decoders] if wanted else [])

    def forward(self, images: Tensor, features: bool = False) -> VNetOutput:
        """Outputs of the first decoder."""
        return self._decode(self._encode(images), 0, images.shape[2:], features)

    def forward_decoders(self, images: Tensor, features: bool = False) -> list[VNetOutput]:
        """Outputs of every decoder, with one pass of the shared encoder."""
        encoded = self._encode(images)
        return [self._decode(encoded, i, images.shape[2:], features) for i in range(len(self.decoders))]

    def compile_trunk(self, mode: str) -> None:
        """torch.compile, in place, encoder and decoders: they are called by several ways in."""
        for part in (self.encoder, *self.decoders):
            part.compile(mode=mode)

    def _encode(self, images: Tensor) -> list[Tensor]:
        padding = [n for size in reversed(images.shape[2:]) for n in (0, -size % MULTIPLE)]
        if any(padding):
            images = F.pad(images, padding)
        with self.autocast(images):
            return self.encoder(images.contiguous(memory_format=torch.channels_last_3d))

    def _decode(self, encoded: list[Tensor], i: int, size: torch.Size, features: bool) -> VNetOutput:
        with self.autocast(encoded[0]):
            levels = self.decoders[i](encoded)
        # Heads and all that follows are fp32: a distance map steepened by 1500 has no bits to spare.
        last, kept = levels[-1], _kept(self.dropout, levels[-1])
        logits = _crop(self.segmentation[i](last, kept), size) if len(self.segmentation) else None
        distance = _crop(torch.tanh(self.signed_distance[i](last, kept)), size) if len(self.signed_distance) else None
        coarse = [
            _crop(F.interpolate(head(level, _kept(dropout, level)), last.shape[2:], mode="trilinear"), size)
            for head, dropout, level in zip(self.level_heads, self.level_dropout, levels, strict=False)
        ]
        return VNetOutput(
            logits=logits,
            signed_distance=distance,
            level_logits=(*coarse, logits) if coarse else (),
            features=tuple(level.float() for level in levels) if features else (),
        )


def _kept(dropout: nn.Module, features: Tensor) -> Tensor:
    """What channel dropout multiplies the channels of features (B,F,...) by: (B,F,1,1,1)."""
    return dropout(torch.ones(*features.shape[:2], 1, 1, 1, device=features.device))


def _crop(volume: Tensor, size: torch.Size) -> Tensor:
    h, w, d = size
    return volume[..., :h, :w, :d]


@dataclass(frozen=True)
class Backbone:
    """The factory a method gets: the same V-Net for all of them. Keywords choose its heads and decoders."""

    classes: int = 1
    width: int = 16
    amp_dtype: torch.dtype | None = None

    def __call__(self, **openings) -> VNet:
        return VNet(self.classes, self.width, amp_dtype=self.amp_dtype, **openings)
