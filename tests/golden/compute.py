"""The golden numbers: what today's code computes on tiny inputs, and whether that is what it computed before.

`tests/test_golden.py` compares with numbers.json; `make golden` writes that file anew, once the versions of what moved
are raised.

Everything is computed in fp32 on one thread. Numbers are stored, not hashes, each with a tolerance: processors round
differently, and some losses amplify that. `make golden` measures the tolerance. It trains again from weights that
differ in their last bits, and takes MARGIN times the largest difference.
"""

import json
import math
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from helpers.la_folder import IMAGE, LABEL, write_la_case, write_la_folder
from helpers.scan_folder import write_folder
from torch import nn

from benchmark.contract.small_training import CPU, LABELLED, SEED, UNLABELLED, SmallTraining, phantoms, unseen_images
from benchmark.records.numerics import SCORING, TRAINING, current
from benchmark.records.protocol import Evaluation
from benchmark.trial.inference import label_map, predict_volume
from benchmark.trial.loading import to_tensors
from benchmark.trial.scoring import score_case
from benchmark.trial.training import to_batch
from data.batches import PatchStream
from data.cache import prepare
from data.case import Case
from data.folder import FolderSettings
from data.la import LASettings
from data.phantom import PhantomSettings
from data.version import PREPARATION
from methods.shared import registry
from methods.shared.ema import make_teacher, update_teacher
from methods.shared.losses import binary_entropy
from methods.shared.method import Info, Method, MethodSettings, Passes
from methods.shared.networks.discriminators import ConfidenceNetwork, DistanceMapDiscriminator
from methods.shared.noise import add_noise
from methods.shared.signed_distance import SignedDistanceMaps, active_fraction, distance_loss, distance_to_mask

FILE = Path(__file__).with_name("numbers.json")
SMALLEST = 2e-5  # tolerance at least, relative to the number, and absolutely for numbers below FLOOR
FLOOR = 1e-5
PERTURBED = 1e-6  # relative change of the weights: more than rounding does to them on any processor
REPEATS, MARGIN = 4, 10
ITERATIONS = 200  # of the schedule
LOOKS = (
    0,
    25,
    100,
    198,
)  # steps of it at which losses are computed, so that a ramp-up is seen from its foot to its top

Numbers = dict[str, float]
Bounds = dict[str, tuple[float, float]]  # a number and how far it may move


@dataclass(frozen=True)
class Part:
    """A part of the code with a version of its own. `raise_it` says where that version is raised."""

    name: str
    version: int
    raise_it: str
    compute: Callable[[int | None], Numbers]  # of a seed that perturbs weights; None: as they are


def parts() -> dict[str, Part]:
    """Every part, what others depend on first."""
    found = [
        Part("preparation", PREPARATION, "PREPARATION in data/version.py", preparation),
        Part("training", TRAINING, "TRAINING in benchmark/records/numerics.py", training),
        Part("scoring", SCORING, "SCORING in benchmark/records/numerics.py", scoring),
    ]
    for name in built_in():
        module = registry.get(name).__module__
        file = f"{module.replace('.', '/')}.py"
        version = current(name, file).method
        found.append(
            Part(
                name,
                version,
                f"`numerics` in the info of {name!r} in {file}",
                lambda seed, name=name: method(name, seed),
            )
        )
    return {part.name: part for part in found}


def built_in() -> list[str]:
    return [name for name in registry.names() if registry.get(name).__module__.startswith("methods.")]


def method(name: str, perturbed_by: int | None = None, choices: bool = True, **settings) -> Numbers:
    """Losses, gradients, how far each network moved, and predictions: with the defaults and with each other choice.

    The defaults themselves are numbers, too: a few seldom matter in so short a training.
    """
    fields = registry.get(name).Settings.model_fields
    resolved = registry.settings_of(name, settings).model_dump()
    numbers = {f"setting {key}": float(value) for key, value in resolved.items() if isinstance(value, int | float)}
    runs = {"": settings}
    if choices and not settings:
        runs |= {
            f"{key}={value}: ": {key: value}
            for key, field in fields.items() for value in _choices(field) if value != field.default
        }  # fmt: skip
    for title, chosen in runs.items():
        numbers |= {f"{title}{key}": value for key, value in _trained(name, chosen, perturbed_by).items()}
    return numbers


def _choices(field) -> list:
    texts = registry.choices_of(field)
    return [value for text in texts for value in [{"True": True, "False": False}.get(text, text)]]


def _trained(name: str, settings: dict, perturbed_by: int | None, classes: int = 1) -> Numbers:
    small = SmallTraining(name, settings, classes=classes, iterations=ITERATIONS, learning_rate=0.05)
    if perturbed_by is not None:
        generator = torch.Generator().manual_seed(perturbed_by)
        with torch.no_grad():
            for weights in small.method.parameters():
                weights.mul_(1 + PERTURBED * torch.randn(weights.shape, generator=generator))
    # Losses and gradients of the first weights, at several steps of the schedule: nothing amplifies rounding here.
    before = {key: value.clone() for key, value in small.method.state_dict().items()}
    numbers = {}
    for step in LOOKS:
        for phase in small.method.phases:
            numbers |= _losses_and_gradient(small, step, phase)
            small.method.load_state_dict(before)
    # Two steps of the loop at the end of the schedule: optimisers, EMA, what happens between the phases.
    small.state.step = ITERATIONS - 2
    small.run()
    moved: dict[str, list] = {}
    weights = dict(small.method.named_parameters())
    for key, value in small.method.state_dict().items():
        if value.is_floating_point():
            kind = "weights" if key in weights else "statistics"  # of batch norm, which move further
            moved.setdefault(f"{kind} of {key.partition('.')[0]}", []).append((value - before[key]).flatten())
    for name, changes in moved.items():
        numbers |= summary(name, torch.cat(changes).numpy())
    small.method.load_state_dict(before)
    return numbers | summary("prediction", small.predict(unseen_images()).numpy())


def _losses_and_gradient(small: SmallTraining, step: int, phase: str) -> Numbers:
    method = small.method.train()
    batch = to_batch(to_tensors(small.stream[step]), CPU)
    torch.manual_seed(step)
    losses = method.training_step(batch, step, phase)
    numbers = {f"{phase}/{key} of step {step}": value.item() for key, value in losses.items() if value == value}
    parameters = [p for group in small.state.optimizers[phase].param_groups for p in group["params"]]
    gradient = torch.autograd.grad(losses["total"], parameters, allow_unused=True)
    gradient = torch.cat([part.flatten() for part in gradient if part is not None])
    return numbers | summary(f"{phase}/gradient of step {step}", gradient.numpy())


def training(perturbed_by: int | None = None) -> Numbers:
    """Batches of every augmentation, and a method of this file that uses what methods share."""
    numbers = {}
    for augmentation in ("uamt_exact", "d4"):
        arrays = {"distances": SignedDistanceMaps(1)}
        stream = PatchStream(phantoms(), LABELLED, UNLABELLED, 2, 2, (16, 24, 32), augmentation, SEED, arrays)
        for key in ("labelled_images", "labels", "unlabelled_images", "distances"):
            array = stream[0][key]
            numbers |= summary(f"{augmentation} {key}", np.asarray(array, np.float64))
    registry.names()
    registry._METHODS["golden"] = Golden
    try:
        for classes in (1, 2):
            trained = _trained("golden", {}, perturbed_by, classes)
            numbers |= {f"{classes} structures: {key}": value for key, value in trained.items()}
    finally:
        del registry._METHODS["golden"]
    return numbers


class Golden(Method):
    """Uses each loss, schedule and helper that methods share, so that a change of one of them is seen here."""

    info = Info(title="Golden", year=2021, source="tests", fidelity="adapted", passes=Passes(train=4, extra=4))
    Settings = MethodSettings

    def __init__(self, settings, backbone, schedule):
        super().__init__(settings, backbone, schedule)
        self.network = backbone(signed_distance=True)
        self.teacher = make_teacher(self.network)
        self.judges = nn.ModuleList([
            discriminator(3, backbone.classes, channels, backbone.width, backbone.amp_dtype)
            for discriminator, channels in ((ConfidenceNetwork, backbone.classes), (DistanceMapDiscriminator, 1))
        ])  # fmt: skip

    def extra_arrays(self):
        return {"distances": SignedDistanceMaps(self.backbone.classes)}

    def training_step(self, batch, step, phase):
        output = self.network(batch.images)
        labelled = len(batch.labelled_images)
        probabilities = output.logits.sigmoid()
        with torch.no_grad():
            target = self.teacher(add_noise(batch.images)).logits.sigmoid()
        losses = {
            "supervised": self.head.segmentation_loss(output.logits[:labelled], batch.labels),
            "distance": distance_loss(output.signed_distance[:labelled], batch.extra_arrays["distances"], "l2"),
            "absolute": distance_loss(output.signed_distance[:labelled], batch.extra_arrays["distances"], "l1"),
            "active": active_fraction(output.signed_distance),
            "confidence": self.judges[0](probabilities).sigmoid().mean(),
            "labelled": self.judges[1](output.signed_distance, batch.images)[:, 1].mean(),
            "task": (distance_to_mask(output.signed_distance) - probabilities).square().mean(),
            "entropy": binary_entropy(probabilities).mean(),
            "consistency": (probabilities - target).square().mean(),
        }
        weight = self.schedule.ramp_up(step)
        unlabelled = sum(losses[name] for name in ("task", "entropy", "consistency", "confidence", "labelled"))
        return losses | {"total": losses["supervised"] + losses["distance"] + weight * unlabelled}

    def after_step(self, step):
        update_teacher(self.teacher, self.network, step, 0.9)

    def predict(self, images):
        return self.network(images).logits.sigmoid()


def scoring(perturbed_by: int | None = None) -> Numbers:
    """Sliding windows, label maps, postprocessing and every metric, on shapes that a formula gives."""
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in (30, 26, 22)), indexing="ij")
    truth = (x**2 + 1.3 * y**2 + z**2 < 0.4).astype(np.uint8)
    truth[(truth > 0) & (z > 0.2)] = 2
    image = (np.sin(5 * x) + y * z + truth).astype(np.float32)

    def predict(windows: torch.Tensor) -> torch.Tensor:
        ramp = torch.linspace(0.2, 0.8, windows.shape[-1])
        return torch.cat([(windows - 0.5).sigmoid() * ramp, (windows - 1.5).sigmoid() * ramp.flip(0)], dim=1)

    numbers = {}
    for patch, stride in (((16, 16, 16), (9, 7, 5)), ((16, 32, 16), (16, 32, 16))):
        probabilities = predict_volume(predict, image, 2, patch, stride, 3, CPU)
        numbers |= summary(f"windows of {patch}", probabilities)
        labels = label_map(probabilities[:, ::2, ::2, ::2], truth.shape)
        numbers |= summary(f"labels of {patch}", labels.astype(np.float64))
        for empty in ("worst", "exclude"):
            for name, found in (("whole", labels), ("none", np.zeros_like(labels))):
                case = Case("case", image, truth, (0.5, 0.75, 2.0))
                for row in score_case(found, case, 2, Evaluation(stride=stride, empty=empty)):
                    key = [patch, empty, name, *(row[k] for k in ("postprocessing", "class", "metric", "unit"))]
                    if row["value"] == row["value"]:
                        numbers[" ".join(map(str, key))] = float(row["value"])
    return numbers


def preparation(perturbed_by: int | None = None) -> Numbers:
    """A case of every source, read, normalised and resampled."""
    numbers = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder, la = write_folder(Path(scratch) / "folder"), write_la_folder(Path(scratch) / "la")
        for number, case_id in enumerate("ABC"):
            write_la_case(la, case_id, image=IMAGE**2 + number, label=LABEL)
        lists = {"train": "train.list", "test": "test.list"}
        sources = {
            "phantom": PhantomSettings(source="phantom", train=1, test=1, size=(24, 20, 16)),
            "phantom, coarse": PhantomSettings(source="phantom", train=1, test=1, size=(24, 20, 16), spacing=2.0),
            "phantom, fine": PhantomSettings(source="phantom", train=1, test=1, size=(24, 20, 16), spacing=(0.9, 1, 1)),
            "folder": FolderSettings(source="folder", root=str(folder), spacing=1.2, normalise="zscore"),
            "folder, clipped": FolderSettings(source="folder", root=str(folder), spacing=1.2, normalise=(-1, 2)),
            "la": LASettings(source="la", root=str(la), split=lists),
        }  # fmt: skip
        for name, settings in sources.items():
            dataset = prepare(settings, Path(scratch) / "cache")
            for case_id in (dataset.train_ids[0], dataset.test_ids[0]):
                numbers |= summary(f"{name} image of {case_id}", np.asarray(dataset.image(case_id), np.float64))
                numbers |= summary(f"{name} label of {case_id}", np.asarray(dataset.label(case_id), np.float64))
    return numbers


def summary(name: str, array: np.ndarray) -> Numbers:
    """Three numbers of an array that a change of few of its values moves: size, norm and a projection."""
    flat = np.asarray(array, np.float64).ravel()
    direction = np.cos(1 + 0.7 * np.arange(flat.size))
    norm = float(np.linalg.norm(flat))
    # The projection is compared as a part of the norm: it may be close to 0.
    return {
        f"{name}, size": flat.size,
        f"{name}, norm": norm,
        f"{name}, projection": float(flat @ direction) + 2 * norm,
    }


def stored() -> dict[str, dict]:
    """What numbers.json holds: for each part its version and its bounds."""
    return json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {}


def bounds(part: Part) -> Bounds:
    """The numbers of a part, each with how far another processor may move it."""
    numbers = part.compute(None)
    others = [part.compute(seed) for seed in range(REPEATS)] if part.name not in ("scoring", "preparation") else []
    return {
        key: (value, max([SMALLEST * max(abs(value), FLOOR), *(MARGIN * abs(other[key] - value) for other in others)]))
        for key, value in numbers.items()
    }


def moved(before: Bounds, after: Numbers) -> list[str]:
    """What lies outside its bounds or is no longer computed, a short phrase each."""
    found = []
    for key, (old, tolerance) in before.items():
        new = after.get(key, math.nan)
        if not abs(new - old) <= tolerance:
            found.append(f"{key}: {old:.6g} is now {new:.6g}")
    return found


def complaint(part: Part, known: dict[str, dict], numbers: Numbers, shared_moved: bool = False) -> str:
    """What is wrong with a part in view of the stored file, or "".

    Args:
        part: the part.
        known: what `stored` gives.
        numbers: what the part computes now.
        shared_moved: whether numbers that all methods share have moved, too.
    """
    renew = "make golden"
    if part.name not in known:
        return f"{part.name} has no golden numbers: {renew}"
    version = known[part.name]["version"]
    if part.version != version:
        return f"{part.name} has version {part.version}, and its golden numbers are of version {version}: {renew}"
    changes = moved(known[part.name]["numbers"], numbers)
    if not changes:
        added = sorted(numbers.keys() - known[part.name]["numbers"])
        return f"{part.name} has {len(added)} new numbers ({added[0]}, …) beside those it had: {renew}" if added else ""
    if shared_moved:
        return f"numbers of {part.name} have moved with those that all methods share: raise TRAINING alone"
    return (
        f"numbers of {part.name} have moved ({changes[0]}, and {len(changes) - 1} more). If that is meant, raise "
        f"{part.raise_it} to {version + 1}, then renew the file: {renew}"
    )


def renewed(known: dict[str, dict]) -> tuple[dict[str, dict], list[str]]:
    """The new content of the file, and why it may not be written: numbers moved under the same version."""
    content, refused = {}, []
    raised = {part.name for part in parts().values() if part.version > known.get(part.name, {"version": 0})["version"]}
    for part in parts().values():
        may_move = part.name in raised or (part.name in built_in() and raised & {"training", "preparation"})
        stays = {} if may_move else known[part.name]["numbers"]
        numbers = {} if may_move else part.compute(None)
        if moved(stays, numbers):
            refused.append(complaint(part, known, numbers))
        # Numbers that are only added need no other version: those of records stay what they are.
        fresh = bounds(part) | stays if may_move or numbers.keys() - stays else stays
        content[part.name] = {"version": part.version, "numbers": fresh}
    return content, refused


def main() -> None:
    """Write numbers.json anew, or say why not."""
    torch.set_num_threads(1)
    content, refused = renewed(stored())
    if refused:
        sys.exit("\n".join(refused))
    FILE.write_text(json.dumps(content, indent=0) + "\n", encoding="utf-8")
    print(f"wrote {FILE}")


if __name__ == "__main__":
    main()
