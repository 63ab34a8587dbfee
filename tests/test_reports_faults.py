"""Runs that diverged, failed or collapsed: what they count as, and what tables, page and figures say of them."""

import numpy as np
import pandas as pd
import pytest
import yaml
from helpers.faulty_runs import SHAPE, SPACING, frame_of, line_of, planned_with, text_of, three_methods, write
from helpers.page_folder import write_picture
from helpers.results_folder import (
    CASES,
    cell,
    cells_of,
    make_stale,
    plan,
    scored,
    write_folder,
    write_heartbeat,
    write_plan,
    write_record,
    write_tables_of,
)

from benchmark.trial.metrics import case_metrics
from reports.figures.measured import measured_in
from reports.measures import scores
from reports.merging import read_folders
from reports.page.contents import details
from reports.results import read_results


def test_a_diverged_run_scores_what_an_empty_prediction_scores(tmp_path):
    [results] = read_folders([three_methods(folder=tmp_path)])
    nothing, truth = np.zeros(SHAPE, np.uint8), np.ones(SHAPE, np.uint8)
    expected = {
        (row["metric"], row["unit"]): row["value"]
        for row in case_metrics(nothing, truth, 1, tuple(SPACING), empty="worst", nsd_tolerance=2.0)
        if row["metric"] not in ("predicted", "reference")
    }
    worst = results.cases[results.cases["trial"] == "a-8-2-first"]
    assert len(worst) == 2 * len(CASES) * len(expected)
    for line in worst.to_dict("records"):
        assert line["value"] == pytest.approx(expected[line["metric"], line["unit"]])


def test_it_counts_in_means_tests_and_ranks(tmp_path):
    folder = three_methods(folder=tmp_path)
    frame = frame_of(folder)
    alive = [100 * (0.9 + 0.001 * seed) for seed in (1, 3)]
    assert frame.loc["A", "dice_percent_mean"] == pytest.approx(sum(alive) / 3)
    assert frame["rank"].to_dict() == {"B": 1, "C": 2, "A": 3}
    assert not frame.loc["A", "significant"] and frame.loc["A", "seeds_p_holm"] > 0.05
    assert (frame.loc["A", "runs_done"], frame.loc["A", "runs_counted"], frame.loc["A", "diverged"]) == (2, 3, 1)
    text = text_of(folder)
    cells = line_of(text, "A↓")
    assert "3 (1 diverged)" in cells and cells[3].startswith("60.1")
    assert "**Complete: all 9 planned trials have ended: 8 done, 1 diverged.**" in text
    assert "Dice, Jaccard and NSD 0, the image diagonal as each distance, a volume error of −100 %" in text
    assert "A, 8 labelled, seed 2: diverged: loss total is nan at step 12." in text
    assert "A$\\downarrow$" in text_of(folder, kind="tex")


@pytest.mark.slow
def test_a_method_two_points_better_loses_its_star_by_one_diverged_seed(tmp_path):
    rng = np.random.default_rng(0)
    cells = cells_of("a", "b", "c", "d")
    noise = {c["trial"]: 0.8 + 0.02 * (c["method"] == "a") + 0.001 * rng.standard_normal(len(CASES)) for c in cells}
    dice = {trial: tuple(values) for trial, values in noise.items()}
    alive = write(tmp_path / "alive", planned_with(cells), dice=dice)
    assert frame_of(alive).loc["A", "significant"]
    for policy in ("worst", "exclude"):
        folder = write(tmp_path / policy, planned_with(cells, policy), {"a-8-2-first": "diverged"}, dice)
        assert not frame_of(folder).loc["A", "significant"]
        assert line_of(text_of(folder), "A↓")[3].count("*") == 0


@pytest.mark.slow
@pytest.mark.parametrize("policy, state", [("exclude", "diverged"), ("exclude", "failed"), ("worst", "failed")])
def test_a_row_that_lacks_such_a_run_is_held_back_and_has_both_means(tmp_path, policy, state):
    folder = three_methods(policy, state=state, folder=tmp_path)
    frame, text = frame_of(folder), text_of(folder)
    alive = 100 * (0.9 + 0.002)
    assert frame.loc["A", "dice_percent_mean"] == pytest.approx(alive)
    assert frame.loc["A", "dice_percent_mean_of_all"] == pytest.approx(2 * alive / 3)
    diagonal = np.linalg.norm(np.multiply(SHAPE, SPACING))
    both = frame.loc["A", "hd95_mm_mean"], frame.loc["A", "hd95_mm_mean_of_all"]
    assert both[1] == pytest.approx((2 * both[0] + diagonal) / 3)
    assert pd.isna(frame.loc["A", ["rank", "difference", "cases_p_holm", "seeds_p_holm"]]).all()
    assert not frame.loc["A", "significant"] and frame.loc["B", "rank"] == 1 and frame.loc["C", "rank"] == 2
    ended = "Complete: all 9 planned trials have ended: 8 done, 1 diverged; those that diverged are excluded."
    assert (f"**{ended}**" in text) == (state == "diverged") and ("Unfinished" in text) == (state == "failed")
    cells = line_of(text, "A↓")
    assert cells[3].endswith(f"({2 * alive / 3:.2f})") and "*" not in cells[3] and cells[-1] == "–"
    assert f"2 of 3 (1 {state})" in cells
    assert "**8" in line_of(text, "B")[3], "the best of the rows that are ranked is bold"
    assert "Rows that lack such a run have no star, no bold figure and no rank" in text
    assert ("run --retry-failed` tries them again".replace("`", "\\`") in text) == (state == "failed")
    for name, column in (("sweep", 1), ("cost", 1)):
        assert "*" not in line_of(text_of(folder, name), "A↓")[column]


def test_the_reference_that_lacks_a_run_is_no_reference(tmp_path):
    text = text_of(three_methods("exclude", ended="b-8-1-first", folder=tmp_path))
    assert "No tests here: the reference B lacks runs that failed or diverged." in text
    assert "(Holm)" not in text.split("Detectable")[0]


def test_what_was_not_run_stays_missing(tmp_path):
    planned = planned_with(cells_of("a", "b"))
    write(tmp_path, planned, {"a-8-2-first": "diverged"})
    (tmp_path / "records" / "a-8-3-first" / "trial.yaml").unlink()
    frame = frame_of(tmp_path)
    assert (frame.loc["A", "runs_done"], frame.loc["A", "runs_counted"], frame.loc["A", "runs_planned"]) == (1, 2, 3)
    first = frame.loc["A", "dice_percent_run_high"]
    assert frame.loc["A", "dice_percent_mean"] == pytest.approx(first / 2)
    assert "2 of 3 (1 diverged, 1 not run)" in text_of(tmp_path)


def test_a_row_of_which_no_run_was_trained_says_why_and_is_last(tmp_path):
    planned = planned_with([cell("a"), cell("b"), cell("c"), cell("d")])
    folder = write(tmp_path, planned, {"a-8-1-first": "diverged", "c-8-1-first": "failed"})
    text = text_of(folder)
    assert line_of(text, "A ")[3] == "diverged: loss total is nan at step 12"
    assert line_of(text, "C ")[3] == "failed: MemoryError"
    frame = frame_of(folder)
    assert frame.loc["A", "rank"] == 3 and pd.isna(frame.loc["C", "rank"])
    assert sorted(measured_in(read_results(folder)).runs["row"].unique()) == ["B", "D"]


def test_a_structure_that_a_case_lacks_has_no_score(tmp_path):
    planned = planned_with(cells_of("a", "b"), data={"classes": 2})
    write_plan(tmp_path, planned)
    for number, planned_cell in enumerate(planned["cells"]):
        table = scored(planned, seed=number)
        lacking = (table["case"] == CASES[0]) & (table["class"] == 2)
        table.loc[lacking & (table["metric"] == "reference"), "value"] = 0
        if planned_cell["trial"] == "a-8-1-first":
            write_record(tmp_path, planned, planned_cell, state="diverged", reason="loss is nan", test=CASES)
        else:
            write_record(tmp_path, planned, planned_cell, table)
    results = read_results(tmp_path)
    worst = results.cases[results.cases["trial"] == "a-8-1-first"]
    assert set(worst.loc[worst["case"] == CASES[0], "class"]) == {1}
    assert set(worst.loc[worst["case"] == CASES[1], "class"]) == {1, 2}


def test_shapes_that_an_earlier_plan_lacks_come_from_pictures(tmp_path):
    folder = three_methods(folder=tmp_path, shapes=[])
    assert "a plan of an earlier version lacks the shapes" in text_of(folder)
    assert pd.notna(frame_of(folder).loc["A", "dice_percent_mean"])
    truth = np.zeros(SHAPE, np.uint8)
    truth[5:10, 5:10, 5:10] = 1
    for case in CASES:
        write_picture(folder, case, truth)
    assert "lacks the shapes" not in text_of(folder)
    [results] = read_folders([folder])
    worst = results.cases[(results.cases["trial"] == "a-8-2-first") & (results.cases["metric"] == "hd95")]
    assert worst.groupby("unit")["value"].max().to_dict() == pytest.approx(
        {"voxel": np.linalg.norm(SHAPE), "mm": np.linalg.norm(np.multiply(SHAPE, SPACING))}
    )


def test_records_of_all_policies_stay_done(tmp_path):
    folder = three_methods(folder=tmp_path)
    text = (folder / "plan.json").read_text()
    for policy in ('"diverged": "exclude"', '"diverged": "worst"'):
        (folder / "plan.json").write_text(text.replace('"diverged": "worst"', policy))
        assert set(read_results(folder).cells["state"]) == {"done", "diverged"}
    (folder / "plan.json").write_text(text.replace(', "diverged": "worst"', ""))
    assert read_results(folder).plan.evaluation.diverged == "worst"


def test_a_run_that_other_numerics_let_diverge_is_stale(tmp_path):
    folder = three_methods(folder=tmp_path)
    make_stale(folder, "a-8-2-first")
    text = text_of(folder)
    assert line_of(text, "A§↓") and "run --rerun stale --retry-failed" in text


def test_parts_prefer_a_run_that_goes_on_to_one_that_diverged(tmp_path):
    planned = planned_with(cells_of("a", "b"))
    one = write(tmp_path / "one", planned, {"a-8-1-first": "diverged"})
    two = write_plan(tmp_path / "two", planned)
    write_heartbeat(two, planned["cells"][0], stage="training", step=3, iterations=600)
    [merged] = read_folders([one, two])
    assert dict(zip(merged.cells["trial"], merged.cells["state"], strict=True))["a-8-1-first"] == "running"
    assert "a-8-1-first" not in set(merged.cases["trial"])


@pytest.mark.parametrize("policy", ["worst", "exclude"])
def test_a_fold_that_diverged_counts_in_its_own_cases_alone(tmp_path, policy):
    folders = []
    for fold in (0, 1):
        cells = [c | {"trial": f"{c['trial']}-{fold}"} for c in cells_of("a", "b")]
        data = {"folds": {"folds": 2, "fold": fold, "seed": 0}, "fingerprint": f"f{fold}"}
        planned = planned_with(cells, policy, shapes=[f"{fold}-{case}" for case in CASES], data=data)
        folder = write_plan(tmp_path / str(fold), planned)
        folders.append(folder)
        for planned_cell in cells:
            table = scored(planned, dice=0.8)
            if (fold, planned_cell["trial"]) == (1, "a-8-2-first-1"):
                write_record(folder, planned, planned_cell, state="diverged", reason="loss is nan")
            else:
                table["case"] = f"{fold}-" + table["case"]
                write_record(folder, planned, planned_cell, table)
    [pooled] = read_folders(folders)
    means = scores(pooled)[0, "none", "dice_percent"].mean(axis=1)
    assert means.tolist() == pytest.approx([80, 40, 80] if policy == "worst" else [80, 80])
    tables = write_tables_of(*folders)
    line = pd.read_csv(tables / "comparison.csv").set_index("display").loc["A"]
    assert (line["diverged"], line["left_out"]) == ((1, 0) if policy == "worst" else (0, 1))
    assert line["collapsed"] == 0, "it has a reason already: 40 points below the others, because a fold diverged"
    if policy == "exclude":
        assert line["dice_percent_mean_of_all"] == pytest.approx(200 / 3)
    assert "A, 8 labelled, seed 2: diverged: fold 1: loss is nan." in (tables / "comparison.md").read_text()


def test_collapsed_runs_are_named_marked_and_counted(tmp_path):
    planned = plan(cells_of("a", "b"))
    dice = {"a-8-1-first": 0.7, "a-8-2-first": 0.2, "a-8-3-first": 0.72, "b-8-1-first": 0.6}
    folder = write(tmp_path, planned, dice=dice)
    path = folder / "records" / "b-8-1-first" / "trial.yaml"
    dead = "dead network: share has a median of 0 over the last 60 steps, below 0.1"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | {"collapsed": dead}))
    frame, text = frame_of(folder), text_of(folder)
    assert frame.loc["A", "dice_percent_mean"] == pytest.approx((70 + 20 + 72) / 3)
    assert frame["collapsed"].to_dict() == {"A": 1, "B": 1} and frame["rank"].notna().all()
    assert line_of(text, "A↓") and line_of(text, "B↓")
    assert "A, 8 labelled, seed 2: Dice 20.0 lies 50.0 points below the median of its 3 runs" in text
    assert f"B, 8 labelled, seed 1: {dead}" in text.replace("\\_", "_")
    [results] = read_folders([folder])
    states = [run["State"] for row in details(results).values() for run in row["runs"]]
    assert sum("; collapsed: " in state for state in states) == 2


def test_the_rule_is_printed_where_nothing_collapsed(tmp_path):
    text = text_of(write_folder(tmp_path, plan(cells_of("a", "b"))))
    assert "more than 20 points below the median of its row, which must have at least 3 runs" in text
    assert "Here: none." in text and "| A↓" not in text


def test_runs_far_below_are_found_across_the_parts_of_an_experiment(tmp_path):
    folders = []
    for seed, dice in ((1, 0.7), (2, 0.2), (3, 0.72)):
        planned = plan(cells_of("a", seeds=(seed,)))
        folders.append(write(tmp_path / str(seed), planned, dice={f"a-8-{seed}-first": dice}))
    [merged] = read_folders(folders)
    found = dict(zip(merged.cells["seed"], merged.cells["collapsed"], strict=True))
    assert [bool(found[seed]) for seed in (1, 2, 3)] == [False, True, False]
