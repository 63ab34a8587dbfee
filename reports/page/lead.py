"""What was compared and how, in the sentences at the top of an experiment."""

import pandas as pd

from reports.protocol_words import network_of
from reports.published import millimetres, native, own_grid, times
from reports.results import Results, external
from reports.selection import rules_of
from reports.tables.formats import counted

UNSELECTED = "No checkpoint was selected on test cases."
SELECTED = (
    "No checkpoint behind headline figures, tests and ranks was selected on test cases. A table of its own says what "
    "other choices would give."
)


def lead(results: Results) -> str:
    """What was compared, under which protocol."""
    plan, cells = results.plan, results.cells
    data, training, masks = plan.data, plan.training, external(cells)
    ours, theirs = cells[~masks], list(cells.loc[masks, "display"].unique())
    compared = [_trainings(ours, data.train)] if len(ours) or not theirs else []
    compared += [f"external masks ({', '.join(theirs)})"] * bool(theirs)
    kept = "as predicted" if plan.evaluation.postprocessing == "none" else "with the largest component alone"
    grid = f"on the cases' own grid {own_grid(data)}, {kept}"
    sentences = [f"{data.name}: {', and '.join(compared)}, on the same {data.test} test cases."]
    if not theirs or len(ours):
        spacing = "" if native(data) else f" at {millimetres(data.spacing)} mm"
        who = "Those trained here train" if theirs else "Each trains"
        sentences.append(
            f"{who} a {network_of(training)} for {training.iterations} iterations. A batch is "
            f"{training.batch_size} patches of {times(training.patch)} voxels{spacing}. The last checkpoint is scored "
            f"{grid}. {SELECTED if rules_of(results) else UNSELECTED}"
        )
    if theirs:
        sentences.append(f"{'' if len(ours) else f'They are scored {grid}. '}How external masks were made is unknown.")
    return " ".join(sentences)


def _trainings(cells: pd.DataFrame, train: int) -> str:
    """How many methods, labelled cases and seeds there are."""
    methods = cells[cells["role"] != "ceiling"]
    if methods.empty:
        ceilings = counted([cells["display"].nunique()], "ceiling")
        return f"{ceilings} with all {train} training cases labelled and {_seeds(cells)}"
    names = counted([methods["display"].nunique()], "method")
    seeds = {labelled: _seeds(of) for labelled, of in methods.groupby("labelled")}
    if len(set(seeds.values())) > 1:
        budgets = " or ".join(f"{labelled} ({of})" for labelled, of in seeds.items())
        return f"{names} with {budgets} of {train} training cases labelled"
    budgets = " or ".join(map(str, seeds))
    return f"{names} with {budgets} of {train} training cases labelled and {next(iter(seeds.values()))}"


def _seeds(cells: pd.DataFrame) -> str:
    """The numbers of seeds and draws that methods have."""
    of_method = cells.groupby("display")
    seeds, draws = counted(of_method["seed"].nunique(), "seed"), of_method["draw"].nunique().max()
    return seeds if draws == 1 else f"{seeds} in each of {draws} draws"
