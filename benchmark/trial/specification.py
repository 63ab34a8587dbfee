"""What a worker needs to run one trial, and what it reports while it runs."""

from pydantic import BaseModel, ConfigDict

from benchmark.planning.experiment import Evaluation, Training
from methods.shared import registry


class Trial(BaseModel):
    """Everything a worker needs to run one trial: its cell of the plan, cases, protocol. Small, and plain JSON."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    cell: dict  # what tables show: method, display, labelled, draw, seed, …
    method: str
    method_file: str
    settings: dict
    labelled: list[str]
    unlabelled: list[str]
    test: list[str]
    seed: int
    data: dict  # the experiment's data block
    data_summary: dict  # name, fingerprint, split: what a record says of its data
    training: Training
    evaluation: Evaluation
    plugins: list[str] = []

    @property
    def cost(self) -> float:
        """Patch passes with gradient of the whole training, or what costs as much."""
        passes = registry.get(self.method).info.passes  # at the protocol's batch of 4
        return self.training.iterations * passes.total() * self.training.batch_size / 4


class Progress(BaseModel):
    """A sign of life. stage: training, testing i/n, interrupted, done, failed, diverged or stopped (by the disk)."""

    trial: str
    stage: str
    step: int
    iterations: int
    loss: float | None = None
    reason: str | None = None
