"""Discriminators of the adversarial methods."""

import torch
from torch import Tensor, nn

from methods.networks.autocast import AutocastNetwork, Conv3d


def _halve(channels_in: int, channels: int) -> Conv3d:
    return Conv3d(channels_in, channels, 4, stride=2, padding=1)


class DistanceMapDiscriminator(AutocastNetwork):
    """SASSNet's discriminator of (signed distance map, image) pairs (Li et al., MICCAI 2020, and its release).

    Map (B,C,H,W,D) and image (B,1,H,W,D) pass a strided convolution each and are added; three more halvings follow,
    with LeakyReLU 0.2 and channel dropout, no normalisation; then two logits (B,2), class 1 "labelled".
    The release pools with a 7x7x5 kernel, which is all of a 112x112x80 patch: pooling globally is the same there and
    works for every other patch.
    """

    def __init__(self, classes: int, amp_dtype: torch.dtype | None, width: int = 64):
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
