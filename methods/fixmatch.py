"""FixMatch for segmentation (Sohn et al., NeurIPS 2020; as the baseline of UniMatch, Yang et al., CVPR 2023)."""

from typing import Any, ClassVar

from methods.shared.cutmix import mixable, paste, random_boxes
from methods.shared.losses import masked_dice_loss
from methods.shared.method import Info, Method, MethodSettings, Passes, setting
from methods.shared.registry import register


@register("fixmatch")
class FixMatch(Method):
    """Predictions for a strong view must be the confident pseudo-labels of the weak view.

    A strong view has other intensities and a box of another patch. UniMatch's release takes that box from a second
    unlabelled batch; here it comes from the next unlabelled patch of the same batch [A].
    """

    info = Info(
        title="FixMatch", year=2020, source="Sohn et al., NeurIPS 2020; UniMatch release", fidelity="adapted",
        passes=Passes(train=6),
    )  # fmt: skip

    network_options: ClassVar[dict[str, Any]] = {}  # what a method built on this one asks of the network

    class Settings(MethodSettings):
        threshold: float = setting(0.95, "confidence from which a pseudo-label counts", search=(0.7, 0.99), ge=0, le=1)
        consistency_weight: float = setting(1.0, "weight of the strong view, constant", search=(0.1, 2), ge=0)
        mix_probability: float = setting(0.5, "probability that a strong view has a box of another patch", ge=0, le=1)

    @classmethod
    def patches(cls, settings, batch_size):
        return mixable(super().patches(settings, batch_size), cls.info.title)

    def __init__(self, settings, backbone, schedule):
        super().__init__(settings, backbone, schedule)
        self.network = backbone(**self.network_options)

    def training_step(self, batch, step, phase):
        labelled = len(batch.labelled_images)
        logits = self.network(batch.images).logits  # weak views: the patches as they are
        supervised = self.head.segmentation_loss(logits[:labelled], batch.labels)
        strong, boxes = self.mixed_view(batch.unlabelled_images)
        labels, trusted = self.pseudo_labels(logits[labelled:], self.settings.threshold, boxes)
        consistency = self.loss_from(self.network(strong).logits, (labels, trusted))

        total = 0.5 * (supervised + self.settings.consistency_weight * consistency)
        return {"supervised": supervised, "consistency": consistency, "trusted": trusted.mean(), "total": total}

    def mixed_view(self, images):
        """A strong view of images, each with a box of the next one, and the boxes."""
        boxes = random_boxes(images, self.settings.mix_probability)
        # The patch that is mixed in has an intensity augmentation of its own, as in the release.
        return paste(self.strong_view(images), self.strong_view(images).roll(1, 0), boxes), boxes

    def pseudo_labels(self, logits, threshold, boxes=None):
        """The hard labels of logits, and a map of 1 where their confidence reaches a threshold; mixed like a view."""
        labels, confidence = self.head.hard(logits), self.head.confidence(self.head.probabilities(logits.detach()))
        if boxes is not None:
            labels = paste(labels, labels.roll(1, 0), boxes)
            confidence = paste(confidence, confidence.roll(1, 0), boxes)
        return labels, (confidence >= threshold).float()

    def loss_from(self, logits, pseudo_labels):
        """The Dice loss of logits over trusted voxels, from what `pseudo_labels` returns."""
        return masked_dice_loss(self.head.probabilities(logits), *pseudo_labels)

    def predict(self, images):
        return self.head.predict(self.network(images).logits)
