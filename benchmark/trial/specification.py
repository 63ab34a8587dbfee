"""What a worker needs to run one trial, and what it reports while it runs."""

import hashlib
import json

from pydantic import BaseModel, ConfigDict

from benchmark.records.models import Cell, Data
from benchmark.records.numerics import Numerics
from benchmark.records.protocol import Evaluation, Training
from benchmark.records.states import Wanted
from methods.shared import registry


class Trial(BaseModel):
    """Everything a worker needs to run one trial: its cell of the plan, cases, protocol. Small, and plain JSON."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    cell: Cell  # what tables show
    settings: dict  # of the method, defaults included
    labelled: list[str]
    unlabelled: list[str]
    test: list[str]
    validation: list[str] = []  # labelled cases that choose a checkpoint
    data: dict  # the experiment's data block
    data_summary: Data  # what a record says of its data
    training: Training
    evaluation: Evaluation
    numerics: Numerics  # versions of the code when the run was planned
    plugins: list[str] = []

    @property
    def method(self) -> str:
        return self.cell.method

    @property
    def seed(self) -> int:
        return self.cell.seed

    @property
    def wanted(self) -> Wanted:
        """What a record must agree with to be this trial's."""
        return Wanted(self.training, self.evaluation, self.data_summary, self.numerics)

    @property
    def cost(self) -> float:
        """Patch passes with gradient of the whole training, or what costs as much."""
        passes = registry.get(self.method).info.passes  # at the protocol's batch of 4
        return self.training.iterations * passes.total() * self.training.batch_size / 4


class Progress(BaseModel):
    """A sign of life.

    stage: training, testing i/n, selecting i/n, scoring i/n, interrupted, done, failed, diverged or stopped (by the
    disk).
    """

    trial: str
    stage: str
    step: int
    iterations: int
    loss: float | None = None
    dice: float | None = None  # of a trial that is done: mean over its test cases
    reason: str | None = None
    notes: list[str] = []  # what a user should hear of, though the trial goes on
    process_changed: bool = False  # the trial left its process other than it was, or holds labels in it: it is given up


def digest_of(
    data: str, labelled: list[str], unlabelled: list[str], test: list[str], method: str, settings: dict, seed: int,
    training: Training,
) -> str:  # fmt: skip
    """Ten hex digits of all that decides a trial's numbers, the end of its id.

    Args:
        data: fingerprint of the cases' content, see `Dataset.fingerprint`.
        labelled, unlabelled, test: ids of cases.
        method: its name.
        settings: of the method, defaults included.
        seed: of the trial.
        training: the protocol's block.
    """
    decisive = {
        "data": data,
        "labelled": labelled,
        "unlabelled": unlabelled,
        "test": test,
        "method": method,
        # Settings that are null are off: a setting that is younger than a record leaves its id alone.
        "settings": {key: value for key, value in settings.items() if value is not None},
        "seed": seed,
        "training": training.decisive(),
    }
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:10]
