"""Tests, intervals, ranks and power for methods scored on the same cases; docs/statistics.md says when to quote which.

Scores of a method are a DataFrame: index = run (a seed, or a seed and a `draw` of the labelled cases), columns = case,
one number a case (Dice in percent, say). Tests over cases alone take a Series: index = case, averaged over runs.
"""

from reports.statistics.cases import PairedTest, WilcoxonTest, holm, paired_t_test, wilcoxon
from reports.statistics.friedman import CriticalDifference, critical_difference
from reports.statistics.power import Spread, detectable_difference, spread
from reports.statistics.resampling import effect_interval, ranking
from reports.statistics.seeds import SeedAwareTest, seed_aware_test

__all__ = [
    "CriticalDifference",
    "PairedTest",
    "SeedAwareTest",
    "Spread",
    "WilcoxonTest",
    "critical_difference",
    "detectable_difference",
    "effect_interval",
    "holm",
    "paired_t_test",
    "ranking",
    "seed_aware_test",
    "spread",
    "wilcoxon",
]
