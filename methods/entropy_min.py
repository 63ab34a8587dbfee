"""Entropy minimisation (Grandvalet & Bengio, NeurIPS 2004; for segmentation Vu et al., CVPR 2019)."""

from methods.shared.method import Info, Method, MethodSettings, Passes, setting
from methods.shared.registry import register


@register("entropy_min")
class EntropyMinimisation(Method):
    """Predictions must be confident, on labelled and unlabelled patches alike."""

    info = Info(
        title="Entropy Min.", year=2019, source="Vu et al., CVPR 2019; SSL4MIS", fidelity="adapted",
        passes=Passes(train=4),
    )  # fmt: skip

    class Settings(MethodSettings):
        entropy_weight: float = setting(0.1, "weight of the entropy at the end of its ramp", search=(0.01, 1), ge=0)

    def __init__(self, settings, backbone, schedule):
        super().__init__(settings, backbone, schedule)
        self.network = backbone()

    def training_step(self, batch, step, phase):
        labelled = len(batch.labelled_images)
        logits = self.network(batch.images).logits
        supervised = self.head.segmentation_loss(logits[:labelled], batch.labels)
        entropy = self.head.entropy(self.head.probabilities(logits)).mean() / self.head.max_entropy  # in 0..1

        weight = self.log("entropy_weight", self.settings.entropy_weight * self.schedule.ramp_up(step))
        return {"supervised": supervised, "entropy": entropy, "total": supervised + weight * entropy}

    def predict(self, images):
        return self.head.predict(self.network(images).logits)
