"""Several data sets compared: methods by data sets, and mean ranks over all. Each data set has its own tables, too."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import pandas as pd

from benchmark.records.files import ResultsError
from reports import statistics
from reports.datasets import Level, datasets_of, declared_levels, levels_by_share
from reports.measures import DICE, scores
from reports.results import Results
from reports.significance import families
from reports.tables import Tables
from reports.tables.dataset_blocks import KEY, block_of, frame_of, narrow
from reports.tables.dataset_notes import notes_of
from reports.tables.table import Table


@dataclass(frozen=True)
class ComparedLevel:
    """Budgets that are compared over data sets.

    level: their name, and the number of labelled cases on each data set.
    rows: {data set: lines of its `table_rows`, of this budget and the ceilings}. They have KEY, which tells a method
        from others on every data set, and `label`, its name in `scores` and ranks.
    scores: {data set: {label: score table of Dice}} of the rows that are ranked.
    """

    level: Level
    rows: dict[str, pd.DataFrame]
    scores: dict[str, dict[str, pd.DataFrame]]

    @cached_property
    def ranks(self) -> pd.DataFrame:
        """As of `rank_over_datasets`."""
        return statistics.rank_over_datasets(self.scores)

    @cached_property
    def test(self) -> statistics.CriticalDifference:
        """Friedman's and Nemenyi's test, with one value for each method and data set."""
        return statistics.critical_difference(statistics.means_by_dataset(self.scores), block="data set")


@dataclass(frozen=True)
class OverDatasets:
    """What a report says of several data sets together.

    names: {data set: place of its experiment}. levels: what is compared. table: methods by data sets. cut: what
    terminals show of it. reason: why there is no table; then all others are empty.
    """

    names: Mapping[str, int]
    levels: Sequence[ComparedLevel] = ()
    table: Table | None = None
    cut: Table | None = None
    reason: str = ""


def over_datasets(experiments: Sequence[Tables], declared: Sequence[str] = ()) -> OverDatasets | None:
    """Compare methods over the data sets of these experiments.

    Args:
        experiments: the tables of each experiment.
        declared: which budgets belong together, as `declared_levels` reads it. By default their shares decide.

    Returns:
        The comparison, or why there is none. None for one data set.

    Raises:
        ResultsError: `declared` does not fit the data sets, or there is only one.
    """
    names, reason = datasets_of([tables.results for tables in experiments])
    if declared and not names:
        raise ResultsError(f"--budget matches budgets of several data sets. {reason or 'There is only one here.'}")
    if not names:
        return _none(reason) if reason else None
    found = {name: experiments[place] for name, place in names.items()}
    results = {name: tables.results for name, tables in found.items()}
    rows = {name: tables.tables[0].frame for name, tables in found.items()}
    budgets = {name: _budgets(frame) for name, frame in rows.items()}
    training = {name: of.plan.data.train for name, of in results.items()}
    levels = declared_levels(declared, budgets) or levels_by_share(budgets, training)
    if reason := _nothing_to_match(budgets, training, levels) or _repeated(rows):
        return _none(reason)
    compared = _compared(levels, rows, results)
    blocks = [block_of(of, results) for of in compared]
    notes = notes_of(results, compared, budgets, bool(declared))
    if len(found) < len(experiments):
        notes.append("Experiments with tuned settings are left out here.")
    frame = pd.concat([frame_of(of, results) for of in compared], ignore_index=True)
    status = " ".join(f"{name}: {tables.tables[0].status}" for name, tables in found.items())
    table = Table("datasets", "Methods by data sets", status, blocks, notes, frame)
    return OverDatasets(names, compared, table, replace(table, blocks=list(map(narrow, blocks))))


def _none(reason: str) -> OverDatasets:
    return OverDatasets({}, reason=f"No table over data sets: {reason}")


def _budgets(rows: pd.DataFrame) -> list[int]:
    return sorted(map(int, rows.loc[rows["role"] != "ceiling", "labelled"].unique()))


def _nothing_to_match(budgets: Mapping[str, list[int]], training: Mapping[str, int], levels: Sequence[Level]) -> str:
    """Why no budgets belong together, with the option that says which do."""
    if levels:
        return ""
    counts = "; ".join(f"{name} {', '.join(map(str, of))} of {training[name]}" for name, of in budgets.items())
    example = ",".join(str(next(iter(of), "-")) for of in budgets.values())
    return (
        f"no two have about the same share of labels ({counts}). Say which budgets belong together: "
        f"--budget few={example}"
    )


def _repeated(rows: Mapping[str, pd.DataFrame]) -> str:
    """Which row of a data set cannot be told from another by its name."""
    for name, frame in rows.items():
        lines = frame[frame["role"] != "ceiling"]
        for line in lines[lines.duplicated(["method", "display", "labelled"])].to_dict("records"):
            return (
                f"{name} has two rows {line['display']} with {line['labelled']} labelled cases. Give each entry of "
                "`methods` a display of its own."
            )
    return ""


def _compared(
    levels: Sequence[Level], rows: Mapping[str, pd.DataFrame], results: Mapping[str, Results]
) -> list[ComparedLevel]:
    tables = {name: families(of, scores(of, [DICE])) for name, of in results.items()}
    rows = _labelled(rows)
    compared = []
    for level in levels:
        chosen, scored = {}, {}
        for name, labelled in level.labelled.items():
            frame = rows[name][rows[name]["is_ceiling"] | rows[name]["labelled"].eq(labelled)]
            chosen[name] = frame.drop_duplicates(KEY)  # merged parts may have several ceilings: the first counts
            labels = dict(zip(frame["row"], frame["label"], strict=True))
            scored[name] = {labels[row]: table for row, table in tables[name].get(labelled, {}).items()}
        compared.append(ComparedLevel(level, chosen, scored))
    return compared


def _labelled(rows: Mapping[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """Rows with KEY and `label`: the display name, with the method's name where several methods share it."""
    methods = pd.concat(rows.values()).drop_duplicates(["method", "display"])
    shared = set(methods.loc[methods.duplicated("display"), "display"])
    return {
        name: frame.assign(
            is_ceiling=frame["role"].eq("ceiling"),
            label=frame["display"].where(
                ~frame["display"].isin(shared), frame["display"] + " [" + frame["method"] + "]"
            ),
        )
        for name, frame in rows.items()
    }
