"""Which tests a report applies to what: every row of a budget against the plan's reference."""

import numpy as np
import pandas as pd

from data.progress import follow
from reports import statistics
from reports.measures import DICE, Measure, Scores, hd95, held_back, with_rows
from reports.results import Results

LEVEL = 0.05

KEYS = ["labelled", "unlabelled", "role", "method", "display", "settings", "row", "measure", "reference"]
PAIR = [
    "runs_reference", "runs", "cases", "difference",
    "cases_low", "cases_high", "cases_dz", "cases_p", "cases_p_holm", "cases_reason",
    "wilcoxon_p", "wilcoxon_p_holm", "wilcoxon_reason",
    "seeds_difference", "seeds_low", "seeds_high", "seeds_df", "seeds_dz", "seeds_p", "seeds_p_holm", "seeds_reason",
    "bootstrap_low", "bootstrap_high",
    "comparisons", "case_sd", "seed_sd", "cases_detectable", "seeds_detectable",
]  # fmt: skip
RANKS = ["ranked_cases", "mean", "rank", "rank_low", "rank_high", "rank_first", "mean_case_rank",
         "friedman_p", "nemenyi_distance", "nemenyi_p", "friedman_reason"]  # fmt: skip
COLUMNS = KEYS + PAIR + RANKS


def significance(results: Results, scores: Scores) -> pd.DataFrame:
    """Test every row of the tables against the reference method.

    The seed-aware tests of a family share the pool of its run variances, as `statistics.run_pool` explains.

    The reference is the plan's, a display name, in the same budget. Dice and 95HD are tested, under the plan's
    postprocessing. A family is one measure in one budget. Holm's correction and ranks are within a family. Ceilings
    belong to no family, and neither do rows whose mean lacks a run that failed or diverged (`held_back`).

    Args:
        results: what a results folder holds.
        scores: score tables of these results, as from `reports.scores.scores`.

    Returns:
        One line per row and measure that have values. NaN where there is nothing to test. Its columns, in groups:

        - difference: mean of the reference minus mean of the row, in the measure's unit.
        - cases_...: the customary paired t-test over cases, runs averaged first.
        - wilcoxon_...: Wilcoxon's test on the same values.
        - seeds_...: the seed-aware test.
        - bootstrap_low, bootstrap_high: 95 % interval over runs and cases.
        - ..._p_holm: p, corrected for the `comparisons` of the family.
        - ..._detectable: the true difference that the test finds with 80 % power, at the level that Holm's correction
          asks of the smallest p of the family.
        - rank, rank_low, rank_high, rank_first: by the mean, and over resampled runs and cases.
        - mean_case_rank, friedman_..., nemenyi_...: from ranks within each case.
    """
    rows = with_rows(results.cells).drop_duplicates("row")
    rows = rows[~rows["row"].isin(held_back(results))]
    postprocessing = results.plan.evaluation.postprocessing
    lines = []
    for _, budget in rows[rows["role"] != "ceiling"].groupby("labelled"):
        for measure in (DICE, hd95(results)):
            tables = {
                row: scores[row, postprocessing, measure.name]
                for row in budget["row"]
                if (row, postprocessing, measure.name) in scores
            }
            lines += _family(budget[budget["row"].isin(tables)], tables, measure, results.plan.reference)
    return pd.DataFrame(lines, columns=COLUMNS)


def decision(line: pd.Series) -> tuple[float, bool]:
    """The p value that decides about a line of `significance`.

    The seed-aware test decides about methods. With one run of either method there is no such test. Then the test over
    cases decides, and only about checkpoints. Two runs in a small family decide nothing: p is NaN.

    Returns:
        The Holm-corrected p value, and whether it is the seed-aware test's.
    """
    seed_aware = pd.notna(line["seeds_p_holm"]) or line["seeds_reason"] == statistics.TWO_SEEDS
    return (line["seeds_p_holm"] if seed_aware else line["cases_p_holm"]), seed_aware


def _family(rows: pd.DataFrame, tables: dict[int, pd.DataFrame], measure: Measure, name: str | None) -> list[dict]:
    """The lines of one measure in one budget; `name` is the reference's, `tables` has the scores by row."""
    reference = next(iter(rows.loc[rows["display"] == name, "row"]), None)
    ranks = _ranks(tables, measure, reference)
    lines = [
        row | ranks[row["row"]] | {"measure": measure.name, "reference": None if reference is None else name}
        for row in rows[[key for key in KEYS if key in rows]].to_dict("records")
    ]
    tested = [line for line in lines if reference is not None and line["row"] != reference]
    pool = statistics.run_pool(tables.values())
    for line in follow(tested, "computing tests"):
        line |= _pair(tables[reference], tables[line["row"]], pool, comparisons=len(tested))
    for kind in ("cases", "wilcoxon", "seeds"):
        for line, p in zip(tested, statistics.holm([line[f"{kind}_p"] for line in tested]), strict=True):
            line[f"{kind}_p_holm"] = p
    return lines


def _pair(first: pd.DataFrame, second: pd.DataFrame, pool: statistics.RunPool | None, comparisons: int) -> dict:
    """All tests of the reference against one row, from their score tables."""
    by_case = statistics.paired_t_test(first.mean(), second.mean())
    signed_rank = statistics.wilcoxon(first.mean(), second.mean())
    by_seed = statistics.seed_aware_test(first, second, pool)
    low, high = statistics.effect_interval(first, second)
    spread, tested = statistics.spread(first, second), statistics.spread(first, second, pool)
    seeds = min(by_seed.seeds) if np.isfinite(by_seed.p) else 0  # with 0, the detectable difference is NaN
    return {
        "runs_reference": by_seed.seeds[0], "runs": by_seed.seeds[1], "cases": by_case.n,
        "difference": by_case.difference, "cases_low": by_case.low, "cases_high": by_case.high,
        "cases_dz": by_case.dz, "cases_p": by_case.p, "cases_reason": by_case.reason,
        "wilcoxon_p": signed_rank.p, "wilcoxon_reason": signed_rank.reason,
        "seeds_difference": by_seed.difference, "seeds_low": by_seed.low, "seeds_high": by_seed.high,
        "seeds_df": by_seed.df, "seeds_dz": by_seed.dz, "seeds_p": by_seed.p, "seeds_reason": by_seed.reason,
        "bootstrap_low": low, "bootstrap_high": high,
        "comparisons": comparisons, "case_sd": spread.case_sd, "seed_sd": spread.seed_sd,
        "cases_detectable": statistics.detectable_difference(by_case.n, spread.case_sd, comparisons=comparisons),
        "seeds_detectable": statistics.detectable_difference(
            by_seed.cases, tested.case_sd, seeds, tested.seed_sd,
            residual_sd=tested.residual_sd, pool=pool, comparisons=comparisons,
        ),
    }  # fmt: skip


def _ranks(tables: dict[int, pd.DataFrame], measure: Measure, reference: int | None) -> dict[int, dict]:
    """Ranks of the rows of a family, by mean and within cases; empty for a row that is alone."""
    if len(tables) < 2:
        return {row: {} for row in tables}
    # names of one length, because `ranking` sorts methods by name and resamples them in that order
    names = {row: f"{row:06d}" for row in tables}
    ranking = statistics.ranking(
        {names[row]: table for row, table in tables.items()}, larger_is_better=measure.larger_is_better
    )
    friedman = statistics.critical_difference(
        pd.DataFrame({row: table.mean() for row, table in tables.items()}), measure.larger_is_better
    )
    lines = {}
    for row in tables:
        ranked = ranking.loc[names[row]]
        lines[row] = {
            "ranked_cases": ranked["cases"], "mean": ranked["mean"], "rank": ranked["rank"],
            "rank_low": ranked["rank_low"], "rank_high": ranked["rank_high"], "rank_first": ranked["first"],
            "mean_case_rank": friedman.mean_ranks.get(row, np.nan), "friedman_p": friedman.p,
            "nemenyi_distance": friedman.distance, "friedman_reason": friedman.reason,
        }  # fmt: skip
        if reference in friedman.pairwise and row != reference:
            lines[row]["nemenyi_p"] = friedman.pairwise.loc[row, reference]
    return lines
