"""All tests of a family: every method against a reference, one measure, one number of labelled cases."""

from collections.abc import Hashable, Mapping, Sequence

import numpy as np
import pandas as pd

from data.progress import follow
from reports.statistics.bootstrap import effect_interval, ranking
from reports.statistics.distribution import probability_of_improvement
from reports.statistics.friedman import critical_difference
from reports.statistics.margin import equivalence_p
from reports.statistics.multiple_testing import holm
from reports.statistics.paired_tests import paired_t_test, wilcoxon
from reports.statistics.pooling import RunPool, run_pool
from reports.statistics.power import detectable_difference, spread
from reports.statistics.seed_aware import seed_aware_test

LEVEL = 0.05
FEWEST_FOR_MARKS = 6  # cases: a sign test over five that all agree has p = 2 / 2**5, which is above LEVEL
TOO_FEW_FOR_MARKS = "fewer than six cases: p depends on whether differences are normal"
DIFFERENT, EQUIVALENT, BOTH, OPEN = "different", "equivalent", "different within margin", "open"
PAIR = [
    "runs_reference", "runs", "cases", "difference",
    "cases_low", "cases_high", "cases_dz", "cases_p", "cases_p_holm", "cases_reason",
    "wilcoxon_p", "wilcoxon_p_holm", "wilcoxon_reason",
    "seeds_difference", "seeds_low", "seeds_high", "seeds_df", "seeds_dz", "seeds_p", "seeds_p_holm", "seeds_reason",
    "seeds_crossed",
    "bootstrap_low", "bootstrap_high", "margin", "equivalence_p", "equivalence_p_holm", "verdict", "reference_better",
    "comparisons", "case_sd", "seed_sd", "cases_detectable", "seeds_detectable",
]  # fmt: skip
RANKS = ["ranked_cases", "mean", "rank", "rank_low", "rank_high", "rank_first", "mean_case_rank",
         "friedman_p", "nemenyi_distance", "nemenyi_p", "friedman_reason"]  # fmt: skip


def compare_family(
    tables: Mapping[Hashable, pd.DataFrame],
    reference: Hashable | None,
    larger_is_better: bool | None = True,
    margin: float = np.nan,
) -> dict[Hashable, dict]:
    """Test each method of a family against the reference, and rank all.

    Args:
        tables: score table of each method, of shape (runs, cases). Bootstraps resample methods in this order.
        reference: the key of one of them, or None: then methods are only ranked.
        larger_is_better: of the scores; None if neither direction is.
        margin: up to which a difference counts as none, in the scores' unit; NaN: equivalence is not tested.

    Returns:
        For each method a dictionary with the keys PAIR and RANKS, as `reports.significance` explains them. Keys are
        missing where there is nothing to test. Corrected p values and verdicts need `FEWEST_FOR_MARKS` cases.

    Raises:
        ValueError: an argument is not a score table.

    Example:
        >>> cases = [f"c{number}" for number in range(8)]
        >>> rng = np.random.default_rng(0)
        >>> tables = {name: pd.DataFrame(rng.normal(mean, 1, (3, 8)), columns=cases) for name, mean in
        ...           {"ours": 84, "a": 78, "b": 77, "c": 78}.items()}
        >>> found = compare_family(tables, reference="ours", margin=1.0)
        >>> print(f"{found['a']['difference']:.1f}", found["a"]["verdict"], found["ours"]["rank"])
        5.6 different 1.0
    """
    lines = _ranks(tables, larger_is_better, reference)
    tested = [method for method in tables if reference is not None and method != reference]
    pool = run_pool(tables.values())
    for method in follow(tested, "computing tests"):
        first, second = tables[reference], tables[method]
        lines[method] |= _pair(first, second, pool, margin, comparisons=len(tested))
        lines[method]["reference_better"] = probability_of_improvement(first, second, larger_is_better)
    for kind in ("cases", "wilcoxon", "seeds", "equivalence"):
        of_kind = [lines[method] for method in tested]
        corrected = holm_of_cases([line[f"{kind}_p"] for line in of_kind], [line["cases"] for line in of_kind])
        for line, p in zip(of_kind, corrected, strict=True):
            line[f"{kind}_p_holm"] = p
    for method in tested:
        lines[method]["verdict"] = verdict(lines[method])
    return lines


def holm_of_cases(p_values: Sequence[float], cases: Sequence[int]) -> np.ndarray:
    """Holm's correction of tests over so many cases each. A test over fewer than `FEWEST_FOR_MARKS` has NaN.

    With few cases a t-test holds its level only if differences are normal, which few cases cannot show. Tests without
    that assumption, such as the sign test, cannot find a difference in five cases.

    Args:
        p_values: of the tests; NaN where there is none.
        cases: how many cases each test is over.

    Returns:
        Corrected p values, in this order.

    Raises:
        ValueError: there are not as many numbers of cases as p values, or a p value lies outside 0..1.

    Example:
        >>> holm_of_cases([0.01, 0.001, 0.02], cases=[12, 5, 12]).tolist()
        [0.02, nan, 0.02]
    """
    enough = [p if n >= FEWEST_FOR_MARKS else np.nan for p, n in zip(p_values, cases, strict=True)]
    return holm(enough)


def verdict(line: dict) -> str:
    """What the seed-aware tests say of a row, Holm-corrected: "different" from the reference, "equivalent" to it,
    "different within margin", which is both, or "open"."""
    different, equivalent = line["seeds_p_holm"] < LEVEL, line["equivalence_p_holm"] < LEVEL
    return (BOTH if equivalent else DIFFERENT) if different else (EQUIVALENT if equivalent else OPEN)


def _pair(first: pd.DataFrame, second: pd.DataFrame, pool: RunPool | None, margin: float, comparisons: int) -> dict:
    """All tests of the reference against one row, from their score tables. `margin`: NaN where there is none."""
    by_case = paired_t_test(first.mean(), second.mean())
    signed_rank = wilcoxon(first.mean(), second.mean())
    by_seed = seed_aware_test(first, second, pool)
    too_few = TOO_FEW_FOR_MARKS * (by_case.n < FEWEST_FOR_MARKS)
    low, high = effect_interval(first, second)
    own, tested = spread(first, second), spread(first, second, pool)
    seeds = min(by_seed.seeds) if np.isfinite(by_seed.p) else 0  # with 0, the detectable difference is NaN
    return {
        "runs_reference": by_seed.seeds[0], "runs": by_seed.seeds[1], "cases": by_case.n,
        "difference": by_case.difference, "cases_low": by_case.low, "cases_high": by_case.high,
        "cases_dz": by_case.dz, "cases_p": by_case.p, "cases_reason": by_case.reason or too_few,
        "wilcoxon_p": signed_rank.p, "wilcoxon_reason": signed_rank.reason,
        "seeds_difference": by_seed.difference, "seeds_low": by_seed.low, "seeds_high": by_seed.high,
        "seeds_df": by_seed.df, "seeds_dz": by_seed.dz, "seeds_p": by_seed.p,
        "seeds_reason": by_seed.reason or too_few,
        "seeds_crossed": by_seed.crossed,
        "bootstrap_low": low, "bootstrap_high": high, "margin": margin,
        "equivalence_p": equivalence_p(by_seed.difference, by_seed.error, by_seed.df, margin)
        if np.isfinite(by_seed.p) else np.nan,
        "comparisons": comparisons, "case_sd": own.case_sd, "seed_sd": own.seed_sd,
        "cases_detectable": detectable_difference(by_case.n, own.case_sd, comparisons=comparisons),
        "seeds_detectable": detectable_difference(
            by_seed.cases, tested.case_sd, seeds, tested.seed_sd,
            residual_sd=tested.residual_sd, crossed=tested.crossed, pool=pool, comparisons=comparisons,
        ),
    }  # fmt: skip


def _ranks(
    tables: Mapping[Hashable, pd.DataFrame], larger_is_better: bool | None, reference: Hashable | None
) -> dict[Hashable, dict]:
    """Ranks of the rows of a family, by mean and within cases; empty for a row that is alone."""
    if len(tables) < 2:
        return {row: {} for row in tables}
    # names of one length, because `ranking` sorts methods by name and resamples them in that order
    names = {row: f"{place:06d}" for place, row in enumerate(tables)}
    resampled = ranking({names[row]: table for row, table in tables.items()}, larger_is_better=larger_is_better)
    friedman = critical_difference(pd.DataFrame({row: table.mean() for row, table in tables.items()}), larger_is_better)
    lines = {}
    for row in tables:
        ranked = resampled.loc[names[row]]
        lines[row] = {
            "ranked_cases": ranked["cases"], "mean": ranked["mean"], "rank": ranked["rank"],
            "rank_low": ranked["rank_low"], "rank_high": ranked["rank_high"], "rank_first": ranked["first"],
            "mean_case_rank": friedman.mean_ranks.get(row, np.nan), "friedman_p": friedman.p,
            "nemenyi_distance": friedman.distance, "friedman_reason": friedman.reason,
        }  # fmt: skip
        if reference in friedman.pairwise and row != reference:
            lines[row]["nemenyi_p"] = friedman.pairwise.loc[row, reference]
    return lines
