"""How long the trials of a plan will take, roughly."""

from statistics import median

from benchmark.planning.plan import Plan, PlannedTrial
from benchmark.records.files import ResultsError
from benchmark.records.states import DONE
from benchmark.trial.smoke import smoke_test
from benchmark.trial.specification import Trial


def seconds_of_training(plan: Plan, trials: list[Trial]) -> float:
    """Seconds to train trials one after another, without evaluation.

    Finished trials of the folder give the time of a unit of `Trial.cost`. Without any, two steps of the cheapest trial
    run on this machine.

    Args:
        plan: which trials are done.
        trials: those that are to run, at least one.
    """
    rates = [seconds / planned.trial.cost for planned in plan.trials if (seconds := _trained(plan, planned))]
    if not rates:
        cheapest = min(trials, key=lambda trial: trial.cost)
        seconds = smoke_test(cheapest, plan.experiment.execution) * cheapest.training.iterations
        rates = [seconds / cheapest.cost]
    return median(rates) * sum(trial.cost for trial in trials)


def _trained(plan: Plan, planned: PlannedTrial) -> float | None:
    """How long a finished trial was trained, if its record says so."""
    if planned.state != DONE:
        return None
    try:
        return plan.folder.read_provenance(planned.trial.id).get("seconds_training")
    except ResultsError:
        return None
