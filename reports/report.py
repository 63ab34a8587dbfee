"""A report over one or several results folders. The same folders give the same bytes."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from reports.figures import draw_all
from reports.merging import read_folders
from reports.page import ReportedExperiment, write_page
from reports.tables import Tables, make_tables, names_of, write_tables


def write_report(folders: Sequence[Path], report: Path) -> list[Tables]:
    """Write a report over results folders.

    Parts of one experiment become one, and so do folds of one cross-validation. Other experiments stay apart.

    Args:
        folders: results folders.
        report: the folder of the report. It is created.

    Returns:
        The tables of each experiment.

    Raises:
        ResultsError: a folder cannot be reported on.
    """
    results = read_folders(folders)
    report.mkdir(parents=True, exist_ok=True)
    figures = report / "figures"
    shutil.rmtree(figures, ignore_errors=True)  # a figure of an earlier report is not one of this
    places = [figures / name if len(results) > 1 else figures for name in names_of(results)]
    experiments = make_tables(results)
    write_tables(experiments, report / "tables")
    shown = [ReportedExperiment(tables, *draw_all(tables.results, place))
             for tables, place in zip(experiments, places, strict=True)]  # fmt: skip
    write_page(shown, report)
    return experiments
