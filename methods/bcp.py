"""Bidirectional copy-paste, BCP (Bai et al., CVPR 2023)."""

from typing import Literal

import numpy as np
import torch

from data.masks import largest_component
from methods.shared.cutmix import paste, random_box
from methods.shared.ema import make_teacher, move_teacher
from methods.shared.method import Info, Method, MethodSettings, Passes, setting
from methods.shared.registry import MethodError, register


class TwoStages(MethodSettings):
    """The settings of BCP that have nothing to do with mixing."""

    pretraining: float = setting(2 / 17, "share of the iterations that the first stage takes", gt=0, lt=1)
    unlabelled_weight: float = setting(0.5, "weight of the unlabelled regions", search=(0.1, 1.0), ge=0)
    ema_decay: float = setting(0.99, "decay of the teacher, without warm-up", ge=0, lt=1)
    learning_rate: Literal["protocol", "release"] = setting(
        "protocol",
        "that of the protocol, or a tenth after each sixth of the second stage (code: every 2,500 of 15,000)",
    )


@register("bcp")
class BCP(Method):
    """A cuboid of one patch is pasted into another. The first stage mixes labelled patches, the second pastes labelled
    into unlabelled patches and unlabelled into labelled ones.

    The release trains 2,000 + 15,000 iterations on batches of 4 + 4. Here both stages share the protocol's iterations
    in the same proportion, with its batches and learning rates [A].
    """

    info = Info(
        title="BCP", year=2023, source="Bai et al., CVPR 2023; authors' release", fidelity="adapted",
        passes=Passes(train=2, extra=2), networks=2,
    )  # fmt: skip

    class Settings(TwoStages):
        cuboid: float = setting(
            2 / 3, "side of the pasted cuboid, relative to the patch", search=(0.3, 0.9), gt=0, lt=1
        )

    @classmethod
    def patches(cls, settings, batch_size):
        if batch_size % 4:
            raise MethodError(
                f"training.batch_size {batch_size}: BCP pastes patches in pairs, so it must be a multiple of 4"
            )
        return super().patches(settings, batch_size)

    def __init__(self, settings, backbone, schedule):
        super().__init__(settings, backbone, schedule)
        self.student = backbone()
        self.teacher = make_teacher(self.student)
        self.pretraining_steps = round(settings.pretraining * schedule.iterations)

    def learning_rate_factor(self, step):
        if self.settings.learning_rate == "protocol":
            return super().learning_rate_factor(step)
        if step < self.pretraining_steps:
            return 1.0
        return 0.1 ** (6 * (step - self.pretraining_steps) // (self.schedule.iterations - self.pretraining_steps))

    def training_step(self, batch, step, phase):
        box = self._box(batch.labelled_images)
        if step < self.pretraining_steps:
            logits = self.student(paste_both_ways(batch.labelled_images, box)).logits
            targets = paste_both_ways(self.head.targets(batch.labels), box)
            return {"total": self._region_loss(logits, targets, torch.ones_like(box))}

        pseudo_labels = self._pseudo_labels(batch.unlabelled_images)
        # One pass for both mixes, so that batch norm sees more than a single patch.
        logits = self.student(paste_across(batch.labelled_images, batch.unlabelled_images, box)).logits
        labelled, unlabelled = self._losses_of_mixes(logits, self.head.targets(batch.labels), pseudo_labels, box)
        return {
            "labelled": labelled,
            "unlabelled": unlabelled,
            "total": labelled + self.settings.unlabelled_weight * unlabelled,
        }

    def _losses_of_mixes(self, logits, labels, pseudo_labels, box):
        """Those of the regions with labelled and with unlabelled content, for the mixes of `paste_across`."""
        outer = 1 - box
        inwards, outwards = logits.chunk(2)
        (first_labels, second_labels), (first_pseudo, second_pseudo) = labels.chunk(2), pseudo_labels.chunk(2)
        labelled = self._region_loss(inwards, first_labels, outer)
        labelled = labelled + self._region_loss(outwards, second_labels, box)
        unlabelled = self._region_loss(inwards, first_pseudo, box)
        unlabelled = unlabelled + self._region_loss(outwards, second_pseudo, outer)
        return labelled, unlabelled

    @torch.no_grad()
    def _pseudo_labels(self, images):
        hard = self.head.hard(self.teacher(images).logits)
        return self.head.with_background(largest_components(self.head.foreground(hard)))

    def _box(self, images):
        """The cuboid of this step, (1, 1, H, W, D): 1 inside, at a random place, and 0 outside of it."""
        size = images.shape[2:]
        return random_box(size, [int(self.settings.cuboid * n) for n in size]).to(images.device, non_blocking=True)

    def _region_loss(self, logits, targets, region):
        """0.5 (cross-entropy + Dice) within a region (1, 1, H, W, D). Dice is that of each patch and channel."""
        entropy = self.head.cross_entropy(logits, targets)
        entropy = (entropy * region).sum() / (region.sum() * entropy.shape[0] * entropy.shape[1] + 1e-16)
        axes = tuple(range(2, logits.ndim))
        probabilities, targets = self.head.probabilities(logits) * region, targets * region
        overlap, size = (probabilities * targets).sum(axes), (probabilities + targets).sum(axes)
        return 0.5 * (entropy + (1 - (2 * overlap + 1e-5) / (size + 1e-5)).mean())

    def after_step(self, step):
        decay = self.settings.ema_decay if step >= self.pretraining_steps else 0.0  # stage 2 starts from a copy
        self.log("ema_decay", decay)
        move_teacher(self.teacher, self.student, decay)
        if step == self.pretraining_steps - 1:
            self.teacher.load_state_dict(self.student.state_dict())  # batch-norm statistics, too

    def predict(self, images):
        return self.head.predict(self.student(images).logits)


@register("bcp_no_mixing")
class BCPWithoutMixing(BCP):
    """The ablation of BCP: the same stages, teacher, pseudo-labels and losses, but whole patches, not pasted ones.

    A user of the release removed the mixing alone (issue 26 of its repository). Whole patches have the weights of the
    regions that they take the place of [A].
    """

    info = Info(
        title="BCP, no mixing", year=2023, source="Bai et al., CVPR 2023; authors' release, its issue 26",
        fidelity="adapted", passes=Passes(train=4, extra=2), networks=2,
    )  # fmt: skip

    class Settings(TwoStages):
        pass

    @classmethod
    def patches(cls, settings, batch_size):
        return Method.patches(settings, batch_size)

    def training_step(self, batch, step, phase):
        whole = torch.ones_like(batch.labelled_images[:1, :1])
        targets = self.head.targets(batch.labels)
        if step < self.pretraining_steps:
            return {"total": self._region_loss(self.student(batch.labelled_images).logits, targets, whole)}

        pseudo_labels = self._pseudo_labels(batch.unlabelled_images)
        logits = self.student(batch.images).logits
        # Twice: mixes come in two, each with a region of labelled and one of unlabelled content.
        labelled = 2 * self._region_loss(logits[: len(targets)], targets, whole)
        unlabelled = 2 * self._region_loss(logits[len(targets) :], pseudo_labels, whole)
        return {
            "labelled": labelled,
            "unlabelled": unlabelled,
            "total": labelled + self.settings.unlabelled_weight * unlabelled,
        }


def paste_both_ways(labelled, box):
    """The cuboid of the second half of a batch in the first half, then that of the first half in the second."""
    first, second = labelled.chunk(2)
    return torch.cat([paste(first, second, box), paste(second, first, box)])


def paste_across(labelled, unlabelled, box):
    """The cuboid of the first unlabelled half in the first labelled half, then labelled in unlabelled second halves."""
    (first, second), (first_unlabelled, second_unlabelled) = labelled.chunk(2), unlabelled.chunk(2)
    return torch.cat([paste(first, first_unlabelled, box), paste(second_unlabelled, second, box)])


def largest_components(masks):
    """Masks (B, C, H, W, D) of 0 and 1, each reduced to its largest 26-connected component, as float32."""
    kept = np.zeros(masks.shape, np.float32)
    for index, mask in zip(np.ndindex(masks.shape[:2]), masks.flatten(0, 1).cpu().numpy(), strict=True):
        kept[index] = largest_component(mask > 0)
    return torch.from_numpy(kept).to(masks.device)
