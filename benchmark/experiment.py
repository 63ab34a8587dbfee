"""The experiment file: its schema, overrides, and error messages that say which key is wrong."""

from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    field_validator,
    model_validator,
)

from data.augment import AUGMENTATIONS
from data.sources import DataSettings
from methods import registry
from methods._validation import describe


class ExperimentError(ValueError):
    """Something in the experiment file or the command line that cannot be; the message is one line for the user."""


class _Block(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Training(_Block):
    """What decides the weights besides data, method and seed. Part of a trial's id; defaults as published."""

    iterations: PositiveInt = 6000
    batch_size: int = Field(4, ge=2, description="patches a step")
    patch: tuple[PositiveInt, PositiveInt, PositiveInt] = (112, 112, 80)
    width: PositiveInt = Field(16, description="channels of the V-Net's first level")
    learning_rate: PositiveFloat = 0.01
    momentum: float = Field(0.9, ge=0, lt=1)
    weight_decay: float = Field(1e-4, ge=0)
    augmentation: str = "uamt_exact"
    precision: Literal["bf16", "fp32"] = "bf16"
    threads: PositiveInt = Field(2, description="CPU threads of a trial, and the CPUs it asks for")
    deterministic: bool = Field(False, description="deterministic GPU kernels; on the CPU training always is")

    @field_validator("augmentation")
    @classmethod
    def _known_augmentation(cls, name: str) -> str:
        if name not in AUGMENTATIONS:
            raise ValueError(f"must be one of {', '.join(AUGMENTATIONS)}")
        return name

    @field_validator("patch")
    @classmethod
    def _sensible_patch(cls, patch: tuple[int, int, int]) -> tuple[int, int, int]:
        if min(patch) < 16 or max(patch) > 512:
            raise ValueError("each side must lie between 16 (the V-Net halves four times) and 512 voxels")
        return patch


class Evaluation(_Block):
    """How stored weights are scored. Not part of a trial's id: `evaluate` scores again without training."""

    stride: tuple[PositiveInt, PositiveInt, PositiveInt] = (18, 18, 4)
    postprocessing: Literal["none", "largest_component"] = Field(
        "largest_component", description="what the table's headline figures show; both are always stored"
    )
    empty: Literal["worst", "exclude"] = Field(
        "worst", description="surface distances of an empty prediction: the image diagonal, or left out"
    )


class Execution(_Block):
    """How trials are run. Decides no number."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    gpus_per_trial: Annotated[float, Field(gt=0)] | Literal["auto"] = Field(
        "auto",
        description="share of a GPU, rounded up to eighths, or whole ones; auto: one where there is any, else none",
    )
    data_workers: int = Field(1, ge=0, description="processes a trial that prepare batches; 0: in the training thread")
    window_batch: PositiveInt = Field(4, description="sliding windows predicted at once")
    checkpoint_minutes: float = Field(5, ge=0, description="time between checkpoints")
    tensorboard: bool = Field(True, description="write event files of curves and slices to tensorboard/")


class MethodEntry(_Block):
    """One method with settings over its published defaults; `display` names its row."""

    name: str
    display: str | None = None
    settings: dict[str, Any] = {}


class Experiment(_Block):
    """Methods x labelled budgets x draws x seeds on one data set under one protocol."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    title: str = ""
    data: DataSettings
    methods: list[MethodEntry] = Field(min_length=1)
    baseline: MethodEntry | None = Field(
        MethodEntry(name=registry.BASELINE),
        description="supervised floor of each budget and ceiling of all; null: none",
    )
    labelled: list[PositiveInt] = Field(min_length=1)
    draws: list[Literal["first"] | int] = Field(
        ["first"], min_length=1, description='which cases are labelled: "first" of the list, or numbered random draws'
    )
    seeds: list[int] = Field([1337], min_length=1)
    reference: str | None = Field(None, description="display name of the method that the others are tested against")
    training: Training = Training()
    evaluation: Evaluation = Evaluation()
    execution: Execution = Execution()
    plugins: list[str] = []

    @field_validator("methods", mode="before")
    @classmethod
    def _short_forms(cls, entries: Any) -> Any:
        return [{"name": e} if isinstance(e, str) else e for e in entries] if isinstance(entries, list) else entries

    @field_validator("baseline", mode="before")
    @classmethod
    def _short_form(cls, entry: Any) -> Any:
        return {"name": entry} if isinstance(entry, str) else entry

    @model_validator(mode="after")
    def _strides_fit(self) -> "Experiment":
        if any(s > p for s, p in zip(self.evaluation.stride, self.training.patch, strict=True)):
            raise ValueError(
                f"evaluation.stride {list(self.evaluation.stride)} is larger than training.patch "
                f"{list(self.training.patch)}: windows would leave gaps"
            )
        return self


def load_experiment(path: str | Path, overrides: list[str] = (), plugins: list[str] = ()) -> Experiment:
    """Read an experiment file, apply `key=value` overrides, load its plug-ins.

    Raises ExperimentError, or registry.MethodError for a plug-in, with one line that names the file and the key.
    """
    path = Path(path)
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ExperimentError(f"experiment file {path} does not exist") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ExperimentError(f"experiment file {path} cannot be read: {error}") from error
    except yaml.YAMLError as error:
        raise ExperimentError(f"experiment file {path} is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise ExperimentError(f"experiment file {path} must be a mapping of keys, see configs/demo.yaml")
    for override in overrides:
        _override(values, override)
    try:
        experiment = Experiment.model_validate(values)
    except ValidationError as error:
        raise ExperimentError(f"{path}: {describe(error, Experiment)}") from error
    files = [str((path.parent / Path(p).expanduser()).resolve()) for p in experiment.plugins]
    files += [str(Path(p).expanduser().resolve()) for p in plugins]
    for file in files:
        registry.load_plugin(file)
    return experiment.model_copy(update={"plugins": files})


def _override(values: dict, override: str) -> None:
    key, separator, text = override.partition("=")
    if not separator or not key:
        raise ExperimentError(f"--set {override!r}: write key=value, for instance --set training.iterations=1000")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ExperimentError(f"--set {override!r}: the value is not valid YAML") from error
    *parents, last = key.split(".")
    target: Any = values
    for part in parents:
        if isinstance(target, list) and part.isdigit() and int(part) < len(target):
            target = target[int(part)]
        elif isinstance(target, dict):
            target = target.setdefault(part, {})
        else:
            raise ExperimentError(f"--set {override!r}: there is no {part!r} to set something in")
    if isinstance(target, dict):
        target[last] = value
    elif isinstance(target, list) and last.isdigit() and int(last) < len(target):
        target[int(last)] = value
    else:
        raise ExperimentError(f"--set {override!r}: {'.'.join(parents)} is neither a mapping nor long enough a list")
