"""Figures from papers beside ours, and whether ours agree with them."""

import numpy as np
import pandas as pd

from reports import published
from reports.measures import ASD, DICE, HD95, JACCARD, Scores, empty_predictions, with_rows
from reports.results import Results, is_left_out
from reports.statistics.margin import OPEN, OUTSIDE, WITHIN, interval_over_runs, side_of_margin
from reports.tables.formats import (
    ALL_LABELLED,
    MISSING,
    heading_of,
    name_of,
    number,
    runs_of,
    signed,
    state_of,
    with_mean_of_all,
)
from reports.tables.notes import with_notes
from reports.tables.rows import with_those_left_out
from reports.tables.table import NAME, Block, Cell, Column, Row, Table

FIGURES = {measure.metric: measure for measure in (DICE, JACCARD, ASD, HD95)}
DISTANCES = ("asd", "hd95")

REPRODUCED, NOT_REPRODUCED, NOT_PRECISE = "reproduced", "not reproduced", "not precise enough"
VERDICTS = {WITHIN: REPRODUCED, OUTSIDE: NOT_REPRODUCED, OPEN: NOT_PRECISE}
NOT_COMPARABLE, NO_FIGURE, NOT_PLANNED = "not comparable", "no figure of ours", "not planned"
NO_MARGIN = "no margin"  # of figures other than Dice: no verdict, because none is declared for them

NO_RUN = pd.DataFrame(index=pd.Index([], name="trial"))
STALE = "some of our records are stale (§)"
PEEKED = "some of our runs opened labels that are not theirs (⊙)"
LEFT_OUT = "some of our runs failed or diverged and are left out (↓)"
ONE_RUN = "one run of ours may reach it"
EMPTY = "some of our predictions are empty, whose distances theirs scored 0"

THEIRS = ["protocol", "entry", "method", "variant", "published_labelled", "published_unlabelled", "figure",
          "published", "source", "repeated_in", "certainty", "iterations", "checkpoint", "largest_component",
          "headline", "remark"]  # fmt: skip
ROW = ["row", "display", "settings", "labelled", "unlabelled"]
OURS = ["postprocessing", "seeds", "mean", "mean_of_all", "seed_sd", "gap", "low", "high", "run_low", "run_high",
        "verdict", "caveats", "differences"]  # fmt: skip
COLUMNS = THEIRS + ROW + OURS


def ledger_frame(results: Results, scores: Scores, rows: pd.DataFrame) -> pd.DataFrame:
    """One line for each published figure of the data's protocol and row of its method, variant and budget; then those
    without such a row.

    Ours are runs on the papers' labelled cases (draw "first") if there are any. They are scored under the published
    postprocessing if it is known, else under the plan's. mean, seed_sd: over runs, of their means over cases.
    mean_of_all: where runs are left out that failed or diverged, the mean with the worst values for them. gap:
    mean minus the published figure. low, high: its 95 % confidence interval. run_low, run_high: where one further run
    of ours would fall. verdict: of Dice, by the plan's margin. caveats: what to know beside it. differences: of the
    protocols. There are no lines for data without a published protocol.
    """
    protocol = published.protocol_of(results.plan.data)
    if protocol is None:
        return pd.DataFrame(columns=COLUMNS)
    entries, margin = protocol["entries"], results.plan.report.margin
    cells = with_rows(results.cells)
    empty = empty_predictions(results)["empty"]
    of_all = with_those_left_out(results)
    lines = []
    for line in rows.to_dict("records"):
        runs = on_published_draw(cells[cells["row"] == line["row"]])
        lacking = bool(line["runs_done"] and is_left_out(runs).any())
        budget = (line["labelled"], line["unlabelled"], line["role"] == "ceiling")
        for entry in published.find(protocol, line["method"], line["variant"], *budget):
            scored = published.postprocessing(entry, results.plan.evaluation.postprocessing)
            reasons = reasons_against(entry, results, runs)
            reasons += [LEFT_OUT] if lacking else []
            left_open = published.left_open(entry, line["variant"])
            missed = empty.reindex([(trial, scored) for trial in runs["trial"]]).sum() > 0
            for figure in _figures(entry):
                key = (line["row"], scored, FIGURES[figure].name)
                means = run_means(scores, key, runs).to_numpy() if line["runs_done"] else np.array([])
                why = [*reasons, EMPTY] if missed and figure in DISTANCES else reasons
                ours = {name: line[name] for name in ROW} | {"postprocessing": scored}
                ours["mean_of_all"] = run_means(of_all, key, runs).mean() if lacking and key in of_all else np.nan
                compared = _compared(entry[figure], means, why, left_open, margin if figure == "dice" else None)
                lines.append(_theirs(entry, figure) | ours | compared)
    compared = {line["entry"] for line in lines}
    for place, entry in enumerate(entries):
        if place not in compared:
            lines += [_theirs(entry, figure) | {"verdict": NOT_PLANNED} for figure in _figures(entry)]
    return pd.DataFrame(lines, columns=COLUMNS)


def on_published_draw(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs on the papers' labelled cases (draw "first") if there are any, else all."""
    first = runs["draw"].eq("first")
    return runs[first] if first.any() else runs


def reasons_against(entry: dict, results: Results, runs: pd.DataFrame) -> list[str]:
    """Why these runs of a row are not comparable with a published entry: one phrase for each reason.

    Args:
        entry: of the protocol of the data, as of `published.find`.
        results: what a results folder holds.
        runs: cells of one row, with the columns of `Results.cells`.
    """
    reasons = published.differences(entry, results.plan, runs.iloc[0])
    reasons += [STALE] if runs["stale"].ne("").any() else []
    reasons += [PEEKED] if runs["peeked"].ne("").any() else []
    return [reason.replace("; ", ", ") for reason in reasons]  # they are joined by semicolons


def run_means(scores: Scores, key: tuple[int, str, str], runs: pd.DataFrame) -> pd.Series:
    """The mean over cases of each of these runs that has values; index the trial."""
    values = scores.get(key, NO_RUN)
    means = values[values.index.get_level_values("trial").isin(runs["trial"])].mean(axis=1).dropna().astype(float)
    return means.set_axis(means.index.get_level_values("trial"))


def _figures(entry: dict) -> list[str]:
    return [figure for figure in FIGURES if entry[figure] is not None]


def _theirs(entry: dict, figure: str) -> dict:
    return {key: entry[key] for key in THEIRS if key in entry} | {
        "entry": published.protocols()[entry["protocol"]]["entries"].index(entry),
        "published_labelled": entry["labelled"],
        "published_unlabelled": entry["unlabelled"],
        "figure": figure,
        "published": entry[figure],
        "repeated_in": "; ".join(entry["repeated_in"]),
    }


def _compared(
    theirs: float, means: np.ndarray, differences: list[str], left_open: list[str], margin: float | None
) -> dict:
    """`means`: ours, one for each seed. `margin`: None for a figure that none is declared for."""
    seeds, caveats = len(means), []
    mean = means.mean() if seeds else np.nan
    low, high, run_low, run_high = np.full(4, np.nan)
    if seeds:
        low, high = interval_over_runs(means - theirs)
        run_low, run_high = interval_over_runs(means, new_runs=1)
    if seeds == 0:
        verdict = NO_FIGURE
    elif differences:
        verdict = NOT_COMPARABLE
    elif margin is None:
        verdict = NO_MARGIN
    else:
        verdict = VERDICTS[side_of_margin(low, high, margin)]
        caveats = [f"their {word} not known" for word in left_open]
        caveats += [ONE_RUN] if verdict == NOT_REPRODUCED and run_low <= theirs <= run_high else []
    return {
        "seeds": seeds, "mean": mean, "seed_sd": means.std(ddof=1) if seeds > 1 else np.nan, "gap": mean - theirs,
        "low": low, "high": high, "run_low": run_low, "run_high": run_high, "verdict": verdict,
        "caveats": "; ".join(caveats), "differences": "; ".join(differences),
    }  # fmt: skip


COLUMNS_SHOWN = [
    NAME,
    Column("published", "Published Dice / Jaccard / ASD / 95HD"),
    Column("mean", "Ours"),
    Column("seeds", "Seeds"),
    Column("gap", "Ours − published", on_demand=True),
    Column("low", "Dice: 95 % interval of the difference"),
    Column("verdict", "Verdict", numeric=False),
]
UNSURE = "?"


def ledger(results: Results, scores: Scores, rows: pd.DataFrame) -> Table:
    """A block for each budget with a row for each published entry; `rows` as of `table_rows`."""
    frame = ledger_frame(results, scores, rows)
    compared = frame[frame["verdict"] != NOT_PLANNED]
    sources = {entry: place for place, entry in enumerate(compared["entry"].unique(), start=1)}
    reasons = dict.fromkeys(reason for text in compared["differences"] for reason in text.split("; ") if reason)
    letters = {reason: _letter(place) for place, reason in enumerate(reasons)}
    blocks = []
    for (ceiling, labelled), group in rows.groupby([rows["role"] == "ceiling", "labelled"]):
        lines = [
            _row(line, entry, sources, letters)
            for line in group.to_dict("records")
            for _, entry in compared[compared["row"] == line["row"]].groupby("entry", sort=False)
        ]
        if lines:
            blocks.append(Block(ALL_LABELLED if ceiling else heading_of(labelled), COLUMNS_SHOWN, lines))
    protocol = published.protocol_of(results.plan.data)
    literature = [published.describe(protocol["entries"][entry]) for entry in sources]
    return with_notes(
        results, "ledger", frame, blocks, _notes(results, frame, letters), "published figures", literature
    )


def _row(line: dict, entry: pd.DataFrame, sources: dict, letters: dict) -> Row:
    """One row of ours beside an entry, whose figures are the lines of `entry`."""
    of = entry.set_index("figure").reindex(FIGURES)
    first, dice = entry.iloc[0], of.loc["dice"]
    budget = (first["published_labelled"], first["published_unlabelled"])
    other = "" if budget == (line["labelled"], line["unlabelled"]) else f" ({budget[0]}/{budget[1]})"
    unsure = UNSURE * (first["certainty"] not in published.SURE)
    low, high = dice[["low", "high"]].clip(-dice["published"], 100 - dice["published"])  # a Dice has no more room
    interval = MISSING if pd.isna(low) else f"[{signed(low)}, {signed(high)}]"
    published_figures = " / ".join(map(number, of["published"]))
    means, gaps = MISSING, MISSING
    if first["seeds"]:
        both = zip(of["mean"], of["mean_of_all"].astype(float), strict=True)
        means = " / ".join(with_mean_of_all(number(mean), mean_of_all) for mean, mean_of_all in both)
        gaps = " / ".join(map(signed, of["gap"]))
    verdict = _verdict(entry, letters) if line["runs_done"] else state_of(line)
    seeds = runs_of(line) if len(line["draws"].split()) == 1 else f"{first['seeds']} of draw “first”"
    return Row([
        Cell(name_of(line), line["display"]),
        Cell(f"{published_figures}{unsure}{other} [{sources[first['entry']]}]", dice["published"]),
        Cell(means, dice["mean"]),
        Cell(seeds, first["seeds"]),
        Cell(gaps, dice["gap"]),
        Cell(interval, low),
        Cell(verdict, verdict),
    ])  # fmt: skip


def _verdict(entry: pd.DataFrame, letters: dict) -> str:
    """The verdict on Dice with its caveats; and the figures that are not comparable though Dice is."""
    texts: dict[str, list[str]] = {}
    for line in entry[entry["verdict"] != NO_MARGIN].to_dict("records"):
        beside = [line["caveats"]] if line["caveats"] else []
        if line["verdict"] == NOT_COMPARABLE:
            beside = [_ranges(line["differences"].split("; "), letters)]
        text = line["verdict"] + "".join(f" ({part})" for part in beside)
        texts.setdefault(text, []).append(FIGURES[line["figure"]].title)
    return "; ".join(text if "Dice" in figures else f"{', '.join(figures)} {text}" for text, figures in texts.items())


def _ranges(reasons: list[str], letters: dict[str, str]) -> str:
    """The letters of reasons: a, b, c, e as “a–c, e”."""
    known = list(letters.values())
    places = sorted(known.index(letters[reason]) for reason in reasons)
    runs: list[list[str]] = []
    for place, before in zip(places, [None, *places], strict=False):
        if before is None or place != before + 1:
            runs.append([])
        runs[-1].append(known[place])
    return ", ".join(", ".join(run) if len(run) < 3 else f"{run[0]}–{run[-1]}" for run in runs)


def _letter(place: int) -> str:
    letter = chr(ord("a") + place % 26)
    return letter if place < 26 else f"{letter}{place // 26}"


def _notes(results: Results, frame: pd.DataFrame, letters: dict) -> list[str]:
    protocol, margin = published.protocol_of(results.plan.data), results.plan.report.margin
    if protocol is None:
        return [published.without_protocol(results.plan.data)]
    verdicts = frame.loc[frame["figure"] == "dice", "verdict"]
    compared = verdicts[verdicts != NOT_PLANNED].value_counts(sort=False)
    counts = ", ".join(f"{count} {verdict}" for verdict, count in compared.items()) or "none"
    notes = [
        f"Published figures of Dice with a row of ours: {counts}. {int((verdicts == NOT_PLANNED).sum())} further ones "
        "are of methods, variants or budgets that are not planned here. ledger.csv has them all.",
    ]
    if compared.empty:
        return notes
    notes += [
        "Dice and Jaccard are in percent, ASD and 95HD in voxels. Ours are means over seeds of the last checkpoint, "
        "scored under the published postprocessing where it is known (see the sources), else under the plan's. So a "
        "figure here may differ from that of the comparison.",
        f"Verdict on Dice. {REPRODUCED.capitalize()}: the 95 % confidence interval of our mean minus the published "
        f"figure lies within ±{margin:g} points (report.margin). {NOT_REPRODUCED.capitalize()}: it lies outside. "
        f"{NOT_PRECISE.capitalize()}: neither; more seeds make it narrower. It is mean ± t·s/√S over S seeds, "
        "with the cases as they are, because the published figure is of the same ones. One seed has none. "
        "The other figures have no margin and no verdict.",
    ]
    if any(ONE_RUN in str(caveats) for caveats in frame["caveats"]):  # NaN where nothing is planned
        notes.append(
            f"{ONE_RUN.capitalize()}: published figures are of one run each, and this one lies where one further run "
            "of ours would fall (95 % prediction interval)."
        )
    if (~frame["certainty"].isin(published.SURE))[frame["verdict"] != NOT_PLANNED].any():
        notes.append(f"{UNSURE} From memory or a third party's table. Look it up before you quote it.")
    notes.append(published.facts(protocol))
    return notes + [f"({letter}) Not comparable: {reason}." for reason, letter in letters.items()]
