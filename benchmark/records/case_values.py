"""The measured values of a record, cases.csv: written by a trial, checked whenever they are read."""

import csv
import math
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from benchmark.records.files import ResultsError
from benchmark.records.spreadsheets import original
from data.errors import one_line

CHECKPOINT = "last"  # the headline's, in the column `checkpoint`
BEST_ON_VALIDATION, BEST_ON_TEST = SELECTED = ("best_on_validation", "best_on_test")  # chosen among stored weights
POSTPROCESSINGS = ("none", "largest_component")
# Metrics that came later. Records without them stay valid, and `evaluate` adds them.
LATER = (("hd95_max", "voxel"), ("hd95_max", "mm"), ("nsd", ""), ("volume_error", "percent"))
METRICS = (
    ("dice", ""), ("jaccard", ""), ("asd", "voxel"), ("asd", "mm"), ("hd95", "voxel"), ("hd95", "mm"),
    ("assd", "voxel"), ("assd", "mm"), ("predicted", "voxel"), ("reference", "voxel"), *LATER,
)  # fmt: skip


class CaseValue(NamedTuple):
    """One row of cases.csv. `value` is NaN where a score is undefined or left out."""

    checkpoint: str
    postprocessing: str
    structure: int
    case: str
    metric: str
    unit: str
    value: float


COLUMNS = ("checkpoint", "postprocessing", "class", "case", "metric", "unit", "value")  # of the file


def read_case_values(path: Path, cases: int, classes: int) -> list[CaseValue]:
    """Read cases.csv of a record and check that nothing is missing, repeated or infinite.

    Args:
        path: the file.
        cases: number of test cases that it must hold.
        classes: number of foreground classes.

    Raises:
        ResultsError: with one line, if the file cannot be read or is not whole.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:  # a spreadsheet may have saved it with a BOM
            reader = csv.reader(file, strict=True)
            header = next(reader, [])
            if missing := [name for name in COLUMNS if name not in header]:
                raise ResultsError(f"cases.csv has no column {', '.join(missing)}")
            places = [header.index(name) for name in COLUMNS]
            rows = [_row([fields[place] for place in places]) for fields in reader]
    except ResultsError:
        raise
    except (OSError, ValueError, IndexError, csv.Error) as error:
        raise ResultsError(f"cases.csv: {one_line(error)}") from None
    keys = {row[:-1] for row in rows}
    if len(keys) < len(rows):
        raise ResultsError("cases.csv gives some values twice")
    if any(math.isinf(row.value) for row in rows):
        raise ResultsError("cases.csv holds infinite values")
    names = {row.case for row in rows}
    if len(names) != cases:
        raise ResultsError(f"cases.csv has {len(names)} of the {cases} test cases")
    for checkpoint in {CHECKPOINT, *(row.checkpoint for row in rows)}:
        lacking = lacking_metrics([row for row in rows if row.checkpoint == checkpoint])
        expected = {
            (checkpoint, postprocessing, structure, case, *metric)
            for postprocessing in POSTPROCESSINGS for structure in range(1, classes + 1)
            for case in names for metric in METRICS if metric not in lacking
        }  # fmt: skip
        if not expected <= keys:
            raise ResultsError("cases.csv lacks some metrics of some cases")
    return rows


def of_last(values: Iterable[CaseValue]) -> list[CaseValue]:
    """The values of the last checkpoint alone."""
    return [value for value in values if value.checkpoint == CHECKPOINT]


def mean_score(values: Iterable[CaseValue], metric: str, postprocessing: str) -> float:
    """The mean over cases, each averaged over the structures that it has; NaN if no case has a score.

    Only the last checkpoint counts.

    Args:
        values: of one record.
        metric: one without a unit, such as "dice", which lies between 0 and 1.
        postprocessing: which of its predictions count.
    """
    cases: dict[str, list[float]] = defaultdict(list)
    for value in of_last(values):
        if (value.metric, value.postprocessing) == (metric, postprocessing) and not math.isnan(value.value):
            cases[value.case].append(value.value)
    return fmean(map(fmean, cases.values())) if cases else math.nan


def lacking_metrics(rows: list[CaseValue]) -> set[tuple[str, str]]:
    """The metrics, with their units, that a record was made without, because they came later."""
    return set(LATER) - {(row.metric, row.unit) for row in rows}


def _row(fields: list[str]) -> CaseValue:
    """Only the value may be empty: a distance that is undefined or left out."""
    checkpoint, postprocessing, structure, case, metric, unit, value = fields
    return CaseValue(checkpoint, postprocessing, int(structure), original(case), metric, unit, float(value or "nan"))
