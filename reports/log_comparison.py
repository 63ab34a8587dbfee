"""The runs of a row against a training log of released code."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from benchmark.records.selection import TEST
from reports import published
from reports.measures import DICE, scores, with_rows
from reports.results import Results, is_left_out
from reports.statistics.margin import interval_over_runs
from reports.tables.ledger import LEFT_OUT, on_published_draw, reasons_against, run_means
from reports.training_logs import LogError


@dataclass(frozen=True)
class LogComparison:
    """Dice in percent.

    row: name and budget of the row. log: Dice over iterations. runs: the same of each run, by its seed; of the last
    iteration alone where no checkpoints were stored. low, high: the 95 % prediction interval for one more run, NaN
    where there is none. reasons: why the two are not comparable, none if they are.
    """

    row: str
    log: pd.Series
    runs: list[tuple[int, pd.Series]]
    low: float
    high: float
    reasons: list[str]

    @property
    def verdict(self) -> str:
        """Whether the log's last iterate lies within the interval, or why nothing can be said."""
        if np.isnan(self.low):
            few = len(self.runs) < 2
            interval = f"There is no prediction interval: {'one seed has none' if few else 'all seeds are alike'}."
        else:
            interval = f"The 95 % prediction interval of our seeds is {self.low:.2f} to {self.high:.2f}."
        if self.reasons:
            return f"{interval} Not comparable: {'; '.join(self.reasons)}."
        if np.isnan(self.low):
            return interval
        within = self.low <= self.log.iloc[-1] <= self.high
        return f"{interval} The log's last iterate lies {'within' if within else 'outside of'} it."


def compare_with_log(
    results: Results, log: pd.Series, method: str, labelled: int, postprocessing: str
) -> LogComparison:
    """Hold the runs of one row against a log.

    The interval is mean ± t·s·√(1 + 1/n) over n seeds, with t of n − 1 degrees of freedom. What makes a published
    figure not comparable in the ledger does so here.

    Args:
        results: what a results folder holds.
        log: Dice in percent over iterations, as of `read_log`.
        method: of the row, as tables name it or as `methods` lists it.
        labelled: cases of the row.
        postprocessing: under which our runs count. A log does not say which its own is.

    Raises:
        LogError: there is no such row, or it has no finished run.
    """
    runs = on_published_draw(_row(with_rows(results.cells), method, labelled))
    of_rows = scores(results, (DICE,))
    means = run_means(of_rows, (runs["row"].iloc[0], postprocessing, DICE.name), runs)
    if means.empty:
        raise LogError(f"{runs['display'].iloc[0]} with {labelled} labelled cases has no finished run")
    low, high = map(float, interval_over_runs(means.to_numpy(), new_runs=1))
    seeds = runs.set_index("trial")["seed"]
    curves = [(int(seeds[trial]), _curve(results, trial, mean, postprocessing)) for trial, mean in means.items()]
    row = f"{runs['display'].iloc[0]}, {labelled} labelled"
    return LogComparison(row, log, curves, low, high, _reasons(results, log, runs))


def _row(cells: pd.DataFrame, method: str, labelled: int) -> pd.DataFrame:
    cells = cells[cells["role"] != "ceiling"]
    budget = cells[cells["labelled"] == labelled]
    named = budget[budget["display"] == method]
    named = named if len(named) else budget[budget["method"] == method]
    if named["row"].nunique() == 1:
        return named
    if len(named):
        raise LogError(f"--method {method} is several rows: {_listed(named['display'])}. Give one of these names")
    known = _listed(f"{line.display} ({line.labelled} labelled)" for line in cells.itertuples())
    raise LogError(f"no row {method} with {labelled} labelled cases: there are {known}")


def _listed(names: Sequence[str]) -> str:
    return ", ".join(dict.fromkeys(names))


def _curve(results: Results, trial: str, last: float, postprocessing: str) -> pd.Series:
    stored = {
        point.iteration: DICE.factor * point.dice
        for point in results.curves.get(trial, ())
        if (point.cases, point.postprocessing) == (TEST, postprocessing)
    }
    return pd.Series(stored | {results.plan.training.iterations: last}, dtype=float).sort_index()


def _reasons(results: Results, log: pd.Series, runs: pd.DataFrame) -> list[str]:
    protocol = published.protocol_of(results.plan.data)
    if protocol is None:
        return [f"the data {results.plan.data.name} follow no published protocol"]
    run_of_log = {"protocol": protocol["id"], "iterations": int(log.index[-1]), "checkpoint": "last"}
    reasons = reasons_against(run_of_log, results, runs)
    if protocol["validation"]:
        reasons.append(f"logs under {protocol['id']} are as a rule of validation cases, our Dice is of the test cases")
    return reasons + [LEFT_OUT] * bool(is_left_out(runs).any())
