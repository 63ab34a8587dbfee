"""The label sweep: methods by labelled budgets, between the supervised floor of each budget and the ceiling."""

from dataclasses import asdict, replace

import numpy as np
import pandas as pd

from reports import statistics
from reports.labels_saved import LabelIntervals, label_intervals, labels_saved
from reports.measures import DICE, Measure, Scores, hd95
from reports.results import Results
from reports.significance import families
from reports.tables.formats import (
    ALL_LABELLED,
    FAULTS,
    MISSING,
    fewer_cases,
    heading_of,
    name_of,
    number,
    signed,
    state_of,
    with_mean_of_all,
)
from reports.tables.notes import role_notes, with_notes
from reports.tables.sweep_dashes import dash_notes, gap_reason, saved_reason
from reports.tables.table import NAME, Block, Cell, Column, Row, Table, competing

KEYS = ["labelled", "unlabelled", "role", "method", "display", "settings", "fidelity", "stale", "peeked",
        "runs_done", "runs_counted", "runs_planned", "states", *FAULTS]  # fmt: skip
INTERVALS = ["gap_low", "gap_high", "saved_low", "saved_high"]
FIGURES = ["floor", "ceiling", "gap_share", "labels_saved", "labels_saved_beyond", *INTERVALS]
ROLES = ("floor", "method", "ceiling")  # in the order of rows


def sweep_frame(results: Results, scored: Scores, rows: pd.DataFrame) -> pd.DataFrame:
    """One line for each row of `table_rows`, with means over cases.

    gap_share: (Dice - floor) / (ceiling - floor) of methods, where the ceiling is higher than the floor.
    labels_saved: see `labels_saved`. labels_saved_beyond: where Dice is higher than that of the floor with all cases
    labelled, how many more cases these are. gap_low, gap_high, saved_low, saved_high: of `label_intervals`. A row
    whose mean lacks a run that failed or diverged has none of them, nor do they come from such a floor or ceiling.
    """
    shown = (DICE, hd95(results))
    trained = rows["runs_done"] > 0
    means = {m.name: rows[f"{m.name}_mean"].astype(float).where(trained) for m in shown}
    of_all = [f"{m.name}_mean_of_all" for m in shown]
    counts = {name: rows[name] for name in ["cases", *(f"{m.name}_cases" for m in shown)]}
    frame = rows[KEYS].assign(**means, **rows[of_all], **counts, ceiling=float("nan"))
    whole = frame["left_out"] == 0
    # merged parts may have several baselines: the first counts
    supervised = frame[whole].drop_duplicates(["role", "labelled"]).set_index("labelled")
    floors, ceilings = (supervised.loc[supervised["role"] == role, DICE.name] for role in ("floor", "ceiling"))
    curve = pd.concat([floors, ceilings]).dropna().sort_index()
    method = (frame["role"] == "method") & whole
    frame["floor"] = frame["labelled"].map(floors).astype(float).where(frame["role"] != "ceiling")
    if ceilings.empty:  # with scans without a label, the floor at the largest budget may have every label there is
        ceilings = floors[floors.index == results.plan.data.with_label]
    if len(ceilings):
        frame["ceiling"] = ceilings.iloc[0]
    gap = frame["ceiling"] - frame["floor"]
    frame["gap_share"] = ((frame[DICE.name] - frame["floor"]) / gap).where(method & (gap > 0))
    saved = [
        labels_saved(curve, dice, labelled) if is_method else None
        for is_method, dice, labelled in zip(method, frame[DICE.name], frame["labelled"], strict=True)
    ]
    frame["labels_saved"] = pd.Series(saved, index=frame.index, dtype=float)
    beyond = method & frame["labels_saved"].isna() & frame["ceiling"].notna() & (frame[DICE.name] > curve.max())
    more = curve.index.max() - frame["labelled"].astype(float)
    frame["labels_saved_beyond"] = more.where(beyond & (more > 0))
    frame[INTERVALS] = _intervals(results, scored, rows[whole], next(iter(ceilings.index), None))
    return frame[KEYS + list(means) + of_all + FIGURES + list(counts)]


def _intervals(results: Results, scored: Scores, rows: pd.DataFrame, ceiling: int | None) -> pd.DataFrame:
    """INTERVALS of each row; NaN where it is no method or has none. `ceiling`: its number of labelled cases."""
    pooled = {}
    for tables in families(results, scored).values():
        pool = statistics.run_pool(tables.values())
        pooled |= {row: (table, pool) for row, table in tables.items()}
    postprocessing = results.plan.evaluation.postprocessing
    for row in rows.loc[rows["role"] == "ceiling", "row"]:
        if (table := scored.get((row, postprocessing, DICE.name))) is not None:
            pooled[row] = (table, None)
    trained = rows[rows["row"].isin(pooled) & (rows["runs_done"] > 0)]
    baselines = trained[trained["role"].isin(["floor", "ceiling"])].drop_duplicates("labelled")
    supervised = {labelled: pooled[row] for row, labelled in baselines[["row", "labelled"]].to_numpy()}
    found = [
        label_intervals(pooled[line["row"]], supervised, line["labelled"], ceiling)
        if line["role"] == "method" and line["row"] in pooled
        else LabelIntervals()
        for line in rows.to_dict("records")
    ]
    return pd.DataFrame([asdict(intervals) for intervals in found], rows.index, INTERVALS)


def sweep(results: Results, scored: Scores, rows: pd.DataFrame) -> Table:
    """A block for each quantity with a column for each budget; with one budget, one block with all quantities.

    `scored`: of Dice; `rows`: as of `table_rows`.
    """
    frame = sweep_frame(results, scored, rows)
    quantities = [_mean(DICE), _mean(hd95(results))]
    if {"floor", "method"} <= set(frame["role"]):
        quantities += [GAP, SAVED]
    shown = frame.assign(labels_saved=frame["labels_saved"].fillna(frame["labels_saved_beyond"]))  # to sort by
    for place, of_row in zip(frame.index, frame[INTERVALS].to_numpy(), strict=True):
        intervals = LabelIntervals(*of_row)
        if intervals.gap_is_open:
            shown.loc[place, "gap_share"] = np.nan
        if intervals.saved_is_open:
            shown.loc[place, "labels_saved"] = np.nan
    budgets = sorted(frame.loc[frame["role"] != "ceiling", "labelled"].unique())
    if len(budgets) > 1:
        blocks = [
            replace(
                across_budgets(shown, q.label, [(q, heading_of(budget), budget) for budget in budgets]),
                notes=_dash_notes(frame, [q]),
            )
            for q in quantities
        ]
    elif len(frame):
        heading, budget = (heading_of(budgets[0]), budgets[0]) if budgets else (ALL_LABELLED, None)
        block = across_budgets(shown, heading, [(q, q.label, budget) for q in quantities])
        blocks = [replace(block, notes=_dash_notes(frame, quantities))]
    else:
        blocks = []
    return with_notes(results, "sweep", frame, blocks, _notes(frame, quantities), title="labelled cases")


def _mean(measure: Measure) -> Column:
    cases = f"{measure.name}_cases"

    def text(line: dict) -> str:
        done, planned = line["runs_counted"], line["runs_planned"]
        of_runs = "" if done == planned else f" ({done} of {planned})"
        mean = with_mean_of_all(number(line[measure.name]), line[f"{measure.name}_mean_of_all"])
        return mean + of_runs + fewer_cases(line[cases], line["cases"])

    return Column(
        measure.name, measure.label, line=text, better=measure.better,
        ranked=lambda frame: frame[cases] == frame["cases"],
    )  # fmt: skip


def _gap(line: dict) -> str:
    share, low, high = (100 * line[key] for key in ("gap_share", "gap_low", "gap_high"))
    return number(share, 0) + ("" if pd.isna([share, low]).any() else f" [{number(low, 0)}, {number(high, 0)}]")


def _saved(line: dict) -> str:
    beyond = line["labels_saved_beyond"]
    if pd.isna(line["labels_saved"]):
        return MISSING
    ends = [BEYOND if np.isinf(line[key]) else signed(line[key], 1) for key in ("saved_low", "saved_high")]
    saved = signed(line["labels_saved"], 1) if pd.isna(beyond) else f"more than {beyond:.0f}"
    return saved if pd.isna(line["saved_low"]) else f"{saved} [{', '.join(ends)}]"


BEYOND = "…"  # an end of an interval that lies beyond the floor's curve
GAP = Column("gap_share", "Gap closed [%] [95 % interval]", line=_gap)
SAVED = Column("labels_saved", "Labels saved [cases] [95 % interval]", line=_saved)


def across_budgets(frame: pd.DataFrame, heading: str, shown: list[tuple[Column, str, int | None]]) -> Block:
    """A row for each floor, method and ceiling. `shown`: for each column its quantity, heading and budget."""
    ranked = competing(frame)
    ranks = [quantity.ranks(ranked[ranked["labelled"] == budget]) for quantity, _, budget in shown]
    rows: list[Row] = []
    for role in ROLES:
        methods = frame[frame["role"] == role].groupby(["method", "display", "settings"], sort=False)
        for position, (_, lines) in enumerate(methods):
            first = lines.iloc[0].to_dict() | lines[["stale", "peeked", *FAULTS, "runs_done"]].sum().to_dict()
            cells = [Cell(name_of(first), first["display"])]
            for (quantity, _, budget), places in zip(shown, ranks, strict=True):
                at = lines.head(1) if role == "ceiling" else lines[lines["labelled"] == budget].tail(1)
                cells += _cells(quantity, at, places) or [Cell(MISSING)]
            rows.append(Row(cells, rule=position == 0 and bool(rows)))
    columns = [NAME, *(Column(quantity.key, label) for quantity, label, _ in shown)]
    return Block(heading, columns, rows)


def _cells(quantity: Column, lines: pd.DataFrame, ranks: dict) -> list[Cell]:
    return [
        quantity.cell(line, ranks.get(index, 0)) if line["runs_done"] else Cell(state_of(line))
        for index, line in lines.to_dict("index").items()
    ]


def _dash_notes(frame: pd.DataFrame, quantities: list[Column]) -> list[str]:
    """Why methods have dashes in these of the quantities."""
    notes = dash_notes(frame, "Gap closed", gap_reason) if GAP in quantities else []
    return notes + (dash_notes(frame, "Labels saved", saved_reason) if SAVED in quantities else [])


def _notes(frame: pd.DataFrame, quantities: list[Column]) -> list[str]:
    """What the cells mean, as far as there are such cells."""
    parts = ["Means over test cases, each averaged over its seeds and draws."]
    if (frame["runs_counted"] < frame["runs_planned"]).any():
        parts.append("“2 of 3” in brackets says how many of the planned runs a mean has.")
    return [" ".join([*parts, *role_notes(frame)]), *(GAP_NOTES if GAP in quantities else [])]


GAP_NOTES = [
    "Gap closed: (Dice − floor) / (ceiling − floor) at the same budget. It is negative below the floor. The floor "
    "usually fills its batches with labelled patches, while methods that use unlabelled cases fill half of each batch, "
    "as published. So the floor sees each label twice as often.",
    "Labels saved: how many more labelled cases the floor needs for the same Dice. Dice of floors and ceiling is "
    "interpolated linearly over the logarithm of the number of labelled cases. The number is negative if the floor has "
    "that Dice with fewer cases. Nothing is extrapolated. Cells with “more than”: even the ceiling has a lower Dice.",
    "95 % intervals take seeds and test cases as samples; with one seed of a row that they need, cases alone. "
    f"{BEYOND}: this end lies beyond the curve of floors and ceiling. Floors and ceiling have dashes by definition. "
    "Notes at the figures say why methods have one. sweep.csv has the numbers.",
]
