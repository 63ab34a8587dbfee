"""What a method costs beside what it reaches."""

import numpy as np
import pandas as pd

from reports.durations import duration
from reports.measures import DICE, with_rows
from reports.results import Results, trained
from reports.tables.formats import FAULTS, MISSING, number, signed, state_of, with_mean_of_all
from reports.tables.notes import with_notes
from reports.tables.table import NAME, SEEDS, Block, Column, Table, by_budget, ranked_rows

KEYS = ["labelled", "unlabelled", "role", "method", "display", "settings", "fidelity", "stale", "peeked",
        "runs_done", "runs_counted", "runs_planned", "states", "draws", *FAULTS]  # fmt: skip
FACTS = {
    "seconds_training": "mean", "iterations_per_second": "mean", "peak_memory_bytes": "max",
    "inference_seconds_per_case": "mean", "trials_sharing_the_machine": "max",
}  # fmt: skip
MEAN_OF_ALL = f"{DICE.name}_mean_of_all"
FIGURES = [
    *FACTS,
    "timed_runs",
    "devices",
    "dice_percent",
    MEAN_OF_ALL,
    "times_the_floor",
    "dice_above_floor",
    "pareto_rank",
]
SHARED, PACKED = "¶", "packed"


def cost_frame(results: Results, rows: pd.DataFrame) -> pd.DataFrame:
    """One line for each row of `table_rows`: means over its runs that are done, of memory the largest.

    trials_sharing_the_machine: the most that any run had. pareto_rank: see `pareto_ranks`, within a budget; ceilings
    have none. Rows whose mean lacks a run that failed or diverged have neither that nor dice_above_floor.
    """
    cells = with_rows(results.cells)
    cells = cells[trained(cells)]
    facts = results.provenance.reindex(index=cells["trial"], columns=[*FACTS, "device"])
    facts[[*FACTS]] = facts[[*FACTS]].apply(pd.to_numeric, errors="coerce").astype(float)
    grouped = facts.groupby(cells["row"].to_numpy())
    by_row = grouped.agg(FACTS | {"device": lambda found: "; ".join(sorted(set(map(str, found.dropna()))))})
    by_row["timed_runs"] = grouped["seconds_training"].count()
    frame = rows[["row", *KEYS]].join(by_row.rename(columns={"device": "devices"}), on="row")
    frame[["dice_percent", MEAN_OF_ALL]] = rows[[f"{DICE.name}_mean", MEAN_OF_ALL]].astype(float)
    compared = frame["dice_percent"].where((frame["left_out"] == 0) & (frame["runs_done"] > 0))
    floors = frame.assign(dice=compared)[frame["role"] == "floor"].drop_duplicates("labelled").set_index("labelled")
    labelled = frame["labelled"].where(frame["role"] != "ceiling")
    frame["times_the_floor"] = frame["seconds_training"] / labelled.map(floors["seconds_training"]).astype(float)
    frame["dice_above_floor"] = compared - labelled.map(floors["dice"]).astype(float)
    frame["pareto_rank"] = float("nan")
    for _, group in frame.groupby(labelled):
        frame.loc[group.index, "pareto_rank"] = pareto_ranks(group["seconds_training"], compared[group.index])
    return frame[KEYS + FIGURES]


def pareto_ranks(seconds: pd.Series, dice: pd.Series) -> pd.Series:
    """The front that each row lies on, of short times and high Dice; NaN where one of the two is missing.

    Rank 1: no other row trains in no more time to no less Dice and is better in one of them. Rank 2: only rows of
    rank 1 do. And so on.
    """
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


def cost(results: Results, rows: pd.DataFrame) -> Table:
    """A block for each budget; `rows` as of `table_rows`."""
    frame = cost_frame(results, rows)
    blocks = [Block(heading, COLUMNS, ranked_rows(COLUMNS, lines, state_of)) for heading, lines in by_budget(frame)]
    return with_notes(results, "cost", frame, blocks, _notes(frame))


def _name(line: dict) -> str:
    return NAME.line(line) + (f" ({line['labelled']} labelled)" if line["role"] == "ceiling" else "")


def _shared(line: dict) -> str:
    """The mark of times that were taken on a shared machine."""
    shared = line["trials_sharing_the_machine"] > 1 and line["timed_runs"] == line["runs_done"]
    return f" {SHARED}" if shared else ""


def _training(line: dict) -> str:
    if pd.isna(line["seconds_training"]):
        return PACKED if line["trials_sharing_the_machine"] > 1 else MISSING
    return duration(line["seconds_training"]) + _shared(line)


COLUMNS = [
    Column("display", "Method", line=_name, numeric=False),
    SEEDS,
    Column("seconds_training", "Training", line=_training, figure=True),
    Column("times_the_floor", "Times the floor's", figure=True),
    Column("iterations_per_second", "Iterations / s", figure=True,
           line=lambda line: number(line["iterations_per_second"]) + _shared(line)),
    Column("peak_memory_bytes", "Peak memory [GiB]", lambda size: number(size / 2**30), figure=True),
    Column("inference_seconds_per_case", "Inference [s / case]", figure=True,
           line=lambda line: number(line["inference_seconds_per_case"], 1) + _shared(line)),
    Column("dice_percent", DICE.label, figure=True,
           line=lambda line: with_mean_of_all(number(line["dice_percent"]), line[MEAN_OF_ALL])),
    Column("dice_above_floor", "Dice above the floor", signed, figure=True),
    Column("pareto_rank", "Pareto rank", lambda rank: number(rank, 0), better="one", figure=True),
]  # fmt: skip


def _notes(frame: pd.DataFrame) -> list[str]:
    notes = [
        "Times are means over the runs that are done. Memory is the largest of any run: the process's on a CPU (data "
        "and libraries included), the allocator's on a GPU. Inference is the prediction of one test case.",
        "Pareto rank 1 (bold): no other row of the budget trains in no more time to no less Dice. Rank 2: only rows of "
        "rank 1 do. And so on. Ranks compare means and ignore chance.",
        "Dice at equal training time is unknown: test cases are scored once, after the last iteration. The learning "
        "rate falls with the planned iterations, so no earlier moment of a training stands for a shorter one. To "
        "compare at equal cost, run expensive methods again with fewer training.iterations.",
    ]
    devices = sorted({device for text in frame["devices"].dropna() for device in text.split("; ") if device})
    if devices:
        notes.append(f"Trained on: {', '.join(devices)}.")
    if len(devices) > 1:
        notes.append("Times were taken on different machines. Compare rows of one machine only; cost.csv names it.")
    packed, timed = frame["trials_sharing_the_machine"] > 1, frame["timed_runs"].fillna(0) == frame["runs_done"]
    most = frame["trials_sharing_the_machine"].max()
    if (packed & timed).any():
        notes.append(
            f"{SHARED} Timed while up to {most:.0f} trials shared the machine. Such times, and comparisons with them, "
            "show orders of magnitude only."
        )
    if (packed & ~timed).any():
        notes.append(
            f"Times of runs that shared their machine, up to {most:.0f} at a time, are left out, because they say "
            "little of a trial alone. report --packed-timings shows them."
        )
    unknown = frame.loc[~packed & ~timed, "display"].unique()
    return notes + [f"No timing is stored of some runs of {', '.join(unknown)}."] * bool(len(unknown))
