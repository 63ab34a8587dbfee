"""Cross pseudo supervision (Chen et al., CVPR 2021)."""

from typing import Literal

from torch import nn

from methods.shared.method import Info, Method, MethodSettings, Passes, setting
from methods.shared.registry import register


@register("cps")
class CPS(Method):
    """Two V-Nets, initialised differently, are trained on each other's hard predictions for unlabelled patches.

    The release's initialisation applies to plain convolutions alone. With it the V-Net's transposed convolutions would
    not learn, because their fan-in is counted along the wrong axis.
    """

    info = Info(
        title="CPS", year=2021, source="Chen et al., CVPR 2021; SSL4MIS", fidelity="adapted",
        passes=Passes(train=8), networks=2,
    )  # fmt: skip

    class Settings(MethodSettings):
        pseudo_weight: float = setting(
            0.1, "weight of the pseudo supervision at the end of its ramp", search=(0.01, 1), ge=0
        )
        initialisation: Literal["release", "pytorch"] = setting(
            "release",
            "Kaiming normal and Xavier normal convolutions (code), or PyTorch's default for both (paper, from memory)",
        )
        predict_with: Literal["first", "second", "mean"] = setting("first", "network used at test time (code: first)")

    def __init__(self, settings, backbone, schedule):
        super().__init__(settings, backbone, schedule)
        self.first, self.second = backbone(), backbone()
        if settings.initialisation == "release":
            _initialise(self.first, nn.init.kaiming_normal_)
            _initialise(self.second, nn.init.xavier_normal_)

    def training_step(self, batch, step, phase):
        labelled = len(batch.labelled_images)
        images = batch.images
        first, second = self.first(images).logits, self.second(images).logits
        supervised = self.head.segmentation_loss(first[:labelled], batch.labels)
        supervised = supervised + self.head.segmentation_loss(second[:labelled], batch.labels)
        pseudo = self._supervise(first[labelled:], second[labelled:])
        pseudo = pseudo + self._supervise(second[labelled:], first[labelled:])

        weight = self.log("pseudo_weight", self.settings.pseudo_weight * self.schedule.ramp_up(step))
        return {"supervised": supervised, "pseudo": pseudo, "total": supervised + weight * pseudo}

    def predict(self, images):
        if self.settings.predict_with == "first":
            return self.head.predict(self.first(images).logits)
        second = self.head.predict(self.second(images).logits)
        if self.settings.predict_with == "second":
            return second
        return 0.5 * (self.head.predict(self.first(images).logits) + second)

    def _supervise(self, logits, peer):
        return self.head.cross_entropy(logits, self.head.hard(peer)).mean()


def _initialise(network, draw):
    for module in network.modules():
        # Heads are included. The release's network has no transposed convolutions
        if isinstance(module, nn.Conv2d | nn.Conv3d):
            draw(module.weight)
