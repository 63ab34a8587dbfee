"""What logits mean: one sigmoid channel for each class, or a softmax over background and classes.

Methods speak of probabilities, entropies and losses through one of these objects, `self.head`, and need no branch.
C is the number of foreground classes, K that of the head's channels. A map is a tensor of values by voxel.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from methods.shared.losses import binary_entropy, dice_loss, one_hot

EPSILON = 1e-6  # within logarithms, where a release has none


class _Head:
    """What follows alike from the parts of either head."""

    def predict(self, logits: Tensor) -> Tensor:
        """The probabilities of foreground, (B, C, ...), of logits (B, K, ...): what a method's `predict` returns."""
        return self.foreground(self.probabilities(logits))

    def targets(self, labels: Tensor) -> Tensor:
        """Labels (B, ...), integers 0..C, as one binary channel for each of the head's channels, (B, K, ...)."""
        return self.with_background(one_hot(labels, self.classes))

    def segmentation_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The supervised loss 0.5 (cross-entropy + Dice), a scalar.

        Args:
            logits: (B, K, ...).
            labels: (B, ...), integers 0..C; 0 is background.

        Source:
            UA-MT release, `train_LA.py`; the same loss trains M_s in the DTML release.

        Example:
            >>> labels = torch.ones(1, 2, 2, 2, dtype=torch.uint8)
            >>> round(Sigmoid(classes=1).segmentation_loss(torch.zeros(1, 1, 2, 2, 2), labels).item(), 3)
            0.447
            >>> round(Softmax(classes=1).segmentation_loss(torch.zeros(1, 2, 2, 2, 2), labels).item(), 3)
            0.647
        """
        targets = self.targets(labels)
        return 0.5 * (self.cross_entropy(logits, targets).mean() + dice_loss(self.probabilities(logits), targets))


class Sigmoid(_Head):
    """One sigmoid channel for each class, K = C. Classes do not exclude one another.

    Args:
        classes: the number C of foreground classes.

    Example:
        >>> head = Sigmoid(classes=1)
        >>> head.probabilities(torch.zeros(1, 1, 2, 2, 2)).unique()
        tensor([0.5000])
        >>> head.channels, round(head.max_entropy, 3)
        (1, 0.693)
    """

    max_entropy = math.log(2)

    def __init__(self, classes: int):
        self.classes = self.channels = self.maps = classes

    def probabilities(self, logits: Tensor) -> Tensor:
        """(B, K, ...) of logits (B, K, ...)."""
        return logits.sigmoid()

    def foreground(self, probabilities: Tensor) -> Tensor:
        """The channels of foreground, (B, C, ...), of probabilities or one-hot labels (B, K, ...)."""
        return probabilities

    def with_background(self, masks: Tensor) -> Tensor:
        """Masks of foreground (B, C, ...) as the head's channels, (B, K, ...)."""
        return masks

    def hard(self, logits: Tensor) -> Tensor:
        """Pseudo-labels: the most likely value of each channel, 0 or 1, (B, K, ...), without gradient."""
        return (logits.detach() > 0).float()

    def harden(self, probabilities: Tensor) -> Tensor:
        """Pseudo-labels as `hard` gives them, but of probabilities (B, K, ...), such as a mean of networks."""
        return (probabilities.detach() > 0.5).float()

    def disagreement(self, labels: Tensor, others: Tensor) -> Tensor:
        """Where two hard labels (B, K, ...) differ, as a map (B, K, ...) of 0 and 1."""
        return (labels != others).float()

    def confidence(self, probabilities: Tensor) -> Tensor:
        """The probability of the most likely label, a map (B, K, ...)."""
        return torch.maximum(probabilities, 1 - probabilities)

    def most_likely(self, probabilities: Tensor) -> tuple[Tensor, Tensor]:
        """The probability of the most likely label 0..C, and that label, both (B, ...).

        Background is as likely as the most likely class is not.
        """
        foreground, labels = probabilities.max(1)
        return torch.maximum(foreground, 1 - foreground), torch.where(foreground > 0.5, labels + 1, 0)

    def cross_entropy(self, logits: Tensor, targets: Tensor) -> Tensor:
        """The cross-entropy with targets (B, K, ...), hard or soft, as a map (B, K, ...)."""
        return F.binary_cross_entropy_with_logits(logits, targets, reduction="none")

    def entropy(self, probabilities: Tensor) -> Tensor:
        """In nats, as a map (B, K, ...), at most `max_entropy`."""
        return binary_entropy(probabilities)

    def agreement(self, probabilities: Tensor, other: Tensor) -> Tensor:
        """How likely labels drawn from both are the same, p q + (1 - p)(1 - q), as a map (B, K, ...)."""
        return probabilities * other + (1 - probabilities) * (1 - other)

    def divergence(self, probabilities: Tensor, other: Tensor) -> Tensor:
        """KL(probabilities || other), as a map (B, K, ...)."""
        return _relative(probabilities, other) + _relative(1 - probabilities, 1 - other)

    def squared_distance(self, probabilities: Tensor, other: Tensor) -> Tensor:
        """The sum of squared differences over class and background, as a map (B, K, ...)."""
        return 2 * (probabilities - other).square()

    def sharpen(self, probabilities: Tensor, temperature: float) -> Tensor:
        """p^(1/T) / (p^(1/T) + (1-p)^(1/T)), of the shape of `probabilities`."""
        foreground, background = probabilities ** (1 / temperature), (1 - probabilities) ** (1 / temperature)
        return foreground / (foreground + background)


class Softmax(_Head):
    """A softmax over background and classes, K = C + 1. Channel 0 is background.

    Dice losses are means over all K channels, as in SSL4MIS.

    Args:
        classes: the number C of foreground classes.

    Example:
        >>> head = Softmax(classes=3)
        >>> probabilities = head.probabilities(torch.zeros(1, 4, 2, 2))
        >>> head.foreground(probabilities).shape, round(head.entropy(probabilities).max().item(), 3)
        (torch.Size([1, 3, 2, 2]), 1.386)
        >>> head.targets(torch.tensor([[[0, 2]]])).flatten().tolist()
        [1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0]
    """

    def __init__(self, classes: int):
        self.classes, self.channels, self.maps = classes, classes + 1, 1
        self.max_entropy = math.log(self.channels)

    def probabilities(self, logits: Tensor) -> Tensor:
        """(B, K, ...) of logits (B, K, ...)."""
        return logits.softmax(1)

    def foreground(self, probabilities: Tensor) -> Tensor:
        """The channels of foreground, (B, C, ...), of probabilities or one-hot labels (B, K, ...)."""
        return probabilities[:, 1:]

    def with_background(self, masks: Tensor) -> Tensor:
        """Masks of foreground (B, C, ...) as the head's channels, (B, K, ...)."""
        return torch.cat([1 - masks.sum(1, keepdim=True), masks], 1)

    def hard(self, logits: Tensor) -> Tensor:
        """Pseudo-labels: the most likely label, as one-hot channels (B, K, ...), without gradient."""
        return F.one_hot(logits.detach().argmax(1), self.channels).movedim(-1, 1).float()

    def harden(self, probabilities: Tensor) -> Tensor:
        """Pseudo-labels as `hard` gives them, but of probabilities (B, K, ...), such as a mean of networks."""
        return self.hard(probabilities)

    def disagreement(self, labels: Tensor, others: Tensor) -> Tensor:
        """Where two hard labels (B, K, ...) differ, as a map (B, 1, ...) of 0 and 1."""
        return (labels != others).any(1, keepdim=True).float()

    def confidence(self, probabilities: Tensor) -> Tensor:
        """The probability of the most likely label, a map (B, 1, ...)."""
        return probabilities.amax(1, keepdim=True)

    def most_likely(self, probabilities: Tensor) -> tuple[Tensor, Tensor]:
        """The probability of the most likely label 0..C, and that label, both (B, ...)."""
        return tuple(probabilities.max(1))

    def cross_entropy(self, logits: Tensor, targets: Tensor) -> Tensor:
        """The cross-entropy with targets (B, K, ...), hard or soft, as a map (B, 1, ...)."""
        return -(targets * logits.log_softmax(1)).sum(1, keepdim=True)

    def entropy(self, probabilities: Tensor) -> Tensor:
        """In nats, as a map (B, 1, ...), at most `max_entropy`."""
        return -(probabilities * torch.log(probabilities + EPSILON)).sum(1, keepdim=True)

    def agreement(self, probabilities: Tensor, other: Tensor) -> Tensor:
        """How likely labels drawn from both are the same, the sum of p q over channels, as a map (B, 1, ...)."""
        return (probabilities * other).sum(1, keepdim=True)

    def divergence(self, probabilities: Tensor, other: Tensor) -> Tensor:
        """KL(probabilities || other), as a map (B, 1, ...)."""
        return _relative(probabilities, other).sum(1, keepdim=True)

    def squared_distance(self, probabilities: Tensor, other: Tensor) -> Tensor:
        """The sum of squared differences over all labels, as a map (B, 1, ...)."""
        return (probabilities - other).square().sum(1, keepdim=True)

    def sharpen(self, probabilities: Tensor, temperature: float) -> Tensor:
        """p^(1/T), normalised over the channels, of the shape of `probabilities`."""
        powers = probabilities ** (1 / temperature)
        return powers / powers.sum(1, keepdim=True)


HEADS = {"sigmoid": Sigmoid, "softmax": Softmax}


def _relative(a: Tensor, b: Tensor) -> Tensor:
    return a * (torch.log(a + EPSILON) - torch.log(b + EPSILON))
