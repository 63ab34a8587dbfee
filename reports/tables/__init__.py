"""The tables of a report, each as Markdown, LaTeX and CSV; beside them long, cases, statistics and variance.csv."""

import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from reports.measures import further_measures, scores, structure_names
from reports.results import Results
from reports.selection import with_selected
from reports.significance import significance
from reports.tables import rendering
from reports.tables.comparison import comparison
from reports.tables.cost import cost
from reports.tables.further import further
from reports.tables.latex import latex
from reports.tables.ledger import ledger
from reports.tables.long import cases_frame, curves_frame, long_frame
from reports.tables.publication import publication
from reports.tables.published_and_tuned import protocol_differences, tuning, tuning_frame
from reports.tables.rows import table_rows
from reports.tables.selection import selection
from reports.tables.structures import MEAN, structures, with_structure
from reports.tables.summary import summary
from reports.tables.sweep import sweep
from reports.tables.table import Table
from reports.variance import variance_frame


@dataclass(frozen=True)
class Tables:
    """The tables of one experiment: comparison, further measures, sweep, cost and ledger; structures where there are
    several; selection where checkpoints were stored; tuning where settings were tuned. Beside them two cuts of the
    comparison: the summary, which terminals show, and what a paper prints.

    name: the experiment's, fit for files and different from the others'. statistics: as of `significance`, with a
    column `structure`; those of the mean over structures stand first. variances: as of `variance_frame`.
    """

    name: str
    results: Results
    cuts: tuple[Table, Table]
    tables: list[Table]
    statistics: pd.DataFrame
    variances: pd.DataFrame


def make_tables(experiments: Sequence[Results]) -> list[Tables]:
    """The tables of each experiment, in order. A tuned one has one more: published settings beside tuned ones."""
    made = [_tables(name, results) for name, results in zip(names_of(experiments), experiments, strict=True)]
    named = {tables.results.plan.experiment: tables for tables in made}
    for tables in made:
        tuned = tables.results.plan.tuned
        published = named.get(tuned.experiment) if tuned else None
        if published is None:
            continue
        if differing := protocol_differences(published.results.plan, tables.results.plan):
            tables.tables[0].notes.append(
                f"Not compared with the published settings: the two differ in {' and '.join(differing)}."
            )
        else:
            sides = [(side.tables[0].frame, scores(side.results)) for side in (published, tables)]
            frame = tuning_frame(*sides, tables.results)
            tables.tables.insert(1, tuning(published.results, tables.results, frame))
    return made


def _tables(name: str, results: Results) -> Tables:
    scored = scores(results)
    tests = significance(results, scored)
    rows = with_selected(results, table_rows(results, scored, tests))
    variances = variance_frame(results, scored)
    beside = further(results, scored | scores(results, further_measures(results)), rows)
    by_structure, tests_by_structure = structures(results)
    tables = [
        comparison(results, rows, tests, variances), by_structure, beside, selection(results, rows),
        sweep(results, scored, rows), cost(results, rows), ledger(results, scored, rows),
    ]  # fmt: skip
    names = list(structure_names(results).values())
    tests = with_structure(tests, names[0] if len(names) == 1 else MEAN)
    if tests_by_structure is not None:
        tests = pd.concat([frame for frame in (tests, tests_by_structure) if len(frame)] or [tests], ignore_index=True)
    cuts = (summary(results, rows), publication(results, rows))
    return Tables(name, results, cuts, [table for table in tables if table is not None], tests, variances)


def write_tables(experiments: Sequence[Tables], folder: Path) -> None:
    """Write FOLDER anew: one experiment's tables, or a folder for each of several; and the CSVs over all of them."""
    shutil.rmtree(folder, ignore_errors=True)  # a table of an earlier report is not one of this
    folder.mkdir(parents=True)
    for experiment in experiments:
        place = folder / experiment.name if len(experiments) > 1 else folder
        place.mkdir(exist_ok=True)
        for table in [*experiment.cuts, *experiment.tables]:
            write_table(table, place)
    curves = any(experiment.results.curves for experiment in experiments)
    over_all = {
        "long": [long_frame(experiment.results) for experiment in experiments],
        "statistics": [experiment.statistics.drop(columns="row") for experiment in experiments],
        "variance": [experiment.variances for experiment in experiments],
        "checkpoints": [curves_frame(experiment.results) for experiment in experiments] if curves else [None],
        "cases": [cases_frame(experiment.results) for experiment in experiments],
    }
    for name, frames in over_all.items():
        if all(frame is not None for frame in frames):
            frames = [frame.assign(experiment=of.name) for of, frame in zip(experiments, frames, strict=True)]
            together = pd.concat([frame for frame in frames if len(frame)] or frames)  # empty frames have no types
            _write(folder / f"{name}.csv", rendering.csv(together[["experiment", *frames[0].columns[:-1]]]))


def write_table(table: Table, folder: Path) -> None:
    """Write FOLDER/NAME.md, .tex and .csv."""
    _write(folder / f"{table.name}.md", rendering.markdown(table))
    _write(folder / f"{table.name}.tex", latex(table))
    _write(folder / f"{table.name}.csv", rendering.csv(table.frame.drop(columns=["row"], errors="ignore")))


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="\n")


def names_of(experiments: Sequence[Results]) -> list[str]:
    """The experiments' names, made fit for files and different from each other."""
    names: list[str] = []
    for results in experiments:
        name = re.sub(r"[^\w.-]+", "_", results.plan.experiment).strip("._") or "experiment"
        number = 1
        while (unique := name if number == 1 else f"{name}-{number}").casefold() in map(str.casefold, names):
            number += 1
        names.append(unique)
    return names
