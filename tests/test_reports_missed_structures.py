"""A structure that is missed or invented never makes a row look better, and absent ones play no part anywhere."""

import numpy as np
import pandas as pd
import pytest
from helpers.results_folder import CASES, cells_of, plan, values, write_folder, write_tables_of

from reports.measures import DICE, HD95, further_measures, measures, scores
from reports.results import read_results
from reports.significance import significance
from reports.tables import make_tables

DISTANCES = ("asd", "hd95", "assd", "hd95_max")
EXCLUDE = {"empty": "exclude"}


def set_values(table, case, structure, **metrics):
    """Change the values of one structure in one case, under both postprocessings and in every unit."""
    for metric, value in metrics.items():
        chosen = (table["case"] == case) & (table["class"] == structure) & (table["metric"] == metric)
        assert chosen.any()
        table.loc[chosen, "value"] = float(value)


def miss(table, case, structure, empty="exclude", diagonal=200.0):
    """What scoring writes of an empty prediction of a structure that is there."""
    distance = np.nan if empty == "exclude" else diagonal
    zero = dict.fromkeys(("dice", "jaccard", "nsd", "predicted"), 0)
    set_values(table, case, structure, **zero, **dict.fromkeys(DISTANCES, distance), volume_error=-100)


def invent(table, case, structure, empty="exclude", diagonal=200.0):
    """What scoring writes of a prediction of a structure that is not there."""
    distance = np.nan if empty == "exclude" else diagonal
    zero = dict.fromkeys(("dice", "jaccard", "nsd", "reference"), 0)
    set_values(table, case, structure, **zero, **dict.fromkeys(DISTANCES, distance), volume_error=np.nan)


def leave_out(table, case, structure):
    """What scoring writes of a structure that is neither there nor found."""
    undefined = dict.fromkeys(("dice", "jaccard", "nsd", "volume_error", *DISTANCES), np.nan)
    set_values(table, case, structure, predicted=0, reference=0, **undefined)


def two_methods(classes=2, seeds=(1,), **evaluation):
    planned = plan(cells_of("a", "b", seeds=seeds), data={"classes": classes}, evaluation=evaluation)
    return planned, {cell["trial"]: values(planned, number) for number, cell in enumerate(planned["cells"])}


def made(folder, planned, tables):
    results = read_results(write_folder(folder, planned, tables))
    [of] = make_tables([results])
    frames = {table.name: table.frame for table in of.tables}
    return results, of, frames


def test_missing_one_of_two_structures_has_no_distance_where_finding_both_has_one(tmp_path):
    planned, tables = two_methods(**EXCLUDE)
    for table in tables.values():
        for case in CASES:
            set_values(table, case, 1, hd95=0)
            set_values(table, case, 2, hd95=1)
    miss(tables["b-8-1-first"], CASES[0], 2)  # what is left of the case is 0, better than 0.5
    results, _, frames = made(tmp_path, planned, tables)
    [a, b] = (scores(results)[row, "none", HD95.name].iloc[0] for row in (0, 1))
    assert a.tolist() == [0.5] * len(CASES)
    assert np.isnan(b[CASES[0]]) and b[CASES[1:]].tolist() == [0.5] * (len(CASES) - 1)
    rows = frames["comparison"].set_index("display")
    assert rows["hd95_voxel_mean"].tolist() == [0.5, 0.5]
    assert rows["hd95_voxel_cases"].tolist() == [6, 5] and rows["cases"].tolist() == [6, 6]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("change", [miss, invent])
def test_wherever_structures_are_missed_or_invented_every_distance_of_the_case_is_gone(tmp_path, seed, change):
    planned, tables = two_methods(classes=3, seeds=(1, 2, 3), **EXCLUDE)
    whole, _, _ = made(tmp_path / "whole", planned, tables)
    rng = np.random.default_rng(seed)
    hit = set()
    for _ in range(3):
        trial, case, structure = rng.choice(list(tables)), rng.choice(CASES[:4]), int(rng.integers(1, 4))
        change(tables[trial], case, structure)
        hit.add((trial.split("-")[0], case))
    changed, _, _ = made(tmp_path / "changed", planned, tables)
    kinds = (*measures(whole)[2:], further_measures(whole)[0])
    before, after = scores(whole, kinds), scores(changed, kinds)
    assert before.keys() == after.keys() and len(after) == 2 * 2 * len(kinds)
    for key, table in after.items():
        method = "ab"[key[0]]
        undefined = [case for case in CASES if (method, case) in hit]
        assert table[undefined].isna().all(axis=None)
        pd.testing.assert_frame_equal(table.drop(columns=undefined), before[key].drop(columns=undefined))


def test_under_worst_the_diagonal_counts(tmp_path):
    planned, tables = two_methods(empty="worst")
    miss(tables["b-8-1-first"], CASES[0], 2, empty="worst", diagonal=500.0)
    results, _, frames = made(tmp_path, planned, tables)
    of_case = scores(results)[1, "none", HD95.name].iloc[0][CASES[0]]
    assert of_case > 250 and frames["comparison"]["hd95_voxel_cases"].tolist() == [6, 6]


@pytest.mark.parametrize("name", ["comparison", "further", "sweep", "structures"])
def test_a_mean_over_fewer_cases_says_so_and_is_not_the_best(tmp_path, name):
    planned, tables = two_methods(**EXCLUDE)
    for case in CASES:
        for structure in (1, 2):
            set_values(tables["b-8-1-first"], case, structure, hd95=0.1, hd95_max=0.1, asd=0.1)
    for structure in (1, 2):
        miss(tables["b-8-1-first"], CASES[0], structure)
    _, of, _ = made(tmp_path, planned, tables)
    blocks = next(table for table in of.tables if table.name == name).blocks
    for block in blocks[1:] if name == "structures" else blocks:  # the first one has all structures side by side
        place = next(n for n, column in enumerate(block.columns) if column.label.startswith("95HD"))
        better, worse = (next(r for r in block.rows if r.cells[0].text == m).cells[place] for m in "BA")
        assert better.value < worse.value and "(5 of 6 cases)" in better.text and better.rank == 0
        assert "cases)" not in worse.text


def test_a_run_that_finds_nothing_leaves_its_row_without_distances(tmp_path):
    planned, tables = two_methods(classes=1, seeds=(1, 2, 3), **EXCLUDE)
    for case in CASES:
        miss(tables["b-8-2-first"], case, 1)
    results, of, frames = made(tmp_path, planned, tables)
    rows = frames["comparison"].set_index("display")
    assert np.isnan(rows.loc["B", "hd95_voxel_mean"]) and rows.loc["B", "hd95_voxel_cases"] == 0
    assert rows.loc["B", "cases"] == 6 and not np.isnan(rows.loc["A", "hd95_voxel_mean"])
    tested = of.statistics.set_index(["display", "measure"])
    assert ("B", HD95.name) not in tested.index and ("B", DICE.name) in tested.index
    assert ("A", HD95.name) in tested.index


@pytest.mark.parametrize("empty", ["worst", "exclude"])
def test_an_absent_structure_plays_no_part(tmp_path, empty):
    planned, tables = two_methods(seeds=(1, 2), empty=empty)
    for table in tables.values():
        leave_out(table, CASES[0], 2)
    results, _, frames = made(tmp_path, planned, tables)
    for measure in (*measures(results), *further_measures(results)):
        for row, method in enumerate("ab"):
            found = scores(results, [measure])[row, "none", measure.name]
            for number, trial in enumerate(found.index):
                table = tables[trial]
                alone = table[
                    (table["case"] == CASES[0]) & (table["class"] == 1) & (table["postprocessing"] == "none")
                    & (table["metric"] == measure.metric) & (table["unit"] == measure.unit)
                ]["value"]  # fmt: skip
                assert found.iloc[number][CASES[0]] == pytest.approx(alone.item() * measure.factor), method
    rows = frames["comparison"]
    assert rows["cases"].tolist() == rows["hd95_voxel_cases"].tolist() == [6, 6]
    of_structure = frames["structures"].set_index(["structure", "display"])["cases"]
    assert of_structure["structure 1"].tolist() == [6, 6] and of_structure["structure 2"].tolist() == [5, 5]


def test_inventing_an_absent_structure_costs_dice_and_the_distance(tmp_path):
    planned, tables = two_methods(**EXCLUDE)
    leave_out(tables["a-8-1-first"], CASES[0], 2)
    invent(tables["b-8-1-first"], CASES[0], 2)
    results, _, _ = made(tmp_path, planned, tables)
    dice, distance = (
        [scores(results)[row, "none", measure.name].iloc[0][CASES[0]] for row in (0, 1)] for measure in (DICE, HD95)
    )
    assert dice[0] > 70 and dice[1] < 50
    assert not np.isnan(distance[0]) and np.isnan(distance[1])


@pytest.mark.parametrize("absent_in", [("a", "b"), ("a",), ("b",)])
def test_a_case_without_any_structure_is_left_out_of_means_counts_and_tests_alike(tmp_path, absent_in):
    """Where only some runs are right to predict nothing, the case is left out of their whole row."""
    planned, tables = two_methods(classes=1, seeds=(1, 2, 3))
    for method in "ab":
        for seed in (1, 2, 3):
            right = method in absent_in and (seed < 3 or len(absent_in) == 2)
            change = leave_out if right else invent
            change(tables[f"{method}-8-{seed}-first"], CASES[0], 1)
    results, of, frames = made(tmp_path, planned, tables)
    rows = frames["comparison"].set_index("display")
    left_out = {method.upper() for method in absent_in}
    assert rows["cases"].to_dict() == {name: 5 if name in left_out else 6 for name in "AB"}
    scored = scores(results)
    for row, name in enumerate("AB"):
        table = scored[row, "none", DICE.name]
        assert rows.loc[name, f"{DICE.name}_mean"] == pytest.approx(table.mean(axis=1).mean())
        assert rows.loc[name, f"{DICE.name}_mean"] == pytest.approx(table.mean().mean())
    [tested] = significance(results, scored).query("display == 'A' and measure == @DICE.name").to_dict("records")
    assert tested["cases"] == 5, "a pair needs the case in both rows"
    assert tested["seeds_difference"] == pytest.approx(tested["difference"]), "both tests are of the same cases"
    long = pd.read_csv(write_tables_of(tmp_path) / "long.csv").query("metric == 'dice' and postprocessing == 'none'")
    assert long.set_index("display")["n"].to_dict() == rows["cases"].to_dict()
    assert (100 * long.set_index("display")["mean"]).to_dict() == pytest.approx(
        rows[f"{DICE.name}_mean"].to_dict(), abs=1e-6
    )
