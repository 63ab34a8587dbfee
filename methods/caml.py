"""Correlation-aware mutual learning, CAML (Gao et al., MICCAI 2023)."""

import math

import torch
from torch import nn

from methods.shared.losses import mutual_consistency, plain_dice_loss
from methods.shared.method import Info, Method, MethodSettings, Passes, setting
from methods.shared.networks.layers import crop, perceptron
from methods.shared.registry import register
from methods.shared.voxel_memory import VoxelMemory, best_within

TEMPERATURE = 0.1  # of sharpening and of correlations
ATTENDED = -2  # encoder level with attention, the one above the deepest


@register("caml")
class CAML(Method):
    """Two V-Nets, one with attention across patches, must agree in predictions and in how voxels resemble a memory.

    The release projects every voxel, and keeps every correct one in its memory. Here only voxels that are used are
    projected, and the memory keeps a random sample of each case [A].
    """

    info = Info(
        title="CAML", year=2023, source="Gao et al., MICCAI 2023; authors' release", fidelity="adapted",
        passes=Passes(train=10.5, other=0.2), networks=2,
    )  # fmt: skip

    class Settings(MethodSettings):
        supervised_weight: float = setting(0.5, "weight of the summed Dice losses", ge=0)
        consistency_weight: float = setting(
            1.0, "weight of the mutual consistency at the end of its ramp", search=(0.1, 3.0), ge=0
        )
        correlation_weight: float = setting(
            0.05, "weight of the correlation consistency at the end of its ramp", search=(0.005, 0.5), ge=0
        )
        ramp: float = setting(1.0, "share of the training in which both ramps rise (code: 0.4)", gt=0, le=1)
        memory: int = setting(256, "labelled voxels of each class that correlations are with", gt=0)
        queries: int = setting(12800, "most confident unlabelled voxels of each class", gt=0)
        embedding: int = setting(32, "features of a projected voxel (the release's option of 64 has no effect)", gt=0)

    def __init__(self, settings, backbone, schedule):
        super().__init__(settings, backbone, schedule)
        self.vanilla = backbone(separable=True)
        another = "transposed" if self.vanilla.upsamplings[0] == "linear" else "linear"
        self.auxiliary = backbone(separable=True, decoders=(another,))
        self.attention = CrossModalAttention(self.auxiliary.encoder_channels[ATTENDED])
        self.level = len(self.auxiliary.encoder_channels) + ATTENDED
        width, features = self.vanilla.channels[-1], settings.embedding
        self.projections = nn.ModuleList([perceptron(width, features), perceptron(width, features)])
        self.predictions = nn.ModuleList([perceptron(features, features), perceptron(features, features)])
        entries = 128 if backbone.dimensions == 3 else 256  # cases, or slices of cases
        self.memory = VoxelMemory(backbone.classes + 1, settings.memory, features, entries)

    def training_step(self, batch, step, phase):
        labelled = len(batch.labelled_images)
        outputs = [self.vanilla(batch.images, features=True), self._attended(batch.images)]
        probabilities = [self.head.probabilities(output.logits) for output in outputs]
        targets = self.head.targets(batch.labels)
        supervised = sum(plain_dice_loss(p[:labelled], targets) for p in probabilities)
        consistency = mutual_consistency(self.head, probabilities, TEMPERATURE)

        size = batch.images.shape[2:]
        # Features after channel dropout, as the release has them: (B, N, F).
        voxels = [_by_voxel(self.vanilla.dropout(output.features[-1]), size) for output in outputs]
        (sure, first), (_, second) = (self.head.most_likely(p.detach()) for p in probabilities)
        labels = batch.labels.long()
        correct = (first[:labelled] == labels) & (second[:labelled] == labels)
        self._remember([v[:labelled] for v in voxels], labels, correct, batch, step)
        agreed = first[labelled:] == second[labelled:]
        correlation = self._correlation([v[labelled:] for v in voxels], first[labelled:], agreed, sure[labelled:])

        ramp = self.schedule.ramp_up(int(step / self.settings.ramp))
        consistency_weight = self.log("consistency_weight", self.settings.consistency_weight * ramp)
        correlation_weight = self.log("correlation_weight", self.settings.correlation_weight * ramp)
        weighted = consistency_weight * consistency + correlation_weight * correlation
        return {
            "supervised": supervised,
            "consistency": consistency,
            "correlation": correlation,
            "total": self.settings.supervised_weight * supervised + weighted,
        }

    def _attended(self, images):
        encoded = self.auxiliary.encode(images, lambda level, x: self.attention(x) if level == self.level else x)
        return self.auxiliary.decode(encoded, images.shape[2:], features=True)

    @torch.no_grad()
    def _remember(self, voxels, labels, correct, batch, step):
        """Store a sample of each class of each labelled patch, voxels that both networks get right."""
        for i, case_id in enumerate(batch.labelled_ids):
            part = 0 if self.backbone.dimensions == 3 else batch.labelled_origins[i, 2]  # the slice
            slot = self.memory.slot(case_id, step, part)
            for c in range(self.backbone.classes + 1):
                mask = (correct[i] & (labels[i] == c)).flatten()
                chosen, valid = best_within(mask, torch.rand(mask.shape, device=mask.device), self.settings.memory)
                projected = [_frozen(p, v[i, chosen]) for p, v in zip(self.projections, voxels, strict=True)]
                self.memory.store(slot, c, 0.5 * sum(projected), valid, mask.sum())

    def _correlation(self, voxels, labels, agreed, confidence):
        """Cross-entropy of how voxels of both networks correlate with the memory, over the most confident voxels."""
        memory, known = self.memory.recall()
        voxels = [v.flatten(0, 1) for v in voxels]
        queries = [
            best_within((agreed & (labels == c)).flatten(), confidence.flatten(), self.settings.queries)
            for c in range(len(memory))
        ]
        chosen, valid = (torch.cat(parts) for parts in zip(*queries, strict=True))
        correlations = []
        for projection, prediction, features in zip(self.projections, self.predictions, voxels, strict=True):
            logits = prediction(projection(features[chosen])) @ memory.flatten(0, 1).T / TEMPERATURE
            logits = logits.masked_fill(~known.repeat_interleave(memory.shape[1]), -math.inf)
            correlations.append(torch.where(known.any(), logits, 0.0).softmax(1))
        of_vanilla, of_auxiliary = correlations
        entropy = -(of_auxiliary * torch.log(of_vanilla + 1e-8)).sum(1)
        valid = valid * known.any()
        return (valid * entropy).sum() / valid.sum().clamp(min=1)

    def predict(self, images):
        return self.head.predict(self.vanilla(images).logits)


class CrossModalAttention(nn.Module):
    """Attention among the places of each patch, then among the patches at each place. In eval mode there is none."""

    def __init__(self, channels):
        super().__init__()
        heads = math.gcd(4, channels)
        self.within, self.across = (
            nn.TransformerEncoderLayer(channels, heads, 4 * channels, dropout=0.5) for _ in range(2)
        )

    def forward(self, features):
        if not self.training:
            return features
        tokens = self.within(features.flatten(2).permute(2, 0, 1))  # (places, B, C): a sequence of places
        tokens = self.across(tokens.transpose(0, 1))  # (B, places, C): a sequence of patches
        return tokens.transpose(1, 2).unflatten(2, features.shape[2:])


def _frozen(network, features):
    """Its output in eval mode."""
    output = network.eval()(features)
    network.train()
    return output


def _by_voxel(features, size):
    return crop(features, size).flatten(2).transpose(1, 2)
