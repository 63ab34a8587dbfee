"""Dual-Task Mutual Learning (Zhang & Zhang, PRCV 2021)."""

from typing import Literal

from methods.shared.losses import dice_loss, one_hot
from methods.shared.method import Info, Method, MethodSettings, Passes, setting
from methods.shared.registry import register
from methods.shared.signed_distance import (
    DEAD_FRACTION,
    SignedDistanceMaps,
    active_fraction,
    distance_loss,
    distance_to_mask,
)


@register("dtml")
class DTML(Method):
    """Two V-Nets that learn from each other: M_s segments, M_d regresses signed distance maps (Fig. 1).

    Both get the same patches, labelled and unlabelled. Besides their tasks, they differ in initialisation and dropout.
    """

    info = Info(
        title="DTML", year=2021, source="Zhang & Zhang, PRCV 2021; authors' release", fidelity="faithful",
        passes=Passes(train=8), networks=2, numerics=2,
    )  # fmt: skip
    dead_below = {"active_fraction": DEAD_FRACTION}

    class Settings(MethodSettings):
        supervision: Literal["mask", "dis", "dis_mask"] = setting("mask", "loss of M_d on labelled patches (Table 1)")
        consistency_weight: float = setting(1.0, "weight of L_con at the end of its ramp", search=(0.1, 3.0), ge=0)
        consistency_factor: Literal["code", "paper"] = setting(
            "code", "the release adds L_con to both objectives, which is twice the weight of Eq. 5-6 (paper)"
        )
        distance_norm: Literal["l2", "l1"] = setting("l2", "L_dis: squared (paper) or absolute (code) difference")
        unlabelled: bool = setting(True, "False: labelled cases only (Table 2, 16/0); all patches are labelled then")
        predict_with: Literal["segmentation", "distance", "mean"] = setting(
            "segmentation", "network used at test time: M_s (code), M_d, or the mean of both"
        )
        shift: float = setting(0.0, "M_d predicts T(z - shift), see vnet_sdm; without effect if M_s predicts")
        distance_bias: float | None = setting(
            0.25, "fixed bias of M_d's head with mask, see vnet_sdm; null trains it (code)"
        )

    @classmethod
    def patches(cls, settings, batch_size):
        return super().patches(settings, batch_size) if settings.unlabelled else (batch_size, 0)

    @classmethod
    def variant(cls, settings):
        if settings.unlabelled:
            return settings.supervision
        return "labelled_only" if settings.supervision == "mask" else f"labelled_only_{settings.supervision}"

    def __init__(self, settings, backbone, schedule):
        super().__init__(settings, backbone, schedule)
        self.segmenter = backbone()
        bias = settings.distance_bias if settings.supervision == "mask" else None  # a regression loss needs none
        self.regressor = backbone(segmentation=False, signed_distance=True, distance_bias=bias)

    def extra_arrays(self):
        return {"signed_distance": SignedDistanceMaps(self.head.classes)} if "dis" in self.settings.supervision else {}

    def training_step(self, batch, step, phase):
        labelled = len(batch.labelled_images)
        images = batch.images
        logits = self.segmenter(images).logits
        distance = self.regressor(images).signed_distance
        from_distance = distance_to_mask(distance)  # Eq. 2

        segmentation = self.head.segmentation_loss(logits[:labelled], batch.labels)
        losses = {"segmentation": segmentation}
        if "mask" in self.settings.supervision:
            losses["mask"] = dice_loss(from_distance[:labelled], one_hot(batch.labels, self.head.classes))
        if "dis" in self.settings.supervision:
            target = batch.extra_arrays["signed_distance"]
            losses["distance"] = distance_loss(distance[:labelled], target, self.settings.distance_norm)
        consistency = (from_distance - self.head.predict(logits)).square().mean()  # Eq. 4, over all patches

        # One backward pass of the sum gives each network the gradient of its own objective (Eq. 5 and 6).
        factor = 2 if self.settings.consistency_factor == "code" else 1
        weight = self.log("consistency_weight", self.settings.consistency_weight * self.schedule.ramp_up(step))
        total = sum(losses.values()) + factor * weight * consistency
        return {**losses, "consistency": consistency, "active_fraction": active_fraction(distance), "total": total}

    def predict(self, images):
        if self.settings.predict_with == "segmentation":
            return self.head.predict(self.segmenter(images).logits)
        from_distance = distance_to_mask(self.regressor(images).signed_distance, self.settings.shift)
        if self.settings.predict_with == "distance":
            return from_distance
        return 0.5 * (from_distance + self.head.predict(self.segmenter(images).logits))
