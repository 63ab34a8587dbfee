"""Folds of one cross-validation are reported on as one experiment in which every case is a test case once."""

import numpy as np
import pandas as pd
import pytest
from helpers.results_folder import CASES, cell, cells_of, plan, scored, write_folder, write_plan, write_tables_of

from reports.measures import scores
from reports.merging import read_folders
from reports.report import write_report
from reports.results import read_results
from reports.statistics import paired_t_test

DICE = ("none", "dice_percent")


def fold(folder, number, cells=None, folds=3, missing=(), ceiling=28, **changes):
    """A results folder of one fold: its own test cases, its own trial ids, its own numbers."""
    cells = cells or cells_of("a", "b", seeds=(1, 2))
    cells = [*cells, cell("a", labelled=ceiling, unlabelled=0, role="ceiling")]
    cells = [planned | {"trial": f"{planned['trial']}-{number}"} for planned in cells]
    data = {
        "folds": {"folds": folds, "fold": number, "seed": 0}, "split": f"folds {folds}, fold {number}, seed 0",
        "split_hash": f"s{number}", "fingerprint": f"f{number}", "train": ceiling,
        "stored_fingerprints": {"train": f"t{number}", "test": f"f{number}"},
    }  # fmt: skip
    planned = plan(cells, **({"data": data} | changes))
    tables = {}
    for index, each in enumerate(cells):
        table = scored(planned, seed=100 * number + index)
        tables[each["trial"]] = table.assign(case=f"{number}-" + table["case"])
    write_folder(folder, planned, tables)
    for trial in missing:
        (folder / "records" / trial / "trial.yaml").unlink()
    return folder


@pytest.fixture
def folders(tmp_path):
    return [fold(tmp_path / f"fold{number}", number) for number in range(3)]


def test_every_case_counts_once_in_a_run(folders):
    [pooled] = read_folders(folders)
    alone = [read_results(folder) for folder in folders]
    assert len(pooled.cells) == 5 and set(pooled.cells["state"]) == {"done"}
    assert pooled.plan.data.test == 3 * len(CASES)
    together = scores(pooled)
    for row in (0, 1, 2):  # a, b, the ceiling
        parts = [scores(results)[row, *DICE].to_numpy() for results in alone]
        assert np.array_equal(together[row, *DICE].to_numpy(), np.hstack(parts))


def test_the_test_over_cases_is_that_of_all_folds_together(folders):
    table = pd.read_csv(write_tables_of(*folders) / "comparison.csv")
    alone = [scores(read_results(folder)) for folder in folders]
    a, b = (np.hstack([each[row, *DICE].mean().to_numpy() for each in alone]) for row in (0, 1))
    expected = paired_t_test(pd.Series(b), pd.Series(a))
    line = table[(table["display"] == "A") & (table["role"] == "method")].iloc[0]
    assert line["dice_percent_mean"] == pytest.approx(a.mean()) and line["cases"] == 3 * len(CASES)
    assert line["difference"] == pytest.approx(expected.difference)
    assert line["cases_p_holm"] == pytest.approx(expected.p)
    assert line["runs_done"] == 2


def test_tables_say_what_was_pooled(folders):
    text = (write_tables_of(*folders) / "comparison.md").read_text()
    assert "28 training and 18 test cases, split 3 folds, seed 0, 28 training cases in each" in text
    assert "Cross-validation: every case is a test case once" in text
    some = (write_tables_of(*folders[1:]) / "comparison.md").read_text()
    assert "split 3 folds (only folds 1, 2), seed 0" in some
    one = (write_tables_of(folders[1]) / "comparison.md").read_text()
    assert "split folds 3, fold 1, seed 0" in one and "Cross-validation" not in one


def test_the_order_of_folders_changes_nothing(folders):
    text = (write_tables_of(*folders) / "comparison.csv").read_text()
    assert (write_tables_of(*folders[::-1]) / "comparison.csv").read_text() == text


def test_a_run_is_done_when_all_its_folds_are(tmp_path):
    one = fold(tmp_path / "one", 0)
    two = fold(tmp_path / "two", 1, missing=["a-8-2-first-1"])
    three = fold(tmp_path / "three", 2, cells=cells_of("a", seeds=(1, 2)))
    [pooled] = read_folders([one, two, three])
    states = pooled.cells.set_index("trial")[["state", "reason"]].T.to_dict("list")
    assert states == {
        "a-8-1-first-0": ["done", ""],
        "a-8-2-first-0": ["not run", "fold 1"],
        "b-8-1-first-0": ["not run", "not planned in fold 2"],
        "b-8-2-first-0": ["not run", "not planned in fold 2"],
        "a-28-1-first-0": ["done", ""],
    }
    assert set(pooled.cases["trial"]) == {"a-8-1-first-0", "a-28-1-first-0"}


def test_ceilings_of_folds_of_different_size_are_one_row(tmp_path):
    folders = [fold(tmp_path / str(number), number, ceiling=27 + number) for number in range(3)]
    [pooled] = read_folders(folders)
    assert list(pooled.cells["role"]).count("ceiling") == 1 and set(pooled.cells["state"]) == {"done"}
    assert pooled.plan.data.split.endswith("27 to 29 training cases in each")


@pytest.mark.parametrize(
    "change",
    [
        {"experiment": "other"},
        {"training": {"iterations": 500}},
        {"evaluation": {"empty": "exclude"}},
        {"report": {"margin": 2}},
        {"tuned": {"experiment": "x", "how": "tuned"}},
        {"folds": 4},
    ],
)
def test_other_protocols_and_other_folds_stay_apart(tmp_path, change):
    one, two = fold(tmp_path / "one", 0), fold(tmp_path / "two", 1, **change)
    assert [len(results.cells) for results in read_folders([one, two])] == [5, 5]


def test_a_case_that_was_tested_in_two_folds_keeps_them_apart(tmp_path):
    one, two = fold(tmp_path / "one", 0), fold(tmp_path / "two", 1)
    for path in two.glob("records/*/cases.csv"):
        path.write_text(path.read_text().replace("1-CASE0", "0-CASE0"))
    assert len(read_folders([one, two])) == 2


def test_folds_beside_another_experiment_keep_their_place(folders, tmp_path):
    other = write_folder(tmp_path / "other", plan(cells_of("a"), experiment="other", title="Other"))
    experiments = read_folders([folders[0], other, *folders[1:]])
    assert [results.plan.title for results in experiments] == ["Made up", "Other"]
    assert [results.plan.data.test for results in experiments] == [18, 6]


def test_facts_of_a_run_are_means_over_its_folds(folders):
    for seconds, folder in zip((10, 20, 60), folders, strict=True):
        for path in folder.glob("records/*/provenance.json"):
            path.write_text(
                f'{{"seconds_training": {seconds}, "peak_memory_bytes": {seconds}, "device": "CPU {seconds // 30}", '
                '"packages": {"torch": "2"}, "git_dirty": false}'
            )
    [pooled] = read_folders(folders)
    facts = pooled.provenance.loc["a-8-1-first-0"]
    assert (facts["seconds_training"], facts["peak_memory_bytes"]) == (30, 60)
    assert facts["device"] == "CPU 0; CPU 2" and facts["packages"] == {"torch": "2"}


def test_folds_without_a_record(tmp_path):
    empty = [fold(tmp_path / str(number), number) for number in (0, 1)]
    for folder in empty:
        write_plan(folder, read_results(folder).plan.model_dump(mode="json"))
        for path in folder.glob("records/*/trial.yaml"):
            path.unlink()
    [pooled] = read_folders(empty)
    assert set(pooled.cells["state"]) == {"not run"} and pooled.cases.empty


@pytest.mark.slow
def test_a_whole_report_over_folds(folders):
    report = folders[0] / "report"
    write_report(folders, report)
    page = (report / "index.html").read_text()
    assert "Cross-validation" in page and "There are no images of test cases here" in page
    assert (report / "figures").is_dir() and list((report / "figures").glob("*.p*"))
