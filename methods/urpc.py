"""Uncertainty rectified pyramid consistency, URPC (Luo et al., MICCAI 2021)."""

import torch

from methods.shared.method import Info, Method, MethodSettings, Passes, setting
from methods.shared.registry import register


@register("urpc")
class URPC(Method):
    """Predictions from four decoder levels must agree on unlabelled patches, with less weight where they are uncertain.

    The release adds the heads to a 3D U-Net (60,000 iterations, learning rate 0.1). Here they are 1x1x1 convolutions
    with trilinear upsampling on the V-Net's decoder blocks, under the shared protocol [A].
    """

    info = Info(
        title="URPC", year=2021, source="Luo et al., MICCAI 2021; SSL4MIS", fidelity="adapted", passes=Passes(train=4)
    )

    class Settings(MethodSettings):
        consistency_weight: float = setting(
            0.1, "weight of the pyramid consistency at the end of its ramp", search=(0.01, 1), ge=0
        )

    def __init__(self, settings, backbone, schedule):
        super().__init__(settings, backbone, schedule)
        self.network = backbone(level_dropout=(0.5, 0.3, 0.2, 0.1))

    def training_step(self, batch, step, phase):
        labelled = len(batch.labelled_images)
        levels = self.network(batch.images).level_logits  # four, coarse to fine, all at full size
        losses = [self.head.segmentation_loss(logits[:labelled], batch.labels) for logits in levels]
        supervised = torch.stack(losses).mean()

        probabilities = torch.stack([self.head.probabilities(logits[labelled:]) for logits in levels])
        mean = probabilities.mean(0)  # not detached
        uncertainty = torch.stack([self.head.divergence(mean, level) for level in probabilities])
        certainty = torch.exp(-uncertainty)
        axes = tuple(range(1, probabilities.ndim))
        rectified = ((mean - probabilities).square() * certainty).mean(axes) / (certainty.mean(axes) + 1e-8)
        consistency = (rectified + uncertainty.mean(axes)).mean()

        weight = self.log("consistency_weight", self.settings.consistency_weight * self.schedule.ramp_up(step))
        return {
            "supervised": supervised,
            "consistency": consistency,
            "uncertainty": uncertainty.mean(),
            "total": supervised + weight * consistency,
        }

    def predict(self, images):
        return self.head.predict(self.network(images).logits)  # the finest level
