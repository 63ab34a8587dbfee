"""Intervals of means, of weighted sums, of the gap closed and of labels saved; and how often they are wrong."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers.score_tables import score_table
from scipy import stats

from reports.labels_saved import labels_saved
from reports.statistics import (
    contrasts,
    equivalence_p,
    gap_interval,
    mean_interval,
    run_pool,
    saved_interval,
    seed_aware_test,
    side_of_margin,
)
from reports.statistics.family_grid import SCENARIOS, SEEDS
from reports.statistics.family_simulation import simulate_family
from reports.statistics.interval_simulation import COLUMNS, FAR, equivalent_rows, missed

DOCS = Path(__file__).parents[1] / "docs" / "calibration.md"


def random_tables(*seeds, cases=12, seed_sd=1.0, seed=0):
    rng = np.random.default_rng(seed)
    shared = rng.normal(80, 8, cases)
    return [
        score_table(shared + 3 * k + rng.normal(0, seed_sd, (count, 1)) + rng.normal(0, 1, (count, cases)))
        for k, count in enumerate(seeds)
    ]


@pytest.mark.parametrize("seeds", [(3, 3), (2, 5), (5, 3)])
@pytest.mark.parametrize("pooled", [True, False])
def test_the_weights_1_and_minus_1_are_the_seed_aware_test(seeds, pooled):
    first, second, *others = random_tables(*seeds, 3, 3, 3)
    pool = run_pool([first, second, *others]) if pooled else None
    test = seed_aware_test(first, second, pool)
    difference, half_width = contrasts([first, second], [pool, pool]).at(np.array([1, -1]))
    assert (difference - half_width, difference + half_width) == pytest.approx((test.low, test.high))
    three = contrasts([others[0], first, second], [None, pool, pool])  # a weight of 0 changes nothing
    assert three.at(np.array([0, 1, -1])) == pytest.approx((difference, half_width))


def test_with_one_seed_the_intervals_are_students_over_cases():
    first, second, one = random_tables(3, 3, 1)
    for tables, weights in (([one], [1]), ([first, one], [1, -1]), ([first, second, one], [1, -0.3, -0.7])):
        known = contrasts(tables)
        by_case = sum(weight * table.mean() for weight, table in zip(weights, tables, strict=True))
        low, high = stats.ttest_1samp(by_case, 0).confidence_interval(0.95)
        value, half_width = known.at(np.array(weights))
        assert known.over == "cases" and (value - half_width, value + half_width) == pytest.approx((low, high))


def test_the_mean_of_many_seeds_that_change_nothing_has_students_interval():
    table = random_tables(1)[0]
    same = pd.concat([table] * 4, ignore_index=True)
    *ends, over = mean_interval(same)
    assert over == "seeds" and ends == pytest.approx(list(stats.ttest_1samp(table.iloc[0], 0).confidence_interval()))


def test_the_mean_over_cases_that_are_alike_has_the_interval_of_the_runs():
    means = np.array([80.0, 81.0, 83.5])
    low, high, _ = mean_interval(score_table(np.tile(means[:, None], 30)))
    assert (low, high) == pytest.approx(tuple(stats.ttest_1samp(means, 0).confidence_interval()))


@pytest.mark.parametrize("rows", [[[80.0]], [[80.0], [81.0]], [[80.0, 80.0], [80.0, 80.0]]])
def test_scores_without_variance_or_with_one_case_have_no_interval(rows):
    assert np.isnan(mean_interval(score_table(rows))[:2]).all()


def weights_of(share):
    return np.array([1, share - 1, -share])


def test_the_ends_of_the_gap_closed_are_where_the_test_turns():
    floor, method, ceiling = random_tables(3, 3, 3, seed_sd=0.3)
    known = contrasts([method, floor, ceiling])
    low, high = gap_interval(known)
    assert low < (known.means[0] - known.means[1]) / (known.means[2] - known.means[1]) < high
    for end in (low, high):
        value, half_width = known.at(weights_of(end))
        assert abs(value) == pytest.approx(half_width, rel=0.02)


def test_fiellers_interval_in_its_closed_form():
    """With one seed the degrees of freedom do not depend on the share, so that a quadratic equation has the ends."""
    floor, method, ceiling = random_tables(1, 1, 1)
    top, bottom = (method - floor).iloc[0], (ceiling - floor).iloc[0]
    n = len(top)
    t2 = stats.t.ppf(0.975, n - 1) ** 2 / n
    roots = np.roots([
        bottom.mean() ** 2 - t2 * bottom.var(),
        -2 * (top.mean() * bottom.mean() - t2 * np.cov(top, bottom)[0, 1]),
        top.mean() ** 2 - t2 * top.var(),
    ])  # fmt: skip
    assert gap_interval(contrasts([method, floor, ceiling])) == pytest.approx(tuple(sorted(roots)), abs=0.005)


def test_a_ceiling_that_does_not_differ_from_the_floor_leaves_any_share_possible():
    floor, method = random_tables(3, 3, seed_sd=0.3)
    ceiling = floor[::-1].reset_index(drop=True) + np.array([0.5, -0.4] * 6)
    assert gap_interval(contrasts([method, floor, ceiling])) == (-np.inf, np.inf)


def test_labels_saved_hold_the_point_estimate_and_end_where_the_test_turns():
    at_4, at_8, method, at_28 = random_tables(3, 3, 3, 3, seed_sd=0.3)
    known = contrasts([method, at_4, at_8, at_28])
    low, high = saved_interval(known, (4, 8, 28), labelled=4)
    curve = pd.Series({4: known.means[1], 8: known.means[2], 28: known.means[3]})
    assert low < labels_saved(curve, known.means[0], 4) < high
    for end in (low, high):
        share = np.interp(np.log(4 + end), np.log([8, 28]), [0, 1])
        value, half_width = known.at(np.array([1, 0, share - 1, -share]))
        assert abs(value) == pytest.approx(half_width, rel=0.05)


@pytest.mark.parametrize(
    "shift, expected", [(50, (24, np.inf)), (-50, (-np.inf, 0)), (0, (-np.inf, 1)), (6, (22, np.inf))]
)
def test_labels_saved_are_open_at_the_ends_of_the_curve(shift, expected):
    """At 4 labelled: far above the ceiling, far below the floor, at the floor, at the ceiling."""
    floor, ceiling = random_tables(5, 5, cases=40, seed_sd=0.05)
    ceiling = ceiling + 3  # six points above the floor
    method = floor + np.tile([0.1, -0.1], 20) + shift
    low, high = saved_interval(contrasts([method, floor, ceiling]), (4, 28), labelled=4)
    assert (low, high) == pytest.approx(expected, abs=2) and low < high


def test_intervals_that_are_narrower_than_the_steps_hold_the_estimate():
    rng = np.random.default_rng(0)
    method, floor, ceiling = (score_table(dice + rng.normal(0, 1e-6, (3, 4))) for dice in (70.0, 60.0, 80.0))
    known = contrasts([method, floor, ceiling])
    assert saved_interval(known, (4, 16), labelled=4) == pytest.approx((4, 4), abs=0.05)  # 8 of 4 to 16, logarithmic
    assert gap_interval(known) == pytest.approx((0.5, 0.5), abs=0.005)


def test_scores_that_do_not_vary_have_no_interval():
    known = contrasts([score_table(np.full((2, 4), dice)) for dice in (70.1, 60.1, 80.1)])
    assert np.isnan([*saved_interval(known, (4, 16), labelled=4), *gap_interval(known)]).all()


@pytest.mark.parametrize("df", [3.0, 11.0, 200.0])
def test_equivalence_is_an_interval_of_90_per_cent_within_the_margin(df):
    rng = np.random.default_rng(0)
    for difference, error in rng.uniform([-1.5, 0.05], [1.5, 1], (200, 2)):
        half_width = stats.t.ppf(0.95, df) * error
        within = side_of_margin(difference - half_width, difference + half_width, margin=1) == "within"
        p = equivalence_p(difference, error, df, margin=1)
        assert within == (p < 0.05)
        one_sided = [stats.t.sf((difference + 1) / error, df), stats.t.cdf((difference - 1) / error, df)]
        assert p == pytest.approx(max(one_sided))


def test_equivalence_equals_statsmodels():
    weightstats = pytest.importorskip("statsmodels.stats.weightstats")
    first, second = random_tables(1, 1, seed=3)
    gaps = (first - second).iloc[0]
    p, *_ = weightstats.DescrStatsW(gaps).ttost_mean(-4, 4)
    assert equivalence_p(gaps.mean(), gaps.sem(), len(gaps) - 1, margin=4) == pytest.approx(p)


@pytest.mark.parametrize("scenario, seeds", [(scenario, seeds) for scenario in SCENARIOS for seeds in (2, 3)])
def test_few_families_have_a_false_equivalence(scenario, seeds):
    """A short version of the grid: 4 and 18 methods, 12 cases. Every row is as far from the reference as the margin."""
    for methods in (4, 18):
        scores = simulate_family(scenario.design(seeds, 12, methods), 500, np.random.default_rng([seeds, methods]))
        assert equivalent_rows([scores[0] + FAR, *scores[1:]], FAR).any(1).mean() < 0.055 + 0.02


def test_steady_families_that_are_alike_are_called_equivalent():
    design = SCENARIOS[3].design(seeds=5, cases=40, methods=4)  # seed SD 0.2
    scores = simulate_family(design, 300, np.random.default_rng(0))
    assert equivalent_rows(scores, margin=1.5).mean() > 0.9


@pytest.mark.slow
def test_the_docs_have_these_rates():
    lines = DOCS.read_text(encoding="utf-8").splitlines()
    start = next(place for place, line in enumerate(lines) if COLUMNS["equivalent"] in line)
    table = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[start + 2 :]]
    table = table[: len(SCENARIOS) * len(SEEDS)]
    assert [cells[0] for cells in table] == [scenario.name for scenario in SCENARIOS for _ in SEEDS]
    for place in (0, 4, 19):
        name, seeds, *shares = table[place]
        scenario = next(scenario for scenario in SCENARIOS if scenario.name == name)
        rates = missed(scenario.design(int(seeds), 20, 8), 500, np.random.default_rng(9))
        assert [100 * rate for rate in rates.values()] == pytest.approx(list(map(float, shares[:-1])), abs=4)
    assert max(float(cells[-1]) for cells in table) < 5.5
