"""The report's statistics for any table of scores: the function, the commands, and planning."""

import numpy as np
import pandas as pd
import pytest
from helpers.command_line import one_line_error

from reports.statistics import PAIR, RANKS, compare, compare_family, score_tables
from reports.statistics.family_simulation import FamilyDesign, simulate_family, star_power
from reports.statistics.planning import PlannedFamily, difference_found, planned_like, seeds_needed


def scores(seeds=3, draws=(None,), **methods):
    """A long table; each method has a mean."""
    rng = np.random.default_rng(0)
    lines = [
        (method, draw, seed, f"c{case}", mean + rng.normal())
        for method, mean in methods.items() for draw in draws for seed in range(seeds) for case in range(8)
    ]  # fmt: skip
    frame = pd.DataFrame(lines, columns=["method", "draw", "seed", "case", "value"])
    return frame if draws != (None,) else frame.drop(columns="draw")


FOUR = {"ours": 84, "a": 78, "b": 84, "c": 83}


def test_the_order_of_lines_does_not_matter_and_the_tests_are_those_of_the_report():
    frame = scores(**FOUR)
    tables = {
        method: pd.DataFrame(of["value"].to_numpy().reshape(3, 8), columns=[f"c{case}" for case in range(8)])
        for method, of in frame.groupby("method", sort=False)
    }
    expected = compare_family(tables, "ours", margin=1.0)
    mixed = pd.concat([frame.iloc[:1], frame.iloc[1:].sample(frac=1, random_state=0)])
    found = compare(mixed, "ours", margin=1.0).set_index("method")
    for method, line in expected.items():
        for column in ("seeds_p_holm", "cases_p", "wilcoxon_p", "difference", "verdict", "seeds_detectable"):
            assert found.loc[method, column] == line.get(column) or pd.isna(found.loc[method, column]), column
    assert found.loc["a", "verdict"] == "different" and [*PAIR, *RANKS] == list(found.columns[1:])


def test_measures_and_budgets_are_families_of_their_own():
    frame = pd.concat([scores(**FOUR).assign(labelled=4), scores(ours=84, a=84).assign(labelled=8)])
    found = compare(frame, "ours")
    assert found.groupby("labelled")["comparisons"].max().to_dict() == {4: 3, 8: 1}


def test_draws_that_all_share_are_paired():
    found = compare(scores(seeds=2, draws=("0", "1", "2", "3"), **FOUR), "ours")
    assert found["seeds_crossed"].dropna().all() and found["runs"].dropna().eq(4).all()


def test_a_distance_is_better_when_it_is_smaller():
    found = compare(scores(**FOUR), "ours", larger_is_better=False).set_index("method")
    assert found.loc["a", "rank"] == 1


@pytest.mark.parametrize(
    "change, said",
    [
        (lambda frame: frame.drop(columns="case"), "no column case: there are method, seed, value"),
        (lambda frame: pd.concat([frame, frame.tail(1)]), "a score is given twice: method c, seed 2, case c7"),
        (lambda frame: frame.assign(value="high"), "'high' in column value is no number"),
        (lambda frame: frame.assign(method=frame["method"].mask(frame.index == 3)), "column method has an empty cell"),
        (lambda frame: frame.replace("ours", "x"), "no method is called 'ours': there are x, a, b, c"),
    ],
)
def test_what_cannot_be_compared_is_said(change, said, tmp_path, command):
    frame = change(scores(**FOUR))
    with pytest.raises(ValueError, match=said):
        compare(frame, "ours")
    frame.to_csv(tmp_path / "scores.csv", index=False)
    assert said in one_line_error(command("compare", tmp_path / "scores.csv", "--reference", "ours"))


def test_an_empty_value_is_a_missing_score():
    frame = scores(**FOUR)
    frame.loc[0, "value"] = np.nan
    found = compare(frame, "ours")
    assert found["cases"].dropna().eq(7).all()
    of_one_run = frame["method"].eq("a") & frame["seed"].eq(0)
    found = compare(frame.assign(value=frame["value"].mask(of_one_run)), "ours").set_index("method")
    assert found["runs"].dropna().to_dict() == {"a": 2, "b": 3, "c": 3}


def test_the_command(tmp_path, command):
    frame = scores(**FOUR).rename(columns={"method": "Model", "value": "dice"})
    frame.to_csv(tmp_path / "scores.csv", index=False)
    given = ("compare", tmp_path / "scores.csv", "--column", "Model=method", "--column", "dice=value")
    status, out, errors = command(*given, "--reference", "ours", "--margin", 1, "--out", tmp_path / "tests.csv")
    assert status == 0, errors
    table = [line for line in out.splitlines() if line.startswith(" ")]
    assert max(map(len, table)) <= 80 and any(" a " in line and "different" in line for line in table)
    written = pd.read_csv(tmp_path / "tests.csv")
    assert list(written["method"]) == list(FOUR) and written["seeds_p_holm"].notna().sum() == 3
    wrong = command(*given[:2], "--column", "x", "--reference", "a")
    assert "write OLD=NEW with one of Model, seed" in one_line_error(wrong)
    assert "cannot be read as CSV" in one_line_error(command("compare", tmp_path, "--reference", "ours"))


# Planning.


def test_planned_like_finds_how_scores_vary():
    design = FamilyDesign((10,) * 12, 40, (0.8,) * 12, interaction_sd=1.5, residual_sd=1.0)
    simulated = simulate_family(design, 1, np.random.default_rng(0))
    family = planned_like(pd.DataFrame(of_method[0].astype(float)) for of_method in simulated)
    assert (family.methods, family.cases, family.crossed) == (12, 40, False)
    assert (family.seed_sd, family.interaction_sd, family.residual_sd) == pytest.approx((0.8, 1.5, 1.0), rel=0.15)
    with pytest.raises(ValueError, match="no method has two seeds"):
        planned_like(pd.DataFrame(of_method[0][:1].astype(float)) for of_method in simulated)


@pytest.mark.parametrize("crossed, seeds", [(False, 3), (False, 10), (True, 5)])
def test_the_difference_gets_its_star_in_80_percent_of_families(crossed, seeds):
    family = PlannedFamily(8, 12, interaction_sd=1.0, seed_sd=0.8, residual_sd=1.0, crossed=crossed)
    design = FamilyDesign((seeds,) * 8, 12, (0.8,) * 8, interaction_sd=1.0, residual_sd=1.0)
    simulated = simulate_family(design, 4000, np.random.default_rng(1), gap=difference_found(family, seeds))
    assert 0.76 < star_power(simulated, crossed=crossed) < 0.85


def test_how_many_seeds_are_needed():
    family = PlannedFamily(8, 20, interaction_sd=1.0, seed_sd=0.8, residual_sd=1.0)
    needed = seeds_needed(family, 2.5)
    assert difference_found(family, needed) <= 2.5 < difference_found(family, needed - 1)
    assert seeds_needed(family, 0.5) is None
    assert np.isnan(difference_found(PlannedFamily(3, 20, 1, 1, 1), 2))
    assert np.isnan(difference_found(PlannedFamily(8, 20, 1, 1, 1, crossed=True), 3))


def test_the_planning_command(tmp_path, command):
    scores(**FOUR).to_csv(tmp_path / "scores.csv", index=False)
    status, out, errors = command("plan-power", "--from", tmp_path / "scores.csv", "--cases", 40, "--difference", 5)
    assert status == 0, errors
    assert out.startswith("4 methods, 40 cases. ") and "A difference of 5 needs " in out
    given = ("--methods", 8, "--cases", 20, "--seed-sd", 0.8, "--interaction-sd", 1)
    status, out, _ = command("plan-power", *given, "--residual-sd", 1, "--draws")
    assert status == 0 and "shared draws" in out
    assert "give a results folder or a CSV file with --from, or --residual-sd" in one_line_error(
        command("plan-power", *given)
    )
    refused = command("plan-power", "--from", tmp_path / "scores.csv", "--labelled", 9)
    assert "say for how many labelled cases" in one_line_error(refused)
    few = command("plan-power", "--from", tmp_path / "scores.csv", "--cases", 5)
    assert "5 cases: no difference gets a star with fewer than 6; plan more with --cases" in one_line_error(few)


def test_score_tables_of_a_report_without_families():
    ((family, tables),) = score_tables(scores(**FOUR))
    assert family == {} and {method: table.shape for method, table in tables.items()} == dict.fromkeys(FOUR, (3, 8))
