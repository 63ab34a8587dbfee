"""One report over several data sets: methods by data sets, and mean ranks."""

import json
import shutil

import pandas as pd
import pytest
from helpers.command_line import one_line_error
from helpers.results_folder import cell, cells_of, plan, scored, write_folder, write_record

from benchmark.records.files import ResultsError
from reports.datasets import Level, datasets_of, declared_levels, levels_by_share
from reports.figures.datasets import draw_over_datasets
from reports.merging import read_folders
from reports.tables import make_tables
from reports.tables.datasets import over_datasets

ORDERS = {"LA": "abc", "Pancreas": "acb", "ACDC": "bac", "BraTS": "abc", "KiTS": "abc"}  # methods, the best first
TRAINING = {"LA": 80, "Pancreas": 62, "ACDC": 70, "BraTS": 250, "KiTS": 190}


def results(folder, name, labelled=None, methods="abc", seeds=(1,), **changes):
    """A results folder: methods, a floor and a ceiling on one data set, at about 10 % of its labels unless told."""
    train = TRAINING[name]
    budgets = labelled or [round(train / 10)]
    cells = [c for budget in budgets for c in cells_of(*methods, seeds=seeds, labelled=budget)]
    cells += [cell("v", labelled=budget, role="floor", unlabelled=0) for budget in budgets]
    cells += [cell("v", labelled=train, role="ceiling", unlabelled=0)]
    data = {"name": name, "train": train, "fingerprint": f"of {name}"} | changes.pop("data", {})
    planned = plan(cells, title=name, data=data, reference="B", **changes)
    quality = {method: 0.9 - 0.1 * place for place, method in enumerate(ORDERS[name] + "v")}
    tables = {c["trial"]: scored(planned, dice=[quality[c["method"]] + 0.001 * n for n in range(6)]) for c in cells}
    return write_folder(folder, planned, tables)


def compared(*folders, budgets=()):
    return over_datasets(make_tables(read_folders(folders)), budgets)


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """Two data sets at two budgets. Tests leave them as they are."""
    folder = tmp_path_factory.mktemp("two")
    return (
        results(folder / "one", "LA", [8, 16], seeds=(1, 2)),
        results(folder / "two", "Pancreas", [6, 12], seeds=(1, 2)),
    )


@pytest.fixture(scope="module")
def over(two):
    """The comparison of the two data sets."""
    return compared(*two)


def row(over, display, block=0):
    """The cells of a method in a block, by heading."""
    table = over.table.blocks[block]
    labels = [column.label for column in table.columns]
    [found] = [of for of in table.rows if of.cells[0].text == display]
    return dict(zip(labels, (c.text for c in found.cells), strict=True))


def test_methods_by_data_sets_have_the_figures_of_each_data_sets_own_comparison(two, over):
    assert over.reason == "" and over.names == {"LA": 0, "Pancreas": 1}
    assert [block.heading for block in over.table.blocks] == [
        "10 % labelled: LA 8 of 80, Pancreas 6 of 62", "About 20 % labelled: LA 16 of 80, Pancreas 12 of 62",
    ]  # fmt: skip
    own = [tables.tables[0].frame for tables in make_tables(read_folders(two))]
    for name, frame, labelled in zip(("LA", "Pancreas"), own, (8, 6), strict=True):
        for line in frame[frame["labelled"] == labelled].query("role == 'method'").to_dict("records"):
            mark = " *" if line["significant"] else ""
            assert row(over, line["display"])[f"{name} Dice [%]"] == f"{line['dice_percent_mean']:.2f}{mark}"
            assert row(over, line["display"])[f"{name} 95HD [voxel]"] == f"{line['hd95_voxel_mean']:.2f}"
    assert [of.cells[0].text for of in over.table.blocks[0].rows] == ["V (floor)", "A", "B", "C", "V (ceiling)"]
    assert [row(over, method)["Mean rank"] for method in ("A", "B", "C", "V (floor)")] == [
        "1.00",
        "2.50",
        "2.50",
        "4.00",
    ]
    assert row(over, "V (ceiling)")["Mean rank"] == "–" and row(over, "A")["Seeds"] == "2 · 2"
    [best] = [of.cells for of in over.table.blocks[0].rows if of.cells[0].text == "A"]
    assert [c.rank for c in best[1:4:2]] == [1, 1]


def test_a_method_that_a_data_set_lacks_is_a_dash_without_a_rank(tmp_path):
    over = compared(results(tmp_path / "one", "LA"), results(tmp_path / "two", "Pancreas", methods="ab"))
    missing = row(over, "C")
    assert missing["Pancreas Dice [%]"] == missing["Mean rank"] == "–" and missing["LA Dice [%]"] != "–"
    assert row(over, "B")["Mean rank"] == "2.00", "ranked among the methods that both have"
    assert "Without a mean rank: C. The other 3 are ranked." in over.table.blocks[0].notes
    line = over.table.frame.set_index("display").loc["C"]
    assert line["datasets"] == 1 and pd.isna(line["mean_rank"]) and pd.isna(line["Pancreas: dice_percent_mean"])


def test_a_row_that_lacks_a_failed_run_on_one_data_set_has_no_rank(tmp_path):
    folders = [results(tmp_path / name, name, seeds=(1, 2)) for name in ("LA", "ACDC")]
    shutil.rmtree(folders[1] / "records" / "a-7-2-first")
    planned = json.loads((folders[1] / "plan.json").read_text())
    write_record(folders[1], planned, cell("a", 7, 2), state="failed", reason="out of memory")
    over = compared(*folders)
    assert row(over, "A↓")["Mean rank"] == "–" and row(over, "A↓")["Seeds"] == "2 · 1"
    assert row(over, "B")["Mean rank"] == "1.00"
    assert "Without a mean rank: A. The other 3 are ranked." in over.table.blocks[0].notes
    assert any(note.startswith("↓ runs that collapsed, diverged or failed") for note in over.table.notes)


def test_two_protocols_on_one_data_set_are_not_mixed(tmp_path, two):
    other = results(tmp_path / "three", "LA", methods="a", training={"iterations": 500})
    names, reason = datasets_of(read_folders([*two, other]))
    assert names == {} and reason.startswith("LA has two experiments here, which differ in training: ")
    assert datasets_of(read_folders([two[0], other])) == ({}, ""), "one data set needs no word on several"


def test_the_same_test_cases_under_two_names_are_one_data_set(tmp_path, two):
    other = results(tmp_path / "three", "ACDC", methods="a", data={"fingerprint": "of LA"})
    names, reason = datasets_of(read_folders([*two, other]))
    assert names == {} and reason == "LA and ACDC have the same test cases, so they are one data set."


def test_tuned_experiments_are_left_out_beside_others(tmp_path, two):
    tuned = {"tuned": {"experiment": "made_up", "how": "by hand"}, "experiment": "tuned", "methods": "a"}
    one, other = results(tmp_path / "one", "LA", **tuned), results(tmp_path / "two", "ACDC", **tuned)
    assert datasets_of(read_folders([one, *two])) == ({"LA": 1, "Pancreas": 2}, "")
    assert datasets_of(read_folders([one, other])) == ({"LA": 0, "ACDC": 1}, ""), "all are tuned"


def test_rows_that_cannot_be_told_apart_are_refused(tmp_path, two):
    planned = plan(
        [cell("a", 7), cell("a", 7, settings={"weight": 2}) | {"trial": "again"}],
        data={"name": "ACDC", "train": 70, "fingerprint": "third"},
    )
    over = compared(two[0], write_folder(tmp_path / "three", planned))
    assert over.reason.startswith("No table over data sets: ACDC has two rows A with 7 labelled cases.")


def test_two_methods_of_one_name_are_two_rows(tmp_path, two):
    planned = plan([cell("other", 7, display="A")], data={"name": "ACDC", "train": 70, "fingerprint": "third"})
    over = compared(two[0], write_folder(tmp_path / "three", planned))
    assert row(over, "A [a]")["ACDC Dice [%]"] == "–" == row(over, "A [other]")["LA Dice [%]"]


def test_few_data_sets_are_described_and_five_are_tested(tmp_path):
    folders = [results(tmp_path / name, name, methods="ab") for name in ORDERS]
    tables = make_tables(read_folders(folders))
    over = over_datasets(tables)
    [block] = over.table.blocks
    assert any(note.startswith("Friedman's test over 5 data sets") for note in block.notes)
    assert over.table.frame["critical_difference"].notna().all()
    few = over_datasets(tables[:4])
    assert "These mean ranks describe 4 data sets." in " ".join(few.table.blocks[0].notes)
    assert few.table.frame["critical_difference"].isna().all()


@pytest.mark.parametrize(
    "budgets, training, expected",
    [
        ({"a": [4, 8], "b": [7, 14]}, {"a": 80, "b": 70}, [{"a": 8, "b": 7}]),  # 5 and 10 %, 10 and 20 %
        ({"a": [16, 18], "b": [12]}, {"a": 80, "b": 62}, [{"a": 16, "b": 12}]),  # one of each data set
        ({"a": [4], "b": [40]}, {"a": 80, "b": 80}, []),
        ({"b": [5], "a": [5], "c": [6]}, {"a": 50, "b": 50, "c": 50}, [{"b": 5, "a": 5, "c": 6}]),
    ],
)
def test_budgets_are_matched_by_their_share(budgets, training, expected):
    found = [level.labelled for level in levels_by_share(budgets, training)]
    assert found == expected and [list(level) for level in found] == [list(level) for level in expected]


def test_unmatched_budgets_are_named(tmp_path):
    one = results(tmp_path / "one", "LA", [8, 16], methods="a")
    over = compared(one, results(tmp_path / "two", "ACDC", methods="a"))
    assert len(over.table.blocks) == 1
    assert "Not compared, because no other data set has such a budget here: LA 16 labelled." in over.table.notes
    nothing = compared(one, results(tmp_path / "three", "ACDC", [35], methods="a"))
    assert nothing.table is None and "--budget few=8,35" in nothing.reason


def test_declared_budgets(two):
    declared = compared(*two, budgets=["few = 8, 12"])
    assert [block.heading for block in declared.table.blocks] == ["Few: LA 8 of 80, Pancreas 12 of 62"]
    assert any("as declared by --budget" in note for note in declared.table.notes)
    assert declared_levels(["x=1,-,3"], {"a": [1], "b": [2], "c": [3]}) == [Level("x", {"a": 1, "c": 3})]


@pytest.mark.parametrize(
    "texts, words",
    [
        (["few"], "give NAME="), (["few=8"], "a number or -"), (["few=8,x"], "a number or -"), (["=8,6"], "give NAME="),
        (["few=9,6"], "LA has no budget of 9"), (["few=8,-"], "at least two"), (["few=8,6,1"], "a number or -"),
        (["few=8,6", "few=16,12"], "few is given twice"),
    ],
)  # fmt: skip
def test_budgets_that_do_not_fit_are_refused_by_name(texts, words):
    with pytest.raises(ResultsError, match=f"^--budget {texts[-1]}: .*{words}"):
        declared_levels(texts, {"LA": [8, 16], "Pancreas": [6, 12]})


def test_two_recipes_of_one_data_set_are_not_mixed(tmp_path, two):
    folders = [
        results(tmp_path / name, "Pancreas", methods="a", data={"recipe": name, "split_hash": name})
        for name in ("pancreas_a", "pancreas_b")
    ]
    names, reason = datasets_of(read_folders([two[0], *folders]))
    assert names == {} and "differ in data (recipes pancreas_a and pancreas_b)" in reason


def test_a_plan_that_names_no_recipe_joins_the_same_cases(tmp_path):
    older = results(tmp_path / "older", "LA", methods="a", seeds=(1,))
    newer = results(tmp_path / "newer", "LA", methods="a", seeds=(2,), data={"recipe": "la"})
    assert len(read_folders([older, newer])) == 1


def test_the_command_writes_and_prints_the_comparison(command, two, tmp_path, no_drawing, monkeypatch):
    monkeypatch.setattr("reports.report.draw_over_datasets", lambda *arguments: ([], []))
    status, out, _ = command("report", *two, "--to", tmp_path / "both")
    assert status == 0 and "10 % labelled: LA 8 of 80, Pancreas 6 of 62" in out
    tables = tmp_path / "both" / "tables"
    assert {path.name for path in tables.glob("datasets.*")} == {"datasets.md", "datasets.tex", "datasets.csv"}
    assert r"\begin{tabular}" in (tables / "datasets.tex").read_text()
    assert len(pd.read_csv(tables / "datasets.csv")) == 10
    page = (tmp_path / "both" / "index.html").read_text(encoding="utf-8")
    assert page.index('<section class="experiment" id="datasets">') < page.index('<section class="experiment" id="e1">')
    assert '<a href="#e2">Pancreas</a>' in page


@pytest.mark.slow
def test_the_command_says_why_there_is_no_comparison(command, tmp_path, no_drawing):
    one, two = (results(tmp_path / name, name, methods="a") for name in ("LA", "ACDC"))
    other = results(tmp_path / "other", "LA", methods="a", training={"iterations": 500})
    status, out, _ = command("report", one, two, other, "--to", tmp_path / "refused")
    assert status == 0 and "No table over data sets: LA has two experiments here" in out
    assert not list((tmp_path / "refused").glob("tables/datasets.*"))
    assert "LA has two experiments here" in (tmp_path / "refused" / "index.html").read_text(encoding="utf-8")
    assert "of several data sets. There is only one" in one_line_error(command("report", one, "--budget", "few=8"))
    assert "LA has no budget of 9" in one_line_error(command("report", one, two, "--budget", "few=9,7"))


def test_figures_are_drawn_of_each_level_and_say_if_no_test_was_made(over, tmp_path):
    first, left_out = draw_over_datasets(over.levels[:1], tmp_path / "first")
    assert [figure.name for figure in first] == ["critical_difference_1", "dataset_ranks_1"] and not left_out
    assert "No bars, because no test was made: fewer than 5 data sets" in first[0].caption
    assert all(path.stat().st_size > 0 for figure in first for path in (figure.png, figure.svg))


def test_methods_that_are_nowhere_together_leave_no_figure(tmp_path):
    over = compared(results(tmp_path / "one", "LA", methods="a"), results(tmp_path / "two", "Pancreas", methods="b"))
    assert "Mean rank" not in row(over, "A"), "the floor alone is on both"
    drawn, left_out = draw_over_datasets(over.levels, tmp_path / "figures")
    assert (len(drawn), len(left_out)) == (0, 2)
