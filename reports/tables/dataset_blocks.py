"""The rows of the table over data sets, on paper and as numbers."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import pandas as pd

from reports.measures import DICE, hd95
from reports.results import Results
from reports.tables.dataset_notes import block_notes
from reports.tables.formats import FAULTS, MISSING, name_of, number
from reports.tables.summary import mean_column
from reports.tables.table import Block, Cell, Column, Row, competing

if TYPE_CHECKING:
    from reports.tables.datasets import ComparedLevel

KEY = ["is_ceiling", "method", "display"]
SUMMED = ["stale", "peeked", *FAULTS, "runs_done"]  # counts of runs, over all data sets
TESTED = ["reference", "difference", "significant", "decided_by"]
ROLES = ("floor", "method", "ceiling")  # in the order of rows


def _range(low: str, high: str):
    return lambda line: f"{number(line[low])} to {number(line[high])}"


NAME = Column("label", "Method", numeric=False)
SEEDS = Column("runs_counted", "Seeds", numeric=False, on_demand=True)
RANKS = [
    Column("mean_rank", "Mean rank", better="lower"),
    Column("fixed_low", "95 % over seeds, cases", line=_range("fixed_low", "fixed_high")),
    Column("rank_low", "95 % over seeds, cases, data sets", line=_range("rank_low", "rank_high")),
    Column("first", "First [%]", lambda share: number(100 * share, 0), on_demand=True),
]


def block_of(of: "ComparedLevel", results: Mapping[str, Results]) -> Block:
    """A row for each method, with a dash where a data set lacks it. Best figures are marked on each data set."""
    measured = [(name, column) for name in of.rows for column in (mean_column(DICE), mean_column(hd95(results[name])))]
    places = [column.ranks(competing(of.rows[name])) for name, column in measured]
    ranked = of.ranks[of.ranks["mean_rank"].notna()]
    by_rank = RANKS if len(ranked) > 1 else []
    rank_places = [column.ranks(ranked) for column in by_rank]
    ranks = ranked.to_dict("index")
    rows: list[Row] = []
    before = ""
    for role, lines in _methods(of.rows):
        first = pd.concat(lines.values()).iloc[0].to_dict()
        first |= pd.concat(lines.values())[SUMMED].sum().to_dict() | {"display": first["label"]}
        cells = [Cell(name_of(first), first["label"])]
        for (name, column), place in zip(measured, places, strict=True):
            done = lines[name][lines[name]["runs_done"] > 0].to_dict("index")
            cells += [column.cell(line, place.get(index, 0)) for index, line in done.items()] or [Cell(MISSING)]
        cells.append(Cell(" · ".join(str(line["runs_counted"].sum()) for line in lines.values())))
        line = ranks.get(first["label"]) if role != "ceiling" else None
        cells += [
            column.cell(line, place.get(first["label"], 0)) if line else Cell(MISSING)
            for column, place in zip(by_rank, rank_places, strict=True)
        ]
        rows.append(Row(cells, rule=before not in ("", role)))
        before = role
    columns = [
        replace(column, key=f"{name}: {column.key}", label=f"{name} {column.label}") for name, column in measured
    ]
    return Block(heading_of(of, results), [NAME, *columns, SEEDS, *by_rank], rows, block_notes(of))


def heading_of(of: "ComparedLevel", results: Mapping[str, Results]) -> str:
    counts = [f"{name} {labelled} of {results[name].plan.data.train}" for name, labelled in of.level.labelled.items()]
    return f"{of.level.name[0].upper()}{of.level.name[1:]}: {', '.join(counts)}"


def frame_of(of: "ComparedLevel", results: Mapping[str, Results]) -> pd.DataFrame:
    """The numbers of a block, one line for each method. Columns of a data set begin with its name."""
    lines = []
    for role, found in _methods(of.rows):
        first = pd.concat(found.values()).iloc[0]
        line = {"budget": heading_of(of, results), "role": role, "method": first["method"], "display": first["display"]}
        for name, frame in found.items():
            means = [f"{measure.name}_mean" for measure in (DICE, hd95(results[name]))]
            kept = ["labelled", *means, *TESTED, "runs_counted"]
            values = frame[kept].to_dict("records") or [dict.fromkeys(kept)]
            line |= {f"{name}: {key}": value for key, value in values[0].items()}
        if role != "ceiling" and first["label"] in of.ranks.index:
            line |= of.ranks.loc[first["label"]].to_dict()
        lines.append(line)
    return pd.DataFrame(lines).assign(friedman_p=of.test.p, critical_difference=of.test.distance)


def narrow(block: Block) -> Block:
    """The columns that fit into a terminal: names, Dice and mean ranks."""
    kept = [
        place
        for place, column in enumerate(block.columns)
        if column.key in ("label", "mean_rank") or column.key.endswith(f": {DICE.name}_mean")
    ]
    rows = [replace(row, cells=[row.cells[place] for place in kept]) for row in block.rows]
    return replace(block, columns=[block.columns[place] for place in kept], rows=rows)


def _methods(rows: Mapping[str, pd.DataFrame]) -> list[tuple[str, dict[str, pd.DataFrame]]]:
    """Role, and line on each data set, of each method: floors, methods, ceilings. In each, the first data set's order
    counts. The line is missing where the data set lacks the method."""
    methods = pd.concat(rows.values(), ignore_index=True).drop_duplicates(KEY)
    methods = methods.iloc[methods["role"].map(ROLES.index).argsort(kind="stable")]
    return [
        (
            line["role"],
            {name: frame[frame[KEY].eq([line[key] for key in KEY]).all(axis=1)] for name, frame in rows.items()},
        )
        for line in methods.to_dict("records")
    ]
