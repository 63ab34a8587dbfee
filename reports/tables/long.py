"""Everything that was scored, in long form: long.csv and cases.csv."""

import numpy as np
import pandas as pd

from benchmark.records.selection import Point
from reports import statistics
from reports.measures import DICE, ROW_KEYS, nsd, structure_names, with_rows
from reports.results import Results

SMALL = 50_000  # values; a report over more leaves them in the records
ROW = [*ROW_KEYS, "row"]
SCORED = ["checkpoint", "postprocessing", "class", "metric", "unit"]
SHOWN = ["checkpoint", "postprocessing", "class", "structure", "metric", "unit"]
KEYS = ["row", *SCORED]
MEANS = [*ROW_KEYS, *SHOWN, "mean", "sd", "n", "seed_sd", "runs", "seeds"]
BEYOND = ["mean_low", "mean_high", "mean_over", "sd_low", "sd_high", "iqm", "p5", "p95", "below_half"]
HALF = 0.5  # a Dice below it is a failure


def long_frame(results: Results) -> pd.DataFrame:
    """`means_frame`, and what a mean does not say.

    mean_low, mean_high: 95 % confidence interval of the mean; mean_over: "seeds" if seeds and cases are its samples,
    "cases" with one run. sd_low, sd_high: that of the standard deviation over cases. iqm, p5, p95: interquartile mean
    and percentiles of single values, one a run and case. below_half: of Dice, the share of single values below 0.5.
    """
    return _named(_means(results).merge(_beyond_means(results), on=KEYS), results)[[*MEANS, *BEYOND]]


def means_frame(results: Results) -> pd.DataFrame:
    """One line for each row of the tables, checkpoint, postprocessing, class, metric and unit, in cases.csv's units.

    mean, sd (n - 1), n: over test cases, each averaged over runs; a case that is undefined in one run is left out.
    seed_sd: over runs, of their means over these cases. runs: how many (seeds x draws). seeds: which seeds. structure:
    the name of the class. The metrics `predicted` and `reference` are volumes. `nsd_2mm` is NSD at a tolerance of 2 mm:
    two tolerances are two metrics.
    """
    return _named(_means(results), results)[MEANS]


def _means(results: Results) -> pd.DataFrame:
    cells, values = with_rows(results.cells), _defined(results)
    by_case = values.groupby([*KEYS, "case"])["value"].mean().groupby(KEYS).agg(mean="mean", sd="std", n="count")
    by_run = values.groupby([*KEYS, "trial"])["value"].mean().groupby(KEYS).agg(seed_sd="std", runs="size")
    done = cells[cells["trial"].isin(values["trial"])].groupby("row")["seed"]
    seeds = done.agg(lambda seeds: " ".join(map(str, dict.fromkeys(seeds)))).rename("seeds")
    rows = cells.drop_duplicates("row")[ROW]
    return rows.merge(by_case.join(by_run).reset_index(), on="row").merge(seeds, on="row")


def _defined(results: Results) -> pd.DataFrame:
    """The values with row and draw; NaN in every run of a row where they are undefined in one."""
    values = results.cases.merge(with_rows(results.cells)[["trial", "row", "draw"]], on="trial")
    if (undefined := values["value"].isna()).any():
        in_a_run = undefined.groupby([values[key] for key in [*KEYS, "case"]]).transform("any")
        values["value"] = values["value"].mask(in_a_run)
    return values.astype({"draw": str})


def _beyond_means(results: Results) -> pd.DataFrame:
    values = _defined(results)
    index = ["draw", "trial"] if values["draw"].nunique() > 1 else ["trial"]
    by_run = values.set_index([*KEYS, *index, "case"])["value"].unstack("case").astype(float)
    array, runs = by_run.to_numpy(), by_run.index.droplevel(KEYS)
    lines = []
    for key, places in by_run.groupby(KEYS).indices.items():
        table = pd.DataFrame(array[places], runs[places], by_run.columns)
        lines.append([*key, *_beyond_mean(table, key[KEYS.index("metric")])])
    return pd.DataFrame(lines, columns=[*KEYS, *BEYOND])


def _beyond_mean(table: pd.DataFrame, metric: str) -> list:
    """BEYOND of a table of runs by cases."""
    single = table.to_numpy()
    single = single[:, ~np.isnan(single).any(axis=0)]
    if not single.size:
        return [np.nan] * len(BEYOND)
    return [
        *statistics.mean_interval(table), *statistics.sd_interval(single.mean(axis=0)),
        statistics.interquartile_mean(single), *np.quantile(single, [0.05, 0.95]),
        (single < HALF).mean() if metric == DICE.metric else np.nan,
    ]  # fmt: skip


def cases_frame(results: Results) -> pd.DataFrame | None:
    """Every value of every run and case; None where that is too much for one file."""
    if len(results.cases) > SMALL:
        return None
    run = [*ROW_KEYS, "draw", "seed", "trial"]
    frame = with_rows(results.cells)[run].merge(results.cases, on="trial")
    return _named(frame, results)[[*run, *SHOWN, "case", "value"]]


def curves_frame(results: Results) -> pd.DataFrame:
    """Mean Dice of every stored checkpoint of every run, between 0 and 1."""
    lines = [(trial, *point) for trial, points in results.curves.items() for point in points]
    run = [*ROW_KEYS, "draw", "seed", "trial"]
    frame = with_rows(results.cells)[run].merge(pd.DataFrame(lines, columns=["trial", *Point._fields]), on="trial")
    return frame[[*run, *Point._fields]]


def _named(frame: pd.DataFrame, results: Results) -> pd.DataFrame:
    """With the structures' names, and the tolerance in the name of NSD."""
    metrics = frame["metric"].replace(nsd(results).metric, nsd_name(results))
    return frame.assign(structure=frame["class"].map(structure_names(results)), metric=metrics)


def nsd_name(results: Results) -> str:
    """What long.csv and cases.csv call NSD at the tolerance of these results."""
    return f"{nsd(results).metric}_{results.plan.evaluation.nsd_tolerance:g}mm"
