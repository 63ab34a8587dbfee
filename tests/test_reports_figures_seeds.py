"""Figures of what seeds do: ranks that take them as samples, and the sources of the variance."""

from itertools import combinations

import numpy as np
import pytest
from helpers.results_folder import CASES, cell, plan, scored, write_plan, write_record

from reports.figures import draw_module, style
from reports.figures.measured import measured_in, per_case, score_tables
from reports.figures.pairwise_map import pairwise
from reports.measures import DICE
from reports.results import read_results
from reports.statistics import critical_difference, variance_components


@pytest.fixture(autouse=True)
def one_style():
    with style.applied():
        yield


def source_of(folder):
    return measured_in(read_results(folder))


def drawn_by(module, folder):
    return {figure.name: figure for figure in draw_module(module, source_of(folder))}


def write_methods(folder, dice, seeds=(1, 2, 3), run_sd=0.002, case_sd=0.0):
    """Methods a, b, c ... around these values of Dice; nothing else varies than runs, single scores and cases."""
    rng = np.random.default_rng(0)
    planned = plan([cell(chr(97 + place), seed=seed) for place in range(len(dice)) for seed in seeds])
    folder, shared = write_plan(folder, planned), rng.normal(0, case_sd, len(CASES))
    for planned_cell in planned["cells"]:
        around = dice[ord(planned_cell["method"]) - 97] + rng.normal(0, run_sd)
        write_record(
            folder, planned, planned_cell, scored(planned, dice=list(around + shared + rng.normal(0, 0.001, 6)))
        )
    return folder


def bars_of(axes):
    return [sorted(line.get_xdata()) for line in axes.lines if line.get_color() == "#444444"]


def test_with_seeds_the_bars_of_ranks_join_what_the_rings_do_not_tell_apart(tmp_path):
    folder = write_methods(tmp_path, [0.9, 0.9, 0.8, 0.7, 0.7])
    figure = drawn_by("ranks", folder)["ranks_8"]
    (axes,) = figure.figure.axes
    runs = source_of(folder).at(8)
    *_, rings = pairwise(runs, [*"ABCDE"])
    apart = {pair for pair in combinations("ABCDE", 2) if rings.loc[pair] < 0.05}
    assert apart == set(combinations("ABCDE", 2)) - {("A", "B"), ("D", "E")}
    written = dict(text.get_text().split() if text.get_text().split()[0].isalpha() else text.get_text().split()[::-1]
                   for text in axes.texts)  # fmt: skip
    bars = bars_of(axes)
    assert len(bars) == 2 and written["C"] == "3.0"
    assert [f"{end:.1f}" for bar in bars for end in bar] == sorted(written[name] for name in "ABDE")
    assert "CD" not in figure.caption and "so this compares methods" in figure.caption


def test_seeds_that_vary_join_all_methods_whose_checkpoints_differ_in_every_case(tmp_path):
    folder = write_methods(tmp_path, [0.9, 0.85, 0.8, 0.75], run_sd=0.1)
    (axes,) = drawn_by("ranks", folder)["ranks_8"].figure.axes
    assert critical_difference(per_case(source_of(folder).at(8), DICE)).p < 0.01
    assert [len(bar) for bar in bars_of(axes)] == [4]  # one bar, with a dot for each method


@pytest.mark.parametrize("seeds, count", [((1,), 4), ((1, 2), 3)])
def test_without_a_seed_aware_test_ranks_are_of_checkpoints(tmp_path, seeds, count):
    figure = drawn_by("ranks", write_methods(tmp_path, [0.9, 0.8, 0.7, 0.6][:count], seeds))["ranks_8"]
    assert "There are too few seeds for a test that compares methods." in figure.caption and "CD = " in figure.caption


def test_the_variance_is_drawn_in_shares_and_said_in_points(tmp_path):
    folder = write_methods(tmp_path, [0.9, 0.8, 0.7], case_sd=0.05)
    figure = drawn_by("variance", folder)["variance"]
    (axes,) = figure.figure.axes
    expected = variance_components(score_tables(source_of(folder).at(8)).values())
    widths = {bars.get_label(): bars[0].get_width() for bars in axes.containers}
    assert widths == pytest.approx((100 * expected.shares).to_dict()) and sum(widths.values()) == pytest.approx(100)
    assert f"8 labelled: case {expected.variances['case'] ** 0.5:.1f}, method " in figure.caption


def test_one_seed_leaves_the_variance_undivided(tmp_path):
    reason = drawn_by("variance", write_methods(tmp_path, [0.9, 0.8], seeds=(1,)))["variance"].reason
    assert reason == "The variance cannot be divided: no method has two seeds."
