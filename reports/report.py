"""A report over one or several results folders. The same folders give the same bytes."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from reports.figures import draw_all
from reports.figures.datasets import draw_over_datasets
from reports.merging import read_folders
from reports.page import ReportedComparison, ReportedExperiment, write_page
from reports.tables import Tables, make_tables, names_of, write_table, write_tables
from reports.tables.datasets import OverDatasets, over_datasets


def write_report(
    folders: Sequence[Path], report: Path, budgets: Sequence[str] = ()
) -> tuple[list[Tables], OverDatasets | None]:
    """Write a report over results folders.

    Parts of one experiment become one, and so do folds of one cross-validation. Other experiments stay apart. Those of
    several data sets are compared in one further table.

    Args:
        folders: results folders.
        report: the folder of the report. It is created.
        budgets: which budgets of several data sets belong together, as `declared_levels` reads it.

    Returns:
        The tables of each experiment, and the comparison over data sets, if there are several.

    Raises:
        ResultsError: a folder cannot be reported on, or `budgets` does not fit.
    """
    results = read_folders(folders)
    experiments = make_tables(results)
    over = over_datasets(experiments, budgets)
    report.mkdir(parents=True, exist_ok=True)
    figures = report / "figures"
    shutil.rmtree(figures, ignore_errors=True)  # a figure of an earlier report is not one of this
    places = [figures / name if len(results) > 1 else figures for name in names_of(results)]
    write_tables(experiments, report / "tables")
    shown = [ReportedExperiment(tables, *draw_all(tables.results, place))
             for tables, place in zip(experiments, places, strict=True)]  # fmt: skip
    compared = None
    if over is not None:
        drawn = ([], [])
        if over.table is not None:
            write_table(over.table, report / "tables")
            drawn = draw_over_datasets(over.levels, figures)
        compared = ReportedComparison(over, *drawn)
    write_page(shown, report, compared=compared)
    return experiments, over
