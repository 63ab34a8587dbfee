"""Uncertainty-aware mean teacher (Yu et al., MICCAI 2019)."""

import math
from typing import Literal

import torch
from torch import Tensor

from methods.shared.ema import make_teacher, update_teacher
from methods.shared.method import Info, Method, MethodSettings, Passes, setting
from methods.shared.noise import add_noise
from methods.shared.registry import register


@register("ua_mt")
class UAMT(Method):
    """A student must predict what its EMA teacher predicts, where the teacher is certain by Monte-Carlo dropout.

    With the command of its README, the release applies this to the unlabelled half of a batch (`unlabelled`, UA-MT-UN
    in the paper, from memory [M]). With its other script it applies it to all patches. Which of the two made the
    published row is uncertain; the default is `all` [A].
    """

    info = Info(
        title="UA-MT", year=2019, source="Yu et al., MICCAI 2019; authors' release", fidelity="faithful",
        passes=Passes(train=4, extra=36), networks=2,
    )  # fmt: skip

    class Settings(MethodSettings):
        consistency_on: Literal["all", "unlabelled"] = setting("all", "patches that the consistency loss applies to")
        consistency_weight: float = setting(
            0.1, "weight of the consistency loss at the end of its ramp", search=(0.01, 1), ge=0
        )
        ema_decay: float = setting(0.99, "decay of the teacher", ge=0, lt=1)
        monte_carlo_passes: int = setting(
            8, "stochastic passes of the teacher, two at a time as in the release", gt=0, multiple_of=2
        )

    @classmethod
    def variant(cls, settings):
        return settings.consistency_on

    def __init__(self, settings, backbone, schedule):
        super().__init__(settings, backbone, schedule)
        self.student = backbone()
        self.teacher = make_teacher(self.student)

    def training_step(self, batch, step, phase):
        labelled = len(batch.labelled_images)
        images = batch.images
        logits = self.student(images).logits
        supervised = self.head.segmentation_loss(logits[:labelled], batch.labels)

        first = 0 if self.settings.consistency_on == "all" else labelled
        images = images[first:]
        with torch.no_grad():
            target = self.head.probabilities(self.teacher(add_noise(images)).logits)
            uncertainty = self.head.entropy(self._monte_carlo_mean(images))
            certain = (uncertainty < self.threshold(step)).float()
        self.log_image("uncertainty", uncertainty[0], images[0])
        distance = self.head.squared_distance(self.head.probabilities(logits[first:]), target)
        consistency = (certain * distance).sum() / (2 * certain.sum() + 1e-16)

        weight = self.log("consistency_weight", self.settings.consistency_weight * self.schedule.ramp_up(step))
        return {
            "supervised": supervised,
            "consistency": consistency,
            "certain_fraction": certain.mean(),
            "total": supervised + weight * consistency,
        }

    def threshold(self, step: int) -> float:
        """H(t) = (0.75 + 0.25 r(t)) ln 2, where r is the ramp counted in iterations."""
        return (0.75 + 0.25 * self.schedule.smooth_ramp_up(step)) * math.log(2)

    def _monte_carlo_mean(self, images: Tensor) -> Tensor:
        # Two copies at a time, so that batch norm sees the doubled batch, as in the release.
        doubled = torch.cat([images, images])
        rounds = self.settings.monte_carlo_passes // 2
        total = sum(self.head.probabilities(self.teacher(add_noise(doubled)).logits) for _ in range(rounds))
        return total.unflatten(0, (2, len(images))).sum(0) / (2 * rounds)

    def after_step(self, step):
        self.log("ema_decay", update_teacher(self.teacher, self.student, step, self.settings.ema_decay))

    def predict(self, images):
        return self.head.predict(self.student(images).logits)
