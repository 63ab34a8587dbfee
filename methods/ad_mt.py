"""Alternate diverse mean teachers, AD-MT (Zhao et al., ECCV 2024)."""

import math
from typing import Literal

import torch
from torch import nn

from methods.shared.cutmix import beta_boxes, mixable, paste
from methods.shared.ema import make_teacher, move_teacher
from methods.shared.intensity import uniform
from methods.shared.method import Info, Method, MethodSettings, Passes, setting
from methods.shared.registry import register


@register("ad_mt")
class ADMT(Method):
    """Two EMA teachers take turns of random length. In one's turns the student sees other intensities, in the other's
    CutMix. Both label, each voxel weighted by its certainty, and where they differ a surer student may overrule them.

    The release has 15,000 iterations, a polynomial rate, and a ramp that ends after 6,000. Here rate and ramp are the
    protocol's [A].
    """

    info = Info(
        title="AD-MT", year=2024, source="Zhao et al., ECCV 2024; authors' release", fidelity="adapted",
        passes=Passes(train=6, extra=4), networks=3,
    )  # fmt: skip

    class Settings(MethodSettings):
        consistency_weight: float = setting(
            2.0, "weight of the pseudo-labels at the end of its ramp", search=(0.1, 4), ge=0
        )
        threshold: float = setting(0.8, "confidence from which a pseudo-label counts", search=(0.6, 0.95), ge=0, le=1)
        longest_turn: int = setting(19, "most steps that a teacher is updated in a row; 14 on Pancreas-CT (code)", gt=0)
        ema_decay: float = setting(0.99, "decay of the teachers", ge=0, lt=1)
        ema_warm_up: int = setting(80, "steps at first in which the active teacher is a copy of the student", ge=0)
        intensity: Literal["protocol", "release"] = setting(
            "protocol", "the protocol's strong view, or brightness, contrast and noise (code)"
        )
        overruling: Literal["mixed", "code"] = setting(
            "mixed", "the student's labels under CutMix: mixed like the teachers', or those of the unmixed patch (code)"
        )
        learning_rate: Literal["protocol", "release"] = setting(
            "protocol", "that of the protocol, or a polynomial decay (code)"
        )

    @classmethod
    def patches(cls, settings, batch_size):
        return mixable(super().patches(settings, batch_size), cls.info.title)

    def __init__(self, settings, backbone, schedule):
        super().__init__(settings, backbone, schedule)
        self.student = backbone()
        self.teachers = nn.ModuleList([make_teacher(backbone()) for _ in range(2)])
        # The turns follow from the seed, as initial weights do: a training that goes on has the same ones.
        self.turns = _turns(schedule.iterations, settings.longest_turn)

    def learning_rate_factor(self, step):
        if self.settings.learning_rate == "release":
            return self.schedule.poly(step)
        return super().learning_rate_factor(step)

    def training_step(self, batch, step, phase):
        labelled, images, turn = len(batch.labelled_images), batch.unlabelled_images, self.turns[step]
        labels, confidence, conflict = self._ensemble(images, turn)
        mixed = turn == 1
        if mixed:
            order, boxes = torch.randperm(len(images)).to(images.device, non_blocking=True), beta_boxes(images)
            strong = paste(images, images[order], boxes)
            labels, confidence, conflict = (paste(m, m[order], boxes) for m in (labels, confidence, conflict))
        else:
            strong = self.strong_view(images) if self.settings.intensity == "protocol" else _released_view(images)

        logits = self.student(torch.cat([batch.images, strong])).logits
        supervised = self.head.segmentation_loss(logits[:labelled], batch.labels)
        weak, of_strong = logits[labelled:].chunk(2)
        guess, surety = self.head.hard(weak), self.head.confidence(self.head.probabilities(weak.detach()))
        if mixed and self.settings.overruling == "mixed":
            guess, surety = (paste(m, m[order], boxes) for m in (guess, surety))
        overruled = (conflict * self.head.disagreement(labels, guess) > 0) & (surety > confidence)
        labels = torch.where(overruled, guess, labels)
        trusted = (torch.where(overruled, surety, confidence) >= self.settings.threshold).float()
        consistency = (trusted * self.head.cross_entropy(of_strong, labels)).sum() / trusted.sum().clamp(min=1)

        weight = self.log("consistency_weight", self.settings.consistency_weight * self.schedule.ramp_up(step))
        return {
            "supervised": supervised,
            "consistency": consistency,
            "conflict": conflict.mean(),
            "trusted": trusted.mean(),
            "total": supervised + weight * consistency,
        }

    @torch.no_grad()
    def _ensemble(self, images, turn):
        """The teachers' common labels, their confidence, and where the two differ. The active one has dropout."""
        for i, teacher in enumerate(self.teachers):
            teacher.train(i == turn)
        first, second = (self.head.probabilities(teacher(images).logits) for teacher in self.teachers)
        # exp(-H) of each, normalised over both; H in bits.
        share = torch.sigmoid((self.head.entropy(second) - self.head.entropy(first)) / math.log(2))
        common = share * first + (1 - share) * second
        conflict = self.head.disagreement(self.head.harden(first), self.head.harden(second))
        return self.head.harden(common), self.head.confidence(common), conflict

    def after_step(self, step):
        counted = (step - self.settings.ema_warm_up) // 2  # as in the release: every second step counts
        decay = min(1 - 1 / (counted + 1), self.settings.ema_decay) if counted >= 0 else 0.0
        move_teacher(self.teachers[self.turns[step]], self.student, decay, statistics=True)

    def predict(self, images):
        return self.head.predict(self.student(images).logits)


def _turns(steps: int, longest: int) -> list[int]:
    """The active teacher of each step, 0 or 1. A turn takes 1 to `longest` steps."""
    turns, active = [], 0
    while len(turns) < steps:
        turns += [active] * int(torch.randint(1, longest + 1, ()))
        active = 1 - active
    return turns[:steps]


def _released_view(images):
    """Contrast and brightness of intensities scaled to 0..1 and cut there, and noise of 2 deviations at most."""
    axes = tuple(range(1, images.ndim))
    low, high = images.amin(axes, keepdim=True), images.amax(axes, keepdim=True)
    scaled = (images - low) / (high - low).clamp(min=1e-6) * uniform(images, 0.5, 1.5)
    scaled = (scaled + uniform(images, -0.5, 0.5) * scaled.mean(axes, keepdim=True)).clamp(0, 1)
    images = torch.where(uniform(images, 0, 1) < 0.8, low + scaled * (high - low), images)
    noise = uniform(images, 0.1, 1) * torch.randn_like(images).clamp(-2, 2)
    return torch.where(uniform(images, 0, 1) < 0.2, images + noise, images)
