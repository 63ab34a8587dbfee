"""Shape-aware semi-supervised segmentation, SASSNet (Li et al., MICCAI 2020)."""

import torch
import torch.nn.functional as F

from methods.shared.losses import dice_loss
from methods.shared.method import Info, Method, MethodSettings, Passes, setting
from methods.shared.networks.discriminators import DistanceMapDiscriminator
from methods.shared.registry import register
from methods.shared.signed_distance import SignedDistanceMaps, distance_loss


@register("sass")
class SASSNet(Method):
    """A V-Net with two heads. A discriminator tells its distance maps of labelled and of unlabelled scans apart.

    The discriminator gets predicted distance maps only, never true ones.
    """

    info = Info(
        title="SASSNet", year=2020, source="Li et al., MICCAI 2020; authors' release", fidelity="faithful",
        passes=Passes(train=4, extra=4, other=2), networks=2,
    )  # fmt: skip
    phases = ("segment", "discriminate")

    class Settings(MethodSettings):
        distance_weight: float = setting(0.3, "weight of the distance regression", search=(0.1, 1.0), ge=0)
        adversarial_weight: float = setting(
            0.01, "weight of the adversarial loss at the end of its ramp: 0.01 with 16 labelled, 0.015 with 8 (README)",
            search=(0.001, 0.1), ge=0,
        )  # fmt: skip
        discriminator_learning_rate: float = setting(1e-4, "Adam's learning rate, constant", gt=0)

    def __init__(self, settings, backbone, schedule):
        super().__init__(settings, backbone, schedule)
        self.network = backbone(signed_distance=True)
        self.discriminator = DistanceMapDiscriminator(
            backbone.dimensions, backbone.classes, backbone.channels, 4 * backbone.width, backbone.amp_dtype
        )

    def extra_arrays(self):
        return {"signed_distance": SignedDistanceMaps(self.head.classes)}

    def configure_optimizers(self, sgd):
        rate = self.settings.discriminator_learning_rate
        return {
            "segment": sgd(self.network.parameters()),
            "discriminate": torch.optim.Adam(self.discriminator.parameters(), lr=rate, betas=(0.9, 0.99)),
        }

    def training_step(self, batch, step, phase):
        return self._segment(batch, step) if phase == "segment" else self._discriminate(batch)

    def _segment(self, batch, step):
        self.discriminator.eval()  # its dropout is off while the V-Net learns from it
        labelled = len(batch.labelled_images)
        output = self.network(batch.images)
        probabilities = self.head.probabilities(output.logits[:labelled])
        segmentation = dice_loss(probabilities, self.head.targets(batch.labels))
        distance = distance_loss(output.signed_distance[:labelled], batch.extra_arrays["signed_distance"], "l2")
        judged = self.discriminator(output.signed_distance[labelled:], batch.unlabelled_images)
        adversarial = F.cross_entropy(judged, judged.new_ones(len(judged), dtype=torch.long))  # as "labelled"

        weight = self.log("adversarial_weight", self.settings.adversarial_weight * self.schedule.ramp_up(step))
        total = segmentation + self.settings.distance_weight * distance + weight * adversarial
        return {"segmentation": segmentation, "distance": distance, "adversarial": adversarial, "total": total}

    def _discriminate(self, batch):
        self.network.eval()  # as in the release: maps in eval mode, with the updated weights
        images = batch.images
        with torch.no_grad():
            signed_distance = self.network(images).signed_distance
        is_labelled = torch.arange(len(images), device=images.device) < len(batch.labelled_images)
        return {"total": F.cross_entropy(self.discriminator(signed_distance, images), is_labelled.long())}

    def predict(self, images):
        return self.head.predict(self.network(images).logits)
