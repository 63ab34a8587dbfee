"""The V-Net that every method shares (Milletari et al., 3DV 2016, in the form of the UA-MT release).

Batch norm and ReLU follow every convolution. There are no residuals inside a block, and skip connections are additions
after the up-block's ReLU. Channel dropout follows the deepest block and precedes the heads.
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
    """The outputs of one decoder, fp32. What was not asked for is None or empty.

    Attributes:
        logits: (B, C, H, W, D), at the size of the input.
        signed_distance: (B, C, H, W, D), in (-1, 1), negative inside.
        level_logits: one (B, C, H, W, D) for each decoder level, coarse to fine.
        features: one (B, F, h, w, d) for each decoder level, coarse to fine, before dropout. (h, w, d) is the size of
            the level, with padding.
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
    """The encoder of five levels. It returns their outputs, fine to coarse, the last one after dropout."""

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
    """A decoder of four levels (blocks 6 to 9 of the original). It returns their outputs, coarse to fine."""

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
    """V-Net for images of any size. It pads them with zeros to multiples of 16 and crops its outputs back.

    Args:
        classes: the number C of foreground channels.
        width: channels of the first level; 16 as published.
        segmentation: whether each decoder has a segmentation head, a 1x1x1 convolution.
        signed_distance: whether each decoder has a distance head, a 1x1x1 convolution followed by tanh.
        decoders: the upsampling of each decoder, all of which share one encoder: "transposed" (the original),
            "trilinear" or "nearest".
        level_dropout: four dropout rates, coarse to fine, for a segmentation head at every decoder level. Their logits
            are interpolated to full size. Empty for none.
        distance_bias: the initial bias of the distance heads; None draws it as torch does. With a positive one, voxels
            without features start outside.
        amp_dtype: the precision of encoder and decoders; None is fp32.

    Raises:
        ValueError: an unknown upsampling, or rates that are not four or without a segmentation head.

    Source:
        Milletari et al., 3DV 2016; UA-MT release, `networks/vnet.py`. Two heads: DTC release. Several decoders: MC-Net+
        release. Heads at every level: after URPC.

    Example:
        >>> network = VNet(classes=2, width=2, signed_distance=True)
        >>> output = network(torch.zeros(1, 1, 20, 20, 16))
        >>> output.logits.shape, output.signed_distance.shape
        (torch.Size([1, 2, 20, 20, 16]), torch.Size([1, 2, 20, 20, 16]))
    """

    def __init__(
        self,
        classes: int = 1,
        width: int = 16,
        segmentation: bool = True,
        signed_distance: bool = False,
        decoders: tuple[str, ...] = ("transposed",),
        level_dropout: tuple[float, ...] = (),
        distance_bias: float | None = None,
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
        if distance_bias is not None:
            for head in self.signed_distance:
                nn.init.constant_(head.bias, distance_bias)
        self.level_dropout = nn.ModuleList([nn.Dropout3d(rate) for rate in level_dropout[:-1]])
        self.level_heads = nn.ModuleList(
            [Head(width * 2**level, classes) for level in (3, 2, 1)[: len(self.level_dropout)]]
        )

    def _heads(self, wanted: bool, width: int) -> nn.ModuleList:
        return nn.ModuleList([Head(width, self.classes) for _ in self.decoders] if wanted else [])

    def forward(self, images: Tensor, features: bool = False) -> VNetOutput:
        """The outputs of the first decoder.

        Args:
            images: (B, 1, H, W, D).
            features: whether to return the features of the decoder, too.
        """
        return self._decode(self._encode(images), 0, images.shape[2:], features)

    def forward_decoders(self, images: Tensor, features: bool = False) -> list[VNetOutput]:
        """The outputs of every decoder, from one pass of the shared encoder; arguments as for `forward`."""
        encoded = self._encode(images)
        return [self._decode(encoded, i, images.shape[2:], features) for i in range(len(self.decoders))]

    def compile_trunk(self, mode: str) -> None:
        """Apply torch.compile, in place, to encoder and decoders, which `forward` and `forward_decoders` share."""
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
        # Heads and what follows are fp32: distances are multiplied by 1500 later, and bf16 is too coarse for that.
        last, scale = levels[-1], _dropout_scale(self.dropout, levels[-1])
        logits = _crop(self.segmentation[i](last, scale), size) if len(self.segmentation) else None
        distance = _crop(torch.tanh(self.signed_distance[i](last, scale)), size) if len(self.signed_distance) else None
        coarse = [
            _crop(F.interpolate(head(level, _dropout_scale(dropout, level)), last.shape[2:], mode="trilinear"), size)
            for head, dropout, level in zip(self.level_heads, self.level_dropout, levels, strict=False)
        ]
        return VNetOutput(
            logits=logits,
            signed_distance=distance,
            level_logits=(*coarse, logits) if coarse else (),
            features=tuple(level.float() for level in levels) if features else (),
        )


def _dropout_scale(dropout: nn.Module, features: Tensor) -> Tensor:
    """By what channel dropout multiplies the channels of features (B, F, …): (B, F, 1, 1, 1)."""
    return dropout(torch.ones(*features.shape[:2], 1, 1, 1, device=features.device))


def _crop(volume: Tensor, size: torch.Size) -> Tensor:
    h, w, d = size
    return volume[..., :h, :w, :d]


@dataclass(frozen=True)
class Backbone:
    """What a method gets to make its networks: the same V-Net for all methods.

    Args:
        classes: the number C of foreground classes.
        width: channels of the first level; 16 as published.
        amp_dtype: the precision of encoder and decoders; None is fp32.

    Example:
        >>> backbone = Backbone(classes=1, width=2)
        >>> network = backbone(signed_distance=True)
        >>> network(torch.zeros(2, 1, 16, 16, 16)).signed_distance.shape
        torch.Size([2, 1, 16, 16, 16])
    """

    classes: int = 1
    width: int = 16
    amp_dtype: torch.dtype | None = None

    def __call__(self, **heads_and_decoders) -> VNet:
        """A new V-Net; keywords are those of `VNet` except the fields of this class."""
        return VNet(self.classes, self.width, amp_dtype=self.amp_dtype, **heads_and_decoders)
