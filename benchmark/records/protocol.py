"""The blocks of an experiment that decide what its report says: how weights are trained, scored and judged."""

from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationInfo,
    field_validator,
    model_validator,
)

from data.intensity import STRONG, Intensity

SMALLEST_PATCH, LARGEST_PATCH = 16, 512  # voxels along an axis; the V-Net halves four times
Patch = tuple[PositiveInt, PositiveInt, PositiveInt] | tuple[PositiveInt, PositiveInt]


class Block(BaseModel):
    """A block of an experiment file: no unknown keys, no infinities, no `true` where a number belongs."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_switch_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        if isinstance(value, bool) and cls.model_fields[info.field_name].annotation in (int, float):
            raise ValueError("must be a number")  # pydantic takes true for 1
        return value


class Network(Block):
    """A registered network and its arguments: a name, or a mapping with `name` and arguments beside it."""

    name: str = "vnet"
    arguments: dict[str, Any] = {}

    @model_validator(mode="before")
    @classmethod
    def _short_forms(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {"name": value}
        if isinstance(value, dict) and "name" in value and "arguments" not in value:
            return {"name": value["name"], "arguments": {key: v for key, v in value.items() if key != "name"}}
        return value


class Training(Block):
    """What decides the weights besides data, method and seed. Part of a trial's id; defaults as published."""

    iterations: PositiveInt = 6000
    batch_size: int = Field(4, ge=2, description="patches a step")
    patch: Patch = Field((112, 112, 80), description="voxels of a patch; two numbers: slices of the last axis, in 2D")
    network: Network = Field(
        Network(), description="vnet, resvnet, unet_2d, unet_3d, dynunet, swin_unetr or a plug-in's"
    )
    width: PositiveInt = Field(16, description="channels of the network's first level")
    head: Literal["sigmoid", "softmax"] = Field(
        "sigmoid", description="a channel for each class, or a softmax over background and classes"
    )
    learning_rate: PositiveFloat = 0.01
    momentum: float = Field(0.9, ge=0, lt=1)
    weight_decay: float = Field(1e-4, ge=0)
    learning_rate_schedule: Literal["step", "poly", "cosine", "constant"] = Field(
        "step", description="step: 0.1 after 2,500 and 0.01 after 5,000 of 6,000; poly: (1 - step / iterations)^0.9"
    )
    warm_up: NonNegativeInt = Field(0, description="iterations in which the learning rate grows from 0")
    gradient_clipping: PositiveFloat | None = Field(None, description="largest norm of a gradient; null: the method's")
    pretrained: str | None = Field(
        None, description="file of weights that networks begin with; its hash is part of a trial's id"
    )
    accumulation: PositiveInt = Field(1, description="batches whose gradients are added up before a step")
    augmentation: str = "uamt_exact"
    weak_intensity: Intensity = Field(Intensity(), description="what happens to intensities of all patches")
    strong_intensity: Intensity = Field(STRONG, description="of the strong views of methods that ask for them")
    precision: Literal["bf16", "fp16", "fp32"] = "bf16"
    threads: int = Field(  # torch crashes the process where the system refuses it a thread
        2, ge=1, le=1024, description="CPU threads of a trial, and the CPUs it asks for"
    )
    compile: Literal["none", "default", "reduce-overhead"] = Field(
        "none", description="mode of torch.compile for the networks; reduce-overhead: CUDA graphs"
    )
    deterministic: bool = Field(False, description="deterministic GPU kernels; on the CPU training always is")

    @field_validator("patch", mode="before")
    @classmethod
    def _two_or_three_sides(cls, patch: Any) -> Any:
        if isinstance(patch, list | tuple) and len(patch) not in (2, 3):
            raise ValueError("give three numbers, or two for slices")
        return patch

    @field_validator("patch")
    @classmethod
    def _sensible_patch(cls, patch: tuple[int, ...]) -> tuple[int, ...]:
        if min(patch) < SMALLEST_PATCH or max(patch) > LARGEST_PATCH:
            raise ValueError(
                f"each side must lie between {SMALLEST_PATCH} (the V-Net halves four times) and {LARGEST_PATCH} voxels"
            )
        return patch

    def decisive(self) -> dict[str, Any]:
        """All values, for a trial's id. Keys that are younger than a record are left out at their default.

        Example:
            >>> "head" in Training().decisive(), Training(head="softmax").decisive()["head"]
            (False, 'softmax')
        """
        values = self.model_dump(mode="json")
        default = Training().model_dump(mode="json")
        return {key: value for key, value in values.items() if key not in YOUNGER or value != default[key]}


# Keys of `Training` that came after the first published records: their defaults are what those had.
YOUNGER = (
    "network", "head", "learning_rate_schedule", "warm_up", "gradient_clipping", "accumulation", "weak_intensity",
    "strong_intensity", "pretrained",
)  # fmt: skip


class Evaluation(Block):
    """How stored weights are scored. Not part of a trial's id: `evaluate` scores again without training."""

    stride: Patch = Field((18, 18, 4), description="voxels from window to window; of slices only the first two count")
    postprocessing: Literal["none", "largest_component"] = Field(
        "largest_component", description="what the table's headline figures show; both are always stored"
    )
    empty: Literal["worst", "exclude"] = Field(
        "worst", description="distances where only prediction or truth is empty: the image diagonal, or left out"
    )
    diverged: Literal["worst", "exclude"] = Field(
        "worst", description="a run that diverged: Dice 0 and distances of the image diagonal, or left out unranked"
    )
    nsd_tolerance: PositiveFloat = Field(2.0, description="mm up to which surfaces count as equal in NSD")
    checkpoints: PositiveInt | None = Field(
        None,
        description="weights are stored and scored every so many iterations, to choose among; null: only the last",
    )


# Keys of `Evaluation` that choose among what is known of each record: a change of them needs no new scoring.
CHOSEN_BY_REPORT = ("postprocessing", "diverged")


class Report(Block):
    """By what results are judged. It decides no number, so that a change of it needs no new training or scoring."""

    margin: PositiveFloat = Field(
        1.0, le=100, description="points of Dice: a smaller difference counts as none, from a published figure for one"
    )


def differences(recorded: Block, planned: Block, block: str, ignore: tuple[str, ...] = ()) -> list[str]:
    """Keys whose values differ between a record and a plan, a short phrase each.

    Example:
        >>> differences(Evaluation(empty="exclude"), Evaluation(), "evaluation")
        ["evaluation.empty is exclude, the plan's worst"]
    """
    found, wanted = recorded.model_dump(mode="json"), planned.model_dump(mode="json")
    return [
        f"{block}.{key} is {found.get(key)}, the plan's {wanted.get(key)}"
        for key in sorted(found.keys() | wanted.keys())
        if key not in ignore and found.get(key) != wanted.get(key)
    ]
