"""Interpolation consistency training (Verma et al., IJCAI 2019)."""

import torch

from methods.shared.ema import make_teacher, update_teacher
from methods.shared.method import Info, Method, MethodSettings, Passes, setting
from methods.shared.registry import MethodError, register


@register("ict")
class ICT(Method):
    """The prediction for a mix of two unlabelled patches must be the mix of the teacher's predictions for each."""

    info = Info(
        title="ICT", year=2019, source="Verma et al., IJCAI 2019; SSL4MIS", fidelity="adapted",
        passes=Passes(train=3, extra=2), networks=2,
    )  # fmt: skip

    class Settings(MethodSettings):
        beta: float = setting(0.2, "the share of the mix is drawn from Beta(beta, beta)", search=(0.1, 1), gt=0)
        consistency_weight: float = setting(
            0.1, "weight of the consistency loss at the end of its ramp", search=(0.01, 1), ge=0
        )
        ema_decay: float = setting(0.99, "decay of the teacher", ge=0, lt=1)

    @classmethod
    def patches(cls, settings, batch_size):
        if batch_size % 4:
            raise MethodError(
                f"training.batch_size {batch_size}: ICT mixes patches in pairs, so it must be a multiple of 4"
            )
        return super().patches(settings, batch_size)

    def __init__(self, settings, backbone, schedule):
        super().__init__(settings, backbone, schedule)
        self.student = backbone()
        self.teacher = make_teacher(self.student)

    def training_step(self, batch, step, phase):
        labelled = len(batch.labelled_images)
        first, second = batch.unlabelled_images.chunk(2)
        # One share for the step. It is drawn on the CPU, so that nothing waits for a copy from the GPU.
        share = torch.distributions.Beta(self.settings.beta, self.settings.beta).sample().item()
        mixed = torch.lerp(first, second, share)
        logits = self.student(torch.cat([batch.labelled_images, mixed])).logits
        supervised = self.head.segmentation_loss(logits[:labelled], batch.labels)
        with torch.no_grad():
            # Two passes of the teacher, as in the release, although its network has instance norm.
            first, second = (self.head.probabilities(self.teacher(half).logits) for half in (first, second))
            target = torch.lerp(first, second, share)
        consistency = (self.head.probabilities(logits[labelled:]) - target).square().mean()

        weight = self.log("consistency_weight", self.settings.consistency_weight * self.schedule.ramp_up(step))
        return {"supervised": supervised, "consistency": consistency, "total": supervised + weight * consistency}

    def after_step(self, step):
        self.log("ema_decay", update_teacher(self.teacher, self.student, step, self.settings.ema_decay))

    def predict(self, images):
        return self.head.predict(self.student(images).logits)
