"""Methods at a size for tests, made-up batches for them, and a naive way to the quantities they are held against."""

import numpy as np
import torch

from methods.shared import registry
from methods.shared.method import Batch
from methods.shared.networks.backbone import Backbone
from methods.shared.schedules import Schedule

CPU = torch.device("cpu")


def build(name, classes=1, iterations=6000, dimensions=3, head="sigmoid", **settings):
    """A freshly initialised fp32 method of width 2."""
    torch.manual_seed(0)
    backbone = Backbone(classes, width=2, dimensions=dimensions, head_name=head)
    return registry.get(name)(registry.settings_of(name, settings), backbone, Schedule(iterations))


def no_dropout(module):
    """`module` without its dropout, so that two forward passes can be compared."""
    for part in module.modules():
        if isinstance(part, torch.nn.Dropout2d | torch.nn.Dropout3d):
            part.p = 0.0
    return module


def case(rng, classes, size):
    """An image with one bright ellipsoid a class, and its label."""
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in size), indexing="ij"))
    label = np.zeros(size, np.uint8)
    for value in range(1, classes + 1):
        ones = [1] * len(size)
        centre, radii = (rng.uniform(a, b, (len(size), *ones)) for a, b in ((-0.5, 0.5), (0.3, 0.6)))
        label[(((grid - centre) / radii) ** 2).sum(0) < 1] = value
    image = label + 0.3 * rng.standard_normal(size)
    return image.astype(np.float32), label


def arrays(method, seed=0, size=(32, 16, 16), batch_size=4):
    """The arrays of one step as a patch stream gives them; two numbers of `size` give slices."""
    labelled, unlabelled = method.patches(method.settings, batch_size)
    rng = np.random.default_rng(seed)
    pairs = [case(rng, method.backbone.classes, size) for _ in range(labelled)]
    others = [case(rng, method.backbone.classes, size)[0][None] for _ in range(unlabelled)]
    batch = {
        "labelled_images": np.stack([image[None] for image, _ in pairs]),
        "labels": np.stack([label for _, label in pairs]),
        "unlabelled_images": np.stack(others) if others else np.empty((0, 1, *size), np.float32),
    }
    return batch | {name: view(batch, np.random.default_rng(seed)) for name, view in method.extra_arrays().items()}


def make_batch(method, **options):
    """The same as the method sees it."""
    tensors = {name: torch.from_numpy(array) for name, array in arrays(method, **options).items()}
    fixed = {name: tensors.pop(name) for name in ("labelled_images", "labels", "unlabelled_images")}
    return Batch(**fixed, extra_arrays=tensors)


def naive_dice(p, y):
    """The spec's Dice loss of one class, over all voxels of the batch."""
    return 1 - (2 * (p * y).sum() + 1e-5) / ((p**2).sum() + (y**2).sum() + 1e-5)


def naive_dice_of_classes(p, labels):
    """Its mean over the classes 1..C."""
    losses = [naive_dice(p[:, c], (labels == c + 1).to(p.dtype)) for c in range(p.shape[1])]
    return sum(losses) / len(losses)


def naive_cross_entropy(logits, labels):
    """Binary cross-entropy of C sigmoid channels, mean over classes and voxels."""
    p = 1 / (1 + torch.exp(-logits))
    y = torch.stack([(labels == c + 1).to(p.dtype) for c in range(p.shape[1])], 1)
    return -(y * torch.log(p) + (1 - y) * torch.log(1 - p)).mean()
