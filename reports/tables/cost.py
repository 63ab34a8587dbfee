"""What a method costs beside what it reaches."""

import numpy as np
import pandas as pd

from reports.results import DONE, Results
from reports.scores import DICE, with_rows
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
    row,
    runs_of,
    signed,
    state_of,
)

KEYS = ["labelled", "unlabelled", "role", "method", "display", "settings", "fidelity", "stale",
        "runs_done", "runs_planned", "states", "draws"]  # fmt: skip
FACTS = {
    "seconds_training": "mean", "iterations_per_second": "mean", "peak_memory_bytes": "max",
    "inference_seconds_per_case": "mean", "trials_sharing_the_machine": "max",
}  # fmt: skip
FIGURES = [*FACTS, "timed_runs", "devices", "dice_percent", "times_the_floor", "dice_above_floor", "pareto_rank"]
HEADER = ["Method", "Seeds", "Training", "Times the floor's", "Iterations / s", "Peak memory [GiB]",
          "Inference [s / case]", "Dice [%]", "Dice above the floor", "Pareto rank"]  # fmt: skip
SHARED, PACKED = "¶", "packed"


def cost_frame(results: Results, rows: pd.DataFrame) -> pd.DataFrame:
    """One line a row of `table_rows`, of its runs that are done: means over them, of memory the largest.

    trials_sharing_the_machine: the most that any run had. pareto_rank: 1 where no other row of the budget trains in no
    more time to no less Dice (and is better in one of them), 2 where only rows of rank 1 do, and so on. Ceilings: none.
    """
    cells = with_rows(results.cells)
    cells = cells[cells["state"] == DONE]
    facts = results.provenance.reindex(index=cells["trial"], columns=[*FACTS, "device"])
    facts[[*FACTS]] = facts[[*FACTS]].apply(pd.to_numeric, errors="coerce").astype(float)
    facts = facts.assign(row=cells["row"].to_numpy())
    by_row = facts.groupby("row").agg(
        FACTS | {"device": lambda found: "; ".join(sorted(set(map(str, found.dropna()))))}
    )
    by_row["timed_runs"] = facts.groupby("row")["seconds_training"].count()
    frame = rows[["row", *KEYS]].merge(by_row.rename(columns={"device": "devices"}), on="row", how="left")
    frame["dice_percent"] = rows[f"{DICE.name}_mean"].astype(float)
    floors = frame[frame["role"] == "floor"].drop_duplicates("labelled").set_index("labelled")
    floors = (
        floors[["seconds_training", "dice_percent"]]
        .reindex(frame["labelled"])
        .set_axis(frame.index)
        .where(frame["role"] != "ceiling")
    )
    frame["times_the_floor"] = frame["seconds_training"] / floors["seconds_training"]
    frame["dice_above_floor"] = frame["dice_percent"] - floors["dice_percent"]
    frame["pareto_rank"] = float("nan")
    for _, group in frame[frame["role"] != "ceiling"].groupby("labelled"):
        frame.loc[group.index, "pareto_rank"] = pareto_ranks(group["seconds_training"], group["dice_percent"])
    return frame[KEYS + FIGURES]


def pareto_ranks(seconds: pd.Series, dice: pd.Series) -> pd.Series:
    """The front that each point lies on, of shortest time and highest Dice; NaN where one of the two is missing."""
    found = pd.Series(float("nan"), index=seconds.index)
    known = (seconds.notna() & dice.notna()).to_numpy()
    time, score = seconds.to_numpy(dtype=float)[known], dice.to_numpy(dtype=float)[known]
    no_worse = np.less_equal.outer(time, time) & np.greater_equal.outer(score, score)
    better = no_worse & ~no_worse.T  # [i, j]: i is no worse than j in both, and better in one
    ranks = np.zeros(len(time))
    front = 0
    while (left := ranks == 0).any():
        front += 1
        ranks[left & ~better[left].any(axis=0)] = front
    found[known] = ranks
    return found


def cost(results: Results, frame: pd.DataFrame) -> dict:
    """The page: a block a budget, the ceilings last in each."""
    ceilings = frame[frame["role"] == "ceiling"]
    others = frame[frame["role"] != "ceiling"]
    blocks = [_block(heading_of(labelled), group, ceilings) for labelled, group in others.groupby("labelled")]
    if not blocks and len(ceilings):
        blocks = [_block(ALL_LABELLED, others, ceilings)]
    return page(results, "cost", blocks, [*protocol_notes(results), *_notes(results, frame)])


def _block(heading: str, rows: pd.DataFrame, ceilings: pd.DataFrame) -> dict:
    lines = []
    for group in (rows[rows["role"] == "floor"], rows[rows["role"] != "floor"], ceilings):
        for position, (_, line) in enumerate(group.iterrows()):
            lines.append(row(_cells(line), rule=position == 0 and bool(lines)))
    return block(heading, HEADER, lines)


def _cells(line: pd.Series) -> list:
    name = name_of(line)
    if line["role"] == "ceiling":
        name += f" ({line['labelled']} labelled)"
    if line["runs_done"] == 0:
        return [name, runs_of(line), cell(state_of(line), span=len(HEADER) - 2)]
    packed = line["trials_sharing_the_machine"] > 1
    mark = f" {SHARED}" if packed and line["timed_runs"] == line["runs_done"] else ""
    untimed = PACKED if packed else MISSING
    rank = line["pareto_rank"]
    return [
        name,
        runs_of(line),
        duration(line["seconds_training"], untimed) + mark,
        number(line["times_the_floor"]),
        number(line["iterations_per_second"]) + mark,
        number(line["peak_memory_bytes"] / 2**30),
        number(line["inference_seconds_per_case"], 1) + mark,
        number(line["dice_percent"]),
        signed(line["dice_above_floor"]),
        cell(number(rank, 0), rank=1 if rank == 1 else 0),
    ]


def duration(seconds: float, missing: str = MISSING) -> str:
    if pd.isna(seconds):
        return missing
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def _notes(results: Results, frame: pd.DataFrame) -> list[str]:
    notes = [
        "Times are means over the runs that are done; memory is the largest of them: the process's on a CPU (data and "
        "libraries included), the allocator's on a GPU. Inference is predicting a test case.",
        "Pareto rank: 1 (bold) where no other row of the budget trains in no more time to no less Dice; 2 where only "
        "rows of rank 1 do; and so on. It takes the means as they are and knows nothing of chance.",
        "Dice at equal training time cannot be told from these records: test cases are scored once, after the last "
        "iteration, and the learning rate falls with the iterations planned, so no earlier moment of a training stands "
        "for a shorter one. To compare at equal cost, run the dear methods again with fewer training.iterations.",
    ]
    devices = sorted({device for text in frame["devices"].dropna() for device in text.split("; ") if device})
    if devices:
        notes.append(f"Trained on: {', '.join(devices)}.")
    if len(devices) > 1:
        notes.append("Times were taken on different machines: compare rows of one machine only (cost.csv says which).")
    packed, timed = frame["trials_sharing_the_machine"] > 1, frame["timed_runs"].fillna(0) == frame["runs_done"]
    most = frame["trials_sharing_the_machine"].max()
    if (packed & timed).any():
        notes.append(
            f"{SHARED} Timed while up to {most:.0f} trials shared the machine: orders of magnitude only, and "
            "comparisons between rows are no better than that."
        )
    if (packed & ~timed).any():
        notes.append(
            f"Times of runs that shared their machine with others, up to {most:.0f} at a time, are left out, for they "
            "say little of a trial alone: report --packed-timings shows them."
        )
    unknown = ~packed & ~timed
    if unknown.any():
        notes.append(f"No timing is stored of some runs of {', '.join(dict.fromkeys(frame.loc[unknown, 'display']))}.")
    return notes
