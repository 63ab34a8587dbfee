"""FixMatch for segmentation (Sohn et al., NeurIPS 2020; as the baseline of UniMatch, Yang et al., CVPR 2023)."""

from methods.shared.cutmix import paste, random_boxes
from methods.shared.losses import masked_dice_loss
from methods.shared.method import Info, Method, MethodSettings, Passes, setting
from methods.shared.registry import MethodError, register


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

    class Settings(MethodSettings):
        threshold: float = setting(0.95, "confidence from which a pseudo-label counts", search=(0.7, 0.99), ge=0, le=1)
        consistency_weight: float = setting(1.0, "weight of the strong view, constant", search=(0.1, 2), ge=0)
        mix_probability: float = setting(0.5, "probability that a strong view has a box of another patch", ge=0, le=1)

    @classmethod
    def patches(cls, settings, batch_size):
        labelled, unlabelled = super().patches(settings, batch_size)
        if unlabelled < 2:
            raise MethodError(
                f"training.batch_size {batch_size}: {cls.info.title} mixes unlabelled patches, so it must be 4 or more"
            )
        return labelled, unlabelled

    def __init__(self, settings, backbone, schedule):
        super().__init__(settings, backbone, schedule)
        self.network = backbone()

    def training_step(self, batch, step, phase):
        labelled = len(batch.labelled_images)
        logits = self.network(batch.images).logits  # weak views: the patches as they are
        supervised = self.head.segmentation_loss(logits[:labelled], batch.labels)
        strong, targets, trusted = self.strong_target(batch.unlabelled_images, logits[labelled:].detach())
        probabilities = self.head.probabilities(self.network(strong).logits)
        consistency = masked_dice_loss(probabilities, targets, trusted)

        total = 0.5 * (supervised + self.settings.consistency_weight * consistency)
        return {"supervised": supervised, "consistency": consistency, "trusted": trusted.mean(), "total": total}

    def strong_target(self, images, logits):
        """A strong view of images, its pseudo-labels, and where they are trusted, from the logits of the weak view."""
        confidence = self.head.confidence(self.head.probabilities(logits))
        boxes = random_boxes(images, self.settings.mix_probability)
        # The patch that is mixed in has an intensity augmentation of its own, as in the release.
        strong = paste(self.strong_view(images), self.strong_view(images).roll(1, 0), boxes)
        hard = self.head.hard(logits)
        confidence = paste(confidence, confidence.roll(1, 0), boxes)
        return strong, paste(hard, hard.roll(1, 0), boxes), (confidence >= self.settings.threshold).float()

    def predict(self, images):
        return self.head.predict(self.network(images).logits)
