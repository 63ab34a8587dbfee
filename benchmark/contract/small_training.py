"""What the checks of a method stand on: trainings of a few steps and channels, on phantoms, by the real loop."""

import random
from dataclasses import dataclass, replace
from functools import cache, cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmark.records.protocol import Training
from benchmark.trial.checkpoints import load_checkpoint, save_checkpoint
from benchmark.trial.process_state import configure_torch
from benchmark.trial.training import build_method, initial_state, make_stream, train
from data.phantom import PhantomSettings, PhantomSource
from methods.shared import registry
from methods.shared.method import Method

CPU = torch.device("cpu")
SEED = 7
LABELLED = ["train-000", "train-001"]
UNLABELLED = ["train-002", "train-003"]
CODE = {"check": "of this process"}  # what a checkpoint is of; code does not change between two of them
CONTRAST = 4  # added to the target, so that fifty steps suffice to find it

# Some methods put a single patch through a network, whose deepest level must then be more than one voxel.
TINY = {"iterations": 4, "patch": (32, 16, 16), "width": 2, "precision": "fp32", "threads": 1}
# Fifty steps find the target at a high learning rate alone, and not with fewer channels.
LONGER = {"iterations": 50, "width": 8, "learning_rate": 0.4}


class ContractError(AssertionError):
    """A method breaks the contract; the message is one line that says what, where and what to do."""


def require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise ContractError(otherwise)


@dataclass(frozen=True)
class Cases:
    """A data set in memory, as far as a patch stream asks for one."""

    images: dict[str, np.ndarray]
    labels: dict[str, np.ndarray]
    channels: int = 1

    def image(self, case_id: str) -> np.ndarray:
        return self.images[case_id]

    def label(self, case_id: str) -> np.ndarray:
        return self.labels[case_id]


@cache
def phantoms(classes: int = 1, seed: int = 0) -> Cases:
    """Four training and two test phantoms; several classes are slices of the target, each brighter than the last."""
    source = PhantomSource(PhantomSettings(source="phantom", train=4, test=2, size=(40, 40, 32), seed=seed))
    images, labels = {}, {}
    for case_id in [*source.train_ids, *source.test_ids]:
        case = source.read(case_id)
        slices = 1 + np.arange(len(case.label)) * classes // len(case.label)
        label = (case.label * slices[:, None, None]).astype(np.uint8)
        images[case_id] = (case.image + CONTRAST / classes * label).astype(np.float32)
        labels[case_id] = label
    return Cases(images, labels)


def with_noise_for_labels(cases: Cases, case_ids: list[str]) -> Cases:
    """The same cases, but the labels of some are random."""
    rng = np.random.default_rng(SEED)
    noise = {case_id: rng.integers(0, 2, cases.labels[case_id].shape).astype(np.uint8) for case_id in case_ids}
    return replace(cases, labels=cases.labels | noise)


def with_other_images(cases: Cases, case_ids: list[str]) -> Cases:
    """The same cases, but the images of some are those of other phantoms."""
    other = phantoms(seed=1)
    return replace(cases, images=cases.images | {case_id: other.images[case_id] for case_id in case_ids})


def unseen_images() -> Tensor:
    """Two images that no training has seen: (2, 1, 40, 40, 32)."""
    cases = phantoms()
    return torch.stack([torch.from_numpy(cases.images[f"test-{i:03d}"][None, :40, :40, :32]) for i in range(2)])


class SmallTraining:
    """One method, freshly built, and its training on phantoms by the benchmark's own loop."""

    def __init__(
        self,
        name: str,
        settings: dict[str, Any] | None = None,
        classes: int = 1,
        cases: Cases | None = None,
        seed: int = SEED,
        **training: Any,
    ):
        self.training = Training(**(TINY | training))
        self.seed = seed
        configure_torch(self.training)
        cases = cases or phantoms(classes)
        chosen = registry.settings_of(name, settings or {})
        self.method: Method = build_method(name, chosen, self.training, classes, seed, CPU, cases.channels)
        self.state = initial_state(self.method, self.training)
        self.stream = make_stream(self.method, cases, LABELLED, UNLABELLED, self.training, seed)

    def run(self, steps: int | None = None) -> "SmallTraining":
        """Go on for so many steps, or to the end; losses stay unread until `history`."""
        for _ in islice(train(self.state, self.stream, self.training, self.seed, CPU, data_workers=0), steps):
            pass
        return self

    def save(self, folder: Path) -> None:
        save_checkpoint(self.state, folder, CODE)

    def load(self, folder: Path) -> "SmallTraining":
        """Go back to where another small was saved."""
        load_checkpoint(self.state, folder, CODE)
        require(self.state.step > 0, "a checkpoint cannot be read back: let state_dict() hold tensors alone")
        return self

    def history(self) -> list[dict[str, float]]:
        """All rows so far without their timings. Raises DivergedError if a total is not finite."""
        self.state.flush()
        return [{key: value for key, value in row.items() if key != "seconds"} for row in self.state.history]

    def predict(self, images: Tensor) -> Tensor:
        """As sliding-window inference calls it."""
        with torch.inference_mode():
            return self.method.eval().predict(images)


class ObservedTraining(SmallTraining):
    """A training that remembers, beside its end, how the trainable parameters began and which got a gradient.

    Attributes:
        start: the initial value of each trainable parameter, by name
        reached: names of the trainable parameters that got a gradient in some step
    """

    def __init__(self, name: str):
        super().__init__(name)
        trainable = {key: p for key, p in self.method.named_parameters() if p.requires_grad}
        self.start = {key: p.detach().clone() for key, p in trainable.items()}
        self.reached: set[str] = set()
        for _ in range(self.training.iterations):
            self.run(1)
            # A bias before batch norm has no effect: its gradient is rounding noise, or exactly zero.
            self.reached |= {
                key for key, p in trainable.items() if p.grad is not None and (key.endswith("bias") or p.grad.any())
            }


class Subject:
    """The method that is checked, and the trainings that several checks look at.

    Checks only read these trainings. A check that trains further, or predicts, builds a training for itself.
    """

    def __init__(self, name: str):
        self.name = name

    @cached_property
    def untrained(self) -> SmallTraining:
        """Freshly built, before its first step."""
        return SmallTraining(self.name)

    @cached_property
    def short(self) -> ObservedTraining:
        """After four steps in fp32."""
        seed_outside_generators(1)
        return ObservedTraining(self.name)

    @cached_property
    def longer(self) -> SmallTraining:
        """After fifty steps in fp32; losses are not read yet, so that they may be infinite."""
        return SmallTraining(self.name, **LONGER).run()


def seed_outside_generators(seed: int) -> None:
    """Change what the random generators of torch, numpy and Python give next; a training must not depend on it."""
    torch.manual_seed(seed)
    np.random.seed(seed)
    random.seed(seed)


def first_difference(one: SmallTraining, other: SmallTraining) -> str | None:
    """What differs between two trainings, down to the last bit and timings aside; None if nothing does."""
    for row, other_row in zip(one.history(), other.history(), strict=True):
        for key in row | other_row:
            if repr(row.get(key)) != repr(other_row.get(key)):  # repr: an undefined part of a loss is equal to itself
                return f"loss {key} of step {row['step']}"
    states, other_states = one.method.state_dict(), other.method.state_dict()
    for key in states | other_states:
        if not same(states.get(key), other_states.get(key)):
            return f"{key} in the state_dict"
    for phase, optimizer in one.state.optimizers.items():
        if not same(optimizer.state_dict(), other.state.optimizers[phase].state_dict()):
            return f"the state of optimiser {phase}"
    return None


def same(one: Any, other: Any) -> bool:
    """Equal to the last bit, tensors within included."""
    if type(one) is not type(other):
        return False
    if isinstance(one, Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other
