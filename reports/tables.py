"""Writes the comparison table of a results folder as Markdown, LaTeX and CSV."""

import re
import textwrap
from pathlib import Path

import jinja2
import pandas as pd

from reports import published
from reports.comparison import PUBLISHED, comparison
from reports.results import DONE, NOT_RUN, Results, read_results

SHOWN = ("dice_percent", "jaccard_percent", "asd_voxel", "hd95_voxel")
LARGER_IS_BETTER = ("dice_percent", "jaccard_percent")
HEADER = ["Method", "Labelled", "Unlabelled", "Dice [%]", "Jaccard [%]", "ASD [voxel]", "95HD [voxel]",
          "Seeds", "Cases", "Empty"]  # fmt: skip
POSTPROCESSING = {"none": "no postprocessing", "largest_component": "only the largest connected component kept"}
EMPTY_POLICY = {
    "worst": "an empty prediction scores the image diagonal as each of its distances",
    "exclude": "the distances of an empty prediction are left out of the means",
}
MISSING = "–"


def write_report(folder: Path | str, stale: dict[str, str] | None = None) -> Path:
    """Write DIR/report/tables/comparison.{md,csv,tex} for the results folder DIR and return DIR/report.

    `stale`: {trial: reason} of the records that the code of today might not give; their rows are marked.
    The same folder gives the same bytes. ReportError where the folder cannot be reported on.
    """
    results = read_results(folder, stale)
    frame = comparison(results)
    page = layout(results, frame)
    tables = Path(folder) / "report" / "tables"
    tables.mkdir(parents=True, exist_ok=True)
    for suffix, text in (("md", markdown(page)), ("csv", as_csv(frame)), ("tex", latex(page))):
        (tables / f"comparison.{suffix}").write_text(text, encoding="utf-8", newline="\n")
    return tables.parent


def as_csv(frame: pd.DataFrame) -> str:
    """The whole frame, plain numbers, one row a method and budget."""
    return frame.to_csv(index=False, lineterminator="\n", float_format="%.10g")


def markdown(page: dict) -> str:
    """A page of `layout` as GitHub Markdown."""
    return _render("comparison.md", page, _escape_markdown)


def latex(page: dict) -> str:
    """A page of `layout` as LaTeX tables, to be input into a document with booktabs and graphicx."""
    return _render("comparison.tex", page, _escape_latex)


def layout(results: Results, frame: pd.DataFrame) -> dict:
    """What both text forms show, as plain unescaped text.

    title; blocks: one a labelled budget with its heading, header and rows, the ceilings last in each; notes;
    literature: the numbered sources. A row has cells and whether a rule goes before it; a cell has text, rank (1 best,
    2 second best, 0 otherwise) and span (how many columns it fills).
    """
    plan = results.plan
    ceilings = frame[frame["role"] == "ceiling"]
    others = frame[frame["role"] != "ceiling"]
    blocks = list(others.groupby("labelled"))
    if not blocks and len(ceilings):
        blocks = [(None, others)]
    literature = sorted(frame["published_source"].dropna().unique())
    return {
        "title": plan["title"] or plan["experiment"],
        "blocks": [_block(labelled, rows, ceilings, literature, plan) for labelled, rows in blocks],
        "notes": _notes(results, frame),
        "literature": literature,
    }


def _block(labelled, rows: pd.DataFrame, ceilings: pd.DataFrame, literature: list[str], plan: dict) -> dict:
    postprocessing = plan["evaluation"]["postprocessing"]
    ranks = {measure: _ranks(rows[f"{measure}_{postprocessing}_mean"], measure) for measure in SHOWN}
    reference = rows["reference"].dropna().unique()
    header = list(HEADER)
    if literature:
        header.append("Published Dice / Jaccard / ASD / 95HD")
    if len(reference):
        header += [f"Dice of {reference[0]} − row [95 % interval]", "p", "p (Holm)"]
    lines = []
    for group in (rows[rows["role"] == "floor"], rows[rows["role"] != "floor"], ceilings):
        for position, (number, row) in enumerate(group.iterrows()):
            cells = _method_cells(row, {m: ranks[m].get(number, 0) for m in SHOWN}, postprocessing)
            if literature:
                cells.append(_cell(_published_text(row, literature)))
            if len(reference):
                cells += [_cell(text) for text in _test_texts(row)]
            lines.append({"cells": cells, "rule": position == 0 and bool(lines)})
    heading = "All cases labelled" if labelled is None else f"{labelled} labelled cases"
    return {"heading": heading, "header": header, "rows": lines}


def _cell(text, rank: int = 0, span: int = 1) -> dict:
    return {"text": str(text), "rank": rank, "span": span}


def _method_cells(row: pd.Series, ranks: dict, postprocessing: str) -> list[dict]:
    mark = "†" * (row["fidelity"] == "reconstruction") + "§" * (row["stale"] > 0)
    cells = [_cell(row["display"] + mark), _cell(row["labelled"]), _cell(row["unlabelled"])]
    if row["runs_done"] == 0:
        state = row["states"].removeprefix("1 ") if row["runs_planned"] == 1 else row["states"]
        text = f"{state}: {row['reasons']}" if row["reasons"] else state
        return [*cells, _cell(textwrap.shorten(text, 80, placeholder=" …"), span=len(SHOWN)),
                _cell(_seeds_text(row)), _cell(MISSING), _cell(MISSING)]  # fmt: skip
    for measure in SHOWN:
        prefix = f"{measure}_{postprocessing}"
        cells.append(_cell(_mean_text(row[f"{prefix}_mean"], row[f"{prefix}_std"]), ranks[measure]))
    empty = int(row[f"empty_{postprocessing}"])
    return [
        *cells,
        _cell(_seeds_text(row)),
        _cell(int(row[f"dice_percent_{postprocessing}_cases"])),
        _cell(f"{empty} of {int(row['predictions'])}" if empty else "0"),
    ]


def _ranks(means: pd.Series, measure: str) -> dict:
    """{row: 1 or 2} for the best and second best as printed, where there is anything to choose from."""
    means = means.astype(float).round(2).dropna()
    if len(means) < 2:
        return {}
    ranks = means.rank(method="dense", ascending=measure not in LARGER_IS_BETTER).astype(int)
    return ranks[ranks <= 2].to_dict()


def _mean_text(mean: float, std: float) -> str:
    if pd.isna(mean):
        return MISSING
    return f"{mean:.2f}" if pd.isna(std) else f"{mean:.2f} ± {std:.2f}"


def _seeds_text(row: pd.Series) -> str:
    draws = len(row["draws"].split())
    unit = "seeds" if draws == 1 else f"runs ({draws} draws)"
    if row["runs_done"] < row["runs_planned"]:
        return f"{row['runs_done']} of {row['runs_planned']} {unit}"
    return f"{row['runs_done']}" if draws == 1 else f"{row['runs_done']} {unit}"


def _published_text(row: pd.Series, literature: list[str]) -> str:
    if pd.isna(row["published_source"]):
        return MISSING
    figures = " / ".join(
        MISSING if pd.isna(row[f"published_{name}"]) else f"{row[f'published_{name}']:.2f}" for name in PUBLISHED
    )
    theirs = (int(row["published_labelled"]), int(row["published_unlabelled"]))
    budget = "" if theirs == (row["labelled"], row["unlabelled"]) else f" ({theirs[0]}/{theirs[1]})"
    mark = "" if row["published_comparable"] else " ‡"
    return f"{figures}{budget} [{literature.index(row['published_source']) + 1}]{mark}"


def _test_texts(row: pd.Series) -> list[str]:
    if pd.isna(row["difference"]):
        return [MISSING if pd.isna(row["reference"]) else "reference", MISSING, MISSING]
    low, high = row["difference_low"], row["difference_high"]
    interval = "" if pd.isna(low) else f" [{_signed(low)}, {_signed(high)}]"
    return [_signed(row["difference"]) + interval, _p_text(row["p"]), _p_text(row["p_holm"])]


def _signed(number: float) -> str:
    return f"{number:+.2f}".replace("-", "−")


def _p_text(p: float) -> str:
    if pd.isna(p):
        return MISSING
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def _notes(results: Results, frame: pd.DataFrame) -> list[str]:
    plan, cells = results.plan, results.cells
    data, training, evaluation = plan["data"], plan["training"], plan["evaluation"]
    spacing = published.times(data["native_spacing"]) + " mm"
    if not published.native(data):
        spacing = f"trained at {data['spacing']:g} mm, scored on the cases' own grid of {spacing}"
    structures = "1 structure" if data["classes"] == 1 else f"mean over {data['classes']} structures"
    notes = [
        f"Data: {data['name']}, {data['train']} training and {data['test']} test cases, split {data['split']} "
        f"(hash {data['split_hash']}), {spacing}, {structures}.",
        f"Training: {training['iterations']} iterations, batch of {training['batch_size']}, patches of "
        f"{published.times(training['patch'])} voxels, V-Net with {training['width']} filters, learning rate "
        f"{training['learning_rate']:g}, augmentation {training['augmentation']}, {training['precision']}.",
        f"Evaluation: last checkpoint, sliding window with stride {published.times(evaluation['stride'])}, "
        f"{POSTPROCESSING[evaluation['postprocessing']]}; {EMPTY_POLICY[evaluation['empty']]}. "
        "ASD is directed, from prediction to truth; ASD and 95HD are in voxels of the cases' own grid.",
        "± is the standard deviation over test cases (each first averaged over its seeds), not over seeds.",
        _counts_note(cells, frame, evaluation["postprocessing"]),
    ]
    if frame["reference"].notna().any():
        notes.append(
            "p: two-sided paired t-test over cases on Dice, of the named method against the row, raw and "
            "Holm-corrected over the rows of one budget. It compares trained checkpoints, not methods: it does not "
            "know how much a method varies from seed to seed."
        )
        notes += [f"No test against {row['display']} ({row['labelled']} labelled): {row['test_reason']}."
                  for _, row in frame.iterrows() if row["test_reason"] and pd.notna(row["test_reason"])]  # fmt: skip
    notes.append("Bold: best of a budget; underlined: second best; rows with all cases labelled compete with nobody.")
    if frame["fidelity"].eq("reconstruction").any():
        notes.append("† Reconstruction: parts that the method's description leaves open were filled in.")
    reasons = [reason for text in frame["published_differences"].dropna() for reason in text.split("; ") if reason]
    if reasons:
        notes.append(f"‡ Published figure not comparable with ours: {'; '.join(dict.fromkeys(reasons))}.")
    if data["name"] != published.literature()["data"]:
        notes.append(f"No published figures are shown: they are for {published.literature()['data']}.")
    if results.strays:
        notes.append(f"{len(results.strays)} records in this folder belong to no planned cell and are left out.")
    notes += [f"§ Stale: {reason}; `run --rerun stale` makes these records again."
              for reason in dict.fromkeys(cells["stale"]) if reason]  # fmt: skip
    return notes + [_cell_note(cell) for _, cell in cells.iterrows() if cell["state"] not in (DONE, NOT_RUN)]


def _counts_note(cells: pd.DataFrame, frame: pd.DataFrame, postprocessing: str) -> str:
    states = cells["state"].value_counts(sort=False)
    counts = ", ".join(f"{count} {state}" for state, count in states.items()) or "none"
    empty, predictions = frame[f"empty_{postprocessing}"].sum(), frame["predictions"].sum()
    return f"Of {len(cells)} planned trials: {counts}. Empty predictions: {int(empty)} of {int(predictions)}."


def _cell_note(cell: pd.Series) -> str:
    draw = "" if cell["draw"] == "first" else f", draw {cell['draw']}"
    reason = f": {cell['reason']}" if cell["reason"] else ""
    return f"{cell['display']}, {cell['labelled']} labelled{draw}, seed {cell['seed']}: {cell['state']}{reason}."


def _render(template: str, page: dict, escape) -> str:
    # escaping is the environment's: whatever a template prints goes through it, so no template can forget
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        finalize=escape,
        undefined=jinja2.StrictUndefined,
        block_start_string="<%", block_end_string="%>",
        variable_start_string="<<", variable_end_string=">>",
        comment_start_string="<#", comment_end_string="#>",
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    return environment.get_template(template).render(page)


def _escape_markdown(value) -> str:
    text = " ".join(str(value).split())
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|~$#])", r"\\\1", text)


LATEX = {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}",
    # after the \\ of a table row, [ would start a length and * a starred form
    "[": "{[}", "]": "{]}", "*": "{*}",
    "±": r"$\pm$", "×": r"$\times$", "−": "$-$",
    "–": "--", "—": "---", "’": "'", "…": r"\ldots{}", "†": r"$^\dagger$", "§": r"\S{}", "‡": r"$^\ddagger$",
} | {character: "\\" + character for character in "&%$#_{}"}  # fmt: skip


def _escape_latex(value) -> str:
    text = " ".join(str(value).split())
    return "".join(LATEX.get(character) or _latex_character(character) for character in text)


def _latex_character(character: str) -> str:
    # pdflatex stops at characters its fonts lack: beyond Latin letters, name the code point instead
    return character if character < "\u0180" else f"{{[}}U+{ord(character):04X}{{]}}"
