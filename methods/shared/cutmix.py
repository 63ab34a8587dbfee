"""CutMix: a box of one patch is pasted into another (Yun et al., ICCV 2019), in 2D and 3D.

Boxes are drawn on the CPU, where `torch.manual_seed` decides them on every device, and nothing waits for a GPU.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from methods.shared.registry import MethodError


def mixable(patches: tuple[int, int], title: str) -> tuple[int, int]:
    """The numbers of labelled and unlabelled patches of a step, if two of these can be mixed.

    Args:
        patches: labelled and unlabelled ones, half and half.
        title: of the method, for the message.

    Raises:
        MethodError: there are fewer than two unlabelled patches.

    Example:
        >>> mixable((2, 2), "FixMatch")
        (2, 2)
    """
    if patches[1] < 2:
        raise MethodError(
            f"training.batch_size {sum(patches)}: {title} mixes unlabelled patches, so it must be 4 or more"
        )
    return patches


def random_box(size: Sequence[int], sides: Sequence[int]) -> Tensor:
    """A box at a random place: 1 inside, 0 outside, (1, 1, *size), on the CPU.

    Args:
        size: voxels of a patch along each axis.
        sides: voxels of the box along each axis, at most those of the patch.

    Example:
        >>> random_box((8, 8), sides=(4, 2)).sum().item()
        8.0
    """
    box = torch.zeros(1, 1, *size)
    # A box never ends at the last voxel, as in the BCP release, unless it is as long as the patch.
    starts = [int(torch.randint(max(n - side, 1), ())) for n, side in zip(size, sides, strict=True)]
    box[(..., *(slice(a, a + side) for a, side in zip(starts, sides, strict=True)))] = 1
    return box


def random_boxes(
    images: Tensor,
    probability: float = 0.5,
    share: tuple[float, float] = (0.02, 0.4),
    aspect: tuple[float, float] = (0.3, 1 / 0.3),
    through_depth: bool = False,
) -> Tensor:
    """A box for each image, with a probability: 1 inside, 0 outside, (B, 1, ...), on the device of the images.

    Args:
        images: (B, M, ...), whose size counts alone.
        probability: that an image gets a box at all.
        share: least and largest share of the voxels of an image that the box takes, drawn uniformly.
        aspect: least and largest ratio of its first two sides, drawn uniformly on a logarithmic scale.
        through_depth: whether the box of a volume goes through its whole third axis.

    Source:
        UniMatch release, `dataset/transform.py` (obtain_cutmix_box); boxes of volumes are ours.

    Example:
        >>> boxes = random_boxes(torch.zeros(3, 1, 16, 16, 16), probability=1)
        >>> boxes.shape, bool((boxes.mean((1, 2, 3, 4)) <= 0.45).all())
        (torch.Size([3, 1, 16, 16, 16]), True)
    """
    size = images.shape[2:]
    boxes = torch.zeros(len(images), 1, *size)
    for i in range(len(images)):
        chance, portion, ratio = torch.rand(3).tolist()
        if chance >= probability:
            continue
        portion = share[0] + (share[1] - share[0]) * portion
        ratio = math.exp(math.log(aspect[0]) + (math.log(aspect[1]) - math.log(aspect[0])) * ratio)
        boxes[i] = random_box(size, _sides(size, portion, ratio, through_depth))[0]
    return boxes.to(images.device, non_blocking=True)


def beta_boxes(images: Tensor, concentration: float = 4.0) -> Tensor:
    """A box for each image: 1 inside, 0 outside, (B, 1, ...), on the device of the images.

    Its sides are sqrt(1 - s) of the patch, with one s ~ Beta(concentration, concentration) a batch. Each image has a
    centre of its own between 1/8 and the end of every axis. What lies beyond the border is cut off.

    Args:
        images: (B, M, ...), whose size counts alone.
        concentration: both parameters of the Beta distribution.

    Source:
        AD-MT release, `dataloaders/mixaugs.py` (rand_bbox_3d).

    Example:
        >>> beta_boxes(torch.zeros(3, 1, 16, 16, 16)).shape
        torch.Size([3, 1, 16, 16, 16])
    """
    factor = math.sqrt(1 - torch.distributions.Beta(concentration, concentration).sample().item())
    boxes = torch.zeros(len(images), 1, *images.shape[2:])
    for box in boxes:
        place = []
        for n in images.shape[2:]:
            centre, half = int(torch.randint(n // 8, n, ())), int(factor * n) // 2
            place.append(slice(max(centre - half, 0), centre + half))
        box[(..., *place)] = 1
    return boxes.to(images.device, non_blocking=True)


def _sides(size: Sequence[int], share: float, aspect: float, through_depth: bool) -> list[int]:
    free = 2 if through_depth else len(size)
    factors = [share ** (1 / free)] * free + [1.0] * (len(size) - free)
    factors[0], factors[1] = factors[0] * aspect**0.5, factors[1] / aspect**0.5
    return [min(max(round(n * factor), 1), n) for n, factor in zip(size, factors, strict=True)]


def paste(outside: Tensor, inside: Tensor, boxes: Tensor) -> Tensor:
    """`inside` where boxes are 1, `outside` where they are 0. Images, labels and confidences alike.

    Args:
        outside, inside: (B, C, ...), with any number of channels.
        boxes: (B, 1, ...) or (1, 1, ...).

    Example:
        >>> paste(torch.zeros(1, 1, 4, 4), torch.ones(1, 1, 4, 4), random_box((4, 4), (2, 2))).sum().item()
        4.0
    """
    return outside * (1 - boxes) + inside * boxes
