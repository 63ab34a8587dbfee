"""Mutual consistency networks, MC-Net and MC-Net+ (Wu et al., MICCAI 2021; Medical Image Analysis 2022)."""

from typing import ClassVar, Literal

import torch

from methods.shared.losses import mutual_consistency, plain_dice_loss
from methods.shared.method import Info, Method, MethodSettings, Passes, setting
from methods.shared.registry import register

TEMPERATURE = 0.1  # of sharpening


@register("mc_net")
class MCNet(Method):
    """One encoder with decoders that differ in upsampling; each must match the sharpened predictions of the others.

    Defaults are those of the MICCAI paper, which has the protocol's 6,000 iterations. The release halves the supervised
    weight and trains 15,000 iterations at a constant rate. In a short training the halved Dice loss hardly decreases.
    """

    info = Info(
        title="MC-Net", year=2021, source="Wu et al., MICCAI 2021; authors' release", fidelity="adapted",
        passes=Passes(train=8.8),
    )  # fmt: skip
    decoders: ClassVar[tuple[str, ...]] = ("transposed", "linear")

    class Settings(MethodSettings):
        supervised_weight: float = setting(1.0, "weight of the summed Dice losses: 1 (paper) or 0.5 (code)", ge=0)
        consistency_weight: float = setting(
            1.0, "weight of the mutual consistency at the end of its ramp", search=(0.1, 3.0), ge=0
        )
        learning_rate: Literal["protocol", "release"] = setting(
            "protocol", "that of the protocol (paper), or constant (code)"
        )
        predict_with: Literal["first", "mean"] = setting("first", "decoder A alone (code) or the mean of all (paper)")

    def __init__(self, settings, backbone, schedule):
        super().__init__(settings, backbone, schedule)
        self.network = backbone(decoders=self.decoders)

    def learning_rate_factor(self, step):
        return 1.0 if self.settings.learning_rate == "release" else super().learning_rate_factor(step)

    def training_step(self, batch, step, phase):
        labelled = len(batch.labelled_images)
        outputs = [self.head.probabilities(output.logits) for output in self.network.forward_decoders(batch.images)]
        targets = self.head.targets(batch.labels)
        supervised = sum(plain_dice_loss(probabilities[:labelled], targets) for probabilities in outputs)
        consistency = mutual_consistency(self.head, outputs, TEMPERATURE)  # all patches
        weight = self.log("consistency_weight", self.settings.consistency_weight * self.schedule.ramp_up(step))
        total = self.settings.supervised_weight * supervised + weight * consistency
        return {"supervised": supervised, "consistency": consistency, "total": total}

    def predict(self, images):
        if self.settings.predict_with == "first":
            return self.head.predict(self.network(images).logits)
        outputs = [self.head.predict(output.logits) for output in self.network.forward_decoders(images)]
        return torch.stack(outputs).mean(0)


@register("mc_net_plus")
class MCNetPlus(MCNet):
    """MC-Net with a third decoder."""

    info = Info(
        title="MC-Net+", year=2022, source="Wu et al., Medical Image Analysis 2022; authors' release",
        fidelity="adapted", passes=Passes(train=13.5),
    )  # fmt: skip
    decoders = ("transposed", "linear", "nearest")
