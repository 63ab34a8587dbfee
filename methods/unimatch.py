"""UniMatch (Yang et al., CVPR 2023)."""

import torch

from methods.fixmatch import FixMatch
from methods.shared.method import Info, MethodSettings, Passes, setting
from methods.shared.networks.layers import CHANNEL_DROPOUT
from methods.shared.registry import register


@register("unimatch")
class UniMatch(FixMatch):
    """FixMatch with two strong views, and a third one of features: the weak view's, after channel dropout.

    The release is 2D, with a second unlabelled batch that is mixed in and predicted in eval mode. Here the box comes
    from the next patch of the same batch, and its pseudo-labels from the same pass in train mode [A].
    """

    info = Info(
        title="UniMatch", year=2023, source="Yang et al., CVPR 2023; authors' release", fidelity="adapted",
        passes=Passes(train=9.1),
    )  # fmt: skip

    network_options = {"separable": True}

    class Settings(MethodSettings):
        threshold: float = setting(0.95, "confidence from which a pseudo-label counts", search=(0.7, 0.99), ge=0, le=1)
        strong_weight: float = setting(0.25, "weight of each strong view", search=(0.05, 1), ge=0)
        feature_weight: float = setting(0.5, "weight of the view of features", search=(0.1, 1), ge=0)
        feature_dropout: float = setting(0.5, "channel dropout of the encoder's features", ge=0, lt=1)
        mix_probability: float = setting(0.5, "probability that a strong view has a box of another patch", ge=0, le=1)

    def __init__(self, settings, backbone, schedule):
        super().__init__(settings, backbone, schedule)
        self.dropout = CHANNEL_DROPOUT[backbone.dimensions](settings.feature_dropout)

    def training_step(self, batch, step, phase):
        labelled, size, threshold = len(batch.labelled_images), batch.images.shape[2:], self.settings.threshold
        # One pass of the decoder for features with and without dropout, so that its batch norm sees both.
        encoded = [torch.cat([level, self.dropout(level[labelled:])]) for level in self.network.encode(batch.images)]
        logits, of_features = self.network.decode(encoded, size).logits.tensor_split([len(batch.images)])
        supervised = self.head.segmentation_loss(logits[:labelled], batch.labels)

        weak = logits[labelled:]
        (first, first_boxes), (second, second_boxes) = (self.mixed_view(batch.unlabelled_images) for _ in range(2))
        of_first, of_second = self.network(torch.cat([first, second])).logits.chunk(2)
        strong = self.loss_from(of_first, self.pseudo_labels(weak, threshold, first_boxes))
        strong = strong + self.loss_from(of_second, self.pseudo_labels(weak, threshold, second_boxes))
        targets, trusted = self.pseudo_labels(weak, threshold)
        features = self.loss_from(of_features, (targets, trusted))

        unlabelled = self.settings.strong_weight * strong + self.settings.feature_weight * features
        return {
            "supervised": supervised,
            "strong": 0.5 * strong,
            "features": features,
            "trusted": trusted.mean(),
            "total": 0.5 * (supervised + unlabelled),
        }
