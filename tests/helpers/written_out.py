"""The statistics of docs/statistics.md, written out with scipy alone, for tests of what reports say."""

import numpy as np
from scipy import stats


def run_pool(tables):
    """The pool of a family: the median run variance, and a mean that outliers raise little; and its runs a method."""
    variances = [(table.mean(1).var(ddof=1), len(table) - 1) for table in tables if len(table) > 1]
    median = np.median([variance / (stats.chi2.median(df) / df) for variance, df in variances])
    capped = sum(df * min(variance, 8 * median) for variance, df in variances) / sum(df for _, df in variances)
    return max(median, capped), [df + 1 for _, df in variances]


def contrast(weights, tables, pools):
    """A weighted sum of methods' means, its standard error and degrees of freedom, with seeds and cases random.

    `tables`: scores of each method, runs by cases. `pools`: of `run_pool`, or None.
    """
    cases = tables[0].shape[1]
    by_case = sum(weight * table.mean(0) for weight, table in zip(weights, tables, strict=True))
    by_run, dfs, rest = [], [], 0.0
    for weight, table, pool in zip(weights, tables, pools, strict=True):
        count = len(table)
        residual = table - table.mean(1, keepdims=True) - table.mean(0, keepdims=True) + table.mean()
        rest += weight**2 * (residual**2).sum() / ((count - 1) * (cases - 1)) / (count * cases)
        variance, df = table.mean(1).var(ddof=1), count - 1
        if pool is not None and variance <= pool[0]:
            lent = 0.4 * (len(pool[1]) - 2) * np.mean([min(other, count) - 2 for other in pool[1]])
            variance, df = pool[0], df + lent
        by_run.append(weight**2 * variance / count)
        dfs.append(df)
    over_cases = by_case.var(ddof=1) / cases
    variance = max(over_cases, sum(by_run), over_cases + sum(by_run) - rest)
    df = variance**2 / sum(share**2 / df for share, df in zip(by_run, dfs, strict=True))
    return by_case.mean(), np.sqrt(variance), min(df, cases - 1)


def seed_aware_p(first, second, family):
    """p of the seed-aware test in a family, given by its tables."""
    pool = run_pool(family)
    difference, error, df = contrast([1, -1], [first, second], [pool, pool])
    return 2 * stats.t.sf(abs(difference) / error, df)


def holm(p_values):
    """By the definition: the smallest times their number, the next times one less, never falling, at most 1."""
    adjusted, highest = {}, 0.0
    for place, (name, p) in enumerate(sorted(p_values.items(), key=lambda item: item[1])):
        highest = max(highest, min(1.0, p * (len(p_values) - place)))
        adjusted[name] = highest
    return adjusted
