"""A segmentation network: the encoder and decoder that an experiment names, and the heads that a method asks for."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from data.errors import UserError
from methods.shared.networks.autocast import AutocastNetwork, use_safe_convolutions
from methods.shared.networks.heads import make_head
from methods.shared.networks.layers import CHANNEL_DROPOUT, LINEAR, MEMORY_FORMAT, crop, padding_to_multiple

Change = Callable[[int, Tensor], Tensor]  # what an encoder does to a level's features before the next level


def unchanged(level: int, features: Tensor) -> Tensor:
    """The change that leaves features as they are."""
    return features


class NetworkError(UserError):
    """A network cannot be built as it is asked for. The message is one line for the user."""


class NetworkOutput(NamedTuple):
    """The outputs of one decoder, fp32. What was not asked for is None or empty.

    Attributes:
        logits: (B, K, ...), at the size of the input; K are the channels of the method's `head`.
        signed_distance: (B, C, ...), in (-1, 1), negative inside; C are the foreground classes.
        level_logits: one (B, K, ...) for each of the last decoder levels, coarse to fine.
        features: one (B, F, ...) for each decoder level, coarse to fine, before dropout. Their size is that of the
            level, with padding.
    """

    logits: Tensor | None = None
    signed_distance: Tensor | None = None
    level_logits: tuple[Tensor, ...] = ()
    features: tuple[Tensor, ...] = ()


@dataclass(frozen=True)
class Parts:
    """What a network is made of, as its registered function returns it. Heads are not part of it.

    Args:
        encoder: takes images (B, M, ...), returns a list of features, fine to coarse.
        decoder: makes a decoder of an upsampling's name. It takes the encoder's list, and returns its features of each
            level, coarse to fine; the last ones have the size of the images.
        channels: of each decoder level, coarse to fine.
        multiple: images are padded with zeros to a multiple of so many voxels along each axis.
        upsamplings: what `decoder` takes; the first one is the default.
        dropout: channel dropout before the heads, 0 for none.
        head_kernel: size of the segmentation head's convolution.
        separable: whether a method may change the encoder's features before they are decoded.
        autocast: whether encoder and decoder may run in half precision.
        encoder_channels: of each encoder level, fine to coarse. Such an encoder also takes a `Change`. Empty if it
            does not.

    Example:
        >>> Parts(nn.Identity(), lambda upsampling: nn.Identity(), channels=(16,), multiple=1).upsamplings
        ('default',)
    """

    encoder: nn.Module
    decoder: Callable[[str], nn.Module]
    channels: tuple[int, ...]
    multiple: int
    upsamplings: tuple[str, ...] = ("default",)
    dropout: float = 0.0
    head_kernel: int = 1
    separable: bool = True
    autocast: bool = True
    encoder_channels: tuple[int, ...] = ()


def whole(network: nn.Module, channels: int, multiple: int, autocast: bool = True) -> Parts:
    """The parts of a network that is one piece: it takes images and returns features at their size.

    Args:
        network: any module.
        channels: of its output.
        multiple: of voxels along each axis that it needs.
        autocast: whether it may run in half precision.

    Example:
        >>> parts = whole(nn.Conv2d(1, 8, 3, padding=1), channels=8, multiple=1)
        >>> parts.decoder("default")(parts.encoder(torch.zeros(1, 1, 4, 4)))[-1].shape
        torch.Size([1, 8, 4, 4])
    """
    decoder = _Last(network)
    return Parts(_First(), lambda upsampling: decoder, (channels,), multiple, separable=False, autocast=autocast)


class _First(nn.Module):
    def forward(self, images: Tensor) -> list[Tensor]:
        return [images]


class _Last(nn.Module):
    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, encoded: list[Tensor]) -> list[Tensor]:
        return [self.network(encoded[-1])]


class SegmentationNetwork(AutocastNetwork):
    """Encoder, decoders and heads, for images of any size. It pads them with zeros, and crops its outputs back.

    Args:
        name: of the network, for messages.
        parts: of the network.
        dimensions: 2 or 3.
        classes: the number C of foreground classes.
        channels: the number K of channels of segmentation heads: C, or C + 1 with background.
        segmentation: whether each decoder has a segmentation head.
        signed_distance: whether each decoder has a distance head, a 1x1 convolution followed by tanh.
        decoders: the upsampling of each decoder, all of which share one encoder. None: one decoder of the default.
        level_dropout: dropout rates, coarse to fine, for a segmentation head at each of the last decoder levels. Their
            logits are interpolated to full size. Empty for none.
        distance_bias: a fixed bias of the distance heads, which is not trained. None draws and trains it as torch does.
        separable: whether the method calls `encode` and `decode` itself.
        amp_dtype: the precision of encoder and decoders; None is fp32.

    Raises:
        NetworkError: the network does not have what is asked for.

    Source:
        Two heads: DTC release. Several decoders: MC-Net+ release. Heads at every level: after URPC.
    """

    def __init__(
        self,
        name: str,
        parts: Parts,
        dimensions: int,
        classes: int,
        channels: int,
        segmentation: bool = True,
        signed_distance: bool = False,
        decoders: tuple[str, ...] | None = None,
        level_dropout: tuple[float, ...] = (),
        distance_bias: float | None = None,
        separable: bool = False,
        amp_dtype: torch.dtype | None = None,
    ):
        super().__init__(amp_dtype if parts.autocast else None)
        decoders = decoders or parts.upsamplings[:1]
        _check(name, parts, decoders, level_dropout, separable)
        if level_dropout and not segmentation:
            raise NetworkError(
                "heads at decoder levels (level_dropout) need segmentation: leave out segmentation=False"
            )
        self.name, self.dimensions, self.multiple = name, dimensions, parts.multiple
        self.channels, self._encoder_channels = parts.channels, parts.encoder_channels
        self.upsamplings = parts.upsamplings
        self.encoder = use_safe_convolutions(parts.encoder)
        self.decoders = nn.ModuleList([use_safe_convolutions(parts.decoder(upsampling)) for upsampling in decoders])
        dropout = CHANNEL_DROPOUT[dimensions]
        self.dropout = dropout(level_dropout[-1] if level_dropout else parts.dropout)
        last, kernel = parts.channels[-1], parts.head_kernel
        count = len(decoders)
        self.segmentation = _heads(count * segmentation, dimensions, last, channels, kernel)
        self.signed_distance = _heads(count * signed_distance, dimensions, last, classes, 1)
        if distance_bias is not None:
            for head in self.signed_distance:
                nn.init.constant_(head.bias, distance_bias).requires_grad_(False)
        self.level_dropout = nn.ModuleList([dropout(rate) for rate in level_dropout[:-1]])
        self.level_heads = nn.ModuleList(
            [make_head(dimensions, width, channels) for width in parts.channels[-len(level_dropout) : -1]]
            if level_dropout
            else []
        )

    def forward(self, images: Tensor, features: bool = False) -> NetworkOutput:
        """The outputs of the first decoder.

        Args:
            images: (B, M, ...).
            features: whether to return the features of the decoder, too.
        """
        return self.decode(self.encode(images), images.shape[2:], features=features)

    def forward_decoders(self, images: Tensor, features: bool = False) -> list[NetworkOutput]:
        """The outputs of every decoder, from one pass of the shared encoder; arguments as for `forward`."""
        encoded = self.encode(images)
        return [self.decode(encoded, images.shape[2:], i, features) for i in range(len(self.decoders))]

    def compile_trunk(self, mode: str) -> None:
        """Apply torch.compile, in place, to encoder and decoders, which all ways of calling the network share."""
        for part in (self.encoder, *self.decoders):
            part.compile(mode=mode)

    @property
    def encoder_channels(self) -> tuple[int, ...]:
        """Of each encoder level, fine to coarse, for a method that adds layers to them."""
        if not self._encoder_channels:
            raise NetworkError(f"network {self.name} does not say the channels of its encoder's levels")
        return self._encoder_channels

    def encode(self, images: Tensor, change: Change | None = None) -> list[Tensor]:
        """The encoder's features of images (B, M, ...), fine to coarse, at the sizes of the padded images.

        A method that changes them before `decode`, by dropout for instance, asks for `separable=True`.

        Args:
            images: (B, M, ...).
            change: takes a level's number and features, and returns what goes on to the next level and to the decoder.
                Only networks with `encoder_channels` allow it.
        """
        padding = padding_to_multiple(images.shape[2:], self.multiple)
        if any(padding):
            images = F.pad(images, padding)
        with self.autocast(images):
            images = images.contiguous(memory_format=MEMORY_FORMAT[self.dimensions])
            return self.encoder(images) if change is None else self.encoder(images, change)

    def decode(
        self, encoded: list[Tensor], size: torch.Size, decoder: int = 0, features: bool = False
    ) -> NetworkOutput:
        """The outputs of one decoder.

        Args:
            encoded: as `encode` returns it.
            size: of the images, such as `images.shape[2:]`.
            decoder: its number.
            features: whether to return the features of the decoder, too.
        """
        with self.autocast(encoded[0]):
            levels = self.decoders[decoder](encoded)
        # Heads and what follows are fp32: distances are multiplied by 1500 later, and bf16 is too coarse for that.
        last, scale = levels[-1], _dropout_scale(self.dropout, levels[-1])
        logits = crop(self.segmentation[decoder](last, scale), size) if len(self.segmentation) else None
        distance = None
        if len(self.signed_distance):
            distance = crop(torch.tanh(self.signed_distance[decoder](last, scale)), size)
        below = levels[-1 - len(self.level_heads) : -1]
        coarse = [
            crop(F.interpolate(head(level, _dropout_scale(dropout, level)), last.shape[2:], mode=self._linear), size)
            for head, dropout, level in zip(self.level_heads, self.level_dropout, below, strict=True)
        ]
        return NetworkOutput(
            logits=logits,
            signed_distance=distance,
            level_logits=(*coarse, logits) if coarse else (),
            features=tuple(level.float() for level in levels) if features else (),
        )

    @property
    def _linear(self) -> str:
        return LINEAR[self.dimensions]


def _heads(count: int, dimensions: int, channels_in: int, channels: int, kernel: int) -> nn.ModuleList:
    return nn.ModuleList([make_head(dimensions, channels_in, channels, kernel) for _ in range(count)])


def _check(
    name: str, parts: Parts, decoders: tuple[str, ...], level_dropout: tuple[float, ...], separable: bool
) -> None:
    if separable and not parts.separable:
        raise NetworkError(f"network {name} is one piece: encoder and decoder cannot be called apart")
    if missing := [upsampling for upsampling in decoders if upsampling not in parts.upsamplings]:
        has = "one decoder" if len(parts.upsamplings) == 1 else f"decoders {', '.join(parts.upsamplings)}"
        raise NetworkError(f"network {name} has {has}, and none of upsampling {missing[0]}")
    if len(level_dropout) > len(parts.channels):
        count = len(parts.channels)
        raise NetworkError(
            f"network {name} gives features of {count} decoder level{'s' * (count > 1)}, and not of "
            f"{len(level_dropout)}"
        )


def _dropout_scale(dropout: nn.Module, features: Tensor) -> Tensor:
    """By what channel dropout multiplies the channels of features (B, F, ...): (B, F, 1, ...)."""
    ones = [1] * (features.ndim - 2)
    return dropout(torch.ones(*features.shape[:2], *ones, device=features.device))
