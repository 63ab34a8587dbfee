"""The blocks of an experiment that decide what its report says: how weights are trained, scored and judged."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, ValidationInfo, field_validator

SMALLEST_PATCH, LARGEST_PATCH = 16, 512  # voxels along an axis; the V-Net halves four times


class Block(BaseModel):
    """A block of an experiment file: no unknown keys, no infinities, no `true` where a number belongs."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_switch_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        if isinstance(value, bool) and cls.model_fields[info.field_name].annotation in (int, float):
            raise ValueError("must be a number")  # pydantic takes true for 1
        return value


class Training(Block):
    """What decides the weights besides data, method and seed. Part of a trial's id; defaults as published."""

    iterations: PositiveInt = 6000
    batch_size: int = Field(4, ge=2, description="patches a step")
    patch: tuple[PositiveInt, PositiveInt, PositiveInt] = (112, 112, 80)
    width: PositiveInt = Field(16, description="channels of the V-Net's first level")
    learning_rate: PositiveFloat = 0.01
    momentum: float = Field(0.9, ge=0, lt=1)
    weight_decay: float = Field(1e-4, ge=0)
    augmentation: str = "uamt_exact"
    precision: Literal["bf16", "fp16", "fp32"] = "bf16"
    threads: int = Field(  # torch crashes the process where the system refuses it a thread
        2, ge=1, le=1024, description="CPU threads of a trial, and the CPUs it asks for"
    )
    compile: Literal["none", "default", "reduce-overhead"] = Field(
        "none", description="mode of torch.compile for the networks; reduce-overhead: CUDA graphs"
    )
    deterministic: bool = Field(False, description="deterministic GPU kernels; on the CPU training always is")

    @field_validator("patch")
    @classmethod
    def _sensible_patch(cls, patch: tuple[int, int, int]) -> tuple[int, int, int]:
        if min(patch) < SMALLEST_PATCH or max(patch) > LARGEST_PATCH:
            raise ValueError(
                f"each side must lie between {SMALLEST_PATCH} (the V-Net halves four times) and {LARGEST_PATCH} voxels"
            )
        return patch


class Evaluation(Block):
    """How stored weights are scored. Not part of a trial's id: `evaluate` scores again without training."""

    stride: tuple[PositiveInt, PositiveInt, PositiveInt] = (18, 18, 4)
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
