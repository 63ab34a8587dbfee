"""The interface of a method: what a researcher implements, and what the training loop calls."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from methods.shared.networks.backbone import Backbone
from methods.shared.schedules import Schedule
from methods.shared.step_log import StepLog

# An extra array: a function of the batch's arrays by name, and of a random generator for it alone.
ExtraArray = Callable[[dict[str, np.ndarray], np.random.Generator], np.ndarray]
OptimizerFactory = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]


@dataclass(frozen=True)
class Passes:
    """The cost of one training step at the protocol's batch of 4, in patch passes of the V-Net.

    A patch pass is one patch through the V-Net, forward and backward.

    Args:
        train: passes with gradient. A fraction stands for a network with more parts, such as a second decoder.
        extra: passes without gradient, such as those of a teacher.
        other: the cost of other networks, such as discriminators, as passes with gradient of the V-Net.

    Example:
        >>> mean_teacher = Passes(train=4, extra=2)
        >>> print(mean_teacher)
        4 + 2 forward
        >>> round(mean_teacher.total(), 2)
        4.67
    """

    train: float
    extra: int = 0
    other: float = 0

    def total(self) -> float:
        """The cost as a number of passes with gradient. A pass without gradient counts as a third of one."""
        return self.train + self.extra / 3 + self.other

    def __str__(self) -> str:
        parts = [f"{self.train:g}", f"{self.extra} forward", f"{self.other:g} in other networks"]
        return " + ".join(part for part in parts if not part.startswith("0 "))


@dataclass(frozen=True)
class Info:
    """What tables and documentation say about a method.

    Args:
        title: the name of the method in tables.
        year: of the publication.
        source: the publication, and the released code if it was followed.
        fidelity: "faithful" follows the authors' code. "adapted" transfers it to this task, with choices of ours.
            "reconstruction" fills in what the authors never published; tables mark its rows.
        passes: the cost of a training step with default settings.
        networks: how many networks are kept in memory during training.

    Example:
        >>> Info("Mean Teacher", 2017, "Tarvainen & Valpola", "adapted", Passes(4, 2), networks=2).title
        'Mean Teacher'
    """

    title: str
    year: int
    source: str
    fidelity: Literal["faithful", "adapted", "reconstruction"]
    passes: Passes
    networks: int = 1
    numerics: int = 1  # raised when a change of the code changes the method's numbers, see CONTRIBUTING.md


class MethodSettings(BaseModel):
    """Base class of a method's settings. Defaults are the published values; unknown settings are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def setting(default: Any, meaning: str, search: tuple | None = None, **constraints: Any) -> Any:
    """Declare a setting of a method.

    Args:
        default: the published value.
        meaning: one line for the documentation.
        search: what a search tries: a range (low, high) or a tuple of choices. None excludes it from searches.
        constraints: limits of the value, as pydantic names them: ge, gt, le, lt, multiple_of.

    Returns:
        The field of the `Settings` class.

    Example:
        >>> class Settings(MethodSettings):
        ...     ema_decay: float = setting(0.99, "decay of the teacher", search=(0.9, 0.999), ge=0, lt=1)
        >>> Settings().ema_decay
        0.99
        >>> Settings(ema_decay=0.9).ema_decay
        0.9
    """
    return Field(
        default, description=meaning, json_schema_extra={"search": list(search)} if search else None, **constraints
    )


RENAMED = {"views": "extra_arrays", "labeled_images": "labelled_images", "unlabeled_images": "unlabelled_images"}


@dataclass(frozen=True)
class Batch:
    """The patches of one training step, on the training device. Labels of unlabelled images are not part of it.

    Args:
        labelled_images: (B_l, M, H, W, D), float32. M is the number of channels of an image. In 2D, here and below,
            a patch is a slice (H, W).
        labels: (B_l, H, W, D), uint8; 0 is background and 1..C are the classes.
        unlabelled_images: (B_u, M, H, W, D), float32.
        extra_arrays: what the functions of the method's `extra_arrays()` computed, by name.
        labelled_ids, unlabelled_ids: the case of each patch.
        labelled_origins, unlabelled_origins: (B_l, 3) and (B_u, 3), int64: the first voxel of each patch in its rotated
            and flipped volume. In 2D the third number is the slice.
        overlapping_images: (B_l + B_u, M, H, W, D), a second crop of each volume that overlaps the first by half or
            more along each axis; None unless the method asks for `overlapping_crops`.
        shifts: (B_l + B_u, 3), int64, in 2D (B_l + B_u, 2): by how many voxels the second crop starts after the first.

    Raises:
        AttributeError: for a name of an earlier version. The message has the name of today.

    Example:
        >>> images = torch.zeros(2, 1, 16, 16, 16)
        >>> batch = Batch(images, torch.zeros(2, 16, 16, 16, dtype=torch.uint8), images + 1)
        >>> batch.images.shape
        torch.Size([4, 1, 16, 16, 16])
    """

    labelled_images: Tensor
    labels: Tensor
    unlabelled_images: Tensor
    extra_arrays: dict[str, Tensor] = field(default_factory=dict)
    labelled_ids: tuple[str, ...] = ()
    unlabelled_ids: tuple[str, ...] = ()
    labelled_origins: Tensor | None = None
    unlabelled_origins: Tensor | None = None
    overlapping_images: Tensor | None = None
    shifts: Tensor | None = None

    @property
    def images(self) -> Tensor:
        """All patches of the step, (B_l + B_u, M, H, W, D). The labelled ones come first."""
        return torch.cat([self.labelled_images, self.unlabelled_images])

    def __getattr__(self, name: str) -> Any:
        now = f": it is called batch.{RENAMED[name]} now" if name in RENAMED else ""
        raise AttributeError(f"a batch has no attribute {name!r}{now}")


class Method(StepLog):
    """Base class of all methods. A method implements `training_step` and `predict`, and what else it needs.

    Everything with state is a submodule, a parameter or a buffer: `state_dict()` is the whole model, and a checkpoint
    holds nothing else of the method.

    In each step the training loop does the following for each of `phases`, in order: it calls `train()` and
    `training_step`, back-propagates "total" into the parameters of this phase's optimiser alone, and lets the optimiser
    step. After the last phase it calls `after_step`. Both may report further curves with `log` and maps with
    `log_image`.

    Args:
        settings: an instance of the class's `Settings`.
        backbone: makes the network that all methods share; keywords choose its heads and decoders.
        schedule: ramps and learning rate of this training.

    Attributes:
        info: what tables say about the method.
        head: what logits mean: their probabilities, entropies and losses, see `methods.shared.probabilities`.
        phases: the names of the phases of a step, one optimiser each.
        gradient_clipping: the largest norm of a phase's gradient; None for no limit. `training.gradient_clipping` of an
            experiment takes its place.
        overlapping_crops: whether batches hold a second crop of each volume.
        dead_below: which losses show that a network has died, and below which value. Where the median of such a loss
            over the last tenth of the steps is smaller, the training says so, and record and tables mark the run as
            collapsed. The loss may be a share that is logged for this alone, such as `active_fraction`.

    Example:
        >>> class Supervised(Method):
        ...     def __init__(self, settings, backbone, schedule):
        ...         super().__init__(settings, backbone, schedule)
        ...         self.network = backbone()
        ...
        ...     def training_step(self, batch, step, phase):
        ...         logits = self.network(batch.labelled_images).logits
        ...         return {"total": self.head.segmentation_loss(logits, batch.labels)}
        ...
        ...     def predict(self, images):
        ...         return self.head.predict(self.network(images).logits)
        >>> method = Supervised(Supervised.Settings(), Backbone(classes=1, width=2), Schedule(iterations=100))
        >>> method.eval().predict(torch.zeros(1, 1, 16, 16, 16)).shape
        torch.Size([1, 1, 16, 16, 16])
    """

    info: ClassVar[Info]
    phases: ClassVar[tuple[str, ...]] = ("train",)
    dead_below: ClassVar[dict[str, float]] = {}
    gradient_clipping: ClassVar[float | None] = None
    overlapping_crops: ClassVar[bool] = False

    class Settings(MethodSettings):
        """No settings."""

    def __init__(self, settings: MethodSettings, backbone: Backbone, schedule: Schedule):
        super().__init__()
        self.settings = settings
        self.backbone = backbone
        self.head = backbone.head
        self.schedule = schedule

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "head" and isinstance(value, nn.Module):
            raise AttributeError("self.head says what logits mean: give your layer another name, such as self.output")
        super().__setattr__(name, value)

    @classmethod
    def patches(cls, settings: MethodSettings, batch_size: int) -> tuple[int, int]:
        """How many patches of a step are labelled and unlabelled; half and half by default.

        Args:
            settings: of the method.
            batch_size: patches of a step in the protocol.

        Returns:
            The numbers of labelled and of unlabelled patches. A method that returns (n, 0) is supervised: it gets no
            unlabelled case.

        Example:
            >>> Method.patches(MethodSettings(), 4)
            (2, 2)
        """
        return batch_size // 2, batch_size - batch_size // 2

    def strong_view(self, images: Tensor) -> Tensor:
        """Images (B, M, H, W, D) with other intensities, as the protocol declares strong views. Places stay."""
        return self.backbone.strong_view(images)

    @classmethod
    def variant(cls, settings: MethodSettings) -> str:
        """Which published row these settings reproduce, for a method with several; "" is the only or main one."""
        return ""

    def extra_arrays(self) -> dict[str, ExtraArray]:
        """Inputs that data workers compute beside the training, such as distance maps.

        Returns:
            Functions by name. Each gets the arrays of the batch by name and a random generator, and returns an array
            with one entry a patch. `training_step` finds it as a tensor in `batch.extra_arrays`.
        """
        return {}

    def configure_optimizers(self, sgd: OptimizerFactory) -> dict[str, torch.optim.Optimizer]:
        """The optimiser of each phase.

        Args:
            sgd: makes the protocol's optimiser of some parameters. Its learning rate follows the protocol.

        Returns:
            One optimiser for each of `phases`, in the same order.
        """
        return {self.phases[0]: sgd(self.parameters())}

    def learning_rate_factor(self, step: int) -> float:
        """By what the protocol's learning rate is multiplied at a step (0, 1, …)."""
        return self.schedule.learning_rate_factor(step)

    def own_learning_rate_factor(self, phase: str, step: int) -> float:
        """By what the learning rate of an optimiser of the method's own is multiplied at a step; constant by default.

        `self.schedule` has the usual ones: `poly(step)`, `cosine(step)`, `step(step)` and `warm_up_factor(step)`.

        Args:
            phase: whose optimiser was not made by `sgd`.
            step: the number of the step (0, 1, …).
        """
        return 1.0

    def training_step(self, batch: Batch, step: int, phase: str) -> dict[str, Tensor]:
        """The losses of one phase. The optimisers of earlier phases have stepped already.

        Args:
            batch: the patches of the step.
            step: the number of the step (0, 1, …).
            phase: one of `phases`.

        Returns:
            Scalars by name, to be logged. "total" is minimised.
        """
        raise NotImplementedError

    def after_step(self, step: int) -> None:
        """Called after the last phase of a step, for updates without gradient such as that of an EMA teacher."""

    def predict(self, images: Tensor) -> Tensor:
        """Segment patches as the published method does at test time. Called in eval mode without gradients.

        Args:
            images: (B, M, H, W, D), float32.

        Returns:
            Foreground probabilities, (B, C, H, W, D): `self.head.predict(logits)`.
        """
        raise NotImplementedError
