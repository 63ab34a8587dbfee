"""Double-uncertainty weighted method (Wang et al., MICCAI 2020): a reconstruction."""

import math
from typing import Literal

import torch
import torch.nn.functional as F

from methods.shared.ema import make_teacher, update_teacher
from methods.shared.method import Info, Method, MethodSettings, Passes, setting
from methods.shared.noise import add_noise
from methods.shared.registry import register


@register("double_uncertainty")
class DoubleUncertainty(Method):
    """A mean teacher whose consistency, of predictions and of features, is weighted by two Monte-Carlo uncertainties.

    Only the abstract was available, and no code exists. The feature uncertainty, the form of the loss, the number of
    passes and all weights are ours [A]. Rows of this method are no statement about the published one.
    """

    info = Info(
        title="Double-Unc.", year=2020, source="after Wang et al., MICCAI 2020 (abstract only)",
        fidelity="reconstruction", passes=Passes(train=4, extra=32), networks=2,
    )  # fmt: skip

    class Settings(MethodSettings):
        feature_uncertainty: Literal["channel_entropy", "variance", "none"] = setting(
            "channel_entropy", "entropy over channels, Monte-Carlo variance, or no feature term"
        )
        consistency_weight: float = setting(
            0.1, "weight of the consistency loss at the end of its ramp", search=(0.01, 1), ge=0
        )
        feature_weight: float = setting(0.1, "eta: weight of the feature term within it", search=(0.01, 1), ge=0)
        penalty: float = setting(0.01, "mu: weight of the student's uncertainties", ge=0)
        ema_decay: float = setting(0.99, "decay of the teacher", ge=0, lt=1)
        monte_carlo_passes: int = setting(8, "stochastic passes of the teacher", gt=1)

    def __init__(self, settings, backbone, schedule):
        super().__init__(settings, backbone, schedule)
        self.student = backbone()
        self.teacher = make_teacher(self.student)

    def training_step(self, batch, step, phase):
        labelled = len(batch.labelled_images)
        images = batch.images
        output = self.student(images, features=True)
        supervised = self.head.segmentation_loss(output.logits[:labelled], batch.labels)
        probabilities = self.head.probabilities(output.logits)
        target, features, feature_variance = self._monte_carlo(images)

        uncertainty = self.head.entropy(target) / self.head.max_entropy
        penalty = self.settings.penalty * (self.head.entropy(probabilities) / self.head.max_entropy).mean()
        consistency = (torch.exp(-uncertainty) * (probabilities - target).square()).mean() + penalty
        losses = {"supervised": supervised, "segmentation_uncertainty": uncertainty.mean()}
        if self.settings.feature_uncertainty != "none":
            student = output.features[-1]
            by_channel = self.settings.feature_uncertainty == "channel_entropy"
            feature_uncertainty = channel_entropy(features) if by_channel else feature_variance
            distance = (F.normalize(student, dim=1) - F.normalize(features, dim=1)).square().mean(1)
            penalty = self.settings.penalty * channel_entropy(student).mean()
            feature_loss = (torch.exp(-feature_uncertainty) * distance).mean() + penalty
            consistency = consistency + self.settings.feature_weight * feature_loss
            losses |= {"features": feature_loss, "feature_uncertainty": feature_uncertainty.mean()}

        weight = self.log("consistency_weight", self.settings.consistency_weight * self.schedule.ramp_up(step))
        return {**losses, "consistency": consistency, "total": supervised + weight * consistency}

    @torch.no_grad()
    def _monte_carlo(self, images):
        """Over noisy passes of the teacher: the mean of its probabilities and of its last features, and the variance of
        the normalised features (None unless it is the uncertainty)."""
        passes = self.settings.monte_carlo_passes
        by_variance = self.settings.feature_uncertainty == "variance"
        probabilities = features = normalised = squares = 0.0
        for _ in range(passes):
            output = self.teacher(add_noise(images), features=True)
            probabilities += self.head.probabilities(output.logits) / passes
            last = output.features[-1]
            if by_variance:
                direction = F.normalize(last, dim=1)
                normalised += direction / passes
                squares += direction.square() / passes
            features += last.div_(passes)  # in place, because these are the largest tensors of the step
        variance = (squares - normalised.square()).clamp(min=0).mean(1) if by_variance else None
        return probabilities, features, variance

    def after_step(self, step):
        self.log("ema_decay", update_teacher(self.teacher, self.student, step, self.settings.ema_decay))

    def predict(self, images):
        return self.head.predict(self.student(images).logits)


def channel_entropy(features):
    """The entropy over channels of features (B, F, H, W, D), whose sum counts as 1: (B, H, W, D), in 0..1."""
    shares = features.relu() + 1e-6  # those of a V-Net are not negative anyway
    shares = shares / shares.sum(1, keepdim=True)
    return -(shares * shares.log()).sum(1) / math.log(features.shape[1])
