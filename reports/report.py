"""A report over one or several results folders. The same folders give the same bytes."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from reports.figures import draw_all
from reports.page import Experiment, write_page
from reports.results import read_folders
from reports.tables import make_tables, write_tables


def write_report(folders: Sequence[Path], stale: Mapping[Path, Mapping[str, str]] | None = None) -> Path:
    """Write DIR/report, DIR being the first of the results folders, and return it.

    Parts of one experiment become one, others stay apart. `stale`: {folder: {trial: reason}} of the records that the
    code of today might not give; their rows are marked. ReportError where a folder cannot be reported on.
    """
    experiments = make_tables(read_folders(folders, stale))
    report = Path(folders[0]) / "report"
    write_tables(experiments, report / "tables")
    figures = report / "figures"
    shutil.rmtree(figures, ignore_errors=True)  # a figure of an earlier report is not one of this
    shown = []
    for tables in experiments:
        drawn, left_out = draw_all(tables.results, figures / tables.name if len(experiments) > 1 else figures)
        shown.append(Experiment(tables, drawn, left_out))
    write_page(shown, report)
    return report
