"""The interface of a method: what a researcher implements, and all that the training loop knows of it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from methods.shared.networks.vnet import Backbone
from methods.shared.schedules import Schedule

ExtraArray = Callable[[dict[str, np.ndarray], np.random.Generator], np.ndarray]
OptimizerFactory = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]


@dataclass(frozen=True)
class Passes:
    """Cost of one training step in patch passes of the V-Net at the protocol's batch of 4.

    train: with gradient; a fraction where a decoder more or another upsampling changes a pass. extra: forward only.
    other: networks besides the V-Net, in passes with gradient of the V-Net.
    """

    train: float
    extra: int = 0
    other: float = 0

    def total(self) -> float:
        """In passes with gradient, of which a forward pass costs a third."""
        return self.train + self.extra / 3 + self.other

    def __str__(self) -> str:
        parts = [f"{self.train:g}", f"{self.extra} forward", f"{self.other:g} in other networks"]
        return " + ".join(part for part in parts if not part.startswith("0 "))


@dataclass(frozen=True)
class Info:
    """What tables and documentation say about a method.

    fidelity: "faithful" follows the authors' code; "adapted" transfers it to this task with choices of ours;
    "reconstruction" fills in what the authors never published, and is marked so wherever its numbers appear.
    """

    title: str
    year: int
    source: str
    fidelity: Literal["faithful", "adapted", "reconstruction"]
    passes: Passes
    networks: int = 1
    numerics: int = 1  # raised when a change of the code changes the method's numbers, see CONTRIBUTING.md


class MethodSettings(BaseModel):
    """Base of every method's settings: published defaults, unknown keys refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def setting(default: Any, meaning: str, search: tuple | None = None, **constraints: Any) -> Any:
    """A setting with its published default, a one-line meaning and, optionally, (low, high) or choices to search.

    `constraints` are pydantic's: ge, gt, le, lt, multiple_of.
    """
    return Field(
        default, description=meaning, json_schema_extra={"search": list(search)} if search else None, **constraints
    )


@dataclass(frozen=True)
class Batch:
    """One step's patches on the training device. There is no field for labels of unlabelled images.

    labelled_images (B_l,1,H,W,D) float32; labels (B_l,H,W,D) uint8, 0 background and 1..C; unlabelled_images
    (B_u,1,H,W,D) float32; extra_arrays: what the method's `extra_arrays()` prepared, by name.
    """

    labelled_images: Tensor
    labels: Tensor
    unlabelled_images: Tensor
    extra_arrays: dict[str, Tensor] = field(default_factory=dict)

    @property
    def images(self) -> Tensor:
        """All patches of the step, labelled ones first: (B_l + B_u, 1, H, W, D)."""
        return torch.cat([self.labelled_images, self.unlabelled_images])


class Method(nn.Module):
    """One algorithm. Everything with state is a submodule or buffer: `state_dict()` is the whole model.

    The loop runs, for each step and for each of `phases` in order: `train()`, `training_step`, backward of "total"
    into the parameters of that phase's optimiser and no others, optimiser step; after the last phase `after_step`.
    """

    info: ClassVar[Info]
    phases: ClassVar[tuple[str, ...]] = ("train",)

    class Settings(MethodSettings):
        """No settings."""

    def __init__(self, settings: MethodSettings, backbone: Backbone, schedule: Schedule):
        super().__init__()
        self.settings = settings
        self.backbone = backbone
        self.schedule = schedule

    @classmethod
    def patches(cls, settings: MethodSettings, batch_size: int) -> tuple[int, int]:
        """Labelled and unlabelled patches of one step. (n, 0) makes a method supervised: it gets no unlabelled case."""
        return batch_size // 2, batch_size - batch_size // 2

    @classmethod
    def variant(cls, settings: MethodSettings) -> str:
        """Which published row these settings reproduce, where the method has several; "" is its main one."""
        return ""

    def extra_arrays(self) -> dict[str, ExtraArray]:
        """Extra inputs that data workers prepare off the training thread: functions of (batch arrays, generator)."""
        return {}

    def configure_optimizers(self, sgd: OptimizerFactory) -> dict[str, torch.optim.Optimizer]:
        """One optimiser a phase. `sgd` makes the protocol's own, whose learning rate follows the protocol."""
        return {self.phases[0]: sgd(self.parameters())}

    def learning_rate_factor(self, step: int) -> float:
        """What the protocol's learning rate is multiplied with at `step`."""
        return self.schedule.learning_rate_factor(step)

    def training_step(self, batch: Batch, step: int, phase: str) -> dict[str, Tensor]:
        """Scalars to log, of which "total" is minimised. Called after the optimiser of the phase before has stepped."""
        raise NotImplementedError

    def after_step(self, step: int) -> None:
        """EMA updates and the like, after the last phase of `step`."""

    def predict(self, images: Tensor) -> Tensor:
        """Foreground probabilities (B,C,H,W,D) of `images` (B,1,H,W,D), as the published method predicts at test time.

        Called in eval mode without gradients.
        """
        raise NotImplementedError
