"""Which training cases of a trial are labelled, unlabelled, or choose a checkpoint."""

from typing import Literal, NamedTuple

from benchmark.planning.experiment import Experiment
from data.cache import Dataset
from data.splits import labelled_ids, unlabelled_ids, without_validation


class CaseRoles(NamedTuple):
    """Ids of cases. `validation` are labelled cases that choose a checkpoint; no scan of their patients is trained
    on."""

    labelled: list[str]
    unlabelled: list[str]
    validation: list[str]


def case_roles(
    experiment: Experiment, dataset: Dataset, count: int, draw: Literal["first"] | int, supervised: bool
) -> CaseRoles:
    """The roles of the training cases in one trial.

    Args:
        experiment: says which validation cases there are.
        dataset: its data set.
        count: the budget, validation cases that are drawn from it included.
        draw: which cases are labelled.
        supervised: whether the method sees no unlabelled case.

    Raises:
        DataError: there are fewer labelled cases than `count`, or validation cases leave none to train on.
    """
    labelled, validation = labelled_ids(dataset.labelled_pool, count, draw, dataset.left_out), dataset.validation_cases
    patient_of, drawn = dataset.source.patient_of, experiment.data.validation_cases
    if isinstance(drawn, int):
        labelled, validation = without_validation(labelled, drawn, patient_of)
    patients = {patient_of(case_id) for case_id in validation}
    trained = [case_id for case_id in dataset.train_ids if patient_of(case_id) not in patients]
    return CaseRoles(labelled, [] if supervised else unlabelled_ids(trained, labelled), validation)
