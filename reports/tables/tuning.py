"""Published and equally tuned settings side by side: what a method gains when all are tuned alike."""

import json

import pandas as pd

from reports import statistics
from reports.results import Results
from reports.scores import DICE, Scores
from reports.tables.comparison import p_text
from reports.tables.layout import (
    MISSING,
    block,
    evaluation_note,
    heading_of,
    mean_and_sd,
    name_of,
    page,
    protocol_notes,
    row,
    signed,
    stale_notes,
)

HEADER = ["Method", "Published [Dice %]", "Tuned [Dice %]", "Tuned − published [95 % interval]", "p over cases",
          "p over seeds", "Settings that were chosen"]  # fmt: skip
COLUMNS = ["display", "labelled", "published_mean", "tuned_mean", "difference", "low", "high", "cases_p", "seeds_p",
           "settings"]  # fmt: skip
AS_PUBLISHED = "as published"
NOTE = (
    "Difference, interval and p over cases: two-sided paired t-test over cases, a case averaged over seeds. p over "
    "seeds: seed-aware test. Neither is corrected for the number of rows. Published: the experiment's own settings, "
    "trained here; figures that were published are in the ledger."
)


def protocol_differences(published: dict, tuned: dict) -> list[str]:
    """In which parts of their plans two experiments differ, so that they cannot be set side by side."""
    data = ("fingerprint", "split_hash", "spacing")
    sides = [{key: plan["data"].get(key) for key in data} for plan in (published, tuned)]
    differing = ["data"] if sides[0] != sides[1] else []
    return differing + [part for part in ("training", "evaluation") if published[part] != tuned[part]]


def tuning_frame(
    published: tuple[pd.DataFrame, Scores], tuned: tuple[pd.DataFrame, Scores], results: Results
) -> pd.DataFrame:
    """One line a method and budget that both experiments have: `rows` of `table_rows` and `scores` of each."""
    postprocessing = results.plan["evaluation"]["postprocessing"]
    keys = ["method", "display", "labelled"]
    both = [rows[rows["role"] == "method"] for rows, _ in (published, tuned)]
    lines = []
    for _, line in both[0].merge(both[1], on=keys, suffixes=("", "_tuned")).iterrows():
        first = published[1].get((line["row"], postprocessing, DICE.name))
        second = tuned[1].get((line["row_tuned"], postprocessing, DICE.name))
        of = {key: line[key] for key in (*keys, "fidelity")} | {"settings": line["settings_tuned"]}
        of["stale"] = line["stale"] + line["stale_tuned"]
        of |= {f"{side}_{what}": line[f"{DICE.name}_{what}{suffix}"] for side, suffix in (("published", ""),
               ("tuned", "_tuned")) for what in ("mean", "sd")}  # fmt: skip
        of["same"] = line["settings"] == line["settings_tuned"]
        if first is not None and second is not None and not of["same"]:
            by_case = statistics.paired_t_test(second.mean(), first.mean())
            by_seed = statistics.seed_aware_test(second, first)
            of |= {"difference": by_case.difference, "low": by_case.low, "high": by_case.high,
                   "cases_p": by_case.p, "seeds_p": by_seed.p}  # fmt: skip
        lines.append(of)
    return pd.DataFrame(lines, columns=[*COLUMNS, "method", "fidelity", "stale", "same", "published_sd", "tuned_sd"])


def tuning(published: Results, tuned: Results, frame: pd.DataFrame) -> dict:
    """The page, with the notes of the tuned experiment."""
    blocks = []
    for labelled, group in frame.groupby("labelled"):
        lines = [row(_cells(line)) for _, line in group.iterrows()]
        blocks.append(block(heading_of(labelled), HEADER, lines))
    notes = [*protocol_notes(tuned), evaluation_note(tuned), NOTE]
    notes += [note for note in stale_notes(published) if note not in stale_notes(tuned)]
    return page(tuned, "published and tuned settings", blocks, notes)


def _cells(line: pd.Series) -> list[str]:
    means = [mean_and_sd(line[f"{side}_mean"], line[f"{side}_sd"]) for side in ("published", "tuned")]
    if line["same"]:
        return [name_of(line), *means, AS_PUBLISHED, MISSING, MISSING, AS_PUBLISHED]
    interval = "" if pd.isna(line["low"]) else f" [{signed(line['low'])}, {signed(line['high'])}]"
    return [
        name_of(line), *means, signed(line["difference"]) + interval, p_text(line["cases_p"]), p_text(line["seeds_p"]),
        ", ".join(f"{key} = {value}" for key, value in json.loads(line["settings"]).items()),
    ]  # fmt: skip
