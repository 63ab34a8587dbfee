"""A memory of labelled voxels, case by case or slice by slice, whose size does not depend on the patches."""

import zlib

import torch
from torch import Tensor, nn


class VoxelMemory(nn.Module):
    """Features of labelled voxels: a random sample of each class of each entry. All of it is in buffers.

    An entry is a case, or a slice of one.

    Args:
        classes: labels, background included.
        size: voxels of a class that are stored of each entry, and recalled of all.
        features: of a voxel.
        entries: that have room. Then the one that was stored longest ago leaves.

    Example:
        >>> memory = VoxelMemory(classes=1, size=2, features=3)
        >>> slot = memory.slot("case-1", step=0)
        >>> memory.store(slot, 0, torch.ones(2, 3), torch.tensor([True, True]), count=torch.tensor(40))
        >>> voxels, known = memory.recall()
        >>> voxels.shape, known.tolist()
        (torch.Size([1, 2, 3]), [True])
    """

    def __init__(self, classes: int, size: int, features: int, entries: int = 128):
        super().__init__()
        self.size = size
        self.register_buffer("owners", torch.full((entries,), -1))  # hash of the case, with the slice
        self.register_buffer("ages", torch.arange(entries) - entries)  # step of the last update
        self.register_buffer("voxels", torch.zeros(entries, classes, size, features))
        self.register_buffer("counts", torch.zeros(entries, classes, size))  # voxels that each stands for

    def slot(self, case_id: str, step: int, part: Tensor | int = 0) -> Tensor:
        """The place of a case or of its slice `part`, (1,), which is its own from this step on.

        The device is not waited for.
        """
        owner = zlib.crc32(case_id.encode()) + (part << 32)
        ages = torch.where(self.owners == owner, torch.iinfo(torch.long).min, self.ages)
        slot = ages.argmin(0, keepdim=True)
        self.owners[slot], self.ages[slot] = owner, step
        return slot

    def store(self, slot: Tensor, label: int, voxels: Tensor, valid: Tensor, count: Tensor) -> None:
        """Replace what an entry has of a class.

        Args:
            slot: of the entry.
            label: of the class.
            voxels: (size, F).
            valid: (size,), which of them count.
            count: a scalar, how many voxels of the patch these stand for.
        """
        self.voxels[slot, label] = voxels
        self.counts[slot, label] = valid * count / valid.sum().clamp(min=1)

    def recall(self) -> tuple[Tensor, Tensor]:
        """`size` voxels of each class, drawn at random, as often as they stand for voxels of patches.

        Returns:
            Voxels (C, size, F), and which classes have so many, (C,).
        """
        stored, weights = self.voxels.transpose(0, 1).flatten(1, 2), self.counts.transpose(0, 1).flatten(1)
        keys = weights / torch.empty_like(weights).exponential_()  # the largest are a draw without replacement
        chosen = keys.topk(self.size).indices
        known = (weights > 0).sum(1) >= self.size
        return stored.gather(1, chosen[..., None].expand(-1, -1, stored.shape[2])), known


def best_within(mask: Tensor, score: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The places of the largest scores within a mask. They repeat if the mask has fewer than `count`.

    If the mask is empty, these are other places, and not one of them many times: a batch norm may see them.

    Args:
        mask: (N,), bool.
        score: (N,), at least 0.
        count: how many places are returned, whatever the mask is.

    Returns:
        Places (count,), and which of them are no repetitions, (count,).

    Example:
        >>> mask, score = torch.tensor([False, True, True]), torch.tensor([0.9, 0.1, 0.5])
        >>> best_within(mask, score, 3)
        (tensor([2, 1, 2]), tensor([ True,  True, False]))
    """
    found = torch.where(mask, score, -1.0).topk(min(count, len(score))).indices
    places = torch.arange(count, device=found.device)
    inside = mask.sum().clamp(max=len(found))
    return found[places % torch.where(inside > 0, inside, len(found))], places < inside
