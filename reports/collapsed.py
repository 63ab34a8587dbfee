"""Marks runs that lie far below the others of their row, once all parts of an experiment are together."""

from dataclasses import replace

import pandas as pd

from benchmark.records.case_values import CHECKPOINT
from benchmark.records.collapse import far_below_in_rows
from benchmark.records.states import DIVERGED
from reports.measures import DICE, with_rows
from reports.results import Results, trained


def with_runs_far_below(results: Results) -> Results:
    """The same results, with such runs among those that count as collapsed."""
    cells, cases = results.cells, results.cases
    dice = cases[
        (cases["metric"] == DICE.metric)
        & (cases["checkpoint"] == CHECKPOINT)
        & (cases["postprocessing"] == results.plan.evaluation.postprocessing)
    ]
    by_run = DICE.factor * dice.groupby(["trial", "case"])["value"].mean().groupby("trial").mean().dropna()
    ended_well = trained(cells) & cells["state"].ne(DIVERGED)  # a pooled run may have one fold that diverged
    runs = with_rows(cells)[ended_well]
    low = far_below_in_rows(zip(runs["row"], runs["trial"], by_run.reindex(runs["trial"]), strict=True))
    collapsed = [
        "; ".join(filter(None, [why, low.get(trial)]))
        for trial, why in zip(cells["trial"], cells["collapsed"], strict=True)
    ]
    return replace(results, cells=cells.assign(collapsed=pd.Series(collapsed, cells.index, dtype=object)))
