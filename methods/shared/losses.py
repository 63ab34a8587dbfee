"""Losses that several methods use. They take fp32 tensors."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor


def one_hot(labels: Tensor, classes: int) -> Tensor:
    """One binary channel for each foreground class.

    Args:
        labels: (B, ...), integers 0..C; 0 is background.
        classes: the number C of foreground classes.

    Returns:
        (B, C, ...), float32, of 0 and 1.

    Example:
        >>> one_hot(torch.tensor([0, 2]).view(1, 2, 1, 1), classes=2).flatten().tolist()
        [0.0, 0.0, 0.0, 1.0]
    """
    values = torch.arange(1, classes + 1, device=labels.device, dtype=labels.dtype)
    return (labels.unsqueeze(1) == values.view(1, -1, *[1] * (labels.ndim - 1))).float()


def dice_loss(probabilities: Tensor, targets: Tensor) -> Tensor:
    """Soft Dice loss with a squared denominator: 1 - (2 sum(p y) + e) / (sum(p^2) + sum(y^2) + e), e = 1e-5.

    Sums run over all voxels of the batch at once. The loss is the mean over classes.

    Args:
        probabilities: p, (B, C, ...), in 0..1.
        targets: y, of the same shape.

    Returns:
        A scalar in 0..1.

    Source:
        Milletari et al., 3DV 2016; UA-MT release, `utils/losses.py`.

    Example:
        >>> targets = torch.ones(1, 1, 2, 2, 2)
        >>> dice_loss(targets, targets).item(), round(dice_loss(0.5 * targets, targets).item(), 3)
        (0.0, 0.2)
    """
    axes = (0, *range(2, probabilities.ndim))
    overlap = (probabilities * targets).sum(axes)
    size = probabilities.square().sum(axes) + targets.square().sum(axes)
    return (1 - (2 * overlap + 1e-5) / (size + 1e-5)).mean()


def masked_dice_loss(probabilities: Tensor, targets: Tensor, trusted: Tensor) -> Tensor:
    """Soft Dice loss over some voxels: 1 - (2 sum(p y) + e) / (sum(p^2) + sum(y^2) + e), e = 1e-5.

    Sums run over all trusted voxels of the batch at once. The loss is the mean over channels, and 0 if none is trusted.

    Args:
        probabilities: p, (B, K, ...), in 0..1.
        targets: y, of the same shape.
        trusted: (B, K, ...) or (B, 1, ...), 1 for the voxels that count and 0 for others.

    Source:
        UniMatch release, `more-scenarios/medical/util/utils.py` (DiceLoss with `ignore`).

    Example:
        >>> p, y = torch.tensor([[[0.5, 1.0]]]), torch.tensor([[[1.0, 0.0]]])
        >>> round(masked_dice_loss(p, y, torch.tensor([[[1.0, 0.0]]])).item(), 3)
        0.2
        >>> masked_dice_loss(p, y, torch.zeros(1, 1, 2)).item()
        0.0
    """
    axes = (0, *range(2, probabilities.ndim))
    overlap = (trusted * probabilities * targets).sum(axes)
    size = (trusted * probabilities.square()).sum(axes) + (trusted * targets.square()).sum(axes)
    return (1 - (2 * overlap + 1e-5) / (size + 1e-5)).mean()


def masked_loss(head, logits: Tensor, targets: Tensor, region: Tensor | None = None) -> Tensor:
    """0.5 (cross-entropy + Dice) within a region of each patch by itself, and then the mean over patches.

    Dice is 1 - (2 sum(p y) + e) / (sum(p) + sum(y) + e), e = 1e-5. The loss of an empty region is 0.

    Args:
        head: what logits mean, `Sigmoid` or `Softmax`.
        logits: (B, K, ...).
        targets: (B, K, ...), of 0 and 1.
        region: (B, 1, ...), 1 inside and 0 outside; None is everywhere.

    Source:
        DualFete release, `train_dualfete.py` (criterion) and `utils/losses.py` (mask_DiceLoss), after BCP's.

    Example:
        >>> from methods.shared.probabilities import Sigmoid
        >>> z, y = torch.zeros(1, 1, 4), torch.tensor([[[1.0, 1.0, 0.0, 0.0]]])
        >>> round(masked_loss(Sigmoid(classes=1), z, y, region=y).item(), 3)
        0.513
    """
    region = torch.ones_like(logits[:, :1]) if region is None else region
    axes = tuple(range(2, logits.ndim))
    entropy = (head.cross_entropy(logits, targets) * region).sum(axes) / (region.sum(axes) + 1e-12)
    probabilities, targets = head.probabilities(logits) * region, targets * region
    overlap, size = (probabilities * targets).sum(axes), (probabilities + targets).sum(axes)
    return 0.5 * (entropy.mean() + (1 - (2 * overlap + 1e-5) / (size + 1e-5)).mean())


def plain_dice_loss(probabilities: Tensor, targets: Tensor) -> Tensor:
    """Soft Dice loss with a plain denominator: 1 - (2 sum(p y) + e) / (sum(p) + sum(y) + e), e = 1e-8.

    Sums run over all voxels of the batch at once. The loss is the mean over classes.

    Args:
        probabilities: p, (B, C, ...), in 0..1.
        targets: y, of the same shape.

    Source:
        MC-Net and SS-Net releases, `utils/losses.py` (Binary_dice_loss).

    Example:
        >>> targets = torch.ones(1, 1, 2, 2, 2)
        >>> round(plain_dice_loss(0.5 * targets, targets).item(), 3)
        0.333
    """
    axes = (0, *range(2, probabilities.ndim))
    overlap = (probabilities * targets).sum(axes)
    return (1 - (2 * overlap + 1e-8) / (probabilities.sum(axes) + targets.sum(axes) + 1e-8)).mean()


def mutual_consistency(head, outputs: Sequence[Tensor], temperature: float) -> Tensor:
    """The sum over ordered pairs (i, j) of the mean of (p_i - sharpened p_j)^2. Nothing is detached.

    Args:
        head: what sharpens, `Sigmoid` or `Softmax`.
        outputs: the probabilities p of several decoders or networks, each (B, K, ...).
        temperature: of sharpening.

    Source:
        MC-Net release, `train_mcnet_3d.py`.

    Example:
        >>> from methods.shared.probabilities import Sigmoid
        >>> p = torch.tensor([[[0.5]]])
        >>> mutual_consistency(Sigmoid(classes=1), [p, torch.ones_like(p)], temperature=0.1).item()
        0.5
    """
    sharp = [head.sharpen(probabilities, temperature) for probabilities in outputs]
    return sum(
        (probabilities - peer).square().mean()
        for i, probabilities in enumerate(outputs)
        for j, peer in enumerate(sharp)
        if i != j
    )


def binary_entropy(probabilities: Tensor) -> Tensor:
    """The entropy of each probability in nats: -(p ln(p + 1e-6) + q ln(q + 1e-6)), q = 1 - p.

    Args:
        probabilities: of foreground, of any shape, in 0..1.

    Returns:
        A tensor of the same shape, at most `MAX_ENTROPY` = ln 2.

    Source:
        UA-MT release, `train_LA_meanteacher_certainty_unlabel.py`.

    Example:
        >>> [round(value, 3) for value in binary_entropy(torch.tensor([0.5, 0.9])).tolist()]
        [0.693, 0.325]
    """
    background = 1 - probabilities
    return -(probabilities * torch.log(probabilities + 1e-6) + background * torch.log(background + 1e-6))


MAX_ENTROPY = math.log(2)
