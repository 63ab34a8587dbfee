"""Discriminators of the adversarial methods. Their width follows the V-Net's: with half the filters in one and all in
the other a discriminator would cost three V-Nets and win before the V-Net has learnt anything."""

import torch
from torch import Tensor, nn

from methods.shared.networks.autocast import AutocastNetwork, Conv3d, ConvTranspose3d


def _halve(channels_in: int, channels: int) -> Conv3d:
    return Conv3d(channels_in, channels, 4, stride=2, padding=1)


class DistanceMapDiscriminator(AutocastNetwork):
    """SASSNet's discriminator of (signed distance map, image) pairs (Li et al., MICCAI 2020, and its release).

    Map (B,C,H,W,D) and image (B,1,H,W,D) pass a strided convolution each and are added; three more halvings follow,
    with LeakyReLU 0.2 and channel dropout, no normalisation; then two logits (B,2), class 1 "labelled".
    Published with a width of 64. The release pools with a 7x7x5 kernel, which is all of a 112x112x80 patch: pooling
    globally is the same there and works for every other patch.
    """

    def __init__(self, classes: int, width: int, amp_dtype: torch.dtype | None = None):
        super().__init__(amp_dtype)
        self.map_entry = _halve(classes, width)
        self.image_entry = _halve(1, width)
        self.trunk = nn.Sequential(
            nn.LeakyReLU(0.2), nn.Dropout3d(0.5),
            _halve(width, 2 * width), nn.LeakyReLU(0.2), nn.Dropout3d(0.5),
            _halve(2 * width, 4 * width), nn.LeakyReLU(0.2), nn.Dropout3d(0.5),
            _halve(4 * width, 8 * width), nn.LeakyReLU(0.2),
        )  # fmt: skip
        self.head = nn.Linear(8 * width, 2)

    def forward(self, signed_distance: Tensor, images: Tensor) -> Tensor:
        with self.autocast(images):
            features = self.trunk(self.map_entry(signed_distance) + self.image_entry(images))
        return self.head(features.float().mean((2, 3, 4)))


class ConfidenceNetwork(AutocastNetwork):
    """ASDNet's confidence network (Nie et al., MICCAI 2018, and the author's release): how real each voxel looks.

    Takes class probabilities (B,C,H,W,D) of any size, one channel a class, and returns logits of the same shape. Three
    halvings, three up-units whose skip connections are additions, batch norm on the way up only.
    Its release has a width of 32.
    """

    def __init__(self, classes: int, width: int, amp_dtype: torch.dtype | None = None):
        super().__init__(amp_dtype)
        widths = [width * 2**level for level in range(4)]
        self.entry = Conv3d(classes, width, 3, padding=1)
        self.downs = nn.ModuleList([_halve(a, b) for a, b in zip(widths, widths[1:], strict=False)])
        widths.reverse()
        self.ups = nn.ModuleList(
            nn.Sequential(ConvTranspose3d(a, b, 4, stride=2, padding=1), nn.BatchNorm3d(b), nn.ReLU())
            for a, b in zip(widths, widths[1:], strict=False)
        )
        self.head = nn.Conv3d(width, classes, 1)

    def forward(self, probabilities: Tensor) -> Tensor:
        size = probabilities.shape[2:]
        padding = [n for side in reversed(size) for n in (0, -side % 8)]
        with self.autocast(probabilities):
            levels = [nn.functional.leaky_relu(self.entry(nn.functional.pad(probabilities, padding)), 0.2)]
            for down in self.downs:
                levels.append(nn.functional.leaky_relu(down(levels[-1]), 0.2))
            features = levels.pop()
            for up in self.ups:
                features = nn.functional.relu(up(features) + levels.pop())
        h, w, d = size
        return self.head(features.float())[..., :h, :w, :d]
