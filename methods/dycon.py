"""DyCON (Assefa et al., CVPR 2025), without its release's use of labels of unlabelled volumes."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import nn

from methods.shared.ema import make_teacher, update_teacher
from methods.shared.method import Info, Method, MethodSettings, Passes, setting
from methods.shared.networks.layers import BATCH_NORM, CONVOLUTION, LINEAR, padding_to_multiple
from methods.shared.noise import add_noise
from methods.shared.registry import register

SCALE = 8  # voxels of a patch embedding along each axis
HIDDEN, EMBEDDING = 512, 256  # channels of the projection
AVERAGE_POOL = {2: F.avg_pool2d, 3: F.avg_pool3d}


@register("dycon")
class DyCON(Method):
    """A mean teacher whose consistency counts less where entropy is high, and contrast between embeddings of patches.

    The release takes positives and negatives on unlabelled volumes from their true labels. Here they come from the
    teacher's pseudo-labels [A]. Its 3D U-Net with ASPP gives way to the experiment's network, without ASPP [A].
    """

    info = Info(
        title="DyCON, without label leak", year=2025, source="Assefa et al., CVPR 2025; authors' release",
        fidelity="adapted", passes=Passes(train=4, extra=4), networks=2,
    )  # fmt: skip
    gradient_clipping = 1.0

    class Settings(MethodSettings):
        consistency_weight: float = setting(
            0.1, "weight of the mean-square consistency at the end of its ramp", search=(0.01, 1), ge=0
        )
        unsupervised_weight: float = setting(
            0.5, "weight of contrast and of uncertainty-aware consistency, constant", search=(0.05, 1), ge=0
        )
        beta_first: float = setting(5.0, "weight β of entropies at the first step", gt=0)
        beta_last: float = setting(0.5, "weight β of entropies at the end", gt=0)
        temperature: float = setting(0.6, "of similarities", search=(0.1, 1), gt=0)
        focus: float = setting(2.0, "exponent of the focal weight of positives", ge=1)
        contrast: Literal["unlabelled", "all"] = setting(
            "unlabelled", "patches that are contrasted: unlabelled ones, or labelled ones with their labels, too"
        )
        shifted: bool = setting(False, "each column of exponents has its own shift (code), which is no softmax")
        ema_decay: float = setting(0.99, "decay of the teacher", ge=0, lt=1)

    def __init__(self, settings, backbone, schedule):
        super().__init__(settings, backbone, schedule)
        self.student = EmbeddingNetwork(backbone)
        self.teacher = make_teacher(self.student)

    def training_step(self, batch, step, phase):
        labelled, settings = len(batch.labelled_images), self.settings
        logits, embeddings = self.student(batch.images)
        with torch.no_grad():
            teacher_logits, teacher_embeddings = self.teacher(add_noise(batch.images))
        student, teacher = self.head.probabilities(logits), self.head.probabilities(teacher_logits)

        supervised = 2 * self.head.segmentation_loss(logits[:labelled], batch.labels)
        consistency = (student[labelled:] - teacher[labelled:]).square().mean()
        beta = settings.beta_first * (settings.beta_last / settings.beta_first) ** (step / self.schedule.iterations)
        uncertain = self._uncertainty_aware(student, teacher, beta)

        hard = torch.cat([self.head.targets(batch.labels), self.head.hard(teacher_logits[labelled:])])
        labels = self.head.most_likely(self.student.on_grid(hard))[1].flatten(1)
        first = 0 if settings.contrast == "all" else labelled
        embeddings, teacher_embeddings, labels = embeddings[first:], teacher_embeddings[first:], labels[first:]
        threshold = 0.3 + 0.2 * self.schedule.smooth_ramp_up(step)
        contrast = self._contrast(embeddings, labels) + hard_negatives(
            embeddings, teacher_embeddings, labels, threshold
        )

        weight = self.log("consistency_weight", settings.consistency_weight * self.schedule.ramp_up(step))
        return {
            "supervised": supervised,
            "consistency": consistency,
            "uncertainty_aware": uncertain,
            "contrast": contrast,
            "total": supervised + weight * consistency + settings.unsupervised_weight * (contrast + uncertain),
        }

    def _uncertainty_aware(self, student, teacher, beta):
        """The squared distance, less where entropies are high, plus the entropies."""
        entropy, other_entropy = self.head.entropy(student), self.head.entropy(teacher)
        weighted = self.head.squared_distance(student, teacher) / (
            torch.exp(beta * entropy) + torch.exp(beta * other_entropy)
        )
        return (weighted + beta * (entropy + other_entropy)).mean()

    def _contrast(self, embeddings, labels):
        """InfoNCE over patches (B, N, F) with labels (B, N): each positive against all negatives, hard ones first."""
        themselves = torch.eye(labels.shape[1], device=labels.device)
        same = (labels[:, :, None] == labels[:, None]).float()
        similarity = (embeddings @ embeddings.transpose(1, 2) / self.settings.temperature) * (1 - themselves)
        if self.settings.shifted:
            similarity = similarity - similarity.amax(1, keepdim=True).detach()
        exponents = similarity.exp()
        negatives = (exponents * (1 - same)).sum(2, keepdim=True)
        share = exponents / (exponents + negatives + 1e-18)
        losses = -torch.log(share + 1e-18) * (1 - share) ** self.settings.focus
        positives = same * (1 - themselves)
        return ((losses * positives).sum(2) / positives.sum(2).clamp(min=1)).mean()

    def after_step(self, step):
        self.log("ema_decay", update_teacher(self.teacher, self.student, step, self.settings.ema_decay))

    def predict(self, images):
        return self.head.predict(self.student.network(images).logits)


class EmbeddingNetwork(nn.Module):
    """The experiment's network, with a projection of its deepest features to embeddings of 8 voxels a side."""

    def __init__(self, backbone):
        super().__init__()
        self.network = backbone(separable=True)
        convolution = CONVOLUTION[backbone.dimensions]
        # Two linear layers, as in the release, which has batch norm and no activation between them.
        self.projection = nn.Sequential(
            convolution(self.network.encoder_channels[-1], HIDDEN, 1),
            BATCH_NORM[backbone.dimensions](HIDDEN),
            convolution(HIDDEN, EMBEDDING, 1),
        )

    def forward(self, images):
        """Logits, and embeddings (B, N, F) of length 1."""
        size = images.shape[2:]
        encoded = self.network.encode(images)
        grid = self.on_grid(images).shape[2:]
        deepest = F.interpolate(encoded[-1].float(), grid, mode=LINEAR[images.ndim - 2], align_corners=True)
        embeddings = self.projection(deepest).flatten(2).transpose(1, 2)
        return self.network.decode(encoded, size).logits, F.normalize(embeddings, dim=-1)

    def on_grid(self, maps):
        """Maps (B, K, ...), each value the mean over the voxels of a patch; where the network pads, they are 0."""
        maps = F.pad(maps, padding_to_multiple(maps.shape[2:], self.network.multiple))
        return AVERAGE_POOL[maps.ndim - 2](maps, SCALE)


def hard_negatives(embeddings, teacher, labels, threshold):
    """-log(1 - similarity), the mean over pairs of student and teacher whose labels differ but that are similar."""
    similarity = embeddings @ teacher.transpose(1, 2)
    hard = ((labels[:, :, None] != labels[:, None]) & (similarity > threshold)).float()
    losses = -torch.log((1 - similarity).clamp(min=1e-6))
    return (losses * hard).sum() / hard.sum().clamp(min=1)
