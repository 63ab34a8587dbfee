"""Mean ranks over data sets, and how stable they are."""

import numpy as np
import pandas as pd
import pytest
from helpers.score_tables import score_table

from reports.statistics import critical_difference, means_by_dataset, rank_over_datasets


def made_up(*means, seed=0, runs=3, cases=8, noise=0.5):
    """Score tables of methods A, B, ... with these means on one data set."""
    rng = np.random.default_rng(seed)
    shared = rng.normal(0, 5, cases)
    shared -= shared.mean()
    return {
        name: score_table(mean + shared + noise * rng.normal(0, 1, (runs, cases)))
        for name, mean in zip("ABCDE", means, strict=False)
    }


def test_ranks_within_data_sets_are_averaged_whatever_the_size_of_scores_and_test_sets():
    scores = {"one": made_up(90, 80, 70, noise=0), "two": made_up(5, 1, 9, cases=40, noise=0),
              "three": made_up(50, 50, 40, noise=0)}  # fmt: skip
    table = rank_over_datasets(scores)
    assert table["mean_rank"].to_dict() == pytest.approx({"A": (1 + 2 + 1.5) / 3, "B": (2 + 3 + 1.5) / 3, "C": 7 / 3})
    assert list(table.index) == ["A", "B", "C"]
    worst = rank_over_datasets(scores, larger_is_better=False)["mean_rank"]
    assert (worst + table["mean_rank"]).to_dict() == pytest.approx(dict.fromkeys("ABC", 4))


def test_a_method_that_a_data_set_lacks_has_no_rank_and_the_others_are_ranked_among_themselves():
    scores = {
        "one": made_up(70, 90, 80),
        "two": {name: table for name, table in made_up(5, 9, 1).items() if name != "B"},
    }
    empty = scores["two"] | {"B": score_table(np.full((2, 8), np.nan))}
    for given in (scores, scores | {"two": empty}):
        table = rank_over_datasets(given)
        assert table["datasets"].to_dict() == {"A": 2, "B": 1, "C": 2}
        assert table.loc["B"].drop("datasets").isna().all() and table.index[-1] == "B"
        assert table["mean_rank"].dropna().to_dict() == {"A": 1.5, "C": 1.5}
        assert list(means_by_dataset(given)) == ["A", "C"]


def test_drawing_data_sets_moves_what_seeds_and_cases_do_not():
    scores = {"one": made_up(90, 50), "two": made_up(50, 90)}
    table = rank_over_datasets(scores)
    assert (table[["fixed_low", "fixed_high", "mean_rank"]] == 1.5).all(axis=None)
    assert (table["rank_low"] == 1).all() and (table["rank_high"] == 2).all()
    assert table["first"].to_list() == pytest.approx([0.5, 0.5], abs=0.05)


def test_seeds_and_cases_move_the_ranks_of_each_data_set_by_themselves():
    one = {name: table - table.to_numpy().mean() for name, table in made_up(0, 0).items()}  # each is first at times
    alone = rank_over_datasets({"only": one})
    assert alone.loc["A", ["fixed_low", "fixed_high"]].to_list() == [1, 2]
    assert alone["rank_low"].equals(alone["fixed_low"]) and alone["rank_high"].equals(alone["fixed_high"])
    many = rank_over_datasets({f"copy {number}": one for number in range(12)})
    assert 1 < many.loc["A", "fixed_low"] < many.loc["A", "fixed_high"] < 2, "all copies drew the same seeds and cases"


def test_the_order_of_data_sets_and_methods_changes_nothing():
    scores = {name: made_up(80, 80.2, 79.8, seed=seed) for seed, name in enumerate(("b", "a", "c"))}
    reordered = {name: dict(reversed(scores[name].items())) for name in reversed(scores)}
    pd.testing.assert_frame_equal(rank_over_datasets(scores), rank_over_datasets(reordered))
    assert not rank_over_datasets(scores).equals(rank_over_datasets(scores, seed=1))


@pytest.mark.parametrize("scores", [{}, {"one": {}}, {"one": made_up(80, 70), "two": {}}])
def test_nothing_is_ranked_where_no_method_is_on_every_data_set(scores):
    assert rank_over_datasets(scores)["mean_rank"].isna().all() and means_by_dataset(scores).size == 0


def test_a_data_set_without_a_common_case_leaves_no_ranks():
    halves = np.where(np.arange(8) < 4, 1.0, np.nan)
    apart = {"A": score_table([halves]), "B": score_table([halves[::-1]])}
    assert rank_over_datasets({"one": made_up(80, 70), "two": apart})["mean_rank"].isna().all()


def test_the_test_over_data_sets_counts_each_once():
    scores = {f"set {number}": made_up(80, 75, 70, seed=number, cases=30) for number in range(6)}
    result = critical_difference(means_by_dataset(scores), block="data set")
    assert result.n == 6 and result.distance == pytest.approx(2.343 * np.sqrt(3 * 4 / (6 * 6)), rel=1e-3)
    few = {name: scores[name] for name in list(scores)[:4]}
    reason = critical_difference(means_by_dataset(few), block="data set").reason
    assert reason == "fewer than 5 data sets with a value for every method"
