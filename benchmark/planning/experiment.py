"""The experiment file: its schema, overrides, and error messages that say which key is wrong."""

import re
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
    ValidationInfo,
    field_validator,
    model_validator,
)

from data.augment import AUGMENTATIONS
from data.errors import UserError
from data.sources import DataSettings
from methods.shared import registry
from methods.shared.validation import describe


class ExperimentError(UserError):
    """Something in the experiment file or the command line that cannot be; the message is one line for the user."""


class _Block(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_switch_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        if isinstance(value, bool) and cls.model_fields[info.field_name].annotation in (int, float):
            raise ValueError("must be a number")  # pydantic takes true for 1
        return value


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
    precision: Literal["bf16", "fp16", "fp32"] = "bf16"
    threads: PositiveInt = Field(2, description="CPU threads of a trial, and the CPUs it asks for")
    compile: Literal["none", "default", "reduce-overhead"] = Field(
        "none", description="mode of torch.compile for the networks; reduce-overhead: CUDA graphs"
    )
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
        description="share of a GPU, rounded up to eighths, or whole ones; auto: as much as two measured steps of the "
        "method need; none where there is no GPU",
    )
    memory_gib: PositiveFloat | None = Field(
        None, description="main memory that a trial asks for, so that no more run at a time than fit; null: not asked"
    )
    data_workers: Annotated[int, Field(ge=0)] | Literal["auto"] = Field(
        "auto",
        description="processes a trial that prepare batches; auto: 1, or 4 where they compute distance maps for a GPU; "
        "0: in the training thread",
    )
    window_batch: PositiveInt = Field(4, description="sliding windows predicted at once")
    checkpoint_minutes: float = Field(5, ge=0, description="time between checkpoints")
    checkpoint_iterations: PositiveInt | None = Field(None, description="a checkpoint every so many iterations, too")
    profile_steps: int = Field(0, ge=0, description="trace so many training steps of each trial into traces/; 0: none")
    copy_to: str | None = Field(None, description="a second store for finished records, any URI that fsspec knows")
    tensorboard: bool = Field(True, description="write event files of curves and slices to tensorboard/")


class Tuning(_Block):
    """Settings searched for every method alike, beside the published ones."""

    draws: int = Field(ge=2, description="settings that each method may try, its published ones among them")
    search: Literal["random", "optuna"] = "random"
    validation: PositiveInt = Field(
        description="training cases whose labels choose settings; the ceiling alone uses them"
    )
    seed: int = Field(0, description="of the settings drawn, the validation cases chosen, and the search's trainings")


class Tuned(_Block):
    """Where an experiment's settings come from, if a search has chosen them; written by the search, not by users."""

    experiment: str = Field(description="the one with published settings")
    how: str


class MethodEntry(_Block):
    """One method with settings over its published defaults; `display` names its row."""

    name: str
    display: str | None = None
    settings: dict[str, Any] = {}

    @field_validator("display")
    @classmethod
    def _no_blank(cls, display: str | None) -> str | None:
        if display is not None and not display.strip():
            raise ValueError("must name the method's row; leave it out for the method's own title")
        return display


class Experiment(_Block):
    """Methods x labelled budgets x draws x seeds on one data set under one protocol."""

    name: str
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
    seeds: list[int] | dict[PositiveInt, list[int]] = Field(
        [1337], min_length=1, description="or a list a budget: the ceiling gets the longest"
    )
    reference: str | None = Field(None, description="display name of the method that the others are tested against")
    training: Training = Training()
    evaluation: Evaluation = Evaluation()
    execution: Execution = Execution()
    tuning: Tuning | None = None
    tuned: Tuned | None = None
    plugins: list[str] = []

    @field_validator("name")
    @classmethod
    def _a_folder_name(cls, name: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name):
            raise ValueError("names a folder, so use letters, digits, and . _ - after the first")
        return name

    @field_validator("labelled", "draws", "seeds")
    @classmethod
    def _nothing_twice(cls, values: list | dict) -> list | dict:
        for each in values.values() if isinstance(values, dict) else [values]:
            if twice := [value for value in each if each.count(value) > 1]:
                raise ValueError(f"{twice[0]} is given twice: remove one")
        return values

    @field_validator("methods", mode="before")
    @classmethod
    def _short_forms(cls, entries: Any) -> Any:
        return [{"name": e} if isinstance(e, str) else e for e in entries] if isinstance(entries, list) else entries

    @field_validator("baseline", mode="before")
    @classmethod
    def _short_form(cls, entry: Any) -> Any:
        return {"name": entry} if isinstance(entry, str) else entry

    @model_validator(mode="after")
    def _each_budget_has_seeds(self) -> "Experiment":
        if isinstance(self.seeds, dict) and (set(self.seeds) != set(self.labelled) or not all(self.seeds.values())):
            raise ValueError(f"seeds must be a list, or give one for each budget of labelled, {self.labelled}")
        return self

    @model_validator(mode="after")
    def _one_validation(self) -> "Experiment":
        if self.tuning is not None and self.data.validation:
            raise ValueError(
                "tuning chooses validation cases by itself (tuning.validation says how many): leave out data.validation"
            )
        return self

    def seeds_of(self, labelled: int) -> list[int]:
        """The seeds of a budget; of one that is not the experiment's own, as the ceiling's, the longest list."""
        if isinstance(self.seeds, list):
            return self.seeds
        return self.seeds.get(labelled) or max(self.seeds.values(), key=len)

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
        values = _read_yaml(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ExperimentError(f"experiment file {path} does not exist") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ExperimentError(f"experiment file {path} cannot be read: {error}") from error
    except NOT_YAML as error:
        raise ExperimentError(f"experiment file {path} is not valid YAML: {_where(error)}") from error
    if not isinstance(values, dict):
        raise ExperimentError(f"experiment file {path} must be a mapping of keys, see configs/demo.yaml")
    for override in overrides:
        _override(values, override)
    try:
        experiment = Experiment.model_validate(values)
    except ValidationError as error:
        changed = "".join(f" --set {override}" for override in overrides)
        raise ExperimentError(f"{path}{changed}: {describe(error, Experiment)}") from error
    files = [str((path.parent / Path(p).expanduser()).resolve()) for p in experiment.plugins]
    files += [str(Path(p).expanduser().resolve()) for p in plugins]
    for file in files:
        registry.load_plugin(file)
    return experiment.model_copy(update={"plugins": files})


def _where(error: Exception) -> str:
    return " ".join(str(error).split()).replace('in "<unicode string>", ', "")


# What yaml raises: ValueError for 2024-13-45, a date to it, and RecursionError for brackets nested a thousand deep.
NOT_YAML = (yaml.YAMLError, ValueError, RecursionError)


def _read_yaml(text: str) -> Any:
    """What the text holds. A key given twice is refused: yaml would take the last one without a word."""
    _refuse_keys_given_twice(yaml.compose(text, yaml.SafeLoader), seen=set())
    return yaml.safe_load(text)


def _refuse_keys_given_twice(node: yaml.Node | None, seen: set[int]) -> None:
    if id(node) in seen or not isinstance(node, yaml.CollectionNode):  # an alias may lead to its own beginning
        return
    seen.add(id(node))
    children = node.value
    if isinstance(node, yaml.MappingNode):
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        if twice := [key for key in keys if keys.count(key) > 1]:
            raise yaml.YAMLError(f"key {twice[0]!r} is given twice, below line {node.start_mark.line + 1}: remove one")
        children = [value for _, value in node.value]
    for child in children:
        _refuse_keys_given_twice(child, seen)


def _override(values: dict, override: str) -> None:
    key, separator, text = override.partition("=")
    if not separator or not all(key.split(".")):
        raise ExperimentError(f"--set {override!r}: write key=value, for instance --set training.iterations=1000")
    try:
        value = _read_yaml(text)
    except NOT_YAML as error:
        raise ExperimentError(f"--set {override!r}: the value is not valid YAML") from error
    key, adds = key.removesuffix("+"), key.endswith("+")
    *parents, last = key.split(".")
    target: Any = values
    for part in parents:
        if isinstance(target, list) and part.isdigit() and int(part) < len(target):
            target = target[int(part)]
        elif isinstance(target, dict):
            target = target.setdefault(part, {})
        else:
            raise ExperimentError(f"--set {override!r}: there is no {part!r} to set something in")
    if adds:
        there = target.get(last) if isinstance(target, dict) else None
        if not isinstance(there, list) or not isinstance(value, list):
            raise ExperimentError(f"--set {override!r}: += adds a list to a list, as in --set 'methods+=[my_method]'")
        value = there + value
    if isinstance(target, dict):
        target[last] = value
    elif isinstance(target, list) and last.isdigit() and int(last) < len(target):
        target[int(last)] = value
    else:
        raise ExperimentError(f"--set {override!r}: {'.'.join(parents)} is neither a mapping nor long enough a list")
