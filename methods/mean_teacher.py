"""Mean teacher (Tarvainen & Valpola, NeurIPS 2017)."""

import torch

from methods.shared.ema import make_teacher, update_teacher
from methods.shared.method import Info, Method, MethodSettings, Passes, setting
from methods.shared.noise import add_noise
from methods.shared.registry import register


@register("mean_teacher")
class MeanTeacher(Method):
    """On unlabelled patches a student must predict what its EMA teacher predicts on noisy copies of them."""

    info = Info(
        title="Mean Teacher", year=2017, source="Tarvainen & Valpola, NeurIPS 2017; SSL4MIS", fidelity="adapted",
        passes=Passes(train=4, extra=2), networks=2,
    )  # fmt: skip

    class Settings(MethodSettings):
        consistency_weight: float = setting(
            0.1, "weight of the consistency loss at the end of its ramp", search=(0.01, 1), ge=0
        )
        ema_decay: float = setting(0.99, "decay of the teacher", ge=0, lt=1)

    def __init__(self, settings, backbone, schedule):
        super().__init__(settings, backbone, schedule)
        self.student = backbone()
        self.teacher = make_teacher(self.student)

    def training_step(self, batch, step, phase):
        labelled = len(batch.labelled_images)
        logits = self.student(batch.images).logits
        supervised = self.head.segmentation_loss(logits[:labelled], batch.labels)
        with torch.no_grad():
            target = self.head.probabilities(self.teacher(add_noise(batch.unlabelled_images)).logits)
        consistency = (self.head.probabilities(logits[labelled:]) - target).square().mean()

        weight = self.log("consistency_weight", self.settings.consistency_weight * self.schedule.ramp_up(step))
        return {"supervised": supervised, "consistency": consistency, "total": supervised + weight * consistency}

    def after_step(self, step):
        self.log("ema_decay", update_teacher(self.teacher, self.student, step, self.settings.ema_decay))

    def predict(self, images):
        return self.head.predict(self.student(images).logits)
