"""DualFete: feedback of a student to two teachers (Yi et al., AAAI 2026)."""

import math
from typing import Literal

import torch
from torch.func import functional_call

from methods.shared.cutmix import paste, random_box
from methods.shared.losses import masked_loss
from methods.shared.method import Info, Method, MethodSettings, Passes, setting
from methods.shared.registry import register


@register("dual_fete")
class DualFete(Method):
    """Two teachers learn from labels, from each other, and from how their pseudo-labels change a student's loss.

    The student takes a virtual step on pseudo-labels that the teachers share, and another on those that they dispute.
    If its loss on labelled patches falls, the teacher behind these pseudo-labels is drawn to them, else away.
    """

    info = Info(
        title="DualFete", year=2026, source="Yi et al., AAAI 2026; authors' release", fidelity="adapted",
        passes=Passes(train=18, extra=10), networks=3,
    )  # fmt: skip

    class Settings(MethodSettings):
        threshold: float = setting(0.7, "confidence from which a pseudo-label counts", search=(0.5, 0.95), ge=0, le=1)
        consistency_weight: float = setting(
            1.0, "weight of the teachers' cross supervision at the end of its ramp", search=(0.1, 3.0), ge=0
        )
        feedback_weight: float = setting(1.0, "weight of the feedback", search=(0.1, 3.0), ge=0)
        ramp: float = setting(1.0, "share of the training in which the ramp rises (code: 0.2)", gt=0, le=1)
        virtual_step: float = setting(
            0.05, "length of a virtual step: 5 times the published learning rate (Pancreas-CT: 0.01)", gt=0
        )
        normalised: bool = setting(True, "gradients of a virtual step have length 1 in each tensor (Pancreas-CT: not)")
        virtual_steps: Literal["undone", "released"] = setting(
            "undone", "virtual steps leave the student's weights, or add up in them (code)"
        )
        virtual_statistics: Literal["kept", "released"] = setting(
            "kept", "virtual passes leave the student's batch-norm statistics, or move them (code)"
        )
        mix_probability: float = setting(0.5, "probability of a box of the other patches", ge=0, le=1)

    def __init__(self, settings, backbone, schedule):
        super().__init__(settings, backbone, schedule)
        self.student, self.first, self.second = backbone(), backbone(), backbone()

    def training_step(self, batch, step, phase):
        images = batch.unlabelled_images
        with torch.no_grad():
            (sure, labels), (other_sure, other_labels) = (
                self.head.most_likely(self.head.probabilities(teacher(images).logits))
                for teacher in (self.first, self.second)
            )
        agree = labels == other_labels
        # Of a shared label the less confident teacher is told, of a disputed one the more confident.
        of_first = torch.where(agree, sure < other_sure, sure > other_sure)
        pseudo_labels = self.head.targets(torch.where(of_first, labels, other_labels))
        regions = [region[:, None].float() for region in (agree, ~agree)]

        feedback = self._feedback(batch, pseudo_labels, regions)
        student = masked_loss(self.head, self.student(images).logits, pseudo_labels)
        targets = self.head.targets(batch.labels)
        supervised = told = consistency = 0
        for teacher, own, peer_labels, peer_sure in (
            (self.first, of_first, other_labels, other_sure),
            (self.second, ~of_first, labels, sure),
        ):
            strong = self.strong_view(images)
            told = told + self._told(teacher(strong).logits, own[:, None].float(), regions, feedback)
            supervised = supervised + masked_loss(self.head, teacher(batch.labelled_images).logits, targets)
            box = self._box(images)
            logits = teacher(paste(strong, strong.flip(0), box)).logits
            unmixed = paste(logits, logits.flip(0), box)
            trusted = (peer_sure >= self.settings.threshold)[:, None].float()
            consistency = consistency + masked_loss(self.head, unmixed, self.head.targets(peer_labels), trusted)

        ramp = self.schedule.ramp_up(int(step / self.settings.ramp))
        weight = self.log("consistency_weight", self.settings.consistency_weight * ramp)
        return {
            "supervised": supervised,
            "consistency": consistency,
            "student": student,
            "feedback_shared": feedback[0],
            "feedback_disputed": feedback[1],
            "total": student + supervised + weight * consistency + self.settings.feedback_weight * told,
        }

    def _feedback(self, batch, pseudo_labels, regions):
        """By how much a virtual step on the pseudo-labels of each region lowers the labelled cross-entropy."""
        weights = {name: p.detach() for name, p in self.student.named_parameters()}
        before = self._labelled_entropy(weights, batch)
        gains = []
        for region in regions:
            moved = self._virtual_step(weights, batch.unlabelled_images, pseudo_labels, region)
            gains.append(before - self._labelled_entropy(moved, batch))
            if self.settings.virtual_steps == "released":
                weights = moved
        if self.settings.virtual_steps == "released":
            with torch.no_grad():
                torch._foreach_copy_(list(self.student.parameters()), list(weights.values()))
        return gains

    def _virtual_step(self, weights, images, pseudo_labels, region):
        moving = {name: p.clone().requires_grad_() for name, p in weights.items()}
        loss = masked_loss(self.head, self._virtual_student(moving, images), pseudo_labels, region)
        gradients = torch.autograd.grad(loss, list(moving.values()))
        return {
            name: p - self.settings.virtual_step * self._direction(gradient)
            for (name, p), gradient in zip(weights.items(), gradients, strict=True)
        }

    @torch.no_grad()
    def _labelled_entropy(self, weights, batch):
        logits = self._virtual_student(weights, batch.labelled_images)
        return self.head.cross_entropy(logits, self.head.targets(batch.labels)).mean()

    def _virtual_student(self, weights, images):
        if self.settings.virtual_statistics == "kept":
            weights = weights | {name: buffer.clone() for name, buffer in self.student.named_buffers()}
        return functional_call(self.student, weights, (images,)).logits

    def _direction(self, gradient):
        return gradient / gradient.norm().clamp(min=1e-12) if self.settings.normalised else gradient

    def _told(self, logits, own, regions, feedback):
        """Cross-entropy with the teacher's own hard prediction, times the feedback of each region."""
        entropy = self.head.cross_entropy(logits, self.head.hard(logits)).mean(1, keepdim=True)
        return sum(
            gain * (entropy * own * region).sum() / ((own * region).sum() + 1e-12)
            for gain, region in zip(feedback, regions, strict=True)
        )

    def _box(self, images):
        """One box for all patches, whose sides are sqrt(1 - λ) of theirs, λ ~ Beta(4, 4); or none."""
        size, share = images.shape[2:], float(torch.distributions.Beta(4.0, 4.0).sample())
        if float(torch.rand(())) > self.settings.mix_probability:
            return torch.zeros(1, 1, *size, device=images.device)
        return random_box(size, [int(math.sqrt(1 - share) * n) for n in size]).to(images.device, non_blocking=True)

    def predict(self, images):
        return self.head.predict(self.student(images).logits)
