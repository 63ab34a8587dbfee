"""What `compare` and `plan-power` do: the report's statistics for any table of scores. Neither torch nor data."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Column, Table

from data.errors import UserError
from reports import statistics
from reports.statistics.planning import PlannedFamily, difference_found, planned_like, seeds_needed
from reports.tables.formats import difference, number, p_value
from reports.tables.rendering import csv

SEEDS = (2, 3, 4, 5, 7, 10, 15, 20)


class StatisticsError(UserError):
    """A table of scores, or what is asked of it, that cannot be used."""


def compare(
    file: Path, reference: str, lower_is_better: bool, margin: float | None, renamed: list[str], out: Path | None,
    console: Console,
) -> None:  # fmt: skip
    """Print the tests of every method in a long CSV file against the reference; `out` gets all columns."""
    scores = read_scores(file, renamed)
    try:
        found = statistics.compare(
            scores, reference, not lower_is_better, float("nan") if margin is None else margin
        )  # fmt: skip
    except ValueError as error:
        raise StatisticsError(f"{file}: {error}") from error
    families = [column for column in ("measure", "labelled") if column in found]
    for key, lines in found.groupby(families, sort=False) if families else [((), found)]:
        heading = ", ".join(f"{column} {value}" for column, value in zip(families, key, strict=True))
        console.print(_table(heading, reference, lines))
    console.print(
        f"difference: {reference} − row, with the 95 % interval of the test beside it. p: Holm-corrected. p over seeds "
        "takes seeds and cases as samples; p over cases compares trained checkpoints alone.",
        soft_wrap=True,
    )
    if found["cases_reason"].eq(statistics.TOO_FEW_FOR_MARKS).any():
        console.print(f"fewer than {statistics.FEWEST_FOR_MARKS} cases: no corrected p and no verdict", soft_wrap=True)
    if out is not None:
        try:
            out.write_text(csv(found), encoding="utf-8", newline="\n")
        except OSError as error:
            raise StatisticsError(f"--out {out} cannot be written: {error}") from error
        console.print(f"all columns: {out}", soft_wrap=True)


def _table(heading: str, reference: str, lines: pd.DataFrame) -> Table:
    numbers = ("mean", "difference", "p seeds", "p cases", "rank")
    columns = [Column("method", overflow="fold"), *(Column(name, justify="right") for name in numbers), "verdict"]
    table = Table(*columns, title=heading, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for line in lines.to_dict("records"):
        kind = "seeds" if pd.notna(line["seeds_low"]) else "cases"
        line |= {"low": line[f"{kind}_low"], "high": line[f"{kind}_high"]}
        is_reference = line["method"] == reference
        table.add_row(
            str(line["method"]),
            number(line["mean"]),
            "reference" if is_reference else difference(line),
            *(p_value(line[f"{kind}_p_holm"]) for kind in ("seeds", "cases")),
            f"{line['rank']:g}",
            "" if is_reference else str(line["verdict"]),
        )
    return table


def read_scores(file: Path, renamed: list[str]) -> pd.DataFrame:
    """A long CSV file. `renamed`: OLD=NEW, for columns with other names. Raises StatisticsError."""
    try:
        scores = pd.read_csv(file)
    except (OSError, ValueError) as error:
        raise StatisticsError(f"{file} cannot be read as CSV: {' '.join(str(error).split())}") from error
    for entry in renamed:
        old, separator, new = entry.partition("=")
        if not separator or old not in scores:
            raise StatisticsError(f"--column {entry}: write OLD=NEW with one of {', '.join(map(str, scores.columns))}")
        scores = scores.rename(columns={old: new})
    return scores


def plan_power(
    source: Path | None, labelled: int | None, renamed: list[str], given: dict, wanted: float | None, console: Console
) -> None:
    """Print which difference each number of seeds finds, and how many the wanted one needs.

    `given`: attributes of `PlannedFamily`, which take the place of what `source` says.
    """
    family = _family(source, labelled, renamed, given)
    if family.cases < statistics.FEWEST_FOR_MARKS:
        raise StatisticsError(
            f"{family.cases} cases: no difference gets a star with fewer than {statistics.FEWEST_FOR_MARKS}; plan more "
            "with --cases"
        )
    unit, runs = ("draws", "shared draws") if family.crossed else ("seeds", "seeds of each method")
    console.print(
        f"{family.methods} methods, {family.cases} cases. Standard deviations: {family.seed_sd:.2f} from "
        f"{unit[:-1]} to {unit[:-1]}, {family.interaction_sd:.2f} method by case, {family.residual_sd:.2f} residual.",
        soft_wrap=True,
    )
    labels = (runs, "difference found", "with twice the cases", f"with twice the {unit}")
    table = Table(*(Column(label, justify="right") for label in labels), box=box.SIMPLE_HEAD, pad_edge=False)
    for seeds in SEEDS:
        designs = ((family, seeds), (replace(family, cases=2 * family.cases), seeds), (family, 2 * seeds))
        table.add_row(str(seeds), *(number(difference_found(of, count), 1) for of, count in designs))
    console.print(table)
    console.print(
        f"A true difference of that size gets a star with a probability of 80 %, after Holm's correction for "
        f"{family.methods - 1} comparisons. The smaller of the last two columns says what to add.",
        soft_wrap=True,
    )
    if wanted is not None:
        needed = seeds_needed(family, wanted)
        count = f"{needed} {runs}" if needed else f"more than 100 {runs}"
        console.print(f"A difference of {wanted:g} needs {count}.", soft_wrap=True)


def _family(source: Path | None, labelled: int | None, renamed: list[str], given: dict) -> PlannedFamily:
    names = {"interaction_sd": "--interaction-sd", "seed_sd": "--seed-sd", "residual_sd": "--residual-sd",
             "methods": "--methods", "cases": "--cases"}  # fmt: skip
    if source is None:
        if missing := [option for name, option in names.items() if given.get(name) is None]:
            raise StatisticsError(f"give a results folder or a CSV file with --from, or {', '.join(missing)}")
        return PlannedFamily(**{name: value for name, value in given.items() if value is not None})
    families = _families_of_folder(source) if source.is_dir() else _families_of_file(source, renamed)
    if labelled is None and len(families) == 1:
        (labelled,) = families
    if labelled not in families:
        known = ", ".join(str(key) for key in families) or "none with a score"
        raise StatisticsError(f"--labelled: say for how many labelled cases; {source} has {known}")
    try:
        family = planned_like(families[labelled].values())
    except ValueError as error:
        raise StatisticsError(f"{source}: {error}") from error
    return replace(family, **{name: value for name, value in given.items() if value is not None})


def _families_of_folder(folder: Path) -> dict:
    from reports.measures import scores
    from reports.merging import read_folders
    from reports.significance import families

    (results,) = read_folders([folder])
    return families(results, scores(results))


def _families_of_file(file: Path, renamed: list[str]) -> dict:
    scores = read_scores(file, renamed)
    try:
        return {family.get("labelled"): tables for family, tables in statistics.score_tables(scores)}
    except ValueError as error:
        raise StatisticsError(f"{file}: {error}") from error
