"""How long the trials of a plan will take, roughly."""

import os
from statistics import median
from typing import NamedTuple

from benchmark.planning.plan import Plan, PlannedTrial
from benchmark.records.files import ResultsError
from benchmark.records.models import SHARING
from benchmark.records.states import DONE
from benchmark.trial.smoke import smoke_test
from benchmark.trial.specification import Trial


class Estimate(NamedTuple):
    """seconds: of training, one trial after another, without testing. basis: what was timed, in words."""

    seconds: float
    basis: str


def estimate_training(plan: Plan, trials: list[Trial]) -> Estimate:
    """How long these trials will train, if the machine stays as busy as it was in what was timed.

    Finished trials of the folder give the time of a unit of `Trial.cost`. Those that had the machine alone come first,
    because times of trials side by side do not add up. Without any, two steps of the cheapest trial run here and now.

    Args:
        plan: which trials are done.
        trials: those that are to run, at least one.
    """
    timed = [found for planned in plan.trials if (found := _timed(plan, planned))]
    if alone := [rate for rate, together in timed if together == 1]:
        rates, basis = alone, _finished(len(alone))
    elif timed:
        rates, basis = [rate for rate, _ in timed], f"{_finished(len(timed))} that ran side by side"
    else:
        cheapest = min(trials, key=lambda trial: trial.cost)
        seconds = smoke_test(cheapest, plan.experiment.execution) * cheapest.training.iterations
        load = f", with a load of {os.getloadavg()[0]:.1f} on {os.cpu_count()} CPUs" * hasattr(os, "getloadavg")
        rates, basis = [seconds / cheapest.cost], f"one step of {cheapest.cell.display} just now{load}"
    return Estimate(median(rates) * sum(trial.cost for trial in trials), basis)


def _finished(count: int) -> str:
    return f"{count} finished trial{'s' * (count > 1)} of this folder"


def _timed(plan: Plan, planned: PlannedTrial) -> tuple[float, int] | None:
    """Seconds of a unit of cost, and how many trials shared the machine, of a finished trial whose record says so."""
    if planned.state != DONE:
        return None
    try:
        facts = plan.folder.read_provenance(planned.trial.id)
    except ResultsError:
        return None
    seconds = facts.get("seconds_training")
    return (seconds / planned.trial.cost, facts.get(SHARING, 1)) if seconds else None
