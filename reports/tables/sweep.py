"""The label sweep: methods by labelled budgets, between the supervised floor of each budget and the ceiling."""

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd

from reports.labels_saved import labels_saved
from reports.results import Results
from reports.scores import DICE, hd95
from reports.tables.layout import (
    ALL_LABELLED,
    MISSING,
    block,
    cell,
    heading_of,
    name_of,
    number,
    page,
    protocol_notes,
    ranks,
    row,
    signed,
    state_of,
)

KEYS = ["labelled", "unlabelled", "role", "method", "display", "settings", "fidelity", "stale",
        "runs_done", "runs_planned", "states"]  # fmt: skip
FIGURES = ["floor", "ceiling", "gap_share", "labels_saved", "labels_saved_beyond"]


def sweep_frame(results: Results, rows: pd.DataFrame) -> pd.DataFrame:
    """One line a row of `table_rows`; means over cases. gap_share: (Dice - floor) / (ceiling - floor) of methods, NaN
    unless the ceiling is higher than the floor.

    labels_saved: as the function has it; where the floor does not come to the method's Dice even with all cases
    labelled, NaN, and labels_saved_beyond says how many more cases that are.
    """
    means = {m.name: rows[f"{m.name}_mean"].astype(float) for m in (DICE, hd95(results))}
    frame = rows[KEYS].assign(**means, ceiling=float("nan"))
    # merged parts may have several baselines: the first counts
    supervised = frame.drop_duplicates(["role", "labelled"]).set_index("labelled")
    floors, ceilings = (supervised.loc[supervised["role"] == role, DICE.name] for role in ("floor", "ceiling"))
    curve = pd.concat([floors, ceilings]).dropna().sort_index()
    method = frame["role"] == "method"
    frame["floor"] = frame["labelled"].map(floors).astype(float).where(frame["role"] != "ceiling")
    if ceilings.empty:  # with scans without a label, the floor at the largest budget may have every label there is
        ceilings = floors[floors.index == results.plan["data"].get("with_label")]
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
    return frame[KEYS + list(means) + FIGURES]


@dataclass(frozen=True)
class _Quantity:
    """What one block shows of every row: its text, and for means the column that is ranked."""

    label: str
    text: Callable[[pd.Series], str]
    ranked: str = ""
    larger_is_better: bool = False


def sweep(results: Results, frame: pd.DataFrame) -> dict:
    """The page: a block a quantity with a column a budget; or with one budget, a block with a column a quantity."""
    distance = hd95(results)
    quantities = [
        _Quantity(DICE.label, lambda line: number(line[DICE.name]) + _part(line), DICE.name, larger_is_better=True),
        _Quantity(distance.label, lambda line: number(line[distance.name]) + _part(line), distance.name),
    ]
    if {"floor", "method"} <= set(frame["role"]):
        quantities += [
            _Quantity("Gap closed [%]", lambda line: number(100 * line["gap_share"], 0)),
            _Quantity("Labels saved [cases]", _saved_text),
        ]
    budgets = sorted(frame.loc[frame["role"] != "ceiling", "labelled"].unique())
    if len(budgets) > 1:
        blocks = [_block(frame, q.label, [(heading_of(budget), budget, q) for budget in budgets]) for q in quantities]
    elif len(frame):
        budget = budgets[0] if budgets else None
        columns = [(quantity.label, budget, quantity) for quantity in quantities]
        blocks = [_block(frame, heading_of(budget) if budgets else ALL_LABELLED, columns)]
    else:
        blocks = []
    notes = [
        *protocol_notes(results),
        "Means over test cases, each averaged over its seeds and draws; a number in brackets says how many of the "
        "planned runs a mean has. Floor: the baseline on the labelled cases alone; ceiling: with all of them labelled.",
        "Gap closed: the share (Dice − floor) / (ceiling − floor) at the same budget; negative below the floor, "
        "none where the ceiling is not above the floor or one of the two has no figures. Where the gap "
        "is small the share is wild. As a rule the floor fills a step's batch with labelled patches, and methods that "
        "use unlabelled cases half of it, as published: the floor sees each label twice as often.",
        "Labels saved: how many more labelled cases the floor needs for the same Dice, on a straight line over the "
        "logarithm of the number of labelled cases, through floors and ceiling; negative where the floor has that Dice "
        "with fewer. Nothing is extrapolated: “more than” where the ceiling itself is below, – where no floor is as "
        "low, or floors or ceiling that it takes have no figures.",
    ]
    return page(results, "labelled cases", blocks, notes)


def _block(frame: pd.DataFrame, heading: str, columns: list[tuple[str, int, _Quantity]]) -> dict:
    """Floors, methods, ceilings; a column is its header, its budget and its quantity."""
    others = frame[frame["role"] != "ceiling"]
    places = [_places(others[others["labelled"] == budget], quantity) for _, budget, quantity in columns]
    lines = []
    for role in ("floor", "method", "ceiling"):
        of_role = frame[frame["role"] == role]
        for position, (_, of_method) in enumerate(of_role.groupby(["method", "display", "settings"], sort=False)):
            at = {line["labelled"]: (index, line) for index, line in of_method.iterrows()}
            cells = [_name(of_method)]
            for (_, budget, quantity), ranked in zip(columns, places, strict=True):
                index, line = next(iter(at.values())) if role == "ceiling" else at.get(budget, (None, None))
                cells.append(MISSING if line is None else cell(_text(line, quantity), ranked.get(index, 0)))
            lines.append(row(cells, rule=position == 0 and bool(lines)))
    return block(heading, ["Method", *(header for header, _, _ in columns)], lines)


def _places(rows: pd.DataFrame, quantity: _Quantity) -> dict:
    return ranks(rows[quantity.ranked], quantity.larger_is_better) if quantity.ranked else {}


def _name(of_method: pd.DataFrame) -> str:
    """The method's name, marked as stale where it is at any budget."""
    first = of_method.iloc[0].copy()
    first["stale"] = of_method["stale"].sum()
    roles = {"floor": " (floor)", "ceiling": f" (ceiling, {first['labelled']} labelled)"}
    return name_of(first) + roles.get(first["role"], "")


def _text(line: pd.Series, quantity: _Quantity) -> str:
    return quantity.text(line) if line["runs_done"] else state_of(line)


def _part(line: pd.Series) -> str:
    return "" if line["runs_done"] == line["runs_planned"] else f" ({line['runs_done']} of {line['runs_planned']})"


def _saved_text(line: pd.Series) -> str:
    if pd.notna(line["labels_saved_beyond"]):
        return f"more than {line['labels_saved_beyond']:.0f}"
    return signed(line["labels_saved"], 1)
