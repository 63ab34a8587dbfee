"""The discriminators of the adversarial methods.

Their width follows that of the V-Net. Beside a V-Net of half the published width, a discriminator of full width would
cost three V-Nets, and win before the V-Net has learnt anything.
"""

import torch
from torch import Tensor, nn

from methods.shared.networks.autocast import AutocastNetwork
from methods.shared.networks.layers import (
    BATCH_NORM,
    CHANNEL_DROPOUT,
    CONVOLUTION,
    TRANSPOSED,
    crop,
    padding_to_multiple,
)


def _halve(dimensions: int, channels_in: int, channels: int) -> nn.Module:
    return CONVOLUTION[dimensions](channels_in, channels, 4, stride=2, padding=1)


class DistanceMapDiscriminator(AutocastNetwork):
    """SASSNet's discriminator: was a signed distance map predicted for a labelled image?

    Map and image each pass one strided convolution, and the results are added. Three more halvings follow, with
    LeakyReLU 0.2, channel dropout and no normalisation, then global pooling and a linear layer. The release pools with
    a 7x7x5 kernel, which covers a 112x112x80 patch: global pooling is the same there and works for all other sizes.

    Args:
        dimensions: 2 or 3.
        classes: the number C of channels of the map.
        channels: the number M of channels of the images.
        width: channels of the first level; 64 as published.
        amp_dtype: the precision of the convolutions; None is fp32.

    Source:
        Li et al., MICCAI 2020, and its release (`networks/discriminator.py`).
    """

    def __init__(self, dimensions: int, classes: int, channels: int, width: int, amp_dtype: torch.dtype | None = None):
        super().__init__(amp_dtype)
        dropout = CHANNEL_DROPOUT[dimensions]
        self.map_entry = _halve(dimensions, classes, width)
        self.image_entry = _halve(dimensions, channels, width)
        self.trunk = nn.Sequential(
            nn.LeakyReLU(0.2), dropout(0.5),
            _halve(dimensions, width, 2 * width), nn.LeakyReLU(0.2), dropout(0.5),
            _halve(dimensions, 2 * width, 4 * width), nn.LeakyReLU(0.2), dropout(0.5),
            _halve(dimensions, 4 * width, 8 * width), nn.LeakyReLU(0.2),
        )  # fmt: skip
        self.head = nn.Linear(8 * width, 2)

    def forward(self, signed_distance: Tensor, images: Tensor) -> Tensor:
        """Two logits (B, 2), of which class 1 is "labelled".

        Args:
            signed_distance: maps (B, C, ...).
            images: (B, M, ...).
        """
        with self.autocast(images):
            features = self.trunk(self.map_entry(signed_distance) + self.image_entry(images))
        return self.head(features.float().mean(tuple(range(2, features.ndim))))


class ConfidenceNetwork(AutocastNetwork):
    """ASDNet's confidence network: for each voxel, how much a segmentation looks like a manual one.

    It has three halvings and three up-units, skip connections that are additions, and batch norm on the way up only.

    Args:
        dimensions: 2 or 3.
        channels: of the segmentations.
        maps: the number of output channels.
        width: channels of the first level; 32 in the release.
        amp_dtype: the precision of the convolutions; None is fp32.

    Source:
        Nie et al., MICCAI 2018, and the author's release.
    """

    def __init__(self, dimensions: int, channels: int, maps: int, width: int, amp_dtype: torch.dtype | None = None):
        super().__init__(amp_dtype)
        widths = [width * 2**level for level in range(4)]
        self.entry = CONVOLUTION[dimensions](channels, width, 3, padding=1)
        self.downs = nn.ModuleList([_halve(dimensions, a, b) for a, b in zip(widths, widths[1:], strict=False)])
        widths.reverse()
        self.ups = nn.ModuleList(
            nn.Sequential(TRANSPOSED[dimensions](a, b, 4, stride=2, padding=1), BATCH_NORM[dimensions](b), nn.ReLU())
            for a, b in zip(widths, widths[1:], strict=False)
        )
        self.head = (nn.Conv2d if dimensions == 2 else nn.Conv3d)(width, maps, 1)

    def forward(self, probabilities: Tensor) -> Tensor:
        """Logits (B, maps, ...) of probabilities (B, channels, ...), whose size may be any."""
        size = probabilities.shape[2:]
        padding = padding_to_multiple(size, 8)
        with self.autocast(probabilities):
            levels = [nn.functional.leaky_relu(self.entry(nn.functional.pad(probabilities, padding)), 0.2)]
            for down in self.downs:
                levels.append(nn.functional.leaky_relu(down(levels[-1]), 0.2))
            features = levels.pop()
            for up in self.ups:
                features = nn.functional.relu(up(features) + levels.pop())
        return crop(self.head(features.float()), size)
