"""Mutual correction framework, MCF (Wang et al., CVPR 2023)."""

from typing import Literal

from methods.shared.losses import dice_loss
from methods.shared.method import Info, Method, MethodSettings, Passes, setting
from methods.shared.registry import register

TEMPERATURE = 0.1  # of sharpening


@register("mcf")
class MCF(Method):
    """Two different networks review the labelled voxels in which they differ. On unlabelled patches the one that is
    better on the labelled patches of the step teaches the other.

    The release crops patches without rotation or flip, and has folds of its own; here both are the protocol's [A].
    """

    info = Info(
        title="MCF", year=2023, source="Wang et al., CVPR 2023; authors' release", fidelity="adapted",
        passes=Passes(train=4, other=7.1), networks=2,
    )  # fmt: skip

    class Settings(MethodSettings):
        review_weight: float = setting(
            0.5, "weight of the squared error where the networks differ", search=(0.1, 2), ge=0
        )
        consistency_weight: float = setting(
            0.1, "weight of the better network's predictions at the end of its ramp", search=(0.01, 1), ge=0
        )
        predict_with: Literal["mean", "first", "second"] = setting(
            "mean", "network used at test time: both (code), the experiment's own or the ResV-Net"
        )

    def __init__(self, settings, backbone, schedule):
        super().__init__(settings, backbone, schedule)
        self.first, self.second = backbone(), backbone("resvnet")

    def training_step(self, batch, step, phase):
        labelled, targets = len(batch.labelled_images), self.head.targets(batch.labels)
        logits = [network(batch.images).logits for network in (self.first, self.second)]
        first, second = (self.head.probabilities(values) for values in logits)
        differ = self.head.disagreement(*(self.head.hard(values[:labelled]) for values in logits))
        dice = [dice_loss(probabilities[:labelled], targets) for probabilities in (first, second)]
        supervised, review = sum(dice), 0.0
        for values, probabilities in zip(logits, (first, second), strict=True):
            supervised = supervised + self.head.cross_entropy(values[:labelled], targets).mean()
            error = (probabilities[:labelled] - targets).square()
            review = review + (differ * error).sum() / (differ.expand_as(error).sum() + 1e-16)

        first_is_better = (dice[0] < dice[1]).float()
        consistency = first_is_better * self._taught(second[labelled:], first[labelled:])
        consistency = consistency + (1 - first_is_better) * self._taught(first[labelled:], second[labelled:])
        weight = self.log("consistency_weight", self.settings.consistency_weight * self.schedule.ramp_up(step))
        return {
            "supervised": supervised,
            "review": review,
            "consistency": consistency,
            "first_is_better": first_is_better,
            "differ": differ.mean(),
            "total": supervised + self.settings.review_weight * review + weight * consistency,
        }

    def _taught(self, probabilities, teacher):
        return (probabilities - self.head.sharpen(teacher.detach(), TEMPERATURE)).square().mean()

    def predict(self, images):
        if self.settings.predict_with == "first":
            return self.head.predict(self.first(images).logits)
        second = self.head.predict(self.second(images).logits)
        if self.settings.predict_with == "second":
            return second
        return 0.5 * (self.head.predict(self.first(images).logits) + second)
