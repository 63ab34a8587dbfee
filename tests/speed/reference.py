"""The training and test loop of the released left-atrium codes, written anew to be raced against.

What it does and when follows the releases of UA-MT, DTC and DTML: fp32, tensors as they come (NCDHW), a whole volume
decoded for each crop, distance maps between forward and backward pass, one window at a time, medpy on whole volumes.
`tests/test_speed_reference.py` holds it to the harness's own figures, so that both sides of the race do the same.
"""

import copy
import math
from pathlib import Path

import h5py
import numpy as np
import torch
import torch.nn.functional as F
from medpy.metric import binary
from scipy import ndimage
from skimage.segmentation import find_boundaries
from torch import Tensor, nn

STEEPNESS = 1500


def write_h5(file: Path, image: np.ndarray, label: np.ndarray) -> None:
    """A case as it is distributed: gzip, in the small chunks that h5py chooses."""
    with h5py.File(file, "w") as content:
        content.create_dataset("image", data=image, compression="gzip")
        content.create_dataset("label", data=label, compression="gzip")


class Loader:
    """Batches of random crops; every crop decodes, turns and mirrors its whole volume and label."""

    def __init__(self, files: list[Path], patch: tuple[int, int, int], batch_size: int = 4, seed: int = 0):
        self.files, self.patch, self.batch_size = files, patch, batch_size
        self.rng = np.random.default_rng(seed)

    def batch(self) -> tuple[Tensor, Tensor]:
        crops = [self.crop(self.files[i]) for i in self.rng.permutation(len(self.files))[: self.batch_size]]
        images, labels = zip(*crops, strict=True)
        return torch.stack(images), torch.stack(labels)

    def crop(self, file: Path) -> tuple[Tensor, Tensor]:
        with h5py.File(file) as content:
            volumes = [content["image"][:], content["label"][:]]
        turns, axis = self.rng.integers(4), self.rng.integers(2)
        volumes = [np.flip(np.rot90(volume, turns), axis).copy() for volume in volumes]
        if any(n <= p for n, p in zip(volumes[0].shape, self.patch, strict=True)):
            margins = [(max((p - n) // 2 + 3, 0),) * 2 for n, p in zip(volumes[0].shape, self.patch, strict=True)]
            volumes = [np.pad(volume, margins) for volume in volumes]
        starts = [self.rng.integers(n - p) for n, p in zip(volumes[0].shape, self.patch, strict=True)]
        image, label = (volume[tuple(map(slice, starts, np.add(starts, self.patch)))] for volume in volumes)
        return torch.from_numpy(image[None].astype(np.float32)), torch.from_numpy(label.astype(np.int64))


def _unit(convolution: nn.Module, channels: int) -> list[nn.Module]:
    return [convolution, nn.BatchNorm3d(channels), nn.ReLU(inplace=True)]


def _block(count: int, channels_in: int, channels: int) -> nn.Sequential:
    layers = []
    for i in range(count):
        layers += _unit(nn.Conv3d(channels if i else channels_in, channels, 3, padding=1), channels)
    return nn.Sequential(*layers)


class PlainVNet(nn.Module):
    """The V-Net of plain modules, its parameters in the order of the shared one; `heads`: channels of each head."""

    def __init__(self, width: int, heads: tuple[int, ...]):
        super().__init__()
        w = [width * 2**level for level in range(5)]
        self.encoder = nn.ModuleList(_block(n, w[i] if i else 1, w[i]) for i, n in enumerate((1, 2, 3, 3, 3)))
        self.downs = nn.ModuleList(nn.Sequential(*_unit(nn.Conv3d(w[i], w[i + 1], 2, 2), w[i + 1])) for i in range(4))
        self.ups = nn.ModuleList(
            nn.Sequential(*_unit(nn.ConvTranspose3d(w[i + 1], w[i], 2, 2), w[i])) for i in (3, 2, 1, 0)
        )
        self.decoder = nn.ModuleList(_block(n, w[i], w[i]) for n, i in zip((3, 3, 2, 1), (3, 2, 1, 0), strict=True))
        self.heads = nn.ModuleList(nn.Conv3d(width, channels, 1) for channels in heads)
        self.dropout = nn.Dropout3d(0.5)

    def forward(self, images: Tensor) -> list[Tensor]:
        levels = [self.encoder[0](images)]
        for down, block in zip(self.downs, self.encoder[1:], strict=True):
            levels.append(block(down(levels[-1])))
        x = self.dropout(levels.pop())
        for up, block in zip(self.ups, self.decoder, strict=True):
            x = block(up(x) + levels.pop())
        x = self.dropout(x)
        return [head(x) for head in self.heads]


def distance_map(mask: np.ndarray) -> np.ndarray:
    """Of one patch, on the whole of it: outside minus inside, each scaled to 0..1, and 0 on the inner boundary."""
    inside, outside = ndimage.distance_transform_edt(mask), ndimage.distance_transform_edt(~mask)
    distance = _to_unit(outside) - _to_unit(inside)
    distance[find_boundaries(mask, mode="inner")] = 0
    return distance


def _to_unit(values: np.ndarray) -> np.ndarray:
    return (values - values.min()) / (values.max() - values.min())


def dice_loss(probability: Tensor, target: Tensor) -> Tensor:
    target = target.float()
    overlap = (probability * target).sum()
    return 1 - (2 * overlap + 1e-5) / ((probability * probability).sum() + (target * target).sum() + 1e-5)


def ramp(step: int, steps: int, length: int = 40) -> float:
    epoch = min(step // max(steps // length, 1), length)
    return math.exp(-5 * (1 - epoch / length) ** 2)


class Loop:
    """One of the published training loops: its networks, its optimisers, its step."""

    labelled = 2

    def __init__(self, width: int = 16, steps: int = 6000, device: str = "cpu"):
        self.steps = steps
        self.networks = [network.to(device) for network in self.build(width)]
        self.optimizers = [
            torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)
            for network in self.networks
            if next(network.parameters()).requires_grad
        ]

    def build(self, width: int) -> list[nn.Module]:
        raise NotImplementedError

    def step(self, images: Tensor, labels: Tensor, step: int) -> float:
        """Forward, backward, update; returns the loss."""
        loss = self.objective(images, labels, step)
        for optimizer in self.optimizers:
            optimizer.zero_grad()
        loss.backward()
        for optimizer in self.optimizers:
            optimizer.step()
        return loss.item()

    def probability(self, images: Tensor) -> Tensor:
        """Foreground probability of patches, for the test loop."""
        return self.networks[0](images)[0].sigmoid()[:, 0]


class Supervised(Loop):
    labelled = 4

    def build(self, width):
        return [PlainVNet(width, (2,))]

    def objective(self, images, labels, step):
        return _two_channel_loss(self.networks[0](images)[0], labels)

    def probability(self, images):
        return self.networks[0](images)[0].softmax(1)[:, 1]


def _two_channel_loss(logits: Tensor, labels: Tensor) -> Tensor:
    return 0.5 * (F.cross_entropy(logits, labels) + dice_loss(logits.softmax(1)[:, 1], labels == 1))


class UncertaintyAwareMeanTeacher(Supervised):
    """On all patches, as the release's second script; the teacher's passes are kept until all are there."""

    labelled = 2
    passes = 8

    def build(self, width):
        student = PlainVNet(width, (2,))
        return [student, copy.deepcopy(student).requires_grad_(False)]

    def objective(self, images, labels, step):
        student, teacher = self.networks
        logits = student(images)[0]
        supervised = _two_channel_loss(logits[: self.labelled], labels[: self.labelled])
        with torch.no_grad():
            target = teacher(_noisy(images))[0]
            doubled = images.repeat(2, 1, 1, 1, 1)
            votes = torch.cat([teacher(_noisy(doubled))[0] for _ in range(self.passes // 2)]).softmax(1)
            mean = votes.reshape(self.passes, len(images), *votes.shape[1:]).mean(0)
        uncertainty = -(mean * torch.log(mean + 1e-6)).sum(1, keepdim=True)
        difference = (logits.softmax(1) - target.softmax(1)) ** 2
        threshold = (0.75 + 0.25 * math.exp(-5 * (1 - step / self.steps) ** 2)) * math.log(2)
        mask = (uncertainty < threshold).float()
        consistency = (mask * difference).sum() / (2 * mask.sum() + 1e-16)
        return supervised + 0.1 * ramp(step, self.steps) * consistency

    def step(self, images, labels, step):
        loss = super().step(images, labels, step)
        alpha = min(1 - 1 / (step + 1), 0.99)
        student, teacher = self.networks
        for mean, parameter in zip(teacher.parameters(), student.parameters(), strict=True):
            mean.data.mul_(alpha).add_(parameter.data, alpha=1 - alpha)
        return loss


def _noisy(images: Tensor) -> Tensor:
    return images + torch.clamp(torch.randn_like(images) * 0.1, -0.2, 0.2)


class DualTaskConsistency(Loop):
    def build(self, width):
        return [PlainVNet(width, (1, 1))]

    def objective(self, images, labels, step):
        logits, raw = self.networks[0](images)
        probability, distance = logits.sigmoid(), raw.tanh()
        n = self.labelled
        maps = np.stack([distance_map(label == 1) for label in labels[:n].cpu().numpy()])
        segmentation = dice_loss(probability[:n, 0], labels[:n] == 1)
        regression = F.mse_loss(distance[:n, 0], torch.from_numpy(maps).to(distance))
        consistency = ((torch.sigmoid(-STEEPNESS * distance) - probability) ** 2).mean()
        return segmentation + 0.3 * regression + ramp(step, self.steps) * consistency


class DualTaskMutualLearning(Loop):
    """The release computes the maps of all four patches, though its objective is without them, and goes back twice.

    The consistency loss is part of both objectives and detached in neither, so either way back passes both networks.
    `back_twice` False goes back once over the sum, which gives the same gradients.
    """

    def __init__(self, width: int = 16, steps: int = 6000, device: str = "cpu", back_twice: bool = True):
        super().__init__(width, steps, device)
        self.back_twice = back_twice

    def build(self, width):
        return [PlainVNet(width, (1,)), PlainVNet(width, (1,))]

    def step(self, images, labels, step):
        logits, raw = (network(images)[0] for network in self.networks)
        probability, distance = logits.sigmoid(), raw.tanh()
        n = self.labelled
        target = (labels[:n] == 1).float()
        maps = np.stack([distance_map(label == 1) for label in labels.cpu().numpy()])
        (distance[:, 0] - torch.from_numpy(maps).to(distance)).abs().mean()  # logged alone
        from_distance = torch.sigmoid(-STEEPNESS * distance)
        entropy = F.binary_cross_entropy_with_logits(logits[:n, 0], target)
        segmentation = 0.5 * (entropy + dice_loss(probability[:n, 0], target))
        mask = dice_loss(from_distance[:n, 0], target)
        consistency = ramp(step, self.steps) * ((from_distance - probability) ** 2).mean()
        for optimizer in self.optimizers:
            optimizer.zero_grad()
        if self.back_twice:
            (segmentation + consistency).backward(retain_graph=True)
            (mask + consistency).backward()
        else:
            (segmentation + mask + 2 * consistency).backward()
        for optimizer in self.optimizers:
            optimizer.step()
        return (segmentation + mask + 2 * consistency).item()


LOOPS = {
    "vnet": Supervised,
    "ua_mt": UncertaintyAwareMeanTeacher,
    "dtc": DualTaskConsistency,
    "dtml": DualTaskMutualLearning,
}


def predict_case(loop: Loop, image: np.ndarray, patch: tuple[int, ...], stride: tuple[int, ...]) -> np.ndarray:
    """Foreground probability: the mean over windows, one window at a time."""
    for network in loop.networks:
        network.eval()
    room = [max(p - n, 0) for n, p in zip(image.shape, patch, strict=True)]
    volume = np.pad(image, [(r // 2, r - r // 2) for r in room])
    device = next(loop.networks[0].parameters()).device
    total, visits = np.zeros(volume.shape, np.float32), np.zeros(volume.shape, np.float32)
    counts = [math.ceil((n - p) / s) + 1 for n, p, s in zip(volume.shape, patch, stride, strict=True)]
    for index in np.ndindex(*counts):
        starts = [min(i * s, n - p) for i, s, n, p in zip(index, stride, volume.shape, patch, strict=True)]
        area = tuple(slice(start, start + p) for start, p in zip(starts, patch, strict=True))
        window = torch.from_numpy(volume[area][None, None].astype(np.float32)).to(device)
        with torch.no_grad():
            total[area] += loop.probability(window)[0].cpu().numpy()
        visits[area] += 1
    for network in loop.networks:
        network.train()
    return (total / visits)[tuple(slice(r // 2, r // 2 + n) for r, n in zip(room, image.shape, strict=True))]


def case_metrics(prediction: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """The four figures that the releases print."""
    return {
        "dice": binary.dc(prediction, truth),
        "jaccard": binary.jc(prediction, truth),
        "hd95": binary.hd95(prediction, truth),
        "asd": binary.asd(prediction, truth),
    }
