"""Published settings beside tuned ones."""

import json

import numpy as np
import pandas as pd
import pytest
from helpers.results_folder import (
    CASES,
    EARLIER_REASON,
    cells_of,
    make_stale,
    plan,
    scored,
    write_folder,
    write_tables_of,
)
from scipy import stats

from reports.merging import read_folders
from reports.statistics import seed_aware_test
from reports.tables import make_tables

DICE = [0.5, 0.6, 0.7, 0.8, 0.9, 0.55]
BETTER = [0.6, 0.65, 0.72, 0.9, 0.91, 0.7]


@pytest.fixture
def folders(tmp_path):
    """A, tuned from 0.1 to 0.3, and B, whose published settings were the best; the floor has nothing to tune."""
    floor = cells_of("v", role="floor", unlabelled=0)
    published = plan([*floor, *cells_of("a", "b")], evaluation={"postprocessing": "none"})
    tuned = plan(
        [*floor, *cells_of("a", settings={"weight": 0.3}), *cells_of("b")], experiment="made_up-tuned",
        evaluation={"postprocessing": "none"}, tuned={"experiment": "made_up", "how": "by hand"},
    )  # fmt: skip
    for cell in tuned["cells"][3:6]:
        cell["trial"] += "-tuned"
    first = {cell["trial"]: scored(published, dice=DICE) for cell in published["cells"] if cell["method"] == "a"}
    second = {cell["trial"]: scored(tuned, dice=BETTER) for cell in tuned["cells"][3:6]}
    return write_folder(tmp_path / "a", published, first), write_folder(tmp_path / "b", tuned, second)


def test_the_difference_is_that_of_a_paired_test(folders):
    tables = make_tables(read_folders(folders))
    assert [table.name for table in tables[0].tables] == ["comparison", "further", "sweep", "cost", "ledger"]
    frame = next(table.frame for table in tables[1].tables if table.name == "tuning").set_index("method")
    assert list(frame.index) == ["a", "b"]  # the floor is none of them
    expected = stats.ttest_rel(BETTER, DICE)
    assert frame.loc["a", "difference"] == pytest.approx(100 * sum(BETTER) / 6 - 100 * sum(DICE) / 6)
    assert frame.loc["a", "cases_p"] == pytest.approx(expected.pvalue)
    assert not frame.loc["a", "same"] and frame.loc["b", "same"]


def test_the_page_has_both_sides_and_the_settings(folders):
    text = (write_tables_of(*folders) / "made_up-tuned" / "tuning.md").read_text(encoding="utf-8")
    row = next(line for line in text.splitlines() if line.startswith("| A |"))
    assert "67.50" in row and "74.67" in row and "weight = 0.3" in row and "+7.17" in row
    assert "| as published |" in next(line for line in text.splitlines() if line.startswith("| B |"))
    assert "Settings: by hand." in text and len(CASES) == 6


def test_methods_that_were_not_tuned_say_so(folders):
    path = folders[1] / "plan.json"
    planned = json.loads(path.read_text())
    planned["tuned"]["methods"] = ["A"]
    path.write_text(json.dumps(planned))
    text = (write_tables_of(*folders) / "made_up-tuned" / "tuning.md").read_text(encoding="utf-8")
    [row] = [line for line in text.splitlines() if line.startswith("| B |")]
    assert row.count("| not tuned |") == 2 and "as published" not in row and "weight = 0.3" in text


def test_alone_the_tuned_experiment_has_no_such_table(folders):
    [tables] = make_tables(read_folders(folders[1:]))
    assert "tuning" not in [table.name for table in tables.tables]


@pytest.mark.parametrize(
    ("block", "change"), [("data", {"fingerprint": "f01"}), ("evaluation", {"stride": [8, 8, 8]}),
                          ("training", {"iterations": 601})]
)  # fmt: skip
def test_other_protocols_are_not_set_side_by_side(folders, block, change):
    path = folders[1] / "plan.json"
    planned = json.loads(path.read_text())
    path.write_text(json.dumps(planned | {block: planned[block] | change}))
    tables = make_tables(read_folders(folders))[1].tables
    assert "tuning" not in [table.name for table in tables]
    assert f"Not compared with the published settings: the two differ in {block}." in tables[0].notes


def test_runs_that_share_a_draw_are_not_independent(tmp_path):
    """Published and tuned differ by draw: the test that takes every run for itself would be sure, and must not be."""
    published = plan([c for draw in (0, 1, 2) for c in cells_of("a", seeds=(1, 2, 3, 4), draw=draw)])
    tuned = plan(
        [c for draw in (0, 1, 2) for c in cells_of("a", seeds=(1, 2, 3, 4), draw=draw, settings={"weight": 0.3})],
        experiment="made_up-tuned", tuned={"experiment": "made_up", "how": "by hand"},
    )  # fmt: skip
    rng = np.random.default_rng(0)
    sides = []
    for name, planned, means in (("a", published, (0.70, 0.71, 0.72)), ("b", tuned, (0.71, 0.74, 0.77))):
        tables = {}
        for c in planned["cells"]:
            c["trial"] += name
            noise = rng.normal(0, 0.001, len(CASES)) + rng.normal(0, 0.001)
            tables[c["trial"]] = scored(planned, dice=(means[c["draw"]] + noise).tolist())
        sides.append((write_folder(tmp_path / name, planned, tables), tables))
    tables = make_tables(read_folders([folder for folder, _ in sides]))[1].tables
    [p] = next(table.frame for table in tables if table.name == "tuning")["seeds_p"]
    runs = [
        pd.DataFrame([of[of["metric"].eq("dice") & of["postprocessing"].eq("none")].set_index("case")["value"] * 100
                      for of in tables.values()], index=[0] * 4 + [1] * 4 + [2] * 4)
        for _, tables in sides
    ]  # fmt: skip
    assert p == pytest.approx(seed_aware_test(*(of.groupby(level=0).mean() for of in reversed(runs))).p)
    assert seed_aware_test(*(of.reset_index(drop=True) for of in reversed(runs))).p < p / 3


def test_stale_on_either_side_is_marked_and_explained(folders):
    make_stale(folders[0], "a-8-1-first")
    text = (write_tables_of(*folders) / "made_up-tuned" / "tuning.md").read_text(encoding="utf-8")
    assert "| A§ |" in text and f"§ Stale: {EARLIER_REASON}" in text and "B§" not in text
