"""The page of the ledger."""

import pandas as pd

from reports import published
from reports.results import Results
from reports.tables.layout import (
    ALL_LABELLED,
    MISSING,
    block,
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
from reports.tables.ledger import FEWEST_SEEDS, FIGURES, NOT_COMPARABLE, NOT_PLANNED, UNDECIDED

NAMES = {"dice": "Dice", "jaccard": "Jaccard", "asd": "ASD", "hd95": "95HD"}
HEADER = ["Method", "Published Dice / Jaccard / ASD / 95HD", "Ours", "Seeds", "Ours − published",
          "Dice of one new seed [95 %]", "Verdict"]  # fmt: skip
UNSURE = "?"


def ledger(results: Results, frame: pd.DataFrame, rows: pd.DataFrame) -> dict:
    """A block a budget with a line a published entry; `frame` as of `ledger_frame`, `rows` as of `table_rows`."""
    compared = frame[frame["verdict"] != NOT_PLANNED]
    sources = {entry: place for place, entry in enumerate(compared["entry"].unique(), start=1)}
    reasons = dict.fromkeys(reason for text in compared["differences"] for reason in text.split("; ") if reason)
    letters = {reason: _letter(place) for place, reason in enumerate(reasons)}
    blocks = []
    for ceiling in (False, True):
        for labelled, group in rows[(rows["role"] == "ceiling") == ceiling].groupby("labelled"):
            lines = [
                _line(line, entry, sources, letters)
                for _, line in group.iterrows()
                for _, entry in compared[compared["row"] == line["row"]].groupby("entry", sort=False)
            ]
            if lines:
                blocks.append(block(ALL_LABELLED if ceiling else heading_of(labelled), HEADER, lines))
    entries = published.literature()["entries"]
    literature = [published.describe(entries[entry]) for entry in sources]
    return page(results, "published figures", blocks, _notes(results, frame, letters), literature)


def _line(line: pd.Series, entry: pd.DataFrame, sources: dict, letters: dict) -> dict:
    of = entry.set_index("figure").reindex(FIGURES)
    first = entry.iloc[0]
    budget = (first["published_labelled"], first["published_unlabelled"])
    other = "" if budget == (line["labelled"], line["unlabelled"]) else f" ({budget[0]}/{budget[1]})"
    unsure = UNSURE * first["certainty"].startswith("memory")
    low, high = of.loc["dice", ["low", "high"]].clip(0, 100)  # a Dice has no more room than that
    return row([
        name_of(line),
        f"{_joined(of['published'], number)}{unsure}{other} [{sources[first['entry']]}]",
        _joined(of["mean"], number) if first["seeds"] else MISSING,
        runs_of(line) if len(line["draws"].split()) == 1 else f"{first['seeds']} of draw “first”",
        _joined(of["gap"], signed) if first["seeds"] else MISSING,
        MISSING if pd.isna(low) else f"[{number(low)}, {number(high)}]",
        _verdict(entry, letters) if line["runs_done"] else state_of(line),
    ])  # fmt: skip


def _joined(values: pd.Series, text) -> str:
    return " / ".join(text(value) for value in values)


def _verdict(entry: pd.DataFrame, letters: dict) -> str:
    """One word where it is one for all figures, else the figures of each."""
    texts: dict[str, list[str]] = {}
    for line in entry.to_dict("records"):
        why = f" ({_ranges(line['differences'].split('; '), letters)})" if line["verdict"] == NOT_COMPARABLE else ""
        texts.setdefault(line["verdict"] + why, []).append(NAMES[line["figure"]])
    if len(texts) == 1:
        return next(iter(texts))
    return "; ".join(f"{', '.join(figures)} {text}" for text, figures in texts.items())


def _ranges(reasons: list[str], letters: dict[str, str]) -> str:
    """The letters of reasons: a, b, c, e as “a–c, e”."""
    known = list(letters.values())
    runs: list[list[int]] = []
    for place in sorted(known.index(letters[reason]) for reason in reasons):
        if runs and place == runs[-1][-1] + 1:
            runs[-1].append(place)
        else:
            runs.append([place])
    return ", ".join(
        ", ".join(known[place] for place in run) if len(run) < 3 else f"{known[run[0]]}–{known[run[-1]]}"
        for run in runs
    )


def _letter(place: int) -> str:
    letter = chr(ord("a") + place % 26)
    return letter if place < 26 else f"{letter}{place // 26}"


def _notes(results: Results, frame: pd.DataFrame, letters: dict) -> list[str]:
    theirs = published.literature()
    if results.plan["data"]["name"] != theirs["data"]:
        return [*protocol_notes(results), f"No published figures are shown: they are for {theirs['data']}."]
    verdicts = frame.loc[frame["figure"] == "dice", "verdict"]
    compared = verdicts[verdicts != NOT_PLANNED].value_counts(sort=False)
    counts = ", ".join(f"{count} {verdict}" for verdict, count in compared.items()) or "none"
    notes = [
        *protocol_notes(results),
        f"Published figures of Dice with a row of ours: {counts}. {int((verdicts == NOT_PLANNED).sum())} further ones "
        "are of methods, variants or budgets that are not planned here; ledger.csv has them all.",
        "Dice and Jaccard in percent, ASD and 95HD in voxels. Ours are means over seeds of the last checkpoint, under "
        "the published postprocessing where that is known (see the sources), else under the plan's; so a figure here "
        "may differ from that of the comparison.",
        "Verdict: reproduced where the published figure lies within the 95 % prediction interval for one new seed of "
        f"ours, mean ± t·s·√(1 + 1/S) with S seeds (a Dice's is shown from 0 to 100 at most); {UNDECIDED} with fewer "
        f"than {FEWEST_SEEDS} seeds. A wide interval reproduces easily: look at it. Published figures are of one run "
        "each.",
    ]
    if frame["certainty"].str.startswith("memory")[frame["verdict"] != NOT_PLANNED].any():
        notes.append(f"{UNSURE} Written down from memory, not read again: look it up before quoting it.")
    notes += [f"({letter}) Not comparable: {reason}." for reason, letter in letters.items()]
    return notes
