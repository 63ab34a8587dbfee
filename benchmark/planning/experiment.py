"""The schema of an experiment file."""

import re
from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    PositiveFloat,
    PositiveInt,
    field_validator,
    model_validator,
)

from benchmark.records.models import Tuned
from benchmark.records.protocol import Block, Evaluation, Report, Training
from data import names
from data.augment import AUGMENTATIONS
from data.errors import UserError
from data.sources import DataSettings
from methods.shared import registry
from methods.shared.validation import nearest


class ExperimentError(UserError):
    """Something is wrong in the experiment file or on the command line. The message is one line for the user."""


LOGGERS = ("wandb", "mlflow")  # and what execution.tensorboard switches


class Execution(Block):
    """How trials are run. Decides no number."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    gpus_per_trial: Annotated[float, Field(gt=0)] | Literal["auto"] = Field(
        "auto",
        description="share of a GPU, rounded up to eighths, or whole GPUs. auto: what two measured steps of the method "
        "need; none without a GPU",
    )
    memory_gib: PositiveFloat | None = Field(
        None, description="main memory that a trial needs, so that only as many run at a time as fit; null: no limit"
    )
    order: Literal["longest_first", "as_listed"] = Field(
        "longest_first",
        description="longest_first: all devices end at about the same time. as_listed: seed by seed, bounds first, so "
        "that an unfinished run can already be read",
    )
    data_workers: Annotated[int, Field(ge=0)] | Literal["auto"] = Field(
        "auto",
        description="processes of a trial that prepare batches. auto: 1, or 4 if they compute distance maps for a GPU. "
        "0: the training thread does it",
    )
    window_batch: PositiveInt = Field(4, description="sliding windows predicted at once")
    checkpoint_minutes: float = Field(5, ge=0, description="time between checkpoints")
    checkpoint_iterations: PositiveInt | None = Field(None, description="also a checkpoint after this many iterations")
    profile_steps: int = Field(0, ge=0, description="training steps of each trial to trace into traces/; 0: none")
    pretrained_file: str = Field("", description="where the file of training.pretrained lies; set by the benchmark")
    copy_to: str | None = Field(None, description="a second store for finished records, any URI that fsspec knows")
    tensorboard: bool = Field(True, description="write event files of curves and pictures to tensorboard/")
    log_to: list[str] = Field(
        [], description="where curves and pictures go, too: wandb, mlflow, or a Python file with a class Logger"
    )

    @field_validator("log_to")
    @classmethod
    def _known_loggers(cls, log_to: list[str]) -> list[str]:
        for name in log_to:
            if name not in LOGGERS and not name.endswith(".py"):
                raise ValueError(f"must be {', '.join(LOGGERS)}, or a Python file with a class Logger, got {name!r}")
        return list(dict.fromkeys(log_to))


class Tuning(Block):
    """A search for better settings, alike for each method that it tunes. The published settings run, too."""

    methods: list[str] | None = Field(
        None, min_length=1, description="the methods to tune, by name or `display`; null: all of them"
    )
    settings_per_method: int = Field(
        ge=2, description="how many settings each method tries, the published ones included"
    )
    search: Literal["random", "optuna"] = "random"
    validation: PositiveInt = Field(
        description="training cases whose labels choose settings; only the ceiling trains on these labels"
    )
    seed: int = Field(0, description="decides the settings tried, the validation cases and the search's trainings")


class MethodEntry(Block):
    """One method with settings over its published defaults; `display` names its row."""

    name: str
    display: str | None = None
    settings: dict[str, Any] = {}

    @field_validator("display")
    @classmethod
    def _names_a_row(cls, display: str | None) -> str | None:
        if display is not None and (reason := names.problem_of_name(display)):
            raise ValueError(f"names the method's row, and {reason}; leave it out for the method's own title")
        return display


class Experiment(Block):
    """Methods x labelled budgets x draws x seeds on one data set under one protocol."""

    name: str
    title: str = ""
    data: DataSettings
    methods: list[MethodEntry] = Field(min_length=1)
    baseline: MethodEntry | None = Field(
        MethodEntry(name=registry.BASELINE),
        description="method of the lower bound of each budget and of the upper bound; null: none",
    )
    labelled: list[PositiveInt] = Field(min_length=1)
    draws: list[Literal["first"] | int] = Field(
        ["first"], min_length=1, description='which cases are labelled: "first" of the list, or numbered random draws'
    )
    seeds: list[int] | dict[PositiveInt, list[int]] = Field(
        [1337], min_length=1, description="or one list for each budget; the ceiling gets the longest"
    )
    reference: str | None = Field(None, description="display name of the method that the others are tested against")
    training: Training = Training()
    evaluation: Evaluation = Evaluation()
    report: Report = Report()
    execution: Execution = Execution()
    tuning: Tuning | None = None
    tuned: Tuned | None = None
    plugins: list[str] = []

    @field_validator("name")
    @classmethod
    def _a_folder_name(cls, name: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name):
            raise ValueError("names a folder, so use letters, digits, and . _ - after the first")
        if reason := names.problem_of_name(name):
            raise ValueError(f"names a folder, and {reason}")
        return name

    @field_validator("title")
    @classmethod
    def _a_line_of_text(cls, title: str) -> str:
        if reason := names.problem_of(title.replace("\n", " ")):
            raise ValueError(reason)
        return title

    @field_validator("seeds")
    @classmethod
    def _seeds_that_name_a_folder(cls, seeds: list | dict) -> list | dict:
        for given in seeds.values() if isinstance(seeds, dict) else [seeds]:
            if large := [seed for seed in given if abs(seed) >= 2**63]:
                raise ValueError(f"{str(large[0])[:20]}… has more than 64 bits: choose a smaller one")
        return seeds

    @field_validator("labelled", "draws", "seeds")
    @classmethod
    def _nothing_twice(cls, values: list | dict) -> list | dict:
        for given in values.values() if isinstance(values, dict) else [values]:
            if repeated := [value for value in given if given.count(value) > 1]:
                raise ValueError(f"{repeated[0]} is given twice: remove one")
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
    def _known_augmentation(self) -> "Experiment":
        if self.training.augmentation not in AUGMENTATIONS:
            raise ValueError(
                f"key 'training.augmentation': must be one of {', '.join(AUGMENTATIONS)}, "
                f"got {self.training.augmentation!r}"
            )
        return self

    @model_validator(mode="after")
    def _tuned_methods_are_planned(self) -> "Experiment":
        if self.tuning is not None:
            known = [name for entry in self.methods for name in (entry.name, entry.display) if name is not None]
            for wanted in self.tuning.methods or ():
                if wanted not in known:
                    raise ValueError(
                        f"key 'tuning.methods': no method of this experiment is called {wanted!r}"
                        f"{nearest(wanted, list(dict.fromkeys(known)))}"
                    )
        return self

    def is_tuned(self, entry: MethodEntry) -> bool:
        """Whether `tuning` searches for settings of this method."""
        if self.tuning is None:
            return False
        return self.tuning.methods is None or bool({entry.name, entry.display} & set(self.tuning.methods))

    @model_validator(mode="after")
    def _one_validation(self) -> "Experiment":
        if self.tuning is not None and self.data.validation:
            raise ValueError(
                "tuning chooses validation cases by itself (tuning.validation says how many): leave out data.validation"
            )
        return self

    @model_validator(mode="after")
    def _checkpoints_before_the_end(self) -> "Experiment":
        every, iterations = self.evaluation.checkpoints, self.training.iterations
        if every is not None and every >= iterations:
            raise ValueError(
                f"evaluation.checkpoints {every} stores none before the end of {iterations} training.iterations: "
                "choose a smaller number, or null"
            )
        return self

    def seeds_of(self, labelled: int) -> list[int]:
        """The seeds of a budget. The ceiling's budget, if it is not in `labelled`, has the longest list."""
        if isinstance(self.seeds, list):
            return self.seeds
        return self.seeds.get(labelled) or max(self.seeds.values(), key=len)

    @model_validator(mode="after")
    def _strides_fit(self) -> "Experiment":
        if len(self.evaluation.stride) < len(self.training.patch):
            raise ValueError("evaluation.stride has two numbers, and training.patch three: give three")
        if any(s > p for s, p in zip(self.evaluation.stride, self.training.patch, strict=False)):
            raise ValueError(
                f"evaluation.stride {list(self.evaluation.stride)} is larger than training.patch "
                f"{list(self.training.patch)}: windows would leave gaps"
            )
        return self
