"""What a method costs beside what it reaches."""

from collections.abc import Callable
from functools import partial

import numpy as np
import pandas as pd

from benchmark.records.models import EXTERNAL, SHARING
from reports.durations import duration
from reports.measures import DICE, with_rows
from reports.results import Results, trained
from reports.tables.formats import FAULTS, MISSING, number, signed, state_of, with_mean_of_all
from reports.tables.notes import with_notes
from reports.tables.table import NAME, SEEDS, Block, Column, Table, by_budget, ranked_rows
from reports.timings import TIMES, mean_times

KEYS = ["labelled", "unlabelled", "role", "method", "display", "settings", "fidelity", "stale", "peeked",
        "runs_done", "runs_counted", "runs_planned", "states", "draws", *FAULTS]  # fmt: skip
MEAN_OF_ALL = f"{DICE.name}_mean_of_all"
COMPARED = ["times_the_floor", "pareto_rank"]  # with the times of other rows
FIGURES = [
    *TIMES,
    "peak_memory_bytes",
    SHARING,
    "timed_runs",
    "devices",
    "dice_percent",
    MEAN_OF_ALL,
    "dice_above_floor",
    *COMPARED,
    *(f"{name}_shared" for name in (*TIMES, *COMPARED)),
]
SHARED = "¶"


def cost_frame(results: Results, rows: pd.DataFrame) -> pd.DataFrame:
    """One line for each row of `table_rows`: times as of `mean_times` over its runs that are done; of memory the
    largest.

    trials_sharing_the_machine: the most that any run had. `…_shared`: whether the figure comes from a time that was
    taken while other trials shared the machine. pareto_rank: see `pareto_ranks`, within a budget; ceilings have none.
    Rows whose mean lacks a run that failed or diverged have neither that nor dice_above_floor.
    """
    cells = with_rows(results.cells)
    cells = cells[trained(cells)]
    of_trial = cells.set_index("trial")["row"]
    numbers = {"peak_memory_bytes": "max", SHARING: "max", "seconds_training": "count"}
    facts = results.provenance.reindex(index=of_trial.index, columns=[*numbers, "device"])
    facts[[*numbers]] = facts[[*numbers]].apply(pd.to_numeric, errors="coerce").astype(float)
    by_row = facts.groupby(of_trial).agg(
        numbers | {"device": lambda found: "; ".join(sorted(set(map(str, found.dropna()))))}
    )
    by_row = by_row.rename(columns={"device": "devices", "seconds_training": "timed_runs"})
    frame = rows[["row", *KEYS]].join(by_row, on="row").join(mean_times(results.provenance, of_trial), on="row")
    times_shared = [f"{name}_shared" for name in TIMES]
    frame[times_shared] = frame[times_shared].eq(True)
    frame[["dice_percent", MEAN_OF_ALL]] = rows[[f"{DICE.name}_mean", MEAN_OF_ALL]].astype(float)
    compared = frame["dice_percent"].where((frame["left_out"] == 0) & (frame["runs_done"] > 0))
    floors = frame.assign(dice=compared)[frame["role"] == "floor"].drop_duplicates("labelled").set_index("labelled")
    labelled = frame["labelled"].where(frame["role"] != "ceiling")
    frame["times_the_floor"] = frame["seconds_training"] / labelled.map(floors["seconds_training"]).astype(float)
    frame["dice_above_floor"] = compared - labelled.map(floors["dice"]).astype(float)
    frame["pareto_rank"] = float("nan")
    shared = frame["seconds_training_shared"]
    frame["times_the_floor_shared"] = shared | labelled.map(floors["seconds_training_shared"]).eq(True)
    frame["pareto_rank_shared"] = False
    for _, group in frame.groupby(labelled):
        frame.loc[group.index, "pareto_rank"] = pareto_ranks(group["seconds_training"], compared[group.index])
        frame.loc[group.index, "pareto_rank_shared"] = shared[group.index].any()
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


def _timed(key: str, label: str, text: Callable[[float], str], better: str = "") -> Column:
    """A column of times, or of what is derived from them: grey and marked if the machine was shared."""

    def shared(line: dict) -> bool:
        return line[f"{key}_shared"] and pd.notna(line[key])

    return Column(
        key, label, line=lambda line: text(line[key]) + f" {SHARED}" * shared(line), better=better, figure=True,
        quiet=shared,
    )  # fmt: skip


COLUMNS = [
    NAME,
    SEEDS,
    _timed("seconds_training", "Training", lambda seconds: MISSING if pd.isna(seconds) else duration(seconds)),
    _timed("times_the_floor", "Times the floor's", number),
    _timed("iterations_per_second", "Iterations / s", number),
    Column("peak_memory_bytes", "Peak memory [GiB]", lambda size: number(size / 2**30), figure=True),
    _timed("inference_seconds_per_case", "Inference [s / case]", partial(number, digits=1)),
    Column(
        "dice_percent",
        DICE.label,
        figure=True,
        line=lambda line: with_mean_of_all(number(line["dice_percent"]), line[MEAN_OF_ALL]),
    ),
    Column("dice_above_floor", "Dice above the floor", signed, figure=True),
    _timed("pareto_rank", "Pareto rank", partial(number, digits=0), better="one"),
]


def _notes(frame: pd.DataFrame) -> list[str]:
    timed = frame["seconds_training"].notna()
    notes = [
        "Times are means over the runs that are done. If some of them shared the machine with other trials, the mean "
        "is over the others. Memory is the largest of any run: the process's on a CPU (data "
        "and libraries included), the allocator's on a GPU. Inference is the prediction of one test case.",
        "Pareto rank 1: no other row of the budget trains in no more time to no less Dice. Rank 2: only rows of rank 1 "
        "do. And so on. Ranks compare means and ignore chance.",
        "Dice at equal training time is unknown: test cases are scored once, after the last iteration. The learning "
        "rate falls with the planned iterations, so no earlier moment of a training stands for a shorter one. To "
        "compare at equal cost, run expensive methods again with fewer training.iterations.",
    ] * bool(timed.any())
    devices = sorted({device for text in frame["devices"].dropna() for device in text.split("; ") if device})
    if devices:
        notes.append(f"Trained on: {', '.join(devices)}.")
    if len(devices) > 1:
        notes.append("Times were taken on different machines. Compare rows of one machine only; cost.csv names it.")
    if frame[[f"{name}_shared" for name in TIMES]].to_numpy().any():
        notes.append(
            f"{SHARED} Timed while other trials shared the machine, or compared with such a time. Up to "
            f"{frame[SHARING].max():.0f} trials shared one machine. Such figures show orders of magnitude only."
        )
    elsewhere = frame["fidelity"] == EXTERNAL
    if elsewhere.any():
        notes.append(f"External masks have no costs here: {', '.join(frame.loc[elsewhere, 'display'].unique())}.")
    unknown = frame.loc[(frame["timed_runs"].fillna(0) < frame["runs_done"]) & ~elsewhere, "display"].unique()
    return notes + [f"No timing is stored of some runs of {', '.join(unknown)}."] * bool(len(unknown))
