"""The test of a trained method. All cases are predicted first: no truth is opened before the last prediction is stored.

Both parts are generators. `say` makes a sign of life of a stage; they yield one before each case.
"""

import math
import time
from collections.abc import Callable, Generator
from pathlib import Path

from benchmark.records.arrays import labels_of, read_masks, write_case, write_prediction
from benchmark.records.case_values import COLUMNS, CaseValue, mean_score
from benchmark.records.files import ResultsError, csv_text
from benchmark.records.results_folder import ResultsFolder
from benchmark.trial.inference import fold_batch_norm
from benchmark.trial.scoring import postprocessed, predict_labels, score_case
from benchmark.trial.specification import Progress, Trial
from benchmark.trial.trial_log import CASES, TrialLog
from data import scans
from data.cache import Dataset
from methods.shared.method import Method

Say = Callable[[str], Progress]


def predict_cases(
    method: Method, dataset: Dataset, trial: Trial, folder: Path, window_batch: int, alive: Callable[[], None], say: Say
) -> Generator[Progress, None, float]:
    """Write predictions/ of a record. Returns the seconds of predicting alone.

    Args:
        method: trained.
        dataset: of the trial.
        trial: which cases, and how they are predicted.
        folder: in which the record is put together.
        window_batch: windows in one call of `predict`.
        alive: called before each batch of windows.
        say: see above.
    """
    (folder / "predictions").mkdir()
    method = fold_batch_norm(method)
    seconds = 0.0
    for number, case_id in enumerate(trial.test, start=1):
        yield say(f"testing {number}/{len(trial.test)}")
        begin = time.perf_counter()
        labels = predict_labels(method, dataset, case_id, trial.training, trial.evaluation, window_batch, alive=alive)
        seconds += time.perf_counter() - begin
        write_prediction(stored_prediction(folder, case_id), labels, dataset.classes)
        if (geometry := dataset.source.geometry(case_id)) is not None:  # for other tools: as the headline is scored
            masks = postprocessed(labels, dataset.classes, trial.evaluation)
            values = list(dataset.source.class_names.values())
            scans.write_labels(folder / "predictions" / f"{case_id}.nii.gz", masks, geometry, values)
    return seconds


def score_cases(
    dataset: Dataset, trial: Trial, folder: Path, results: ResultsFolder, log: TrialLog, say: Say
) -> Generator[Progress, None, list[dict]]:
    """Write cases.csv of a record from its stored predictions, and the pictures of the cases. Returns its rows.

    Raises:
        ResultsError: a prediction cannot be read back.
    """
    rows: list[dict] = []
    for number, case_id in enumerate(trial.test, start=1):
        yield say(f"scoring {number}/{len(trial.test)}")
        native = dataset.native(case_id)
        masks = read_masks(stored_prediction(folder, case_id), (dataset.classes, *native.shape))
        if masks is None:
            raise ResultsError(f"{stored_prediction(folder, case_id)} cannot be read: run the same command again")
        labels = labels_of(masks)
        rows += score_case(labels, native, dataset.classes, trial.evaluation)
        if number <= CASES:
            log.add_slice(case_id, native.shown, native.label, labels)
        write_case(results, case_id, native.shown, native.label, dataset.fingerprint([case_id]))
    (folder / "cases.csv").write_text(csv_text(rows), encoding="utf-8")
    values = [CaseValue(*(row[column] for column in COLUMNS)) for row in rows]
    means = {metric: mean_score(values, metric, trial.evaluation.postprocessing) for metric in ("dice", "jaccard")}
    side = "validation" if trial.data["validation"] else "test"
    log.add_result({f"{side} {metric}": mean for metric, mean in means.items() if not math.isnan(mean)})
    return rows


def stored_prediction(folder: Path, case_id: str) -> Path:
    """Where a record has its prediction of a test case."""
    return folder / "predictions" / f"{case_id}.npz"
