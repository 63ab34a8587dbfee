"""Smoothness and class separation, SS-Net (Wu et al., MICCAI 2022)."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import nn

from methods.shared.losses import plain_dice_loss
from methods.shared.method import Info, Method, MethodSettings, Passes, setting
from methods.shared.networks.layers import crop, frozen_statistics
from methods.shared.registry import register

FEATURES = 32  # of a projected voxel
ENTRIES = 32  # of the memory, for each class
PROBE = 10.0  # length of the step that finds the direction


@register("ss_net")
class SSNet(Method):
    """Predictions must not change when an image moves in the direction that changes them most. Features of a class must
    be close to those of labelled voxels that the network gets right.

    The release has 15,000 iterations, a tenth of the rate after every 2,500, and a ramp that ends after 6,000. Here
    rate and ramp are the protocol's [A].
    """

    info = Info(
        title="SS-Net", year=2022, source="Wu et al., MICCAI 2022; authors' release", fidelity="faithful",
        passes=Passes(train=11.1, extra=4),
    )  # fmt: skip

    class Settings(MethodSettings):
        consistency_weight: float = setting(
            1.0, "weight of smoothness and contrast at the end of its ramp", search=(0.1, 3), ge=0
        )
        contrast_weight: float = setting(0.1, "weight of each contrast within it", search=(0.01, 1), ge=0)
        magnitude: float = setting(10.0, "length of the adversarial step", search=(3, 30), gt=0)
        memory: Literal["lowest", "highest"] = setting(
            "lowest", "which of the selector's scores the memory keeps: lowest (code) or highest (its comment)"
        )
        learning_rate: Literal["protocol", "release"] = setting(
            "protocol", "that of the protocol, or a tenth after each sixth of the training (code)"
        )

    def __init__(self, settings, backbone, schedule):
        super().__init__(settings, backbone, schedule)
        self.network = backbone()
        self.projection = _perceptron(self.network.segmentation[0].in_channels)
        self.prediction = _perceptron(FEATURES)
        self.selectors = nn.ModuleList([_Selector() for _ in range(backbone.classes)])
        self.memory_selectors = nn.ModuleList([_Selector() for _ in range(backbone.classes)])
        self.register_buffer("memory", torch.zeros(backbone.classes, ENTRIES, FEATURES))
        self.register_buffer("filled", torch.zeros(backbone.classes, ENTRIES, 1))

    def learning_rate_factor(self, step):
        if self.settings.learning_rate == "release":
            return 0.1 ** (6 * step // self.schedule.iterations)
        return super().learning_rate_factor(step)

    def training_step(self, batch, step, phase):
        labelled = len(batch.labelled_images)
        output = self.network(batch.images, features=True)
        truth = self.head.foreground(self.head.targets(batch.labels))
        predicted = self.head.foreground(self.head.probabilities(output.logits[:labelled]))
        supervised = plain_dice_loss(predicted, truth)
        features = crop(output.features[-1], batch.images.shape[2:])
        contrast = self._contrast(features, truth, self.head.foreground(self.head.hard(output.logits)))
        smoothness = self._smoothness(batch.images)

        weight = self.settings.consistency_weight * self.schedule.ramp_up(step)
        total = supervised + weight * (smoothness + self.settings.contrast_weight * contrast)
        return {"supervised": supervised, "smoothness": smoothness, "contrast": contrast, "total": total}

    def _smoothness(self, images):
        """One step of virtual adversarial training: what predictions lose where they change most."""
        with torch.no_grad():
            target = self.head.probabilities(self.network(images).logits)
        direction = _unit(torch.rand_like(images) - 0.5).requires_grad_()
        with frozen_statistics(self.network):
            probed = self.head.probabilities(self.network(images + PROBE * direction).logits)
            # The sum has the direction of the mean's gradient, and no number too small for half precision.
            (gradient,) = torch.autograd.grad(-self.head.agreement(probed, target).sum(), direction)
            moved = self.network(images + self.settings.magnitude * _unit(gradient)).logits
        return 1 - self.head.agreement(self.head.probabilities(moved), target).mean()

    def _contrast(self, features, truth, hard):
        """How far voxels of each class are from its memory, labelled and unlabelled ones; background counts as 0."""
        labelled, classes = len(truth), self.backbone.classes
        of_labelled, of_unlabelled = _by_voxel(features[:labelled]), _by_voxel(features[labelled:])
        truth, hard = (masks.transpose(0, 1).flatten(2).unsqueeze(-1) for masks in (truth, hard))
        known, guessed = hard.tensor_split([labelled], 1)
        truth, known, guessed = truth.flatten(1, 2), known.flatten(1, 2), guessed.flatten(1, 2)  # (C, voxels, 1)
        with torch.no_grad():
            self.projection.eval()
            projected = self.projection(of_labelled)
            self.projection.train()
            for c in range(classes):
                self._remember(c, projected, truth[c] * known[c])
        of_labelled, of_unlabelled = (self.prediction(self.projection(f)) for f in (of_labelled, of_unlabelled))
        losses = [
            self._distance(c, of_labelled, truth[c]) + self._distance(c, of_unlabelled, guessed[c])
            for c in range(classes)
        ]
        return sum(losses) / (classes + 1)

    def _remember(self, c, projected, correct):
        """Replace the memory of class c by this step's correct voxels; keep it if there are none."""
        scores = torch.sigmoid(self.selectors[c](projected, correct))
        scores = scores if self.settings.memory == "lowest" else 1 - scores
        chosen = (scores + 2 * (1 - correct)).flatten().topk(min(ENTRIES, len(scores)), largest=False).indices
        filled = F.pad(correct[chosen], (0, 0, 0, ENTRIES - len(chosen)))
        entries = F.pad(projected[chosen], (0, 0, 0, ENTRIES - len(chosen)))
        some = filled.sum() > 0
        self.memory[c] = torch.where(some, entries * filled, self.memory[c])
        self.filled[c] = torch.where(some, filled, self.filled[c])

    def _distance(self, c, features, mask):
        """The mean of w_i w_j (1 - cos), i over voxels of class c and j over its memory, both weights of mean 1.

        Since the weights have mean 1, it is 1 minus the product of the two weighted means of unit vectors.
        """
        stored, filled = F.normalize(self.memory[c], dim=1), self.filled[c]
        centre = _weighted_mean(
            F.normalize(features, dim=1), mask * self.selectors[c](features.detach(), mask).sigmoid()
        )
        memory = _weighted_mean(stored, filled * self.memory_selectors[c](stored, filled).sigmoid())
        enough = (mask.sum() > 1) & (filled.sum() > 1)
        return enough.float() * (1 - centre @ memory)

    def predict(self, images):
        return self.head.predict(self.network(images).logits)


class _Selector(nn.Module):
    """A score for each voxel of a class, from a perceptron whose batch norm sees these voxels alone."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(FEATURES, FEATURES), nn.Linear(FEATURES, 1)
        self.weight, self.bias = nn.Parameter(torch.ones(FEATURES)), nn.Parameter(torch.zeros(FEATURES))

    def forward(self, features, mask):
        """Logits (N, 1) of features (N, F); mask (N, 1) is 1 for voxels of the class."""
        hidden, count = self.first(features), mask.sum().clamp(min=1)
        centred = hidden - (mask * hidden).sum(0) / count
        variance = (mask * centred.square()).sum(0) / count
        normed = self.weight * centred * (variance + 1e-5).rsqrt() + self.bias
        return self.last(F.leaky_relu(normed, 0.2))


def _perceptron(channels):
    return nn.Sequential(
        nn.Linear(channels, FEATURES), nn.BatchNorm1d(FEATURES), nn.ReLU(inplace=True), nn.Linear(FEATURES, FEATURES)
    )


def _by_voxel(features):
    return features.movedim(1, -1).flatten(0, -2)


def _weighted_mean(vectors, weights):
    return (weights * vectors).sum(0) / weights.sum().clamp(min=1e-6)


def _unit(directions):
    """Each of (B, M, ...) with length 1."""
    return directions / (directions.flatten(1).norm(dim=1).view(-1, *[1] * (directions.ndim - 1)) + 1e-8)
