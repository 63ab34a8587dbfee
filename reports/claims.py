"""How firm the published orders of methods are: pairs of printed figures, beside what was measured here."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd

from reports.measures import DICE, scores, with_rows
from reports.results import Results
from reports.statistics import SeedAwareTest, false_order_probability, run_pool, sd_factor, sd_of_mean, seed_aware_test

Budget = tuple[int, int]  # labelled, unlabelled
Row = tuple[str, str]  # method, variant


@dataclass(frozen=True)
class Congruence:
    """What the formula needs beyond means, estimated from runs of ours on the same cases.

    Attributes:
        factor: k of SD = k · mean · (100 - mean) / 100.
        correlation: of two methods' Dice over cases, median over pairs of runs.
        lowest: the smallest such correlation.
        highest: the largest.
        runs: how many runs the factor is fitted to.
        pairs: how many pairs of runs of different methods.
        cases: how many cases.
    """

    factor: float
    correlation: float
    lowest: float
    highest: float
    runs: int
    pairs: int
    cases: int


def measured(results: Results, labelled: int) -> dict[Row, pd.DataFrame]:
    """Dice of each case in %, by row of a study: its competing methods at one budget, without stale rows."""
    found, tables = scores(results, [DICE]), {}
    cells = with_rows(results.cells)
    stale = set(cells.loc[cells["stale"].astype(bool), "method"])
    chosen = cells[(cells["labelled"] == labelled) & (cells["role"] != "ceiling") & ~cells["method"].isin(stale)]
    for cell in chosen.drop_duplicates(["method", "variant"]).itertuples():  # first the row of default settings
        key = cell.row, results.plan.evaluation.postprocessing, DICE.name
        if key in found:
            tables[cell.method, cell.variant] = found[key]
    return tables


def congruence(tables: Iterable[pd.DataFrame]) -> Congruence:
    """SD and correlation of methods whose runs scored the same cases.

    Args:
        tables: score table of each method, runs by cases, in percent.
    """
    runs = [table.to_numpy() for table in tables]
    each_run = np.vstack(runs)
    correlations = [
        np.corrcoef(one, other)[0, 1] for first, second in combinations(runs, 2) for one in first for other in second
    ]
    return Congruence(
        factor=sd_factor(each_run.mean(1), each_run.std(1, ddof=1)),
        correlation=float(np.median(correlations)),
        lowest=float(np.min(correlations)),
        highest=float(np.max(correlations)),
        runs=len(each_run),
        pairs=len(correlations),
        cases=each_run.shape[1],
    )


def headlines(protocol: dict) -> dict[Budget, list[dict]]:
    """The headline figures of each budget of a protocol, highest Dice first. Budgets with one figure are left out."""
    budgets: dict[Budget, list[dict]] = {}
    for entry in protocol["entries"]:
        if entry["headline"]:
            budgets.setdefault((entry["labelled"], entry["unlabelled"]), []).append(entry)
    return {
        budget: sorted(entries, key=lambda entry: -entry["dice"])
        for budget, entries in budgets.items()
        if len(entries) > 1
    }


def pair(first: dict, second: dict, protocol: dict, spread: Congruence) -> dict:
    """What two printed figures of one budget say about their order.

    Args:
        first: the entry that is claimed to be better.
        second: the other entry.
        protocol: theirs.
        spread: standard deviation and correlation.
    """
    gap, cases = first["dice"] - second["dice"], protocol["test"] * protocol["cases_each"]
    sds = [float(sd_of_mean(entry["dice"], spread.factor)) for entry in (first, second)]
    return {
        "gap": gap,
        "cases": cases,
        "first_sd": sds[0],
        "second_sd": sds[1],
        "correlation": spread.correlation,
        "p_false": float(false_order_probability(gap, cases, *sds, spread.correlation)),
    }


def best_older(entry: dict, others: Iterable[dict], years: Mapping[str, int | None]) -> dict | None:
    """The figure with the highest Dice whose method is older than the entry's by its year; None where there is none.

    Methods whose year is not known are left out.
    """
    year = years[entry["method"]]
    older = [other for other in others if year and years[other["method"]] and years[other["method"]] < year]
    return max(older, key=lambda other: other["dice"], default=None)


def compared_here(first: dict, second: dict, tables: Mapping[Row, pd.DataFrame]) -> SeedAwareTest | None:
    """The seed-aware test of two published methods in a study of ours; None where it lacks one of them.

    Args:
        first: a published entry. One without a variant stands for the study's first row of its method.
        second: another one.
        tables: of the study, as of `measured`.
    """
    rows = [_row_of(entry, tables) for entry in (first, second)]
    if None in rows or rows[0] == rows[1]:
        return None
    return seed_aware_test(tables[rows[0]], tables[rows[1]], run_pool(tables.values()))


def _row_of(entry: dict, tables: Mapping[Row, pd.DataFrame]) -> Row | None:
    fitting = [row for row in tables if row[0] == entry["method"] and entry["variant"] in (None, row[1])]
    return fitting[0] if fitting else None
