"""Stored weights of before the end of a training, and what chooses among them: checkpoints.csv of a record.

checkpoints/00000500.pt    a state_dict, as weights.pt is the last one
checkpoints.csv            mean Dice of each on the test and the validation cases, and which is the best
"""

import csv
import math
import os
import shutil
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from benchmark.records.case_values import BEST_ON_TEST, BEST_ON_VALIDATION
from benchmark.records.files import ResultsError, csv_text
from benchmark.records.models import Cell
from data.errors import one_line

TEST, VALIDATION = "test", "validation"
RULES = {TEST: BEST_ON_TEST, VALIDATION: BEST_ON_VALIDATION}


class Point(NamedTuple):
    """One line of checkpoints.csv.

    dice: mean over cases, each averaged over structures; between 0 and 1, NaN if no case has one.
    chosen: the rule that takes this checkpoint, or "".
    """

    iteration: int
    cases: str
    postprocessing: str
    dice: float
    chosen: str = ""


def iterations_before_the_end(every: int | None, iterations: int) -> range:
    """After which iterations weights are stored; those of the end are weights.pt.

    Example:
        >>> list(iterations_before_the_end(500, 1500)), list(iterations_before_the_end(None, 1500))
        ([500, 1000], [])
    """
    return range(every, iterations, every) if every else range(0)


def weights_file(folder: Path, iteration: int) -> Path:
    """Where weights of before the end lie. `folder`: of a record, or of a running trial."""
    return folder / "checkpoints" / f"{iteration:08d}.pt"


def missing_weights(folder: Path, every: int | None, iterations: int) -> list[int]:
    """The iterations before `iterations` whose weights are wanted and not there. `folder`: as in `weights_file`."""
    return [i for i in iterations_before_the_end(every, iterations) if not weights_file(folder, i).exists()]


def keep_weights(source: Path, target: Path) -> None:
    """Give a record that is put together all weights stored in another folder, which keeps them until it is moved.

    Files are linked, or copied where the file system knows no links.
    """
    for path in sorted(source.glob("checkpoints/*.pt")):
        (target / "checkpoints").mkdir(exist_ok=True)
        try:
            os.link(path, target / "checkpoints" / path.name)
        except OSError:
            shutil.copyfile(path, target / "checkpoints" / path.name)


def with_choices(points: Sequence[Point]) -> list[Point]:
    """The curve with the best checkpoint marked, for each kind of cases and postprocessing. Of equals it is the first,
    as in released codes."""
    best: dict[tuple[str, str], Point] = {}
    for point in sorted(points):
        key = (point.cases, point.postprocessing)
        if not math.isnan(point.dice) and (key not in best or point.dice > best[key].dice):
            best[key] = point
    return [
        point._replace(chosen=RULES[point.cases] * (best.get((point.cases, point.postprocessing)) is point))
        for point in points
    ]


def curve_text(points: Sequence[Point]) -> str:
    """checkpoints.csv."""
    return csv_text([point._asdict() for point in points])


def read_curve(record: Path) -> list[Point]:
    """checkpoints.csv of a record. Raises ResultsError with one line if it cannot be used."""
    try:
        with (record / "checkpoints.csv").open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file, strict=True))
        return [
            Point(int(row["iteration"]), row["cases"], row["postprocessing"], float(row["dice"] or "nan"),
                  row["chosen"])
            for row in rows
        ]  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise ResultsError(f"checkpoints.csv: {one_line(error)}") from None


def best_on_validation(runs: Iterable[tuple[Cell, Sequence[Point]]], postprocessing: str) -> Iterator[str]:
    """Which run is the best on the validation cases, one line for each budget and draw. Test cases have no say.

    Args:
        runs: planned cells with their curves. Ceilings are left out.
        postprocessing: under which the headline is scored.
    """
    budgets: dict[tuple, list[tuple[Cell, Point]]] = defaultdict(list)
    for cell, points in runs:
        for point in points:
            if (point.chosen, point.postprocessing) == (BEST_ON_VALIDATION, postprocessing) and cell.role != "ceiling":
                budgets[cell.labelled, cell.draw].append((cell, point))
    for (labelled, draw), found in budgets.items():
        cell, point = max(found, key=lambda run: run[1].dice)
        drawn = "" if draw == "first" else f", draw {draw}"
        yield one_line(
            f"best on validation with {labelled} labelled{drawn}: {cell.display}, seed {cell.seed}, iteration "
            f"{point.iteration}, Dice {100 * point.dice:.2f} ({cell.trial})"
        )
