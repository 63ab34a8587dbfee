"""Statistics for methods that are scored on the same test cases.

The functions compare two methods, rank several, estimate intervals, and say which differences a design can find.
docs/statistics.md explains which function answers which question.

There are two kinds of input:

- A score table is a DataFrame with one line per run and one column per case. A run is one training with one seed.
  Where the labelled cases were drawn several times, an index level `draw` names the draw.
- Scores by case are a Series with one value per case, the mean over runs. Tests over cases alone take them.

Scores may have any unit, for example Dice in percent. Differences, intervals and standard deviations are in that unit.
A result that cannot be computed is NaN, and the field `reason` of a test says why.
Input that would give a wrong number raises ValueError.

Example:
    >>> import pandas as pd
    >>> cases = ["c1", "c2", "c3", "c4"]
    >>> first = pd.DataFrame([[90, 88, 85, 91], [91, 89, 84, 92], [90, 87, 86, 91]], columns=cases)
    >>> second = pd.DataFrame([[87, 86, 83, 88], [89, 86, 82, 90], [87, 85, 82, 88]], columns=cases)
    >>> test = seed_aware_test(first, second)
    >>> print(f"{test.difference:.2f} points, p = {test.p:.3f}")
    2.58 points, p = 0.009
"""

from reports.statistics.bootstrap import bootstrap_weights, effect_interval, ranking
from reports.statistics.claims import false_order_probability, sd_factor, sd_of_mean
from reports.statistics.components import Components, variance_components
from reports.statistics.datasets import means_by_dataset, rank_over_datasets
from reports.statistics.distribution import interquartile_mean, probability_of_improvement, sd_interval
from reports.statistics.family import (
    FEWEST_FOR_MARKS,
    LEVEL,
    PAIR,
    RANKS,
    TOO_FEW_FOR_MARKS,
    compare_family,
    holm_of_cases,
)
from reports.statistics.friedman import CriticalDifference, critical_difference, critical_distance
from reports.statistics.intervals import Contrasts, contrasts, mean_interval
from reports.statistics.label_curves import gap_interval, saved_interval
from reports.statistics.long_table import compare, score_tables
from reports.statistics.margin import equivalence_p, interval_over_runs, side_of_margin
from reports.statistics.multiple_testing import holm
from reports.statistics.nested import MeanSquares, mean_squares, variance_of_difference
from reports.statistics.paired_tests import PairedTest, WilcoxonTest, paired_t_test, wilcoxon
from reports.statistics.pooling import RunPool, pool_variances, run_pool
from reports.statistics.power import Spread, detectable_difference, expected_pool, spread
from reports.statistics.score_matrices import score_matrices
from reports.statistics.seed_aware import ONE_SEED, TWO_SEEDS, SeedAwareTest, seed_aware_test
from reports.statistics.simulation import SimulatedDesign, simulate_scores

__all__ = [
    "FEWEST_FOR_MARKS",
    "TOO_FEW_FOR_MARKS",
    "LEVEL",
    "PAIR",
    "RANKS",
    "compare",
    "compare_family",
    "score_tables",
    "ONE_SEED",
    "TWO_SEEDS",
    "Components",
    "Contrasts",
    "CriticalDifference",
    "MeanSquares",
    "PairedTest",
    "RunPool",
    "SeedAwareTest",
    "SimulatedDesign",
    "Spread",
    "WilcoxonTest",
    "bootstrap_weights",
    "contrasts",
    "critical_difference",
    "critical_distance",
    "detectable_difference",
    "effect_interval",
    "equivalence_p",
    "expected_pool",
    "false_order_probability",
    "gap_interval",
    "holm",
    "holm_of_cases",
    "interquartile_mean",
    "interval_over_runs",
    "mean_interval",
    "mean_squares",
    "means_by_dataset",
    "paired_t_test",
    "pool_variances",
    "probability_of_improvement",
    "rank_over_datasets",
    "ranking",
    "run_pool",
    "saved_interval",
    "score_matrices",
    "sd_factor",
    "sd_interval",
    "sd_of_mean",
    "seed_aware_test",
    "side_of_margin",
    "simulate_scores",
    "spread",
    "variance_components",
    "variance_of_difference",
    "wilcoxon",
]
