"""What a method gets to make its networks: the network, the head and the images of the experiment."""

from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from data.intensity import STRONG, Intensity
from methods.shared.intensity import change_intensity
from methods.shared.networks.network import SegmentationNetwork
from methods.shared.networks.registry import DEFAULT, network_arguments, network_function
from methods.shared.probabilities import HEADS, Sigmoid, Softmax


@dataclass(frozen=True)
class Backbone:
    """Makes the network that the experiment names: the same for all methods.

    Args:
        classes: the number C of foreground classes.
        width: channels of the first level; 16 as published.
        amp_dtype: the precision of encoder and decoders; None is fp32.
        channels: the number M of channels of images.
        dimensions: 3 for volumes, 2 for slices.
        network: a registered name.
        arguments: of the network, those that differ from their defaults.
        head_name: "sigmoid" or "softmax".
        strong: what `strong_view` does to intensities.

    Example:
        >>> backbone = Backbone(classes=1, width=2)
        >>> network = backbone(signed_distance=True)
        >>> network(torch.zeros(2, 1, 16, 16, 16)).signed_distance.shape
        torch.Size([2, 1, 16, 16, 16])
        >>> Backbone(width=2, dimensions=2, head_name="softmax")()(torch.zeros(2, 1, 16, 16)).logits.shape
        torch.Size([2, 2, 16, 16])
    """

    classes: int = 1
    width: int = 16
    amp_dtype: torch.dtype | None = None
    channels: int = 1
    dimensions: int = 3
    network: str = DEFAULT
    arguments: dict[str, Any] = field(default_factory=dict)
    head_name: Literal["sigmoid", "softmax"] = "sigmoid"
    strong: Intensity = STRONG

    @property
    def head(self) -> Sigmoid | Softmax:
        """What logits mean: probabilities, entropies, losses."""
        return HEADS[self.head_name](self.classes)

    def strong_view(self, images: Tensor) -> Tensor:
        """Images (B, M, ...) with other intensities, as the protocol declares strong views. Places stay."""
        return change_intensity(images, self.strong)

    def __call__(
        self, network: str | None = None, arguments: dict[str, Any] | None = None, **asked: Any
    ) -> SegmentationNetwork:
        """A new network.

        Args:
            network: the name of another network than the experiment's, for a method that needs two different ones.
            arguments: of that other network.
            asked: heads and decoders: segmentation, signed_distance, decoders, level_dropout, distance_bias and
                separable of `SegmentationNetwork`.

        Raises:
            NetworkError: the network does not have what is asked for.
        """
        name = network or self.network
        given = network_arguments(name, (arguments or {}) if network else self.arguments)
        parts = network_function(name)(self.channels, self.dimensions, self.width, **given)
        return SegmentationNetwork(
            name, parts, self.dimensions, self.classes, self.head.channels, amp_dtype=self.amp_dtype, **asked
        )
