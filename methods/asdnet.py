"""Attention-based semi-supervised deep networks, ASDNet (Nie et al., MICCAI 2018)."""

import torch
import torch.nn.functional as F

from methods.shared.losses import dice_loss
from methods.shared.method import Info, Method, MethodSettings, Passes, setting
from methods.shared.networks.discriminators import ConfidenceNetwork
from methods.shared.registry import register


@register("asdnet")
class ASDNet(Method):
    """A confidence network tells predictions from manual labels, voxel by voxel. Where it is confident, predictions on
    unlabelled patches serve as pseudo-labels.

    Weights follow the author's `runGAN.py`; those of the paper could not be confirmed [M]. In that script 1 - Dice on
    held-out labels replaces the threshold. Here the threshold is fixed, or follows the Dice on training patches [A].
    All papers quote UA-MT's re-implementation on a V-Net, which was never published.
    """

    info = Info(
        title="ASDNet", year=2018, source="Nie et al., MICCAI 2018; author's release", fidelity="reconstruction",
        passes=Passes(train=4, extra=2, other=9.7), networks=2,
    )  # fmt: skip
    phases = ("discriminate", "segment")

    class Settings(MethodSettings):
        adversarial_weight: float = setting(0.05, "lambda_ad (0.1 in the older script)", search=(0.01, 0.2), ge=0)
        pseudo_weight: float = setting(
            0.5, "lambda_semi at the end of its ramp (0.1 in the older script)", search=(0.05, 1.0), ge=0
        )
        threshold: float = setting(
            0.5, "gamma: confidence above which a voxel's prediction counts (0.2 in the older script)", gt=0, lt=1
        )
        adaptive_threshold: bool = setting(False, "gamma = 1 - running Dice on the labelled patches")
        sample_attention: float = setting(
            0.0, "beta: a patch's loss is weighted by (1 - its Dice)^beta; 0 is off", ge=0
        )
        discriminator_learning_rate: float = setting(1e-4, "Adam's learning rate, constant", gt=0)

    def __init__(self, settings, backbone, schedule):
        super().__init__(settings, backbone, schedule)
        self.network = backbone()
        self.discriminator = ConfidenceNetwork(
            backbone.dimensions, self.head.channels, self.head.maps, 2 * backbone.width, backbone.amp_dtype
        )
        self.register_buffer("running_dice", torch.zeros(()))

    def configure_optimizers(self, sgd):
        rate = self.settings.discriminator_learning_rate
        return {
            "discriminate": torch.optim.Adam(self.discriminator.parameters(), lr=rate, betas=(0.9, 0.99)),
            "segment": sgd(self.network.parameters()),
        }

    def training_step(self, batch, step, phase):
        return self._segment(batch, step) if phase == "segment" else self._discriminate(batch)

    def _discriminate(self, batch):
        with torch.no_grad():
            fake = self.head.probabilities(self.network(batch.labelled_images).logits)
        real = self.head.targets(batch.labels)
        return {"total": _judge(self.discriminator(real), 1.0) + _judge(self.discriminator(fake), 0.0)}

    def _segment(self, batch, step):
        labelled = len(batch.labelled_images)
        logits = self.network(batch.images).logits
        probabilities = self.head.probabilities(logits)
        judged = self.discriminator(probabilities)  # its parameters belong to the other phase: no gradient here
        supervised = self._supervised(logits[:labelled], batch.labels)
        adversarial = _judge(judged[:labelled], 1.0) + _judge(judged[labelled:], 1.0)

        confidence = judged[labelled:].detach().sigmoid()
        trusted = (confidence > self._threshold()).float()
        pseudo = self.head.cross_entropy(logits[labelled:], self.head.hard(logits[labelled:]))
        pseudo = (trusted * pseudo).sum() / trusted.sum().clamp(min=1)

        started = step >= self.schedule.scaled(1000)
        pseudo_weight = self.settings.pseudo_weight * self.schedule.ramp_up(step) if started else 0.0
        self.log("pseudo_weight", pseudo_weight)
        return {
            "supervised": supervised,
            "adversarial": adversarial,
            "pseudo": pseudo,
            "trusted_fraction": trusted.mean(),
            "confidence": confidence.mean(),
            "total": supervised + self.settings.adversarial_weight * adversarial + pseudo_weight * pseudo,
        }

    def _supervised(self, logits, labels):
        targets = self.head.targets(labels)
        losses, dices = [], []
        for i in range(len(logits)):  # patch by patch, because each has a weight
            logits_i, targets_i = logits[i : i + 1], targets[i : i + 1]
            dice = dice_loss(self.head.probabilities(logits_i), targets_i)
            attention = dice.detach() ** self.settings.sample_attention
            losses.append(attention * 0.5 * (self.head.cross_entropy(logits_i, targets_i).mean() + dice))
            dices.append(1 - dice.detach())
        self.running_dice.lerp_(torch.stack(dices).mean(), 0.05)
        return torch.stack(losses).mean()

    def _threshold(self):
        return 1 - self.running_dice if self.settings.adaptive_threshold else self.settings.threshold

    def predict(self, images):
        return self.head.predict(self.network(images).logits)


def _judge(logits, real):
    """Cross-entropy against "real" (1) or "predicted" (0) at every voxel."""
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, real))
