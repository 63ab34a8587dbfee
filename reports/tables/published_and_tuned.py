"""Published and tuned settings side by side: what each method gains from the same search."""

import json
from functools import partial

import pandas as pd

from benchmark.records.models import StoredPlan
from reports import statistics
from reports.measures import DICE, Scores
from reports.results import Results
from reports.tables.faults import fault_notes
from reports.tables.formats import FAULTS, difference, heading_of, mean_and_sd, p_value, with_mean_of_all
from reports.tables.notes import evaluation_note, mark_notes, with_notes
from reports.tables.table import NAME, Block, Column, Table, rows_of

COLUMNS = ["display", "labelled", "published_mean", "tuned_mean", "difference", "low", "high", "cases_p", "seeds_p",
           "settings"]  # fmt: skip
SUMMED = ["stale", "peeked", *FAULTS, "runs_done"]  # counts of runs, over both sides
SIDE = ["mean", "sd", "mean_of_all"]  # figures of each side
BESIDE = [f"{side}_{figure}" for side in ("published", "tuned") for figure in SIDE[1:]]
AS_PUBLISHED, NOT_TUNED = "as published", "not tuned"
NOTE = (
    "p over cases: two-sided paired t-test over cases, each averaged over seeds. p over seeds and 95 % interval: "
    "seed-aware test; with one seed the interval is that over cases. Nothing is corrected for the number of rows. "
    "Published: trained here with the experiment's own settings. Figures from papers are in the ledger."
)


def protocol_differences(published: StoredPlan, tuned: StoredPlan) -> list[str]:
    """In which parts of their plans two experiments differ, so that they cannot be compared."""
    data = ("fingerprint", "split_hash", "spacing")
    sides = [{key: getattr(plan.data, key) for key in data} for plan in (published, tuned)]
    recipes = [plan.data.recipe for plan in (published, tuned)]
    named = f" (recipes {' and '.join(recipes)})" if all(recipes) and recipes[0] != recipes[1] else ""
    differing = [f"data{named}"] if sides[0] != sides[1] else []
    return differing + [part for part in ("training", "evaluation") if getattr(published, part) != getattr(tuned, part)]


def tuning_frame(
    published: tuple[pd.DataFrame, Scores], tuned: tuple[pd.DataFrame, Scores], results: Results
) -> pd.DataFrame:
    """One line for each method and budget of both experiments, each given by its `table_rows` and `scores`."""
    keys, dice = ["method", "display", "labelled"], [f"{DICE.name}_{figure}" for figure in SIDE]
    sides = [
        rows.loc[rows["role"] == "method", [*keys, "row", "settings", "fidelity", *SUMMED, *dice]]
        .rename(columns=dict(zip(dice, (f"{side}_{figure}" for figure in SIDE), strict=True)))
        for side, (rows, _) in (("published", published), ("tuned", tuned))
    ]  # fmt: skip
    searched = results.plan.tuned.methods
    scored = (results.plan.evaluation.postprocessing, DICE.name)
    lines = []
    for line in sides[0].merge(sides[1], on=keys, suffixes=("_published", "")).to_dict("records"):
        first, second = published[1].get((line["row_published"], *scored)), tuned[1].get((line["row"], *scored))
        for key in SUMMED:
            line[key] += line[f"{key}_published"]
        line["same"] = line["settings"] == line["settings_published"]
        line["kept"] = AS_PUBLISHED if searched is None or line["display"] in searched else NOT_TUNED
        if first is not None and second is not None and not line["same"] and not line["left_out"]:
            by_case = statistics.paired_t_test(second.mean(), first.mean())
            by_seed = statistics.seed_aware_test(second, first)
            interval = by_case if pd.isna(by_seed.low) else by_seed
            line |= {"difference": by_case.difference, "low": interval.low, "high": interval.high,
                     "cases_p": by_case.p, "seeds_p": by_seed.p}  # fmt: skip
        lines.append(line)
    return pd.DataFrame(lines, columns=[*COLUMNS, "method", "fidelity", *SUMMED, "same", "kept", *BESIDE])


def tuning(published: Results, tuned: Results, frame: pd.DataFrame) -> Table:
    """The table of `tuning_frame`, with the notes of the tuned experiment."""
    blocks = [
        Block(heading_of(labelled), SHOWN, rows_of(SHOWN, lines)) for labelled, lines in frame.groupby("labelled")
    ]
    notes = [evaluation_note(tuned), NOTE]
    known = [*mark_notes(tuned.cells), *fault_notes(tuned)]
    notes += [note for note in (*mark_notes(published.cells), *fault_notes(published)) if note not in known]
    return with_notes(tuned, "tuning", frame, blocks, notes, title="published and tuned settings")


def _mean(line: dict, side: str) -> str:
    return with_mean_of_all(mean_and_sd(line[f"{side}_mean"], line[f"{side}_sd"]), line[f"{side}_mean_of_all"])


def _settings(line: dict) -> str:
    return ", ".join(f"{key} = {value}" for key, value in json.loads(line["settings"]).items())


def _where_tuned(text):
    """`text` of lines whose settings changed. Other lines say why they did not."""
    return lambda line: line["kept"] if line["same"] else text(line)


SHOWN = [
    NAME,
    *(Column(f"{side}_mean", f"{side.capitalize()} [Dice %]",
             line=partial(_mean, side=side))
      for side in ("published", "tuned")),
    Column("difference", "Tuned − published [95 % interval]", line=_where_tuned(difference)),
    Column("cases_p", "p over cases", p_value),
    Column("seeds_p", "p over seeds", p_value),
    Column("settings", "Settings that were chosen", line=_where_tuned(_settings), numeric=False),
]  # fmt: skip
