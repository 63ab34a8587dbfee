"""What the page says of an experiment in words and tables, as plain unescaped text; the template lays it out."""

from collections.abc import Callable, Mapping
from functools import partial

import pandas as pd

from benchmark.records.case_values import CHECKPOINT
from benchmark.records.states import NOT_RUN
from reports.durations import duration
from reports.measures import all_measures, nsd, with_rows
from reports.page.viewer_cases import Packed, Shown
from reports.results import Results, trained
from reports.tables.formats import MISSING, number, p_value
from reports.tables.long import means_frame, nsd_name
from reports.tables.table import Block, Column, rows_of

POSTPROCESSING = {"none": "as predicted", "largest_component": "largest component alone"}


def origin(results: Results) -> str:
    """When the runs were trained, with which code, and how the page is made again; what is not known is left out."""
    known = results.provenance
    days = sorted(str(time)[:10] for time in known.get("started", pd.Series(dtype=object)).dropna())
    parts = [f"Trained {days[0]}" + (f" to {days[-1]}" if days[-1] != days[0] else "")] if days else []
    if "git_revision" in known:
        dirty = known.get("git_dirty", pd.Series(False, known.index)).eq(True)
        found = [
            f"{str(revision)[:7]}{' with changes' if changed else ''}"
            for revision, changed in zip(known["git_revision"], dirty, strict=True)
            if isinstance(revision, str)
        ]
        counts = pd.Series(found, dtype=object).value_counts()
        if len(counts):
            more = f" and {len(counts) - 1} more" if len(counts) > 1 else ""
            parts.append(f"code revision {counts.index[0]}{more}")
    parts.append("to make this page again: run_benchmark.py report DIR")
    text = "; ".join(parts) + "."
    return text[0].upper() + text[1:]


def details(results: Results) -> dict[int, dict]:
    """{number of a row: its facts and runs, with the provenance of each run}"""
    found = {}
    for row, group in with_rows(results.cells).groupby("row", sort=False):
        first = group.iloc[0]
        facts = {
            "Method": first["method"],
            "Source": f"{first['source']} ({first['year']})",
            "Fidelity": first["fidelity"],
            "Variant": first["variant"],
            "Settings": "" if first["settings"] == "{}" else first["settings"],
            "Not as published": "; ".join(first["unpublished"]),
            "Role": first["role"],
        }
        runs = [_run(cell, results.provenance) for cell in group.to_dict("records")]
        found[row] = {"facts": [(name, text) for name, text in facts.items() if text], "runs": runs}
    return found


def _run(cell: dict, provenance: pd.DataFrame) -> dict[str, str]:
    known = provenance.loc[cell["trial"]].dropna().to_dict() if cell["trial"] in provenance.index else {}
    packages = known.get("packages")
    versions = {"python": known.get("python")} | (packages if isinstance(packages, dict) else {})

    def measured(key: str, text) -> str:
        return text(known[key]) if isinstance(known.get(key), int | float) else ""

    texts = {
        "Seed": str(cell["seed"]),
        "Draw": str(cell["draw"]),
        "State": cell["state"] + (f": {cell['reason']}" if cell["reason"] else "") + _fate(cell),
        "Started": str(known.get("started", "")).replace("T", " ").replace("+00:00", " UTC"),
        "Training": measured("seconds_training", duration),
        "Inference a case": measured("inference_seconds_per_case", duration),
        "Peak memory": measured("peak_memory_bytes", lambda size: f"{size / 2**30:.2f} GiB"),
        "Device": str(known.get("device", "")),
        "Trials sharing it": measured("trials_sharing_the_machine", "{:.0f}".format),
        "Host": str(known.get("host", "")),
        "Revision": str(known.get("git_revision", ""))[:12] + (" with changes" if known.get("git_dirty") else ""),
        "Versions": ", ".join(f"{name} {version}" for name, version in versions.items() if version),
        "Labels opened": cell["peeked"],
        "Record": cell["trial"],
    }
    return {name: text or MISSING for name, text in texts.items()}


def _fate(cell: dict) -> str:
    """What a reader must know of the values of a run."""
    if cell["worst"]:
        return "; counts with the worst values"
    return f"; collapsed: {cell['collapsed']}" if cell["collapsed"] else ""


def protocol_of(results: Results) -> list[tuple[str, list[tuple[str, str]]]]:
    """The plan's three blocks, key by key."""
    return [
        (name.capitalize(), [(key.replace("_", " "), _plain(value)) for key, value in block.items()])
        for name, block in results.plan.model_dump(mode="json", include={"data", "training", "evaluation"}).items()
    ]


def _plain(value) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: MISSING}[value]
    if isinstance(value, dict):
        return ", ".join(f"{key.replace('_', ' ')} {_plain(item)}" for key, item in value.items()) or MISSING
    return "×".join(map(_plain, value)) if isinstance(value, list) else str(value)


def _columns(format: Callable, **labels: str) -> list[Column]:
    return [Column(key, label, format, numeric=format is not str) for key, label in labels.items()]


COUNT = partial(number, digits=0)
METHOD = _columns(str, display="Method") + _columns(COUNT, labelled="Labelled", unlabelled="Unlabelled")
MEASURES = [
    *METHOD,
    Column("postprocessing", "Predictions", POSTPROCESSING.get, numeric=False),
    *_columns(str, structure="Structure", measure="Measure", unit="Unit"),
    *_columns(number, mean="Mean", sd="SD"),
    *_columns(COUNT, n="Cases"),
    *_columns(number, seed_sd="SD of seeds"),
    *_columns(COUNT, runs="Runs"),
]
STATISTICS = [
    *METHOD,
    *_columns(str, structure="Structure", measure="Measure"),
    *_columns(COUNT, runs="Runs", cases="Cases"),
    *_columns(number, difference="Reference − row", cases_low="95 % from", cases_high="to", cases_dz="dz"),
    *_columns(p_value, cases_p="p, t-test over cases", cases_p_holm="Holm", wilcoxon_p="p, Wilcoxon",
              wilcoxon_p_holm="Holm"),
    Column("seeds_p", "p, seed-aware", line=lambda line: _reason(line) or p_value(line["seeds_p"])),
    *_columns(p_value, seeds_p_holm="Holm", equivalence_p="p, equivalence", equivalence_p_holm="Holm"),
    Column("verdict", "Verdict", lambda text: MISSING if pd.isna(text) else text, numeric=False),
    Column("reference_better", "Reference better [%]", lambda share: number(100 * share, 0)),
    *_columns(number, seeds_low="95 % from", seeds_high="to", bootstrap_low="Bootstrap from", bootstrap_high="to",
              cases_detectable="Detectable over cases", seeds_detectable="Detectable over seeds",
              mean_case_rank="Mean rank in cases"),
    *_columns(p_value, friedman_p="p, Friedman", nemenyi_p="p, Nemenyi"),
]  # fmt: skip


def _reason(line: dict) -> str:
    """Why there is no seed-aware p, in short."""
    return "" if pd.isna(line["seeds_reason"]) else line["seeds_reason"].partition(":")[0]


def measures_block(results: Results) -> Block:
    """Every measure and unit under every postprocessing, a line each; structures apart."""
    known = pd.DataFrame([(m.metric, m.unit, m.title, m.shown_unit, m.factor) for m in all_measures(results)],
                         columns=["metric", "unit", "measure", "shown_unit", "factor"])  # fmt: skip
    known["metric"] = known["metric"].replace(nsd(results).metric, nsd_name(results))
    frame = means_frame(results)
    frame = frame[frame["checkpoint"] == CHECKPOINT].merge(known, on=["metric", "unit"])
    figures = frame[["mean", "sd", "seed_sd"]].mul(frame["factor"], axis=0)
    frame = frame.assign(unit=frame["shown_unit"], **figures)
    columns = _structure_where_several(MEASURES, results)
    return Block("All measures", columns, rows_of(columns, frame))


def statistics_block(results: Results, frame: pd.DataFrame) -> Block:
    """The tests of every row against the reference, as `reports.tables.Tables` has them."""
    labels = {measure.name: measure.label for measure in all_measures(results)}
    frame = frame.assign(measure=frame["measure"].replace(labels))
    columns = _structure_where_several(STATISTICS, results)
    return Block("Statistics", columns, rows_of(columns, frame))


def _structure_where_several(columns: list[Column], results: Results) -> list[Column]:
    return [column for column in columns if column.key != "structure" or results.plan.data.classes > 1]


def filters(block: Block, chosen: Mapping[str, str]) -> list[dict]:
    """What a reader can choose of a block: {label of a column: what is chosen at first, "" for everything}."""
    return [
        {"label": column.label, "column": block.on_page.index(place), "chosen": chosen[column.label],
         "options": list(dict.fromkeys(row.cells[place].text for row in block.rows))}
        for place, column in enumerate(block.columns)
        if column.label in chosen
    ]  # fmt: skip


def notes_on_cases(results: Results, shown: Shown, pictures: Packed) -> list[str]:
    """What the case viewer shows and what it lacks."""
    notes = [_choice(shown)]
    if shown.trials:
        notes[0] += " Cases are sorted by their mean Dice over all runs, the hardest first."
    unfinished = results.cells[~trained(results.cells) & results.cells["state"].ne(NOT_RUN)]
    if len(unfinished):
        planned = results.cells.groupby("display").size()
        counts = unfinished.groupby(["display", "state"], sort=False).size()
        named = [
            f"{f'{count} of {planned[name]} runs of ' * bool(count < planned[name])}{name} ({state})"
            for (name, state), count in counts.items()
        ]
        notes.append(f"Without results: {', '.join(named)}.")
    if not results.pictures:
        notes.append("There are no images of test cases here.")
    if pictures.one_run:
        notes.append("To limit the page's size, pictures are of one run for each number of labelled cases.")
    if pictures.left_out:
        of_cases = len(pictures.cases)
        notes.append(
            f"Of {of_cases + pictures.left_out} cases with pictures the {of_cases} hardest are on this page, to limit "
            "its size."
        )
    return notes


def _choice(shown: Shown) -> str:
    """What a reader sees at first, and what there is to choose from."""
    if not shown.views:
        return "No method has finished yet."
    first = shown.views[shown.first]
    sentence = f"Shown: {first.budget} labelled cases, {first.run}."
    if len(shown.views) > 1:
        sentence = f"Shown at first: {first.budget} labelled cases, {first.run}. Choose others above the map."
    if any(view.replaced for view in shown.views):
        sentence += " A method without the chosen run shows its first finished one, and its label says so."
    return sentence
