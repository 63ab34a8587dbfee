"""What a table says of runs that collapsed, diverged or failed."""

import pandas as pd

from benchmark.records import collapse
from benchmark.records.states import DIVERGED, FAILED
from reports.measures import empty_predictions, held_back, structure_names, with_rows
from reports.results import Results, external, is_left_out, trained
from reports.tables.formats import FAULT

BY_LOSS = " or ".join(f"{name} below {limit:g}" for name, limit in collapse.DEAD_BELOW.items())
RULE = (
    f"Collapsed, though it ended without an error: a run whose network is dead (median of {BY_LOSS} over the last "
    f"tenth of its steps, or by a loss that its method declares), or whose Dice lies more than "
    f"{collapse.FAR_BELOW:g} points below the median of its row, which must have at least {collapse.FEWEST} runs."
)
COLLAPSED = (
    f"{FAULT} A run that collapsed without an error is a result and counts like any other. The comparison has the rule "
    "and names such runs."
)
WORST = (
    f"{FAULT} A run that diverged is a result. It counts in means, tests and ranks as a prediction that finds nothing: "
    "Dice, Jaccard and NSD 0, the image diagonal as each distance, a volume error of −100 % "
    "(evaluation.diverged: worst)."
)
SHAPES_UNKNOWN = (
    "The distances of diverged runs are not known here, because a plan of an earlier version lacks the shapes of test "
    "cases: `run` the experiment again, which renews it without training."
)
LEFT_OUT = (
    "Rows that lack such a run have no star, no bold figure and no rank. In brackets: the mean in which it counts as a "
    "prediction that finds nothing."
)
DIVERGED_OUT = f"{FAULT} Runs that diverged are left out of means (evaluation.diverged: exclude). {LEFT_OUT}"
FAILED_OUT = (
    f"{FAULT} Runs that failed are left out of means: an error may be the machine's, so it is no result of the method. "
    f"`run --retry-failed` tries them again. {LEFT_OUT}"
)


def collapse_notes(results: Results) -> list[str]:
    """The rule by which a run counts as collapsed, and which runs did; nothing where no run was trained here."""
    cells = results.cells
    if not (trained(cells) & ~external(cells)).any():
        return []
    found = [f"{_run(cell)}: {cell['collapsed']}" for cell in _collapsed(results).to_dict("records")]
    return [f"{RULE} Here: {'; '.join(found) or 'none'}."]


def _collapsed(results: Results) -> pd.DataFrame:
    cells = results.cells
    return cells[trained(cells) & cells["collapsed"].ne("")]


def _run(cell: dict) -> str:
    draw = "" if cell["draw"] == "first" else f", draw {cell['draw']}"
    return f"{cell['display']}, {cell['labelled']} labelled{draw}, seed {cell['seed']}"


def fault_notes(results: Results) -> list[str]:
    """What the mark means here: of runs that collapsed, and of those that diverged or failed beside others of their
    row."""
    cells = with_rows(results.cells)
    lacking = cells[is_left_out(cells) & cells["row"].isin(held_back(results))]
    counted = cells[cells["scored"].astype(bool) & cells["state"].eq(DIVERGED)]
    notes = [COLLAPSED] * bool(len(_collapsed(results))) + [WORST] * bool(len(counted))
    if _lacks_distances(results, counted):
        notes.append(SHAPES_UNKNOWN)
    notes += [DIVERGED_OUT] * bool(lacking["state"].eq(DIVERGED).any())
    return notes + [FAILED_OUT] * bool(lacking["state"].eq(FAILED).any())


def never_found_notes(results: Results) -> list[str]:
    """Structures that a row finds in none of its predictions, a line each."""
    postprocessing = results.plan.evaluation.postprocessing
    cells = with_rows(results.cells)
    notes = []
    for number, name in structure_names(results).items():
        counts = empty_predictions(results, number)
        counts = counts[counts.index.get_level_values("postprocessing") == postprocessing].droplevel("postprocessing")
        by_row = cells.join(counts, on="trial", how="inner").groupby("row", sort=False)
        lines = by_row.agg(display=("display", "first"), labelled=("labelled", "first"),
                           found=("predictions", "sum"), empty=("empty", "sum"))  # fmt: skip
        lost = lines[lines["empty"].eq(lines["found"]) & lines["found"].gt(0)]
        if len(lost):
            of = ", ".join(f"{row.display} ({row.labelled} labelled)" for row in lost.itertuples())
            notes.append(f"Never found: {name}, in no prediction of {of}. Its Dice is 0 in these means.")
    return notes


def _lacks_distances(results: Results, counted: pd.DataFrame) -> bool:
    of_worst = results.cases[results.cases["trial"].isin(counted["trial"])]
    return bool(of_worst["value"].isna().any())
