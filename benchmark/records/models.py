"""What the files of a results folder hold: plan.json, trial.yaml of a record, and a heartbeat.

Every key is an attribute. Reading a file that misses a key or holds a value of the wrong type raises one line.
"""

import json
from collections import Counter
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from benchmark.records.numerics import Numerics
from benchmark.records.protocol import Evaluation, Report, Training

FORMAT = 2
READABLE = (1, 2)  # format 1 had hashes of source files instead of numerics versions
# Source of format 1 that computed other numbers than version 1 does. BCP has both mixes in one forward since then.
BEFORE_VERSION_1 = {("methods/bcp.py", "75581ddb7646")}
EXTERNAL = "external"  # method and fidelity of masks that another tool made

SHARING = "trials_sharing_the_machine"  # a fact of provenance.json
LOGGED = "logged/"  # in history.csv, how names begin of numbers that a method reports besides its losses

# Names folders, so it must not lead out of one, and file systems take 255 bytes.
TrialId = Annotated[str, Field(pattern=r"^\w[\w.-]*$", max_length=200)]
Count = Annotated[int, Field(ge=0, lt=2**31)]
Millimetres = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Spacing = Annotated[list[Millimetres], Field(min_length=3, max_length=3)]
MOST_CLASSES = 255  # labels are stored in 8 bits
MOST_VALUE = 65535  # of a structure in files


class Stored(BaseModel):
    """A part of a file. Unknown keys are kept."""

    model_config = ConfigDict(extra="allow", frozen=True)


# What makes a row of the tables: keys of `Cell`. The runs of a row differ in seed and draw alone.
ROW_KEYS = ["role", "method", "display", "settings", "labelled", "unlabelled"]


def name_with_role(display: str, role: str) -> str:
    """The name of a row as people read it everywhere: floor and ceiling may be one method.

    Example:
        >>> name_with_role("V-Net", "ceiling"), name_with_role("DTML", "method")
        ('V-Net (ceiling)', 'DTML')
    """
    return display if role == "method" else f"{display} ({role})"


class Cell(Stored):
    """One cell of an experiment: a method at one budget, draw and seed, with what tables say of it."""

    trial: TrialId
    method: str
    variant: str = ""
    display: str
    year: int
    source: str
    fidelity: str
    settings: dict[str, Any]
    unpublished: list[str]
    labelled: Count
    unlabelled: Count
    draw: Literal["first"] | int
    seed: int
    role: str
    method_file: str = ""
    patches: tuple[Count, Count] | None = Field(None, description="labelled and unlabelled patches of a step")
    network_file: str = Field("", description="the plug-in that registers the network; empty for a built-in one")

    @property
    def row(self) -> str:
        """The row of the tables that the cell belongs to, as text to compare."""
        return json.dumps([getattr(self, key) for key in ROW_KEYS], sort_keys=True)

    @model_validator(mode="before")
    @classmethod
    def _earlier_names(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("fidelity") == "foreign":
            return values | {"method": EXTERNAL, "fidelity": EXTERNAL}
        return values


class Data(Stored):
    """What a table says of the data. `fingerprint` is of the test cases: figures of one table share it.

    `recipe` names the published protocol of data and split. Older records have none.

    `stored_fingerprints` are of the training and of the test cases as stored, whatever the training grid.
    """

    name: str
    source: str = ""
    spacing: Millimetres | Spacing | None
    native_spacing: Spacing
    other_spacings: dict[str, Spacing] = {}
    fingerprint: str
    stored_fingerprints: dict[str, str] = {}
    split: str
    split_hash: str
    recipe: str = ""
    folds: dict[str, int] | None = None
    train: Count
    with_label: Count | None = None
    test: Count
    classes: int = Field(ge=1, le=MOST_CLASSES)
    class_names: dict[str, Annotated[int, Field(ge=1, le=MOST_VALUE)]] = {}
    validation_cases: Count = Field(0, description="labelled cases that choose a checkpoint and are not trained on")
    reading: dict[str, Any] = {}
    preparation: str | None = None

    @field_validator("folds")
    @classmethod
    def _a_fold(cls, folds: dict[str, int] | None) -> dict[str, int] | None:
        if folds is not None and not {"folds", "fold", "seed"} <= folds.keys():
            raise ValueError("must say folds, fold and seed")
        return folds

    @field_validator("reading")
    @classmethod
    def _a_way_to_read(cls, reading: dict[str, Any]) -> dict[str, Any]:
        how, channels = reading.get("normalise"), reading.get("channel")
        each = isinstance(how, list) and isinstance(channels, list) and len(how) == len(channels)
        if not (how is None or _normalises(how) or (each and all(map(_normalises, how)))):
            raise ValueError("normalise must be a word or two numbers, or a list of these, one a channel")
        return reading


def _normalises(how: Any) -> bool:
    window = isinstance(how, list) and len(how) == 2 and all(isinstance(end, int | float) for end in how)
    return isinstance(how, str) or window


class Tuned(Stored):
    """How settings were chosen, if a search chose them.

    Args:
        experiment: the experiment with published settings.
        how: a phrase for the notes of tables.
        methods: display names of the tuned methods; None: all of them.
    """

    experiment: str
    how: str
    methods: list[str] | None = None


class StoredPlan(Stored):
    """plan.json: every cell of an experiment and the protocol that they share."""

    format: int
    experiment: str
    title: str
    reference: str | None
    tuned: Tuned | None = None
    data: Data
    training: Training
    evaluation: Evaluation
    report: Report = Report()
    shapes: dict[str, list[Count]] = Field({}, description="voxels of each test case along each axis, as it is scored")
    cells: list[Cell]

    @model_validator(mode="after")
    def _each_trial_once(self) -> "StoredPlan":
        counts = Counter(cell.trial for cell in self.cells)
        if repeated := sorted(trial for trial, count in counts.items() if count > 1):
            raise ValueError(f"plans {', '.join(repeated)} more than once")
        return self


class Record(Stored):
    """trial.yaml of a record: what was trained on what, under which protocol, by which versions of the numbers."""

    format: int
    trial: str
    state: Literal["done", "failed", "diverged"]
    reason: str | None = None
    peeked: str | None = Field(None, description="which labels outside the labelled set were opened; null: not watched")
    collapsed: str | None = Field(None, description="why the network counts as dead, or nothing; null: not looked at")
    cell: Cell
    data: Data
    labelled: list[str] | None = None
    unlabelled: list[str] | None = None
    test: list[str] | None = None
    validation: list[str] | None = Field(None, description="labelled cases that chose a checkpoint")
    masks: str | None = Field(None, description="hash of the masks that another tool made")
    training: Training | None = None
    evaluation: Evaluation
    numerics: Numerics = Numerics()

    @model_validator(mode="before")
    @classmethod
    def _numerics_of_format_1(cls, values: Any) -> Any:
        """Records of format 1 hold source hashes. Version 1 of a built-in method made them, but for a few."""
        if not isinstance(values, dict) or "numerics" in values:
            return values
        if not isinstance(values.get("code"), dict):
            raise ValueError("lacks numerics")
        code = values["code"]
        if not all(isinstance(text, str) for pair in code.items() for text in pair):
            raise ValueError("code must be hashes by file")
        plugin = {Path(file).name: hash_ for file, hash_ in code.items() if Path(file).is_absolute()}
        numerics = Numerics(method=plugin or int(BEFORE_VERSION_1.isdisjoint(code.items())))
        if not values.get("training"):  # masks of another tool
            numerics = Numerics(training=None, preparation=None, method=None)
        return {key: value for key, value in values.items() if key != "code"} | {"numerics": numerics}


class Heartbeat(Stored):
    """The last sign of life of a trial; `time` in unix seconds."""

    stage: str
    step: int
    iterations: int
    time: float = Field(allow_inf_nan=False)


def first_problem(error: ValidationError) -> str:
    """The first thing that is wrong with a file, in a few words: which key, and what.

    Example:
        >>> try:
        ...     Heartbeat.model_validate({"step": 1, "iterations": 2, "time": 0})
        ... except ValidationError as error:
        ...     print(first_problem(error))
        lacks stage
    """
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] == "missing":
        return f"lacks {key}"
    message = " ".join(first["msg"].removeprefix("Value error, ").split())
    message = f"{message[0].lower()}{message[1:]}"
    return f"{key}: {message}" if key else message
