"""Metrics that came later, added to finished records from their stored predictions: no network is run."""

import csv
import json
from datetime import UTC, datetime

from benchmark.records.arrays import labels_of, read_masks
from benchmark.records.case_values import CaseValue, lacking_metrics, of_last, read_case_values
from benchmark.records.files import ResultsError, csv_text, write_text
from benchmark.records.locks import trial_lock
from benchmark.records.models import Record
from benchmark.records.results_folder import ResultsFolder
from benchmark.trial import provenance
from benchmark.trial.scoring import score_case
from data.cache import Dataset
from data.progress import follow

KEY = ("postprocessing", "class", "case", "metric", "unit")


def add_later_metrics(results: ResultsFolder, trial: str, dataset: Dataset) -> bool:
    """Give a finished record the metrics that it was made without. What it holds stays as it is, to the last digit.

    Args:
        results: the results folder.
        trial: id of a finished trial, or of masks that another tool made.
        dataset: its data set, for the truth and the voxel sizes.

    Returns:
        Whether something was added.

    Raises:
        ResultsError: its stored predictions are missing, damaged, or not those that its values were computed from.
    """
    with trial_lock(results, trial):
        record = results.finished_record(trial)
        if record is None:
            return False
        path = results.record(trial) / "cases.csv"
        values = of_last(read_case_values(path, len(record.test), dataset.classes))
        lacking = lacking_metrics(values)
        if not lacking:
            return False
        rows = _scored_again(results, record, dataset, values)
        added = [row for row in rows if (row["metric"], row["unit"]) in lacking]
        facts = results.read_provenance(trial)
        facts["metrics_added"] = {
            **provenance.revision(),
            "metrics": sorted({row["metric"] for row in added}),
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        write_text(results.record(trial) / "provenance.json", json.dumps(facts, indent=1))
        with path.open(encoding="utf-8", newline="") as file:
            write_text(path, csv_text([*csv.DictReader(file), *added]))  # last: it says that all is done
    return True


def add_to_all(results: ResultsFolder, trials: list[str], dataset: Dataset) -> tuple[list[str], list[str]]:
    """The trials whose records got metrics, and why others stay without, one line each."""
    added, reasons = [], []
    for trial in follow(trials, "scoring new metrics"):
        try:
            if add_later_metrics(results, trial, dataset):
                added.append(trial)
        except ResultsError as error:
            reasons.append(f"{trial}: {error}")
    return added, reasons


def _scored_again(results: ResultsFolder, record: Record, dataset: Dataset, values: list[CaseValue]) -> list[dict]:
    """The rows of cases.csv that today's code computes from the stored predictions."""
    known = {(v.postprocessing, v.structure, v.case, v.metric, v.unit): v.value for v in values}
    folder = results.record(record.trial) / "predictions"
    rows: list[dict] = []
    for case_id in record.test:
        case = dataset.native(case_id)
        masks = read_masks(folder / f"{case_id}.npz", (dataset.classes, *case.label.shape))
        if masks is None:
            raise ResultsError(f"{folder / case_id}.npz cannot be read or has another shape than {case_id}")
        scored = score_case(labels_of(masks), case, dataset.classes, record.evaluation)
        for row in scored:
            if row["metric"] in ("predicted", "reference") and known[tuple(row[key] for key in KEY)] != row["value"]:
                raise ResultsError(f"{folder / case_id}.npz is not the prediction that cases.csv was computed from")
        rows += scored
    return rows
