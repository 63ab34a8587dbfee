"""Transformation-consistent self-ensembling, TCSE / TCSM (Li et al., BMVC 2018; TNNLS 2020)."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from methods.shared.ema import make_teacher, update_teacher
from methods.shared.method import Info, Method, MethodSettings, Passes, setting
from methods.shared.noise import add_noise
from methods.shared.registry import register

Symmetry = tuple[int, bool]  # quarter turns in the (x, y) plane, and whether to mirror along x after them


@register("tcse")
class TCSE(Method):
    """The prediction for a rotated or mirrored patch must be the rotated or mirrored prediction.

    DTML's row is a re-run by UA-MT's authors, most likely of the version of 2018: the same network in both branches
    (`pi`) [M]. `ema` is the version of 2020, which DTML cites. Consistency weight, noise and EMA decay of the re-run
    are not published [A]. In the released 2D code both unlabelled passes are inside `no_grad`, so that the consistency
    loss has no gradient, and one branch alone is scaled. Neither is reproduced.
    """

    info = Info(
        title="TCSE", year=2018, source="Li et al., BMVC 2018 and TNNLS 2020", fidelity="adapted",
        passes=Passes(train=8),
    )  # fmt: skip

    class Settings(MethodSettings):
        second_branch: Literal["pi", "ema"] = setting(
            "pi", "network of the transformed branch: the same, or an EMA teacher"
        )
        consistency_weight: float = setting(
            0.1,
            "weight of the consistency loss at the end of its ramp; 1.0 in the released code",
            search=(0.01, 1),
            ge=0,
        )
        ema_decay: float = setting(0.99, "decay of the teacher; 0.999 in the released code", ge=0, lt=1)
        scaling: float = setting(
            0.0,
            "patches are also zoomed in the (x, y) plane by up to this share; 0.1 in the version of 2020",
            ge=0,
            lt=1,
        )

    @classmethod
    def variant(cls, settings):
        return settings.second_branch

    def __init__(self, settings, backbone, schedule):
        super().__init__(settings, backbone, schedule)
        self.student = backbone()
        if settings.second_branch == "ema":
            self.teacher = make_teacher(self.student)

    def training_step(self, batch, step, phase):
        labelled = len(batch.labelled_images)
        images = batch.images
        symmetries = draw_symmetries(images)
        zooms = 1 + self.settings.scaling * (2 * torch.rand(len(images)) - 1)
        plain, turned = add_noise(images), turn(add_noise(images), symmetries)
        if self.settings.scaling:
            turned = zoom(turned, zooms)
        if self.settings.second_branch == "pi":
            logits, peer = self.student(torch.cat([plain, turned])).logits.chunk(2)  # gradient into both
        else:
            logits = self.student(plain).logits
            with torch.no_grad():
                peer = self.teacher(turned).logits
        supervised = self.head.segmentation_loss(logits[:labelled], batch.labels)
        target, seen = (
            self.head.probabilities(peer),
            torch.ones_like(peer),
        )  # seen: voxels that the zoom leaves inside the patch
        if self.settings.scaling:
            target, seen = zoom(target, 1 / zooms), (zoom(zoom(seen, zooms), 1 / zooms) > 0.999).float()
        difference = self.head.probabilities(logits) - turn_back(target, symmetries)
        consistency = (turn_back(seen, symmetries) * difference.square()).sum() / seen.sum()

        weight = self.log("consistency_weight", self.settings.consistency_weight * self.schedule.ramp_up(step))
        return {"supervised": supervised, "consistency": consistency, "total": supervised + weight * consistency}

    def after_step(self, step):
        if self.settings.second_branch == "ema":
            self.log("ema_decay", update_teacher(self.teacher, self.student, step, self.settings.ema_decay))

    def predict(self, images):
        return self.head.predict(self.student(images).logits)


def draw_symmetries(images: Tensor) -> list[Symmetry]:
    """A symmetry of the (x, y) plane for each patch: one of eight for a square, one of four for a rectangle."""
    step = 1 if images.shape[2] == images.shape[3] else 2
    turns = step * torch.randint(4 // step, (len(images),))  # on the CPU, so that nothing waits for the GPU
    mirrors = torch.randint(2, (len(images),))
    return [(int(turn), bool(mirror)) for turn, mirror in zip(turns, mirrors, strict=True)]


def turn(volumes: Tensor, symmetries: list[Symmetry]) -> Tensor:
    """Rotate each volume of (B, C, H, W, D) by quarter turns, then mirror it along x."""
    rotated = [torch.rot90(volume, turns, (1, 2)) for volume, (turns, _) in zip(volumes, symmetries, strict=True)]
    return torch.stack([v.flip(1) if mirror else v for v, (_, mirror) in zip(rotated, symmetries, strict=True)])


def turn_back(volumes: Tensor, symmetries: list[Symmetry]) -> Tensor:
    """The inverse of `turn`: mirror first, then rotate the other way."""
    mirrored = [v.flip(1) if mirror else v for v, (_, mirror) in zip(volumes, symmetries, strict=True)]
    return torch.stack([torch.rot90(v, -turns, (1, 2)) for v, (turns, _) in zip(mirrored, symmetries, strict=True)])


def zoom(volumes: Tensor, factors: Tensor) -> Tensor:
    """Magnify each volume of (B, C, H, W, D) in the (x, y) plane by its factor, linearly. Outside of it is 0."""
    axes = volumes.ndim - 2
    centred = torch.zeros(len(volumes), axes, axes + 1)
    centred[:, 0, 0] = 1  # grid_sample counts axes from the last: z, y, x
    centred[:, axes - 2, axes - 2] = centred[:, axes - 1, axes - 1] = 1 / factors
    grid = F.affine_grid(centred.to(volumes.device), list(volumes.shape), align_corners=False)
    return F.grid_sample(volumes, grid, align_corners=False)
