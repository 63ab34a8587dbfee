"""Uncertainty rectified pyramid consistency, URPC (Luo et al., MICCAI 2021)."""

import torch

from methods.shared.losses import segmentation_loss
from methods.shared.method import Info, Method, MethodSettings, Passes, setting
from methods.shared.registry import register

EPSILON = 1e-6  # not in the release, which takes the logarithm of a softmax


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
        levels = torch.stack(self.network(batch.images).level_logits)  # (4,B,C,H,W,D)
        supervised = torch.stack([segmentation_loss(logits[:labelled], batch.labels) for logits in levels]).mean()

        probabilities = levels[:, labelled:].sigmoid()
        mean = probabilities.mean(0)  # not detached
        uncertainty = _divergence(mean, probabilities)
        certainty = torch.exp(-uncertainty)
        axes = tuple(range(1, levels.ndim))
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
        return self.network(images).logits.sigmoid()  # the finest level


def _divergence(mean, probabilities):
    """Voxel-wise KL(mean || p) of foreground against background."""

    def term(a, b):
        return a * (torch.log(a + EPSILON) - torch.log(b + EPSILON))

    return term(mean, probabilities) + term(1 - mean, 1 - probabilities)
