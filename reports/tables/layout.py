"""What the pages of all tables have in common: their shape, how numbers and names are written, notes on the protocol.

A page is a dict of plain text that a template turns into Markdown, LaTeX or HTML and escapes: title; status (one line
on what is done); blocks, each with heading, header, rows and notes; notes; literature (numbered sources). A row has
cells and whether a rule goes before it; a cell has text, rank (1 best, 2 second best, 0 otherwise) and span.
"""

import textwrap

import pandas as pd

from reports import published
from reports.results import DONE, NOT_RUN, Results
from reports.scores import HD95, hd95, with_rows

MISSING = "–"
ALL_LABELLED = "All cases labelled"
POSTPROCESSING = {"none": "no postprocessing", "largest_component": "only the largest connected component kept"}
EMPTY_POLICY = {
    "worst": "an empty prediction scores the image diagonal as each of its distances",
    "exclude": "the distances of an empty prediction are left out of the means",
}
RANKS_NOTE = "Bold: best of a budget; underlined: second best; rows with all cases labelled compete with nobody."


def page(results: Results, what: str, blocks: list[dict], notes: list[str], literature: list[str] = ()) -> dict:
    """A page on one experiment; `notes` come before those on names, states and strays that every page has."""
    title = results.plan["title"] or results.plan["experiment"]
    return {
        "title": f"{title}: {what}",
        "status": status(results),
        "blocks": blocks,
        "notes": [*notes, *_mark_notes(results), *_state_notes(results)],
        "literature": list(literature),
    }


def block(heading: str, header: list[str], rows: list[dict], notes: list[str] = ()) -> dict:
    return {"heading": heading, "header": header, "rows": rows, "notes": list(notes)}


def row(cells: list, rule: bool = False) -> dict:
    """Cells may be dicts of `cell` or what becomes their text."""
    return {"cells": [c if isinstance(c, dict) else cell(c) for c in cells], "rule": rule}


def cell(text, rank: int = 0, span: int = 1) -> dict:
    return {"text": str(text), "rank": rank, "span": span}


def status(results: Results) -> str:
    """How much of the experiment there is, in one line."""
    states = results.cells["state"].value_counts(sort=False)
    planned, done = len(results.cells), int(states.get(DONE, 0))
    if planned == 0:
        return "Nothing is planned here."
    old = int(results.cells["stale"].ne("").sum())
    stale = f" ({old} stale)" if old else ""
    if done == planned:
        return f"Complete: all {planned} planned trials are done{stale}."
    counts = ", ".join(f"{count} {state}" + stale * (state == DONE) for state, count in states.items())
    return f"{'Unfinished' if done else 'Nothing is done yet'}. Of {planned} planned trials: {counts}."


CROSS_VALIDATION = (
    "Cross-validation: every case is a test case once, and a run is one network a fold. Networks of different folds "
    "share most of their training cases, and cases of a fold share a network; no test here knows of it, so that p "
    "values are rather too small. Costs are those of one training, a mean over folds; a report on one fold alone has "
    "pictures and losses."
)


def protocol_notes(results: Results) -> list[str]:
    """Data and training, which a reader must know before comparing anything."""
    data, training = results.plan["data"], results.plan["training"]
    spacing = published.millimetres(data["native_spacing"]) + " mm"
    if not published.native(data):
        spacing = (
            f"trained at {published.millimetres(data['spacing'])} mm, scored on the cases' own grid "
            f"{published.own_grid(data)}"
        )
    names = f" ({', '.join(data['class_names'])})" if data.get("class_names") else ""
    structures = "1 structure" if data["classes"] == 1 else f"mean over {data['classes']} structures{names}"
    return [
        f"Data: {data['name']}, {data['train']} training and {data['test']} test cases, split {data['split']} "
        f"(hash {data['split_hash']}), {spacing}, {structures}.{_images(data)}",
        f"Training: {training['iterations']} iterations, batch of {training['batch_size']}, patches of "
        f"{published.times(training['patch'])} voxels, V-Net with {training['width']} filters, learning rate "
        f"{training['learning_rate']:g}, augmentation {training['augmentation']}, {training['precision']}.",
        *([CROSS_VALIDATION] if "pooled" in (data.get("folds") or {}) else []),
        *([f"Settings: {results.plan['tuned']['how']}."] if results.plan.get("tuned") else []),
    ]


def _images(data: dict) -> str:
    """What was done to the images, as far as the record knows."""
    reading = data.get("reading") or {}
    parts = []
    if (how := reading.get("normalise")) == "zscore":
        parts.append("z-scored, each as a whole")
    elif how == "none":
        parts += [] if data.get("preparation") else ["as stored"]
    elif how is not None:
        parts.append(f"clipped to {how[0]:g}..{how[1]:g} and scaled")
    if reading.get("orientation", "stored") != "stored":
        parts.append(f"axes {reading['orientation']}")
    if data.get("preparation"):
        parts.append(data["preparation"])
    return f" Images: {', '.join(parts)}." if parts else ""


def evaluation_note(results: Results) -> str:
    evaluation = results.plan["evaluation"]
    return (
        f"Evaluation: last checkpoint, sliding window with stride {published.times(evaluation['stride'])}, "
        f"{POSTPROCESSING[evaluation['postprocessing']]}; {EMPTY_POLICY[evaluation['empty']]}. "
        "ASD is directed, from prediction to truth; ASD and 95HD are in "
        + ("voxels of the cases' own grid." if hd95(results) is HD95 else "mm, for voxels are no cubes of one size.")
    )


def _mark_notes(results: Results) -> list[str]:
    notes = []
    if results.cells["fidelity"].eq("reconstruction").any():
        notes.append("† Reconstruction: parts that the method's description leaves open were filled in.")
    if results.cells["fidelity"].eq("foreign").any():
        notes.append("‡ Foreign: masks made elsewhere, scored here. How they were trained is their makers' word.")
    return notes + stale_notes(results)


def stale_notes(results: Results) -> list[str]:
    """What the mark § means here."""
    stale = [reason for reason in dict.fromkeys(results.cells["stale"]) if reason]
    return [f"§ Stale: {reason}; run --rerun stale makes these records again." for reason in stale]


def _state_notes(results: Results) -> list[str]:
    """Why cells have no figures, those that were not run aside; and what belongs to no cell."""
    cells = with_rows(results.cells)
    cells = cells[~cells["state"].isin([DONE, NOT_RUN])]
    notes = []
    for (_, state, reason, draw), group in cells.groupby(["row", "state", "reason", "draw"], sort=False):
        first = group.iloc[0]
        seeds = f"seed{'s' * (len(group) > 1)} {', '.join(map(str, group['seed']))}"
        drawn = "" if draw == "first" else f", draw {draw}"
        why = f": {reason}" if reason else ""
        notes.append(f"{first['display']}, {first['labelled']} labelled{drawn}, {seeds}: {state}{why}.")
    if results.strays:
        notes.append(f"{len(results.strays)} records in this folder belong to no planned cell and are left out.")
    return notes


def heading_of(labelled) -> str:
    return f"{labelled} labelled cases"


def name_of(line: pd.Series) -> str:
    """The display name of a row of the comparison, with its marks."""
    mark = {"reconstruction": "†", "foreign": "‡"}.get(line["fidelity"], "")
    return line["display"] + mark + ("§" if line["stale"] > 0 else "")


def runs_of(line: pd.Series) -> str:
    """How many seeds (and draws) a row has, of how many, and what has become of the others where some are done."""
    draws = len(line["draws"].split())
    unit = "" if draws == 1 else f" runs ({draws} draws)"
    if line["runs_done"] == line["runs_planned"]:
        return f"{line['runs_done']}{unit}"
    if line["runs_done"] == 0:
        return f"0 of {line['runs_planned']}{unit}"
    others = ", ".join(state for state in line["states"].split("; ") if not state.endswith(f" {DONE}"))
    return f"{line['runs_done']} of {line['runs_planned']}{unit} ({others})"


def state_of(line: pd.Series) -> str:
    """What stands in a row without figures: where its trials are."""
    return line["states"].removeprefix("1 ") if line["runs_planned"] == 1 else line["states"]


def state_and_reason(line: pd.Series) -> str:
    text = f"{state_of(line)}: {line['reasons']}" if line["reasons"] else state_of(line)
    return textwrap.shorten(text, 80, placeholder=" …")


def mean_and_sd(mean: float, sd: float) -> str:
    if pd.isna(mean):
        return MISSING
    return f"{mean:.2f}" if pd.isna(sd) else f"{mean:.2f} ± {sd:.2f}"


def number(value: float, digits: int = 2) -> str:
    if pd.isna(value):
        return MISSING
    text = f"{value:.{digits}f}"
    return text.replace("-", "−" if float(text) else "")  # no minus before a zero


def signed(value: float, digits: int = 2) -> str:
    return MISSING if pd.isna(value) else f"{value:+.{digits}f}".replace("-", "−")


def ranks(means: pd.Series, larger_is_better: bool) -> dict:
    """{index: 1 or 2} for the best and second best as printed, where there is anything to choose from."""
    means = means.astype(float).round(2).dropna()
    if len(means) < 2:
        return {}
    places = means.rank(method="dense", ascending=not larger_is_better).astype(int)
    return places[places <= 2].to_dict()
