"""CrossMatch (Zhao et al., IEEE Journal of Biomedical and Health Informatics 2024)."""

import math
from typing import Literal

import torch

from methods.fixmatch import FixMatch
from methods.shared.method import Info, MethodSettings, Passes, setting
from methods.shared.networks.layers import CHANNEL_DROPOUT
from methods.shared.registry import register

STOP = 14 / 17  # the release plans 17,000 iterations and stops after 14,000


@register("cross_match")
class CrossMatch(FixMatch):
    """One encoding is decoded three times, after no, little and much channel dropout. Each decoding is taught by those
    with less dropout, and by its own kind across a strong view.

    The release mixes a second unlabelled batch in, whose labels it predicts in eval mode. Here the next patch of the
    same batch is mixed in, with its labels from the same pass [A]. Optimiser and rate are the protocol's [A].
    """

    info = Info(
        title="CrossMatch", year=2024, source="Zhao et al., JBHI 2024; authors' release", fidelity="adapted",
        passes=Passes(train=12.5),
    )  # fmt: skip

    network_options = {"separable": True, "level_dropout": (0.0,)}  # no dropout before the head, as in the release

    class Settings(MethodSettings):
        threshold: float = setting(
            0.75, "confidence from which a pseudo-label counts, before its ramp", search=(0.5, 0.95), ge=0, le=1
        )
        threshold_factor: Literal["entropy", "none"] = setting(
            "entropy", "threshold times ln 2, as if confidence were an entropy (code), or without that factor"
        )
        strong_weight: float = setting(0.25, "weight of each strong view", search=(0.05, 1), ge=0)
        distillation_weight: float = setting(1.0, "weight of what decodings teach one another", search=(0.1, 2), ge=0)
        across: float = setting(0.3, "share of it across views, eta of the paper", search=(0.1, 0.9), ge=0, le=1)
        weak_dropout: float = setting(0.25, "channel dropout of the encoder's features, weak", ge=0, lt=1)
        strong_dropout: float = setting(0.75, "channel dropout of the encoder's features, strong", ge=0, lt=1)
        mix_probability: float = setting(0.5, "probability that a strong view has a box of another patch", ge=0, le=1)
        optimizer: Literal["protocol", "release"] = setting(
            "protocol", "that of the protocol, or AdamW at 1e-3 with a polynomial decay (code)"
        )

    def __init__(self, settings, backbone, schedule):
        super().__init__(settings, backbone, schedule)
        dropout = CHANNEL_DROPOUT[backbone.dimensions]
        self.weak, self.strong = dropout(settings.weak_dropout), dropout(settings.strong_dropout)

    def configure_optimizers(self, sgd):
        if self.settings.optimizer == "protocol":
            return super().configure_optimizers(sgd)
        return {"train": torch.optim.AdamW(self.parameters(), lr=1e-3, weight_decay=1e-4)}

    def own_learning_rate_factor(self, phase, step):
        return self.schedule.poly(STOP * step)

    def threshold(self, step: int) -> float:
        """(0.75 + 0.25 r(t)) ln 2: 0.52 at first and 0.67 in the end, with the published settings."""
        start, ramp = self.settings.threshold, self.schedule.smooth_ramp_up(STOP * step)
        return (start + (1 - start) * ramp) * (math.log(2) if self.settings.threshold_factor == "entropy" else 1)

    def training_step(self, batch, step, phase):
        labelled, unlabelled = len(batch.labelled_images), len(batch.unlabelled_images)
        threshold = self.threshold(step)
        clean, weak, strong = self._decodings(batch.images, labelled)
        supervised = self.head.segmentation_loss(clean[:labelled], batch.labels)
        clean = clean[labelled:]

        (first, first_boxes), (second, second_boxes) = (self.mixed_view(batch.unlabelled_images) for _ in range(2))
        of_views, second_weak, second_strong = self._decodings(torch.cat([first, second]), unlabelled)
        of_first, of_second = of_views.chunk(2)

        unmixed = self.pseudo_labels(clean, threshold)
        in_first = self.pseudo_labels(clean, threshold, first_boxes)
        in_second = self.pseudo_labels(clean, threshold, second_boxes)
        views = self.loss_from(of_first, in_first) + self.loss_from(of_second, in_second)
        from_clean = 0.25 * (
            self.loss_from(weak, unmixed) + self.loss_from(strong, unmixed)
            + self.loss_from(second_weak, in_second) + self.loss_from(second_strong, in_second)
        )  # fmt: skip
        across = 0.5 * (
            self.loss_from(second_weak, self.pseudo_labels(weak, threshold, second_boxes))
            + self.loss_from(second_strong, self.pseudo_labels(strong, threshold, second_boxes))
        )
        distillation = (1 - self.settings.across) * from_clean + self.settings.across * across
        total = supervised + self.settings.strong_weight * views + self.settings.distillation_weight * distillation
        return {
            "supervised": supervised,
            "strong": 0.5 * views,
            "from_clean": from_clean,
            "across": across,
            "trusted": unmixed[1].mean(),
            "total": 0.5 * total,
        }

    def _decodings(self, images, first):
        """Logits of images, and those of images from `first` on after weak and after strong channel dropout.

        One pass of the decoder, so that its batch norm sees all three, as in the release.
        """
        encoded = [
            torch.cat([level, self.weak(level[first:]), self.strong(level[first:])])
            for level in self.network.encode(images)
        ]
        logits = self.network.decode(encoded, images.shape[2:]).logits
        return logits.tensor_split([len(images), 2 * len(images) - first])
