"""What stands above and below every table: how much is done, the protocol, what the marks mean."""

from collections.abc import Sequence

import pandas as pd

from benchmark.records.models import EXTERNAL, Data
from benchmark.records.states import DIVERGED, DONE, NOT_RUN
from reports import published
from reports.measures import HD95, hd95, with_rows
from reports.protocol_words import further_settings, network_of
from reports.results import Results, external, trained
from reports.tables.faults import fault_notes
from reports.tables.table import Block, Table

POSTPROCESSING = {"none": "no postprocessing", "largest_component": "only the largest connected component kept"}
EMPTY_POLICY = {
    "worst": "an empty prediction scores the image diagonal as each of its distances",
    "exclude": "a case has no distances in a row if a run misses a structure of it or predicts one that is not there; "
    "a mean over fewer cases says so and is not ranked",
}
CROSS_VALIDATION = (
    "Cross-validation: every case is a test case once, and a run is one network for each fold. Networks of different "
    "folds share most of their training cases, and cases of a fold share a network. No test here accounts for that, so "
    "p values are somewhat too small. Costs are those of one training, averaged over folds. A report on a single fold "
    "has pictures and losses."
)
MARKS = {
    "reconstruction": "† Reconstruction: parts that the method's description leaves open were filled in.",
    EXTERNAL: "‡ External masks: made elsewhere and scored here. How they were trained cannot be checked here.",
}


def with_notes(
    results: Results,
    name: str,
    frame: pd.DataFrame,
    blocks: list[Block],
    notes: Sequence[str],
    title: str = "",
    literature: Sequence[str] = (),
) -> Table:
    """A table with its title and status. `notes` stand between those on the protocol and those on marks and states."""
    experiment = results.plan.title or results.plan.experiment
    notes = [*_protocol(results), *notes, *mark_notes(results.cells), *fault_notes(results), *_states(results)]
    return Table(name, f"{experiment}: {title or name}", _status(results), blocks, notes, frame, literature)


def _status(results: Results) -> str:
    cells = results.cells
    done_cells = trained(cells) & cells["state"].ne(DIVERGED)
    states = cells["state"].mask(done_cells, DONE).value_counts(sort=False)
    planned, done = len(cells), int(states.get(DONE, 0))
    if planned == 0:
        return "Nothing is planned here."
    old = int(cells["stale"].ne("").sum())
    stale = f" ({old} stale)" if old else ""
    if done == planned:
        return f"Complete: all {planned} planned trials are done{stale}."
    counts = ", ".join(f"{count} {state}" + stale * (state == DONE) for state, count in states.items())
    excluded = cells["state"].eq(DIVERGED) & ~cells["scored"].astype(bool)  # evaluation.diverged: exclude
    if done and (cells["scored"].astype(bool) | excluded).all():
        left_out = "; those that diverged are excluded" if excluded.any() else ""
        return f"Complete: all {planned} planned trials have ended: {counts}{left_out}."
    return f"{'Unfinished' if done else 'Nothing is done yet'}. Of {planned} planned trials: {counts}."


def _protocol(results: Results) -> list[str]:
    """Data and training, which a reader must know before comparing anything."""
    data, tuned = results.plan.data, results.plan.tuned
    masks = external(results.cells)
    spacing = published.millimetres(data.native_spacing) + " mm"
    if not published.native(data):
        trained_at = "" if len(masks) and masks.all() else f"trained at {published.millimetres(data.spacing)} mm, "
        spacing = f"{trained_at}scored on the cases' own grid {published.own_grid(data)}"
    names = f" ({', '.join(data.class_names)})" if data.class_names else ""
    recipe = f", recipe {data.recipe}" if data.recipe else ""
    structures = "1 structure" if data.classes == 1 else f"mean over {data.classes} structures{names}"
    return [
        f"Data: {data.name}{recipe}, {data.train} training and {data.test} test cases, split {data.split} "
        f"(hash {data.split_hash}), {spacing}, {structures}.{_images(data)}",
        *training_notes(results),
        *([validation_note(data.validation_cases)] if data.validation_cases else []),
        *([CROSS_VALIDATION] if "pooled" in (data.folds or {}) else []),
        *([f"Settings: {tuned.how}."] if tuned else []),
    ]


def validation_note(cases: int) -> str:
    """What validation cases cost."""
    which = "1 labelled case chooses" if cases == 1 else f"{cases} labelled cases choose"
    trained = "is not trained on. Its label is" if cases == 1 else "are not trained on. Their labels are"
    return f"Validation: {which} a checkpoint and {trained} a cost, too: “(+{cases} val)” beside the labelled cases."


def training_notes(results: Results) -> list[str]:
    """How rows were trained here, if any were, and which methods see more patches a step than the protocol has."""
    masks, training = external(results.cells), results.plan.training
    if len(masks) and masks.all():
        return []
    size = training.batch_size
    more = {cell.display: cell.patches for cell in results.plan.cells if cell.patches and sum(cell.patches) > size}
    return [
        f"Training{', external masks aside' * bool(masks.any())}: {training.iterations} iterations, batch of {size}, "
        f"patches of {published.times(training.patch)} voxels, {network_of(training)}, learning rate "
        f"{training.learning_rate:g}, augmentation {training.augmentation}, {training.precision}."
        f"{further_settings(training)}",
        *(
            f"More patches: {name} takes {labelled} labelled and {unlabelled} unlabelled ones a step, the protocol "
            f"{size}."
            for name, (labelled, unlabelled) in more.items()
        ),
    ]


def _images(data: Data) -> str:
    """What was done to the images, as far as the record knows."""
    reading = data.reading
    parts = []
    how, channels = reading.get("normalise"), reading.get("channel")
    if isinstance(channels, list):
        parts.append(f"{len(channels)} channels")
    if isinstance(how, list) and not isinstance(how[0], int | float):
        parts += [f"channel {number} {_normalised(each)}" for number, each in zip(channels, how, strict=True)]
    elif how is not None and not (how == "none" and data.preparation):
        parts.append(_normalised(how))
    if reading.get("orientation", "stored") != "stored":
        parts.append(f"axes {reading['orientation']}")
    if data.preparation:
        parts.append(data.preparation)
    return f" Images: {', '.join(parts)}." if parts else ""


def _normalised(how: str | list[float]) -> str:
    if isinstance(how, str):
        return {"zscore": "z-scored, each as a whole", "none": "as stored"}.get(how, how)
    return f"clipped to {how[0]:g}..{how[1]:g} and scaled"


def evaluation_note(results: Results) -> str:
    evaluation = results.plan.evaluation
    unit = "voxels of the cases' own grid" if hd95(results) is HD95 else "mm, because voxels are not cubes of one size"
    masks = external(results.cells)
    how = f"last checkpoint, sliding window with stride {published.times(evaluation.stride)}"
    if masks.any():
        how = "masks as they were given" if masks.all() else f"{how} (external masks as they were given)"
    return (
        f"Evaluation: {how}, "
        f"{POSTPROCESSING[evaluation.postprocessing]}; {EMPTY_POLICY[evaluation.empty]}. "
        f"ASD is directed, from prediction to truth; ASD and 95HD are in {unit}."
    )


def ranks_note(frame: pd.DataFrame) -> str:
    """What bold and underlined figures mean, and which rows have none."""
    return " ".join(["Bold: best of a budget. Underlined: second best.", *role_notes(frame)])


def role_notes(frame: pd.DataFrame) -> list[str]:
    """What floor and ceiling are, of those that the frame has."""
    notes = {
        "floor": "Floor: the baseline trained on the labelled cases alone, a lower bound.",
        "ceiling": "Ceiling: the baseline with all cases labelled, an upper bound. It is not ranked.",
    }
    return [note for role, note in notes.items() if frame["role"].eq(role).any()]


def mark_notes(cells: pd.DataFrame) -> list[str]:
    """What the marks behind the names of these cells mean."""
    fidelity = [note for fidelity, note in MARKS.items() if cells["fidelity"].eq(fidelity).any()]
    return [*fidelity, *stale_notes(cells), *peek_notes(cells)]


def stale_notes(cells: pd.DataFrame) -> list[str]:
    """What the mark § means here."""
    stale = [reason for reason in dict.fromkeys(cells["stale"]) if reason]
    diverged = cells.loc[cells["stale"].ne(""), "state"].eq(DIVERGED).any()
    again = f"run --rerun stale{' --retry-failed' * bool(diverged)}"
    advice = {True: "To score these records again: evaluate.", False: f"To make these records again: {again}."}
    return [f"§ Stale: {reason}. {advice[reason.startswith('numerics of scoring')]}" for reason in stale]


def peek_notes(cells: pd.DataFrame) -> list[str]:
    """What the mark ⊙ means here, a line for each method and budget."""
    found = cells[cells["peeked"].ne("")].drop_duplicates(["display", "labelled"])
    return [
        f"⊙ Peeked: {line['display']} with {line['labelled']} labelled: {line['peeked']}. Do not quote its figures."
        for line in found.to_dict("records")
    ]


def _states(results: Results) -> list[str]:
    """Why trials that were started have no figures, and which records the plan does not know."""
    cells = with_rows(results.cells)
    cells = cells[(~cells["scored"].astype(bool) | cells["state"].eq(DIVERGED)) & cells["state"].ne(NOT_RUN)]
    notes = []
    for (_, state, reason, draw), group in cells.groupby(["row", "state", "reason", "draw"], sort=False):
        first = group.iloc[0]
        seeds = f"seed{'s' * (len(group) > 1)} {', '.join(map(str, group['seed']))}"
        drawn = "" if draw == "first" else f", draw {draw}"
        why = f": {reason}" if reason else ""
        notes.append(f"{first['display']}, {first['labelled']} labelled{drawn}, {seeds}: {state}{why}.")
    if results.unplanned:
        notes.append(f"Unplanned records in this folder, left out here: {len(results.unplanned)}.")
    return notes
