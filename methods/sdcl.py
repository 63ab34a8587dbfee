"""Students' discrepancy-informed correction learning, SDCL (Song & Wang, MICCAI 2024)."""

import math
from typing import Literal

import torch

from methods.bcp import BCP, TwoStages, paste_across, paste_both_ways
from methods.shared.method import Info, Passes, setting
from methods.shared.registry import register


@register("sdcl")
class SDCL(BCP):
    """BCP with two different networks. Where they disagree, each is drawn to the mixed label, and to doubt if wrong.

    The release trains with Adam at 1e-3. Here both stages share the protocol's iterations in the release's proportion
    of 80 to 275 epochs, with its batches and optimiser [A].
    """

    info = Info(
        title="SDCL", year=2024, source="Song & Wang, MICCAI 2024; authors' release", fidelity="adapted",
        passes=Passes(train=2, extra=2, other=3.6), networks=3,
    )  # fmt: skip

    class Settings(TwoStages):
        pretraining: float = setting(80 / 355, "share of the iterations that the first stage takes", gt=0, lt=1)
        cuboid: float = setting(
            2 / 3, "side of the pasted cuboid, relative to the patch", search=(0.3, 0.9), gt=0, lt=1
        )
        distance_weight: float = setting(
            0.5, "weight of the squared distance where the students differ", search=(0.05, 2), ge=0
        )
        doubt_weight: float = setting(
            0.05, "weight of doubt where the students differ and one is wrong", search=(0.005, 0.5), ge=0
        )
        learning_rate: Literal["protocol", "release"] = setting(
            "protocol", "the protocol's optimiser and rate, or Adam at a constant 0.001 (code)"
        )

    def __init__(self, settings, backbone, schedule):
        super().__init__(settings, backbone, schedule)
        self.second = backbone("resvnet", {"normalisation": "instance"})

    def configure_optimizers(self, sgd):
        if self.settings.learning_rate == "protocol":
            return super().configure_optimizers(sgd)
        return {"train": torch.optim.Adam([p for p in self.parameters() if p.requires_grad], lr=1e-3)}

    def learning_rate_factor(self, step):
        return self.schedule.learning_rate_factor(step)

    def training_step(self, batch, step, phase):
        box = self._box(batch.labelled_images)
        labels = self.head.targets(batch.labels)
        if step < self.pretraining_steps:
            mixes, targets = paste_both_ways(batch.labelled_images, box), paste_both_ways(labels, box)
            whole = torch.ones_like(box)
            return {"total": sum(self._region_loss(z, targets, whole) for z in self._students(mixes))}

        pseudo_labels = self._pseudo_labels(batch.unlabelled_images)
        logits = self._students(paste_across(batch.labelled_images, batch.unlabelled_images, box))
        losses = [self._losses_of_mixes(z, labels, pseudo_labels, box) for z in logits]
        labelled, unlabelled = (sum(terms) for terms in zip(*losses, strict=True))

        targets = paste_across(labels, pseudo_labels, box)
        ones = torch.ones_like(labels[:, :1])
        weights = paste_across(ones, self.settings.unlabelled_weight * ones, box)
        first, second, true = (self._labels(x) for x in (*map(self.head.probabilities, logits), targets))
        differ = (first != second).float()
        distance = sum(self._distance(z, targets, weights, differ) for z in logits)
        doubt = sum(
            self._doubt(z, weights, differ * (found != true)) for z, found in zip(logits, (first, second), strict=True)
        )
        total = labelled + self.settings.unlabelled_weight * unlabelled
        return {
            "labelled": labelled,
            "unlabelled": unlabelled,
            "distance": distance,
            "doubt": doubt,
            "differ": differ.mean(),
            "total": total + self.settings.distance_weight * distance + self.settings.doubt_weight * doubt,
        }

    def _students(self, images):
        return self.student(images).logits, self.second(images).logits

    def _labels(self, probabilities):
        return self.head.most_likely(probabilities.detach())[1][:, None]

    def _distance(self, logits, targets, weights, where):
        squared = (self.head.probabilities(logits) - targets).square()
        return _mean_of_mixes(squared.mean(1, keepdim=True) * weights, where)

    def _doubt(self, logits, weights, where):
        """The cross-entropy with a uniform distribution: KL(uniform || p), and a constant, the largest entropy."""
        uniform = torch.full_like(logits, math.exp(-self.head.max_entropy))
        return _mean_of_mixes(self.head.cross_entropy(logits, uniform).mean(1, keepdim=True) * weights, where)

    def predict(self, images):
        return 0.5 * sum(self.head.predict(z) for z in self._students(images))


def _mean_of_mixes(values, where):
    """The mean over voxels of 1 in a map, of each half of the batch by itself, summed."""
    return sum((v * w).sum() / (w.sum() + 1e-16) for v, w in zip(values.chunk(2), where.chunk(2), strict=True))
