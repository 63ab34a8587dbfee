"""Stars and rings in families of methods: the pool of run variances, and how often they are false."""

from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers.score_tables import score_table
from scipy import stats

from reports.statistics import RunPool, detectable_difference, holm, pool_variances, run_pool, seed_aware_test
from reports.statistics.family_grid import CASES, DRAWS, GRID, GRIDS, LIMIT, METHODS, SCENARIOS, SEEDS
from reports.statistics.family_simulation import (
    FamilyDesign,
    found,
    pair_p_values,
    simulate_family,
    star_and_ring_rates,
    star_power,
)
from reports.statistics.seed_aware import TWO_SEEDS

DOCS = Path(__file__).parents[1] / "docs" / "calibration.md"
REPLICATIONS = 2000


def tables_of(scores, family):
    return [score_table(of_method[family]) for of_method in scores]


@pytest.mark.parametrize("pooled", [True, False])
@pytest.mark.parametrize("seeds", [(3, 3, 3, 3), (2, 2, 2, 2, 2), (3, 5, 2, 4, 3, 2), (2, 3, 3), (2, 2)])
def test_the_fast_simulation_has_the_p_values_of_the_test_itself(seeds, pooled):
    rng = np.random.default_rng(0)
    seed_sd = tuple(np.geomspace(0.1, 4, len(seeds)))
    scores = simulate_family(FamilyDesign(seeds, 12, seed_sd, 1.0, 1.0, heavy=pooled, dead=0.1), 15, rng, gap=3)
    scores = [of_method.astype(float) for of_method in scores]
    first, second = np.triu_indices(len(seeds), 1)
    fast = pair_p_values(scores, first, second, pooled)
    for family in range(15):
        tables = tables_of(scores, family)
        pool = run_pool(tables) if pooled else None
        p = [seed_aware_test(tables[a], tables[b], pool).p for a, b in zip(first, second, strict=True)]
        assert fast[family] == pytest.approx(p, rel=1e-6, nan_ok=True)
    assert np.isnan(fast).any() == (pooled and seeds in [(2, 3, 3), (2, 2)])


def test_what_is_found_is_what_holms_correction_finds():
    p = np.random.default_rng(0).uniform(0, 0.1, (300, 5)) ** 2
    p[::7, 2] = np.nan
    assert found(p).tolist() == [(holm(line) < 0.05).tolist() for line in p]
    assert 0 < found(p).mean() < 1


def test_the_pool_is_the_variance_of_methods_that_vary_alike():
    variances = np.random.default_rng(0).chisquare(2, (4000, 18)) / 2
    assert np.median(pool_variances(variances, (3,) * 18).variance) == pytest.approx(1, abs=0.1)


def test_a_collapsed_run_raises_the_pool_little_and_no_method_is_steadier_than_it():
    rng = np.random.default_rng(1)
    tables = [score_table(rng.normal(0, 1, (3, 1)) + rng.normal(0, 0.5, (3, 12))) for _ in range(8)]
    before = run_pool(tables).variance
    tables[0].iloc[0] -= 1000
    after = run_pool(tables).variance
    assert before <= after < 3 * before
    variance, df = RunPool(after, (3,) * 8).floored(np.array([0, 0.9 * after, 1.1 * after]), 3)
    assert variance == pytest.approx([after, after, 1.1 * after])
    assert df == pytest.approx([2 + 0.4 * 6, 2 + 0.4 * 6, 2])


def test_unequal_numbers_of_runs():
    counts = (2, 3, 5, 5)
    variances = np.array([1.0, 0.5, 3.0, 2.0])
    scale = [stats.chi2.median(count - 1) / (count - 1) for count in counts]
    median = np.median(variances / scale)
    pool = pool_variances(variances, counts)
    assert pool.variance == pytest.approx(max(median, np.average(variances, weights=[1, 2, 4, 4])))
    assert pool.floored(0.0, 2)[1] == 1  # two runs borrow nothing
    assert pool.floored(0.0, 5)[1] == pytest.approx(4 + 0.4 * 2 * np.mean([0, 1, 3, 3]))
    with pytest.raises(ValueError, match="two runs"):
        pool_variances(variances, (1, 3, 5, 5))


def test_methods_with_one_run_are_not_pooled():
    two = score_table([[1, 3], [3, 7]])
    assert run_pool([two, two.iloc[:1], two.iloc[:0]]).seeds == (2,)
    assert run_pool([two.iloc[:1]]) is None and run_pool([]) is None
    draws = pd.concat([two, two], keys=["first", "0"], names=["draw"])
    assert run_pool([draws]).seeds == (2,)  # two draws of two seeds are two independent runs


def test_the_pool_never_makes_p_smaller_than_the_paired_tests():
    rng = np.random.default_rng(2)
    design = FamilyDesign((3,) * 6, 12, tuple(np.geomspace(0.1, 4, 6)), 1.0, 1.0)
    scores = simulate_family(design, 200, rng, gap=2)
    p = pair_p_values(scores, np.array([0, 2]), np.array([1, 4]), pooled=True)
    paired = [stats.ttest_rel(scores[a].mean(1), scores[b].mean(1), axis=-1).pvalue for a, b in ((0, 1), (2, 4))]
    assert (p >= np.transpose(paired) - 1e-6).all()


def test_two_seeds_of_few_methods_have_an_interval_but_no_p():
    rng = np.random.default_rng(3)
    tables = [score_table(rng.normal(0, 1, (2, 1)) + rng.normal(0, 0.5, (2, 12))) for _ in range(4)]
    test = seed_aware_test(tables[0], tables[1], run_pool(tables[:3]))
    assert np.isnan(test.p) and test.reason == TWO_SEEDS and test.low < test.difference < test.high
    assert seed_aware_test(tables[0], tables[1], run_pool(tables)).p > 0
    assert seed_aware_test(tables[0], tables[1]).p > 0  # alone, without any correction


@pytest.mark.parametrize("seeds, methods, seed_sd", [(3, 8, 0.8), (3, 18, 3.0), (5, 4, 0.8)])
def test_a_family_finds_its_detectable_difference_in_80_percent(seeds, methods, seed_sd):
    design = FamilyDesign((seeds,) * methods, 20, (seed_sd,) * methods, 1.0, 1.0)
    case_sd = np.sqrt(2 * (1 + 1 / seeds))
    gap = detectable_difference(
        20, case_sd, seeds, seed_sd, residual_sd=1, comparisons=methods - 1,
        pool=RunPool(seed_sd**2 + 1 / 20, design.seeds),
    )  # fmt: skip
    assert 0.76 < star_power(simulate_family(design, 4000, np.random.default_rng(4), gap)) < 0.86


def test_the_grid_is_the_one_that_was_written_down():
    assert (SEEDS, CASES, METHODS) == ((2, 3, 5), (12, 20, 40), (4, 8, 18)) and len(SCENARIOS) == 11
    assert DRAWS == (4, 5, 10) and len(GRID) == 2 * 11 * 27 and LIMIT == 0.055
    for name, runs in (("Seeds", SEEDS), ("Draws", DRAWS)):
        designs = [setting.design for setting in GRIDS[name]]
        sizes = {(design.seeds[0], design.cases, len(design.seeds)) for design in designs}
        assert sizes == set(product(runs, CASES, METHODS))
        assert all(setting.crossed == (name == "Draws") for setting in GRIDS[name])
    unequal = [s.design.seed_sd for s in GRID if s.scenario.reference in ("calmest", "middle", "wildest")]
    assert all((min(sds), max(sds)) == pytest.approx((0.2, 5)) for sds in unequal)


def tables_of_docs(name):
    """The two tables of a grid in docs/calibration.md, as lines that begin with a scenario."""
    names = {scenario.name: scenario for scenario in SCENARIOS}
    _, overview, again, *_ = DOCS.read_text(encoding="utf-8").split(f"| Seed, method-by-case, residual SD | {name} |")
    return [
        [
            (names[first], *others)
            for first, *others in (line.strip("| ").split(" | ") for line in text.split("\n\n")[0].splitlines())
            if first in names
        ]
        for text in (overview, again)
    ]


@pytest.mark.parametrize("name, runs", [("Seeds", SEEDS), ("Draws", DRAWS)])
def test_the_docs_say_that_no_setting_has_more_than_5_5_percent(name, runs):
    overview, again = tables_of_docs(name)
    assert [(scenario.name, int(count)) for scenario, count, *_ in overview] == [
        (scenario.name, count) for scenario, count in product(SCENARIOS, runs)
    ]
    assert len(again) == 16 and all(max(float(star), float(ring)) <= 5.5 for *_, star, ring in again)


@pytest.mark.parametrize("name", ["Seeds", "Draws"])
def test_the_hardest_settings_are_as_the_docs_say(name):
    for scenario, seeds, cases, methods, *printed in tables_of_docs(name)[1][::3]:
        design = scenario.design(int(seeds), int(cases), int(methods))
        scores = simulate_family(design, REPLICATIONS, np.random.default_rng(5))
        rates = star_and_ring_rates(scores, crossed=name == "Draws")
        printed = np.array([float(rate) for rate in printed]) / 100
        error = np.sqrt(printed * (1 - printed) * (1 / REPLICATIONS + 1 / 20_000))
        assert (np.abs(rates - printed) <= 4 * error + 0.0005).all(), (scenario.name, rates, printed)


@pytest.mark.parametrize("seeds", [2, 3])
def test_without_the_pool_stars_and_rings_are_false_more_than_twice_as_often_as_promised(seeds):
    scenario = next(scenario for scenario in SCENARIOS if scenario.reference == "calmest")
    scores = simulate_family(scenario.design(seeds, 20, 18), REPLICATIONS, np.random.default_rng(6))
    assert min(star_and_ring_rates(scores, pooled=False)) > 0.1
    assert max(star_and_ring_rates(scores, pooled=True)) <= LIMIT + 0.01
