"""How often the tests find a difference in simulated scores, and that docs/calibration.md says so."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from reports.statistics import SimulatedDesign, simulate_scores
from reports.statistics.null_simulation import BEYOND_GRID, GRID
from reports.statistics.simulation import family_rates, interval_rate, paired_rate, seed_aware_rate

DOCS = Path(__file__).parents[1] / "docs" / "calibration.md"
REPLICATIONS = 4000


@pytest.fixture(scope="module")
def rates():
    """{design: shares of replications found significant by the paired t-test, by the seed-aware, by it at gaps 1, 2}"""
    rng = np.random.default_rng(1)
    found = {}
    for design in GRID + BEYOND_GRID:
        null = simulate_scores(design, REPLICATIONS, rng)
        gaps = [seed_aware_rate(*simulate_scores(design, REPLICATIONS, rng, gap)) for gap in (1.0, 2.0)]
        found[design] = [paired_rate(*null), seed_aware_rate(*null), *gaps]
    return found


@pytest.mark.slow
def test_without_a_true_difference_the_seed_aware_test_finds_one_in_7_percent_at_most(rates):
    found = np.array([rates[design][1] for design in GRID])
    assert len(found) == 12 and (found <= 0.07).all()
    assert (found >= 0.03).all()  # nor is it so careful that it finds nothing


@pytest.mark.parametrize("residual_sd", [0.0, 3.0])
@pytest.mark.parametrize("design", GRID, ids=str)
def test_nor_does_it_with_little_or_much_residual(design, residual_sd):
    rng = np.random.default_rng(2)
    assert (
        0.005 < seed_aware_rate(*simulate_scores(replace(design, residual_sd=residual_sd), REPLICATIONS, rng)) <= 0.07
    )


def test_the_paired_t_test_finds_one_in_a_third_where_seeds_vary_and_in_5_percent_where_they_do_not(rates):
    assert rates[SimulatedDesign((3, 3), (0.8, 0.8), 1.0)][0] > 0.28
    assert all(rate[0] > 0.15 for design, rate in rates.items() if design in GRID and design.seed_sd == (0.8, 0.8))
    assert all(0.04 < rate[0] < 0.065 for design, rate in rates.items() if design.seed_sd == (0.0, 0.0))


def test_the_table_in_the_docs_is_what_the_simulation_gives(rates):
    rows = [
        line.strip("| \n").split(" | ")
        for line in DOCS.read_text(encoding="utf-8").splitlines()
        if line.startswith(("| 2", "| 3", "| 5")) and line.count("|") == 13
    ]
    assert len(rows) == len(rates)
    for row, (design, found) in zip(rows, rates.items(), strict=True):
        assert row[2:5] == [str(design.interaction_sd), str(design.residual_sd), design.tails]
        printed = np.array([float(row[n]) for n in (5, 6, 8, 9)]) / 100
        error = np.sqrt(printed * (1 - printed) / REPLICATIONS)
        assert (np.abs(np.array(found) - printed) <= 5 * error + 0.001).all(), (row, found)


def test_the_bootstrap_interval_is_too_narrow_with_three_seeds_that_vary_much():
    rng = np.random.default_rng(3)
    rate = interval_rate(*simulate_scores(SimulatedDesign((3, 3), (0.8, 0.8), 1.0), 600, rng), rng, resamples=500)
    assert 0.05 < rate < 0.12


@pytest.mark.parametrize("place", range(0, 23, 4))
def test_the_false_stars_and_rings_of_a_family_are_as_the_docs_say(place):
    rows = [line.strip("| \n").split(" | ") for line in DOCS.read_text(encoding="utf-8").splitlines()]
    row = [row for row in rows if len(row) == 12 and row[0][0] in "235"][place]
    printed = np.array([float(cell) for cell in row[10:]]) / 100
    found = np.array(family_rates((GRID + BEYOND_GRID)[place], 1000, np.random.default_rng(4)))
    error = np.sqrt(np.maximum(printed * (1 - printed), 0.002) * (1 / 1000 + 1 / 2000))
    assert (np.abs(found - printed) <= 4 * error).all(), (row, found)
    assert (printed <= 0.055).all()
