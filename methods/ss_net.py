"""Smoothness and class separation, SS-Net (Wu et al., MICCAI 2022)."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import nn

from methods.shared.adversarial import steepest_direction
from methods.shared.losses import plain_dice_loss
from methods.shared.method import Info, Method, MethodSettings, Passes, setting
from methods.shared.networks.layers import crop, frozen_statistics, perceptron
from methods.shared.registry import register
from methods.shared.voxel_memory import best_within
from methods.shared.voxel_weights import VoxelWeights, weighted_cosine_distance

FEATURES = 32  # of a projected voxel
ENTRIES = 32  # of the memory, for each class
PROBE = 10.0  # length of the random step that finds the direction


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
        self.projection = perceptron(self.network.segmentation[0].in_channels, FEATURES)
        self.prediction = perceptron(FEATURES, FEATURES)
        self.selectors = nn.ModuleList([VoxelWeights(FEATURES) for _ in range(backbone.classes)])
        self.memory_selectors = nn.ModuleList([VoxelWeights(FEATURES) for _ in range(backbone.classes)])
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

        weight = self.log("consistency_weight", self.settings.consistency_weight * self.schedule.ramp_up(step))
        total = supervised + weight * (smoothness + self.settings.contrast_weight * contrast)
        return {"supervised": supervised, "smoothness": smoothness, "contrast": contrast, "total": total}

    def _smoothness(self, images):
        """One step of virtual adversarial training: what predictions lose where they change most."""
        with torch.no_grad():
            target = self.head.probabilities(self.network(images).logits)

        def agreement(moved):
            return self.head.agreement(self.head.probabilities(self.network(moved).logits), target)

        with frozen_statistics(self.network):
            direction = steepest_direction(lambda moved: -agreement(moved).sum(), images, PROBE)
            return 1 - agreement(images + self.settings.magnitude * direction).mean()

    def _contrast(self, features, truth, hard):
        """How far voxels of each class are from its memory, labelled and unlabelled ones; background counts as 0."""
        labelled, classes = len(truth), range(self.backbone.classes)
        of_labelled, of_unlabelled = _by_voxel(features[:labelled]), _by_voxel(features[labelled:])
        with torch.no_grad():
            self.projection.eval()
            projected = self.projection(of_labelled)
            self.projection.train()
            for c in classes:
                self._remember(c, projected, _of_class(c, truth * hard[:labelled]))
        losses = []
        for voxels, labels in ((of_labelled, truth), (of_unlabelled, hard[labelled:])):
            predicted = self.prediction(self.projection(voxels))
            losses += [self._distance(c, predicted, _of_class(c, labels)) for c in classes]
        return sum(losses) / (len(classes) + 1)

    def _remember(self, c, projected, correct):
        """Replace the memory of class c by this step's correct voxels; keep it if there are none."""
        weights = self.selectors[c](projected, correct)
        rank = 1 - weights if self.settings.memory == "lowest" else weights
        places, found = best_within(correct.flatten() > 0, rank.flatten(), ENTRIES)
        found = found.float().unsqueeze(1)
        self.memory[c] = torch.where(found.any(), found * projected[places], self.memory[c])
        self.filled[c] = torch.where(found.any(), found, self.filled[c])

    def _distance(self, c, features, mask):
        """The distance of voxels of class c from its memory; 0 if either has fewer than two."""
        stored, filled = F.normalize(self.memory[c], dim=1), self.filled[c]
        weights, stored_weights = self.selectors[c](features.detach(), mask), self.memory_selectors[c](stored, filled)
        enough = (mask.sum() > 1) & (filled.sum() > 1)
        return enough.float() * weighted_cosine_distance(features, weights, stored, stored_weights)

    def predict(self, images):
        return self.head.predict(self.network(images).logits)


def _by_voxel(features):
    """(B, F, ...) as (voxels, F)."""
    return features.movedim(1, -1).flatten(0, -2)


def _of_class(c, masks):
    """One channel of (B, C, ...) as (voxels, 1)."""
    return masks[:, c].reshape(-1, 1)
