"""Writes the report of a results folder. Needs neither torch nor the data."""

import os
from pathlib import Path

from benchmark.records.files import ResultsError
from benchmark.records.results_folder import ResultsFolder


def write_report(*folders: ResultsFolder, packed_timings: bool = False) -> Path:
    """Write DIR/report of the first folder, over all of them and what was tuned in them.

    Args:
        folders: results folders.
        packed_timings: show times of trials that shared their machine, too.

    Raises:
        ResultsError: a folder has no plan that can be used, or the report cannot be written.
    """
    from reports import report

    parts = {os.path.realpath(part.folder): part for folder in folders for part in folder.parts()}
    try:
        return report.write_report([part.folder for part in parts.values()], packed_timings)
    except OSError as error:
        raise ResultsError(
            f"{folders[0].folder / 'report'} cannot be written: {error}; records are whole: make room or make it "
            "writable, then `report` the folder again"
        ) from error
