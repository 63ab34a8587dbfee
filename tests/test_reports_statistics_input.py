"""Input that would give a wrong number raises ValueError, and every public function documents itself."""

import inspect

import numpy as np
import pandas as pd
import pytest
from helpers.score_tables import score_table

from reports import statistics
from reports.statistics import (
    MeanSquares,
    SimulatedDesign,
    bootstrap_weights,
    critical_difference,
    critical_distance,
    detectable_difference,
    effect_interval,
    holm,
    mean_squares,
    paired_t_test,
    ranking,
    score_matrices,
    seed_aware_test,
    spread,
    variance_of_difference,
    wilcoxon,
)

TABLE = score_table([[1, 2, 3], [2, 3, 5]])
BY_CASE = TABLE.mean()
TWICE = TABLE.rename(columns={"c1": "c0"})
FUNCTIONS = {name: f for name, f in vars(statistics).items() if name in statistics.__all__ and inspect.isfunction(f)}


@pytest.mark.parametrize("test", [paired_t_test, wilcoxon])
@pytest.mark.parametrize(
    "wrong, message",
    [
        (TABLE, "one value per case, not DataFrame"),
        (BY_CASE.to_numpy(), "one value per case, not ndarray"),
        (TWICE.mean(), "case 'c0' has more than one value"),
    ],
)
def test_scores_by_case_are_a_series_that_names_each_case_once(test, wrong, message):
    for pair in ((wrong, BY_CASE), (BY_CASE, wrong), (wrong, wrong)):
        with pytest.raises(ValueError, match=message):
            test(*pair)


@pytest.mark.parametrize("compare", [score_matrices, seed_aware_test, effect_interval, spread,
                                     lambda first, second: ranking({"A": first, "B": second})])  # fmt: skip
@pytest.mark.parametrize(
    "wrong, message", [(BY_CASE, "runs by cases, not Series"), (TWICE, "case 'c0' has more than one column")]
)
def test_score_tables_have_one_column_per_case(compare, wrong, message):
    for pair in ((wrong, TABLE), (TABLE, wrong), (wrong, wrong)):
        with pytest.raises(ValueError, match=message):
            compare(*pair)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: holm([[0.1, 0.2]]), "one dimension, not 2"),
        (lambda: holm([0.1, 1.2]), "between 0 and 1"),
        (lambda: holm([0.1, -0.2]), "between 0 and 1"),
        (lambda: critical_difference(TWICE), "method 'c0' occurs twice"),
        (lambda: critical_difference(TWICE.T), "case 'c0' occurs twice"),
        (lambda: critical_distance(1, 10), "two methods and a case"),
        (lambda: critical_distance(3, 10, alpha=5), "alpha must be between 0 and 1"),
        (lambda: effect_interval(TABLE, TABLE, resamples=0), "must be positive"),
        (lambda: bootstrap_weights(np.random.default_rng(0), 10, 3, 0), "must be positive"),
        (lambda: mean_squares(np.ones((3, 4)), np.ones((3, 1))), "the same cases"),
        (lambda: mean_squares(np.ones((2, 3, 4)), np.ones((3, 4))), "the same cases"),
        (lambda: mean_squares(np.ones(4), np.ones(4)), "runs, cases"),
        (lambda: mean_squares(np.ones((1, 4)), np.ones((3, 4))), "two runs and two cases"),
        (lambda: variance_of_difference(MeanSquares(1.0, (1.0, 1.0), (1.0, 1.0)), (3, 1), 20), "two runs"),
        (lambda: detectable_difference(20, -1.0), "must not be negative"),
        (lambda: detectable_difference(20, 1.0, comparisons=0), "comparisons must be at least 1"),
        (lambda: detectable_difference(20, 1.0, power=80), "power and alpha between 0 and 1"),
        (lambda: SimulatedDesign((3, 3), (0.4, 0.4), 1.0, tails="fat"), "tails must be one of"),
        (lambda: SimulatedDesign((3, 3), (0.4, -0.4), 1.0), "must not be negative"),
    ],
)  # fmt: skip
def test_other_wrong_input_raises(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_table_without_scores_for_a_run_or_case_keeps_the_rest():
    gaps = pd.DataFrame([[1, 2, None], [3, 4, 5], [None, None, None]], columns=["c2", "c0", "c1"])
    first, second = score_matrices(gaps, TABLE)
    assert first.tolist() == [[2, 1], [4, 3]] and second.tolist() == [[1, 3], [2, 5]]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_public_functions_document_arguments_results_and_an_example(name):
    text = inspect.getdoc(FUNCTIONS[name])
    assert all(f"\n{part}:\n" in text for part in ("Args", "Returns", "Raises", "Example")) and ">>>" in text
    arguments = text.split("\nArgs:\n")[1].split("\nReturns:\n")[0]
    assert all(f"    {argument}: " in arguments for argument in inspect.signature(FUNCTIONS[name]).parameters)
