"""Which differences between methods can be told from chance: every row of a budget against the plan's reference."""

import numpy as np
import pandas as pd

from reports import statistics
from reports.measures import DICE, Measure, Scores, hd95, with_rows
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
    """One line a row of the tables and measure, of the rows that have values; ceilings compete with nobody.

    Under the plan's postprocessing. Differences are reference minus row; the reference (a display name) is looked for
    in the same budget. A family, to which Holm's correction and ranks belong, is one measure in one budget. `cases_…`:
    the customary paired t-test over cases, runs averaged first; `seeds_…`: the seed-aware test; `…_detectable`: the
    true difference that such a test finds with 80 % power, at the level that Holm asks of the family's smallest p.
    `rank…`: by the mean, with its 95 % range over resampled runs and cases; `mean_case_rank`: of ranks in each case.
    """
    rows = with_rows(results.cells).drop_duplicates("row")
    postprocessing = results.plan["evaluation"]["postprocessing"]
    lines = []
    for _, budget in rows[rows["role"] != "ceiling"].groupby("labelled"):
        for measure in (DICE, hd95(results)):
            runs = {
                row: scores[row, postprocessing, measure.name]
                for row in budget["row"]
                if (row, postprocessing, measure.name) in scores
            }
            lines += _family(budget[budget["row"].isin(runs)], runs, measure, results.plan["reference"])
    return pd.DataFrame(lines, columns=COLUMNS)


def _family(rows: pd.DataFrame, runs: dict[int, pd.DataFrame], measure: Measure, name: str | None) -> list[dict]:
    reference = next(iter(rows.loc[rows["display"] == name, "row"]), None)
    ranks = _ranks(runs, measure, reference)
    lines = [
        row | ranks[row["row"]] | {"measure": measure.name, "reference": None if reference is None else name}
        for row in rows[[key for key in KEYS if key in rows]].to_dict("records")
    ]
    tested = [line for line in lines if reference is not None and line["row"] != reference]
    for line in tested:
        line |= _pair(runs[reference], runs[line["row"]], comparisons=len(tested))
    for kind in ("cases", "wilcoxon", "seeds"):
        for line, p in zip(tested, statistics.holm([line[f"{kind}_p"] for line in tested]), strict=True):
            line[f"{kind}_p_holm"] = p
    return lines


def _pair(first: pd.DataFrame, second: pd.DataFrame, comparisons: int) -> dict:
    by_case = statistics.paired_t_test(first.mean(), second.mean())
    signed_rank = statistics.wilcoxon(first.mean(), second.mean())
    by_seed = statistics.seed_aware_test(first, second)
    low, high = statistics.effect_interval(first, second)
    spread = statistics.spread(first, second)
    seeds = min(by_seed.seeds) if np.isfinite(spread.seed_sd) else 0  # 0: cannot be told, and gives NaN below
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
            by_seed.cases, spread.case_sd, seeds, spread.seed_sd, comparisons, residual_sd=spread.residual_sd
        ),
    }  # fmt: skip


def _ranks(runs: dict[int, pd.DataFrame], measure: Measure, reference: int | None) -> dict[int, dict]:
    if len(runs) < 2:
        return {row: {} for row in runs}
    # text of a fixed length, for `ranking` sorts what it is given by name
    ranking = statistics.ranking(
        {f"{row:06d}": table for row, table in runs.items()}, larger_is_better=measure.larger_is_better
    )
    friedman = statistics.critical_difference(
        pd.DataFrame({row: table.mean() for row, table in runs.items()}), measure.larger_is_better
    )
    lines = {}
    for row in runs:
        own = ranking.loc[f"{row:06d}"]
        lines[row] = {
            "ranked_cases": own["cases"], "mean": own["mean"], "rank": own["rank"], "rank_low": own["rank_low"],
            "rank_high": own["rank_high"], "rank_first": own["first"],
            "mean_case_rank": friedman.mean_ranks.get(row, np.nan), "friedman_p": friedman.p,
            "nemenyi_distance": friedman.distance, "friedman_reason": friedman.reason,
        }  # fmt: skip
        if reference in friedman.pairwise and row != reference:
            lines[row]["nemenyi_p"] = friedman.pairwise.loc[row, reference]
    return lines


def decision(line: pd.Series) -> tuple[float, bool]:
    """The p value that decides about a line, Holm-corrected, and whether it is the seed-aware test's.

    With one run of either method there is none of that test, and the customary one over cases speaks, of checkpoints.
    """
    seeds = pd.notna(line["seeds_p_holm"])
    return (line["seeds_p_holm"] if seeds else line["cases_p_holm"]), seeds
