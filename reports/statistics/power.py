"""What difference this many cases and seeds can find."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd
from scipy import optimize, special, stats

from reports.statistics.scores import complete
from reports.statistics.seeds import MeanSquares, mean_squares, variance_of_difference


@dataclass(frozen=True)
class Spread:
    """Standard deviations in the scores' unit; the last two are NaN with one run of either method.

    case_sd: over cases, of the difference between two methods' averages over runs, as in the paired t-test.
    seed_sd: of a method's mean from run to run, without the residual's share, pooled over both.
    residual_sd: of what is left of a score without its run's and its case's mean, pooled over both.
    """

    case_sd: float
    seed_sd: float = np.nan
    residual_sd: float = np.nan


def spread(first: pd.DataFrame, second: pd.DataFrame) -> Spread:
    """What `detectable_difference` needs to know, from the scores of two methods (index: run, columns: case).

    Both methods' variances are pooled with their degrees of freedom. case_sd holds the residual averaged over the runs
    there are; with more runs it would be a little smaller. All NaN with fewer than two cases.
    """
    a, b = complete(first, second)
    counts, cases = (len(a), len(b)), a.shape[1]
    if min(counts) == 0 or cases < 2:
        return Spread(np.nan)
    case_sd = float((a.mean(0) - b.mean(0)).std(ddof=1))
    if min(counts) < 2:
        return Spread(case_sd)
    squares, weights = mean_squares(a, b), [count - 1 for count in counts]
    runs, residual = (float(np.average(both, weights=weights)) for both in (squares.runs, squares.residuals))
    return Spread(case_sd, float(np.sqrt(max(runs - residual / cases, 0))), float(np.sqrt(residual)))


def detectable_difference(
    cases: int,
    case_sd: float,
    seeds: int | None = None,
    seed_sd: float = 0.0,
    comparisons: int = 1,
    power: float = 0.8,
    alpha: float = 0.05,
    residual_sd: float = 0.0,
) -> float:
    """The smallest true difference of means that is found in a share `power` of experiments, in the unit of the SDs.

    Without `seeds`: by the paired t-test over cases (with case_sd = 1, the smallest dz). With `seeds`, the runs of each
    of the two methods: by the seed-aware test. The SDs are those of `Spread`. (case_sd holds the residual already; by
    itself residual_sd decides how careful the seed-aware test is.)

    `comparisons`: a p counts below alpha / comparisons, Bonferroni's level and the one that Holm's correction asks of
    the smallest p. Two-sided; findings in the wrong direction are not counted. NaN with fewer than two cases or seeds,
    or an SD that is NaN.
    """
    if cases < 2 or (seeds is not None and seeds < 2) or np.isnan([case_sd, seed_sd, residual_sd]).any():
        return np.nan
    level = alpha / comparisons / 2
    if seeds is None:
        # the non-centrality at which a noncentral t exceeds the critical value with the wanted probability
        return float(special.nctdtrinc(cases - 1, 1 - power, stats.t.isf(level, cases - 1)) * case_sd / np.sqrt(cases))
    error = np.sqrt(case_sd**2 / cases + 2 * seed_sd**2 / seeds)
    if error == 0:
        return 0.0
    squares = _mean_squares_of_experiments(cases, case_sd, seeds, seed_sd, residual_sd)
    variance, df = variance_of_difference(squares, (seeds, seeds), cases)
    critical = special.stdtrit(df, 1 - level) * np.sqrt(variance)

    def shortfall(difference: float) -> float:
        return power - special.ndtr((difference - critical) / error).mean()

    return float(optimize.brentq(shortfall, 0, critical.max() + 10 * error))


def _mean_squares_of_experiments(
    cases: int, case_sd: float, seeds: int, seed_sd: float, residual_sd: float
) -> MeanSquares:
    """What experiments with these true SDs would estimate, from chi-square distributions.

    A noncentral t with the degrees of freedom that the true SDs give would promise more than the test holds with few
    seeds: the test has to estimate its degrees of freedom, too, and often gets fewer.
    """
    by_case, *by_method = _estimated_variances(cases - 1, *2 * [seeds - 1], *2 * [(seeds - 1) * (cases - 1)])
    runs, residual = seed_sd**2 + residual_sd**2 / cases, residual_sd**2
    return MeanSquares(
        cases=case_sd**2 * by_case,
        runs=(runs * by_method[0], runs * by_method[1]),
        residuals=(residual * by_method[2], residual * by_method[3]),
    )


@lru_cache(maxsize=32)
def _estimated_variances(*dfs: int, experiments: int = 4000) -> list[np.ndarray]:
    """Estimates of a variance of 1 with these degrees of freedom, in each experiment."""
    rng = np.random.default_rng(0)
    return [rng.chisquare(df, experiments) / df for df in dfs]
