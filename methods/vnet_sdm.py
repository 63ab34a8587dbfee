"""A supervised V-Net that regresses signed distance maps: DTML's ablation "M_d only" (Table 2)."""

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


@register("vnet_sdm")
class DistanceVNet(Method):
    """A V-Net with a tanh distance head (Zhang & Zhang 2021, Eq. 1-3), trained on labelled patches alone.

    The paper does not say which loss its row "M_d only" has, so `supervision` offers both. With "mask" the output is a
    steep logit instead of a distance, and only the few voxels at which T is not saturated have a gradient.
    """

    info = Info(
        title="V-Net (SDM)", year=2021, source="Zhang & Zhang, PRCV 2021, Table 2 (M_d only)", fidelity="adapted",
        passes=Passes(train=4), numerics=2,
    )  # fmt: skip
    dead_below = {"active_fraction": DEAD_FRACTION}

    class Settings(MethodSettings):
        supervision: Literal["mask", "dis"] = setting("mask", "Dice on T(z) (mask), or regression of the map (dis)")
        distance_norm: Literal["l2", "l1"] = setting("l2", "L_dis: squared (paper) or absolute (code) difference")
        shift: float = setting(
            0.0,
            "prediction is T(z - shift): 0 (code); 0.0075, half of the first step outside, corrects the bias of dis",
        )
        distance_bias: float | None = setting(
            0.25, "fixed bias of the head with mask, which keeps it alive; null trains it (code)"
        )
        labelled_patches: Literal["all", "half"] = setting("all", "as for the supervised V-Net")

    @classmethod
    def patches(cls, settings, batch_size):
        return (batch_size if settings.labelled_patches == "all" else batch_size // 2), 0

    @classmethod
    def variant(cls, settings):
        return settings.supervision

    def __init__(self, settings, backbone, schedule):
        super().__init__(settings, backbone, schedule)
        bias = settings.distance_bias if settings.supervision == "mask" else None  # a regression loss needs none
        self.network = backbone(segmentation=False, signed_distance=True, distance_bias=bias)

    def extra_arrays(self):
        return {"signed_distance": SignedDistanceMaps(self.head.classes)} if self.settings.supervision == "dis" else {}

    def training_step(self, batch, step, phase):
        distance = self.network(batch.labelled_images).signed_distance
        if self.settings.supervision == "dis":
            total = distance_loss(distance, batch.extra_arrays["signed_distance"], self.settings.distance_norm)
        else:
            total = dice_loss(distance_to_mask(distance), one_hot(batch.labels, self.head.classes))
        return {"total": total, "active_fraction": active_fraction(distance)}

    def predict(self, images):
        return distance_to_mask(self.network(images).signed_distance, self.settings.shift)
