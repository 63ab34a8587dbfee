"""Dual-task consistency, DTC (Luo et al., AAAI 2021)."""

from methods.shared.losses import dice_loss
from methods.shared.method import Info, Method, MethodSettings, Passes, setting
from methods.shared.registry import register
from methods.shared.signed_distance import (
    DEAD_FRACTION,
    SignedDistanceMaps,
    active_fraction,
    distance_loss,
    distance_to_mask,
)


@register("dtc")
class DTC(Method):
    """A V-Net with a segmentation head and a distance head, which must agree on labelled and unlabelled patches."""

    info = Info(
        title="DTC", year=2021, source="Luo et al., AAAI 2021; authors' release", fidelity="faithful",
        passes=Passes(train=4),
    )  # fmt: skip
    dead_below = {"active_fraction": DEAD_FRACTION}

    class Settings(MethodSettings):
        distance_weight: float = setting(0.3, "weight of the distance regression", search=(0.1, 1.0), ge=0)
        consistency_weight: float = setting(
            1.0, "weight of the consistency loss at the end of its ramp", search=(0.1, 3.0), ge=0
        )

    def __init__(self, settings, backbone, schedule):
        super().__init__(settings, backbone, schedule)
        self.network = backbone(signed_distance=True)

    def extra_arrays(self):
        return {"signed_distance": SignedDistanceMaps(self.head.classes)}

    def training_step(self, batch, step, phase):
        labelled = len(batch.labelled_images)
        output = self.network(batch.images)
        probabilities = self.head.probabilities(output.logits)
        # The release also computes a cross-entropy, but does not minimise it.
        segmentation = dice_loss(probabilities[:labelled], self.head.targets(batch.labels))
        distance = distance_loss(output.signed_distance[:labelled], batch.extra_arrays["signed_distance"], "l2")
        difference = distance_to_mask(output.signed_distance) - self.head.foreground(probabilities)
        consistency = difference.square().mean()  # all patches

        weight = self.log("consistency_weight", self.settings.consistency_weight * self.schedule.ramp_up(step))
        return {
            "segmentation": segmentation,
            "distance": distance,
            "consistency": consistency,
            "active_fraction": active_fraction(output.signed_distance),
            "total": segmentation + self.settings.distance_weight * distance + weight * consistency,
        }

    def predict(self, images):
        return self.head.predict(self.network(images).logits)
