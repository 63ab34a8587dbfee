"""What the page says of an experiment in words and tables, as plain unescaped text; the template lays it out."""

import re
from collections.abc import Mapping, Sequence

import pandas as pd

from reports.page.viewer_cases import Shown
from reports.published import millimetres, native, own_grid, times
from reports.results import CHECKPOINT, DONE, FOREIGN, NOT_RUN, Results
from reports.scores import ALL, with_rows
from reports.tables.cost import duration
from reports.tables.long import long_frame

MISSING = "–"
POSTPROCESSING = {"none": "as predicted", "largest_component": "largest component alone"}
METRICS = {"dice": "Dice", "jaccard": "Jaccard", "asd": "ASD", "hd95": "95HD", "assd": "ASSD"}
PERCENT = ("dice", "jaccard")
TEXTS = ("Method", "Predictions", "Measure", "Unit")
FILTERED = ("Labelled", "Predictions", "Structure", "Measure", "Unit")
# columns of reports.significance that are shown, and how many digits they have; P for probabilities
P = -1
STATISTICS = {
    "display": ("Method", 0), "labelled": ("Labelled", 0), "unlabelled": ("Unlabelled", 0), "measure": ("Measure", 0),
    "runs": ("Runs", 0), "cases": ("Cases", 0), "difference": ("Reference − row", 2),
    "cases_low": ("95 % from", 2), "cases_high": ("to", 2), "cases_dz": ("dz", 2),
    "cases_p": ("p, t-test over cases", P), "cases_p_holm": ("Holm", P),
    "wilcoxon_p": ("p, Wilcoxon", P), "wilcoxon_p_holm": ("Holm", P),
    "seeds_p": ("p, seed-aware", P), "seeds_p_holm": ("Holm", P), "seeds_low": ("95 % from", 2),
    "seeds_high": ("to", 2),
    "bootstrap_low": ("Bootstrap from", 2), "bootstrap_high": ("to", 2),
    "cases_detectable": ("Detectable over cases", 2), "seeds_detectable": ("Detectable over seeds", 2),
    "mean_case_rank": ("Mean rank in cases", 2), "friedman_p": ("p, Friedman", P), "nemenyi_p": ("p, Nemenyi", P),
}  # fmt: skip
RUNS = ("Seed", "Draw", "State", "Started", "Training", "Inference a case", "Peak memory", "Device",
        "Trials sharing it", "Host", "Revision", "Versions", "Record")  # fmt: skip


def lead(results: Results) -> str:
    """What was compared, under which protocol: two sentences."""
    plan, cells = results.plan, results.cells
    data, training, evaluation = plan["data"], plan["training"], plan["evaluation"]
    methods = cells[cells["role"] != "ceiling"]
    count = len(methods.drop_duplicates("display"))
    budgets = " or ".join(str(labelled) for labelled in sorted(methods["labelled"].unique()))
    seeds = cells.loc[cells["fidelity"] != FOREIGN, "seed"].nunique()
    spacing = "" if native(data) else f" at {millimetres(data['spacing'])} mm"
    what = (
        f"{count} row{'s' * (count != 1)} of methods and settings with {budgets} labelled cases" if count else "Nothing"
    )
    return (
        f"{what} of {data['train']} training cases of {data['name']}, {'one seed' if seeds == 1 else f'{seeds} seeds'}"
        f", {'is' if count == 1 else 'are'} compared on the same {data['test']} test cases. "
        f"Each is trained for {training['iterations']} iterations with batches of {training['batch_size']} patches of "
        f"{times(training['patch'])} voxels{spacing} on one V-Net of {training['width']} filters, and its last "
        f"checkpoint is scored on the cases' own grid {own_grid(data)}, "
        + ("predictions as they are" if evaluation["postprocessing"] == "none" else "largest component alone")
        + ", no checkpoint being selected on test cases."
    )


def block_grid(table_id: str, block: Mapping, details: Mapping) -> dict:
    """A block of a page of `reports.tables` as a sortable table; `details` by `row_key`, for the rows to unfold."""
    rows = []
    for number, row in enumerate(block["rows"]):
        cells = [
            {"text": text, "rank": cell["rank"], "order": _number_in(text)}
            for cell in row["cells"]
            for text in _spread(cell)
        ]
        detail = details.get(row_key(*(cell["text"] for cell in cells[:3])))
        detail = detail and detail | {"id": f"{table_id}-detail-{number}"}
        rows.append({"cells": cells, "rule": row["rule"], "detail": detail})
    columns = [{"name": name, "numeric": _numeric(rows, place)} for place, name in enumerate(block["header"])]
    return {
        "id": table_id, "label": block["heading"], "columns": columns, "rows": rows, "filters": [],
        "notes": block["notes"],
    }  # fmt: skip


def _spread(cell: Mapping) -> list[str]:
    """A cell over several columns as one text and dashes: a table that sorts has a cell in every column."""
    text = cell["text"] if cell["span"] == 1 else cell["text"].partition(":")[0]
    return [text] + [MISSING] * (cell["span"] - 1)


def _number_in(text: str) -> str:
    """The number a printed cell begins with, for sorting; "" where there is none."""
    match = re.match(r"([<>≈]?)([+−-]?\d+(?:\.\d+)?(?:e[+-]?\d+)?)", text)
    if match is None:
        return ""
    number = float(match[2].replace("−", "-"))
    return repr(number - 1e-9 if match[1] == "<" else number)


def _numeric(rows: Sequence[Mapping], place: int) -> bool:
    """Whether a column is of numbers, for the most part."""
    cells = [row["cells"][place] for row in rows if row["cells"][place]["text"] != MISSING]
    return place > 0 and (not cells or 2 * sum(cell["order"] != "" for cell in cells) > len(cells))


def row_key(display: str, *budget) -> tuple[str, ...]:
    """What tells rows of the comparison apart, whatever marks follow a method's name; budget: labelled, unlabelled."""
    return display.rstrip("†‡§ "), *map(str, budget)


def details(results: Results) -> dict:
    """{row_key: method, protocol and runs of that row, with the provenance of each run}"""
    cells = with_rows(results.cells)
    protocol = [(name, "; ".join(f"{key} {value}" for key, value in pairs)) for name, pairs in protocol_of(results)]
    found: dict = {}
    for _, group in cells.groupby("row", sort=False):
        first = group.iloc[0]
        key = row_key(first["display"], first["labelled"], first["unlabelled"])
        runs = [_run(cell, results.provenance) for _, cell in group.iterrows()]
        if key in found:  # rows that differ in what the table does not print
            found[key]["runs"]["rows"] += runs
            continue
        facts = {
            "Method": first["method"],
            "Source": f"{first['source']} ({first['year']})",
            "Fidelity": first["fidelity"],
            "Variant": first["variant"],
            "Settings": "" if first["settings"] == "{}" else first["settings"],
            "Not as published": "; ".join(first["unpublished"]),
            "Role": first["role"],
        }
        found[key] = {
            "facts": [(name, text) for name, text in facts.items() if text],
            "protocol": protocol,
            "runs": {"header": RUNS, "rows": runs},
        }
    return found


def _run(cell: pd.Series, provenance: pd.DataFrame) -> list[str]:
    known = provenance.loc[cell["trial"]].dropna().to_dict() if cell["trial"] in provenance.index else {}
    reasons = "; ".join(text for text in (cell["reason"], cell["stale"] and f"stale: {cell['stale']}") if text)
    revision = str(known.get("git_revision", ""))[:12] + (" with changes" if known.get("git_dirty") else "")
    packages = known.get("packages")
    versions = {"python": known.get("python")} | (packages if isinstance(packages, dict) else {})
    memory = known.get("peak_memory_bytes")
    return [
        text or MISSING
        for text in (
            str(cell["seed"]),
            str(cell["draw"]),
            cell["state"] + (f": {reasons}" if reasons else ""),
            str(known.get("started", "")).replace("T", " ").replace("+00:00", " UTC"),
            _duration(known.get("seconds_training")),
            _duration(known.get("inference_seconds_per_case")),
            f"{memory / 2**30:.2f} GiB" if isinstance(memory, int | float) else "",
            str(known.get("device", "")),
            _count(known.get("trials_sharing_the_machine")),
            str(known.get("host", "")),
            revision,
            ", ".join(f"{name} {version}" for name, version in versions.items() if version),
            cell["trial"],
        )
    ]


def _count(value) -> str:
    return f"{value:.0f}" if isinstance(value, int | float) else ""


def _duration(seconds) -> str:
    return duration(seconds) if isinstance(seconds, int | float) else ""


def protocol_of(results: Results) -> list[tuple[str, list[tuple[str, str]]]]:
    """The plan's three blocks, key by key."""
    return [
        (block.capitalize(), [(key.replace("_", " "), _plain(value)) for key, value in results.plan[block].items()])
        for block in ("data", "training", "evaluation")
    ]


def _plain(value) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: MISSING}[value]
    if isinstance(value, dict):
        return ", ".join(f"{key.replace('_', ' ')} {_plain(each)}" for key, each in value.items()) or MISSING
    return "×".join(map(_plain, value)) if isinstance(value, list) else str(value)


def measures_grid(results: Results, table_id: str) -> dict:
    """Every measure and unit under every postprocessing, a line each; structures apart."""
    frame = long_frame(results)
    frame = frame[(frame["checkpoint"] == CHECKPOINT) & frame["metric"].isin(METRICS)]
    header = ("Method", "Labelled", "Unlabelled", "Predictions", "Structure", "Measure", "Unit", "Mean", "SD", "Cases",
              "SD of seeds", "Runs")  # fmt: skip
    rows = []
    for line in frame.to_dict("records"):
        factor = 100.0 if line["metric"] in PERCENT else 1.0
        rows.append(
            [_text(line["display"]), _value(line["labelled"]), _value(line["unlabelled"])]
            + [_text(POSTPROCESSING[line["postprocessing"]]), _value(line["class"])]
            + [_text(METRICS[line["metric"]]), _text(line["unit"] or "%")]
            + [_value(line["mean"] * factor, 2), _value(line["sd"] * factor, 2), _value(line["n"])]
            + [_value(line["seed_sd"] * factor, 2), _value(line["runs"])]
        )
    shown = [name for name in header if name != "Structure" or results.plan["data"]["classes"] > 1]
    rows = [[cell for name, cell in zip(header, row, strict=True) if name in shown] for row in rows]
    chosen = {"Predictions": POSTPROCESSING[results.plan["evaluation"]["postprocessing"]]}
    return {
        "id": table_id,
        "label": "All measures",
        "columns": [{"name": name, "numeric": name not in TEXTS} for name in shown],
        "rows": [{"cells": row, "rule": False, "detail": None} for row in rows],
        "filters": [
            {"label": name, "column": place, "chosen": chosen.get(name, ""),
             "options": list(dict.fromkeys(row[place]["text"] for row in rows))}
            for place, name in enumerate(shown)
            if name in FILTERED
        ],
        "notes": [],
    }  # fmt: skip


def statistics_grid(frame: pd.DataFrame, table_id: str) -> dict:
    """The tests of every row against the reference, as `reports.significance` has them."""
    shown = [name for name in STATISTICS if name in frame]
    frame = frame.assign(measure=frame["measure"].replace({measure.name: measure.label for measure in ALL}))
    texts = ("display", "measure")
    rows = [
        [_text(line[name]) if name in texts else _value(line[name], STATISTICS[name][1]) for name in shown]
        for line in frame.to_dict("records")
    ]
    for row, reason in zip(rows, frame["seeds_reason"].astype(object).fillna(""), strict=True):
        if reason:  # why there is no such p
            row[shown.index("seeds_p")]["text"] = reason.partition(":")[0]
    measure = {"label": "Measure", "column": shown.index("measure"), "chosen": "",
               "options": list(dict.fromkeys(frame["measure"]))}  # fmt: skip
    return {
        "id": table_id,
        "label": "Statistics",
        "columns": [{"name": STATISTICS[name][0], "numeric": name not in texts} for name in shown],
        "rows": [{"cells": row, "rule": False, "detail": None} for row in rows],
        "filters": [measure],
        "notes": [],
    }


def _text(value) -> dict:
    text = MISSING if pd.isna(value) else str(value)
    return {"text": text, "order": _number_in(text), "rank": 0}


def _value(value, digits: int = 0) -> dict:
    if pd.isna(value):
        return {"text": MISSING, "order": "", "rank": 0}
    text = f"{value:.{3 if digits == P else digits}f}".replace("-", "−")
    return {"text": "<0.001" if digits == P and value < 0.001 else text, "order": repr(float(value)), "rank": 0}


def notes_on_cases(results: Results, shown: Shown, packed: Mapping, left_out: int) -> list[str]:
    """What the case viewer shows and what it lacks."""
    notes = [shown.sentence]
    if shown.trials:
        notes[0] += " Cases are in the order of their mean Dice over these methods, the hardest on the left."
    unfinished = results.cells[~results.cells["state"].isin([DONE, NOT_RUN])]
    if len(unfinished):
        named = dict.fromkeys(f"{cell['display']} ({cell['state']})" for _, cell in unfinished.iterrows())
        notes.append(f"Without figures: {', '.join(named)}.")
    if not results.pictures:
        notes.append("There is no picture of a test case here.")
    elif left_out:
        notes.append(
            f"Of {len(packed) + left_out} cases with pictures the {len(packed)} hardest are on this page; with more it "
            "would become too large."
        )
    return notes
