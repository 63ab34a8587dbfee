"""Intervals over runs, their place beside a margin, and how often the verdict that follows is wrong."""

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from reports.statistics import interval_over_runs, side_of_margin
from reports.statistics.margin_simulation import RUNS, SEED_SDS, verdict_rates

DOCS = Path(__file__).parents[1] / "docs" / "calibration.md"
REPLICATIONS = 5000


def test_the_interval_is_the_one_sample_t_interval():
    means = np.random.default_rng(0).normal(90, 1, (7, 4))
    low, high = interval_over_runs(means)
    for row, *ends in zip(means, low, high, strict=True):
        assert ends == pytest.approx(list(stats.ttest_1samp(row, 0).confidence_interval(0.95)))


@pytest.mark.parametrize("means", [[90.0], [90.0, 90.0], [0.1 + 0.2, 0.3, 0.3]])
def test_one_run_and_copies_of_one_have_no_interval(means):
    assert np.isnan(interval_over_runs(np.array(means))).all()


def test_the_interval_of_one_new_run_holds_95_of_100():
    runs = np.random.default_rng(0).normal(90, 0.8, (20_000, 4))
    low, high = interval_over_runs(runs[:, :3], new_runs=1)
    assert ((low <= runs[:, 3]) & (runs[:, 3] <= high)).mean() == pytest.approx(0.95, abs=0.006)


@pytest.mark.parametrize(
    "low, high, side",
    [(-1, 1, "within"), (-0.2, 0.1, "within"), (-1.01, 0, "open"), (0, 1.01, "open"), (-2, 2, "open"), (-3, -1, "open"),
     (1.01, 2, "outside"), (-3, -1.01, "outside"), (np.nan, np.nan, "open"), (-np.inf, np.inf, "open")],
)  # fmt: skip
def test_the_sides_of_a_margin(low, high, side):
    assert side_of_margin(low, high, margin=1) == side


def rates(runs, seed_sd, gap, one_run):
    return verdict_rates(runs, seed_sd, gap, one_run, REPLICATIONS, np.random.default_rng(0))


@pytest.mark.parametrize("one_run", [False, True], ids=["exact figure", "figure of one run"])
@pytest.mark.parametrize("seed_sd", [*SEED_SDS, 3.0])
@pytest.mark.parametrize("runs", RUNS)
def test_a_method_two_points_lower_is_seldom_called_reproduced(runs, seed_sd, one_run):
    assert rates(runs, seed_sd, 2.0, one_run)["within"] < 0.05


@pytest.mark.parametrize("seed_sd", SEED_SDS)
@pytest.mark.parametrize("runs", RUNS)
def test_an_equal_method_is_seldom_called_not_reproduced(runs, seed_sd):
    assert rates(runs, seed_sd, 0.0, one_run=False)["outside"] < 0.05
    assert rates(runs, seed_sd, 0.0, one_run=True)["beyond one run"] < 0.06


def test_with_three_steady_seeds_both_verdicts_are_found():
    assert rates(3, 0.2, 0.0, one_run=False)["within"] > 0.9
    assert rates(3, 0.2, 2.0, one_run=False)["outside"] > 0.9


def test_the_docs_have_these_rates():
    lines = DOCS.read_text(encoding="utf-8").splitlines()
    of_docs = {
        tuple(cells[:3]): [float(cell) / 100 for cell in cells[3:]]
        for cells in ([cell.strip() for cell in line.strip("|").split("|")] for line in lines)
        if len(cells) == 8 and cells[2] in ("exact", "of one run")
    }
    assert len(of_docs) == 2 * len(RUNS) * len(SEED_SDS)
    for (runs, seed_sd, figure), shares in of_docs.items():
        equal, lower = (rates(int(runs), float(seed_sd), gap, figure == "of one run") for gap in (0.0, 2.0))
        found = [equal["within"], equal["outside"], equal["beyond one run"], lower["within"], lower["outside"]]
        assert found == pytest.approx(shares, abs=0.025)
