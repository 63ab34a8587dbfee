"""What stands under the table over data sets: how budgets are matched, what ranks mean, what is missing."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import pandas as pd

from benchmark.records.models import EXTERNAL
from reports import published
from reports.datasets import ALIKE
from reports.measures import hd95
from reports.protocol_words import network_of
from reports.results import Results
from reports.significance import LEVEL
from reports.statistics import CriticalDifference
from reports.statistics.friedman import FEWEST_CASES as FEWEST_DATASETS
from reports.tables.comparison import BY_CASES, BY_SEEDS
from reports.tables.formats import FAULT, FAULTS, p_value
from reports.tables.notes import POSTPROCESSING

if TYPE_CHECKING:
    from reports.tables.datasets import ComparedLevel

FEW = (
    f"These mean ranks describe {{n}} data sets. They say nothing of others: a test over data sets needs at least "
    f"{FEWEST_DATASETS}."
)
RANKS = (
    "Mean rank: methods are ranked by mean Dice on each data set, 1 is the best. Ranks are averaged over data sets. "
    "Every data set counts alike, however many test cases it has. A method has no mean rank if a data set lacks it, or "
    "lacks runs of it that failed or diverged. The others are ranked among themselves. Ceilings are not ranked."
)
RANGES = (
    "95 %: the middle 95 % of mean ranks in 1,000 resamples. The first range draws seeds and test cases again on these "
    "data sets. The second draws data sets, too. With two or three data sets it is too narrow if methods rank "
    "differently on each, and too wide if they rank alike. datasets.csv adds how often a method is first."
)
BLOCKS = (
    "Tests over data sets take one value for each method and data set, its mean (Demšar 2006). Cases of one data set "
    "share their training set and trained networks. Counting each case would claim more evidence on other data sets "
    "than there is, and would let large test sets decide."
)
DASH = "–: the data set lacks the method at this budget, or has no figures of it yet."
MARKS = (
    f"Marks are those of the data set's own comparison (p < {LEVEL:g}, Holm-corrected there): {BY_SEEDS} differs from "
    f"the reference by the seed-aware test, {BY_CASES} by the t-test over cases alone. Bold: best on a data set. "
    "Underlined: second best. Nothing is corrected for the number of data sets."
)


def notes_of(
    results: Mapping[str, Results],
    compared: Sequence["ComparedLevel"],
    budgets: Mapping[str, Sequence[int]],
    declared: bool,
) -> list[str]:
    """The notes under all levels. `budgets`: those of each data set. `declared`: whether a person matched them."""
    how = (
        "as declared by --budget"
        if declared
        else f"by their shares of training cases, up to a factor of {ALIKE:g} apart"
    )
    notes = [_dataset(name, of) for name, of in results.items()]
    notes += [f"Budgets are matched {how}. Protocols differ between data sets, so compare figures within one."]
    notes += _unmatched(compared, budgets) + [DASH, MARKS, RANKS, RANGES, BLOCKS]
    lines = pd.concat(frame for of in compared for frame in of.rows.values())
    settings = lines[~lines["is_ceiling"]].groupby("label", sort=False)["settings"].nunique()
    if several := list(settings.index[settings > 1]):
        notes.append(
            f"Settings differ between data sets or budgets: {', '.join(several)}. The data sets' pages show them."
        )
    return notes + _name_marks(lines)


def _dataset(name: str, results: Results) -> str:
    """Protocol of a data set in one line."""
    plan = results.plan
    data, training = plan.data, plan.training
    structures = "1 structure" if data.classes == 1 else f"mean over {data.classes} structures"
    unit = "mm" if hd95(results).shown_unit == "mm" else "voxels"
    reference = f"reference {plan.reference}" if plan.reference else "no reference"
    return (
        f"{name}: {data.train} training and {data.test} test cases, {structures}; {training.iterations} iterations, "
        f"patches of {published.times(training.patch)} voxels, {network_of(training)}, "
        f"{POSTPROCESSING[plan.evaluation.postprocessing]}; 95HD in {unit}; {reference}."
    )


def _unmatched(compared: Sequence["ComparedLevel"], budgets: Mapping[str, Sequence[int]]) -> list[str]:
    """Which budgets are in no level."""
    matched = {(name, labelled) for of in compared for name, labelled in of.level.labelled.items()}
    left = {name: [labelled for labelled in of if (name, labelled) not in matched] for name, of in budgets.items()}
    named = [f"{name} {', '.join(map(str, of))} labelled" for name, of in left.items() if of]
    return [f"Not compared, because no other data set has such a budget here: {'; '.join(named)}."] if named else []


def _name_marks(lines: pd.DataFrame) -> list[str]:
    """What marks after a name mean, of those that there are."""
    done = lines[lines["runs_done"] > 0]
    marks = {
        "† reconstruction": done["fidelity"].eq("reconstruction").any(),
        "‡ external masks": done["fidelity"].eq(EXTERNAL).any(),
        "§ stale": done["stale"].gt(0).any(),
        "⊙ opened labels that are not its own": done["peeked"].gt(0).any(),
        f"{FAULT} runs that collapsed, diverged or failed": done[FAULTS].gt(0).any(axis=None),
    }
    found = [meaning for meaning, there in marks.items() if there]
    return [f"{'; '.join(found)}: on one data set at least, whose own tables say more."] if found else []


def block_notes(of: "ComparedLevel") -> list[str]:
    """What a level lacks, and what its ranks may be quoted for."""
    lines = pd.concat(of.rows.values())
    every = dict.fromkeys(lines.loc[~lines["is_ceiling"], "label"])
    ranked = set(of.ranks.index[of.ranks["mean_rank"].notna()])
    lacking = [label for label in every if label not in ranked]
    notes = [f"Without a mean rank: {', '.join(lacking)}. The other {len(ranked)} are ranked."] if lacking else []
    if len(of.rows) < FEWEST_DATASETS:
        return [*notes, FEW.format(n=len(of.rows))]
    if of.test.reason:
        return [*notes, f"No test over data sets: {of.test.reason}."]
    return [*notes, friedman_sentence(of.test)]


def friedman_sentence(test: CriticalDifference) -> str:
    """What the tests over data sets say."""
    p = p_value(test.p)
    return (
        f"Friedman's test over {test.n} data sets that all methods rank alike: p {'' if p[0] == '<' else '= '}{p}. "
        f"Mean ranks that lie further apart than {test.distance:.2f} differ at the 5 % level (Nemenyi)."
    )
