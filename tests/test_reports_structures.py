"""Tables of each structure by its name, and of the measures beside the papers' four."""

import re

import numpy as np
import pandas as pd
import pytest
from helpers.page_folder import page_of
from helpers.results_folder import (
    LATER,
    cell,
    cells_of,
    plan,
    scored,
    values,
    write_folder,
    write_plan,
    write_record,
    write_tables_of,
)
from scipy import stats

from reports.measures import DICE, HD95, further_measures, scores, structure_names
from reports.results import read_results
from reports.statistics import mean_interval
from reports.tables import make_tables

OF_DICE = ["Dice [%] [95 % interval]", "5th percentile [%]", "Below 50 % [%]"]
NAMES = {"right ventricle": 1, "myocardium": 2, "left ventricle": 3}


@pytest.fixture
def planned():
    cells = [*cells_of("a", "b"), cell("full", 28, role="ceiling", unlabelled=0)]
    return plan(cells, data={"classes": 3, "class_names": NAMES, "name": "ACDC"})


def tables_of(folder):
    [made] = make_tables([read_results(folder)])
    return {table.name: table for table in made.tables}, made


def test_each_structure_has_a_block_with_its_name_and_its_own_means(tmp_path, planned):
    records = {c["trial"]: values(planned, seed) for seed, c in enumerate(planned["cells"])}
    tables, _ = tables_of(write_folder(tmp_path, planned, records))
    table = tables["structures"]
    together, *single = table.blocks
    assert [block.heading for block in single] == [f"8 labelled cases: {name}" for name in NAMES]
    assert [column.label for column in together.columns] == [
        "Method", *(f"{name}: {label}" for name in NAMES for label in ("Dice [%]", "95HD [voxel]"))
    ]  # fmt: skip
    for place, block in enumerate(single):
        columns = [column.label for column in block.columns]
        for row, same in zip(together.rows, block.rows, strict=True):
            figures = [same.cells[columns.index(label)] for label in ("Dice [%]", "95HD [voxel]")]
            assert row.cells[1 + 2 * place : 3 + 2 * place] == figures and row.cells[0] == same.cells[0]
    for number, name in enumerate(NAMES, start=1):
        for method in "ab":
            of_method = pd.concat(records[c["trial"]] for c in planned["cells"] if c["method"] == method)
            chosen = of_method[(of_method["class"] == number) & (of_method["postprocessing"] == "none")]
            for metric, unit, factor, column in (("dice", "", 100, "dice_percent"), ("hd95", "voxel", 1, "hd95_voxel")):
                by_case = chosen[(chosen["metric"] == metric) & (chosen["unit"] == unit)].groupby("case")["value"]
                frame = table.frame
                line = frame[(frame["structure"] == name) & (frame["method"] == method)].iloc[0]
                assert line[f"{column}_mean"] == pytest.approx(factor * by_case.mean().mean())
                assert line[f"{column}_sd"] == pytest.approx(factor * by_case.mean().std(ddof=1))
    comparison = tables["comparison"].frame
    means = table.frame.groupby("method")[f"{DICE.name}_mean"].mean()
    assert means.to_dict() == pytest.approx(comparison.set_index("method")[f"{DICE.name}_mean"].to_dict())


def test_statistics_are_of_the_mean_and_of_each_structure(tmp_path, planned):
    folder = write_folder(tmp_path, planned)
    table = pd.read_csv(write_tables_of(folder) / "statistics.csv")
    assert list(table["structure"].unique()) == ["mean", *NAMES]
    assert table.groupby(["structure", "measure"]).size().eq(2).all()
    results = read_results(folder)
    for number, name in structure_names(results).items():
        of_one = scores(results, structure=number)
        first, second = (of_one[row, "none", DICE.name].mean() for row in (1, 0))  # B is the reference
        expected = stats.ttest_rel(first, second).pvalue
        chosen = (table["structure"] == name) & (table["measure"] == DICE.name) & (table["display"] == "A")
        line = table[chosen].iloc[0]
        assert line["cases_p"] == pytest.approx(expected) and line["comparisons"] == 1
    assert HD95.name in set(table["measure"])


def test_a_star_of_one_structure_stands_with_that_structure_alone(tmp_path):
    planned = plan(
        cells_of("a", "b", seeds=(1, 2, 3, 4, 5)), data={"classes": 2, "class_names": {"cavity": 1, "wall": 2}}
    )
    records = {}
    for number, c in enumerate(planned["cells"]):
        table = values(planned, 0)
        wall = (table["metric"] == "dice") & (table["class"] == 2)
        shift = 0.2 if c["method"] == "b" else 0.0
        table.loc[wall, "value"] = 0.6 + shift + 0.002 * np.random.default_rng(number).standard_normal(wall.sum())
        records[c["trial"]] = table
    tables, _ = tables_of(write_folder(tmp_path, planned, records))
    marked = tables["structures"].frame.query("display == 'A'").set_index("structure")["significant"]
    assert marked.to_dict() == {"cavity": False, "wall": True}


def test_long_and_cases_csv_name_the_structure_beside_its_number(tmp_path, planned):
    place = write_tables_of(write_folder(tmp_path, planned))
    for name in ("long.csv", "cases.csv"):
        table = pd.read_csv(place / name)
        pairs = set(table[["class", "structure"]].itertuples(index=False, name=None))
        assert pairs == {(number, structure) for structure, number in NAMES.items()}


@pytest.mark.parametrize(
    ("data", "names"),
    [
        ({"class_names": {"left atrium": 1}}, ["left atrium"]),
        ({}, ["structure 1"]),  # a plan of an early version names none
        ({"classes": 2, "class_names": {"cavity": 4, "wall": 7}}, ["cavity", "wall"]),
        ({"classes": 2}, ["structure 1", "structure 2"]),
    ],
)
def test_names_are_the_data_sets(tmp_path, data, names):
    planned = plan(cells_of("a", "b"), data=data)
    place = write_tables_of(write_folder(tmp_path, planned))
    assert list(pd.read_csv(place / "long.csv")["structure"].unique()) == names
    assert (place / "structures.md").exists() == (len(names) > 1)
    statistics = set(pd.read_csv(place / "statistics.csv")["structure"])
    assert statistics == (set(names) if len(names) == 1 else {"mean", *names})


def test_the_page_shows_structures_by_name(tmp_path, planned):
    page = page_of(write_folder(tmp_path / "r", planned), out=tmp_path).read_text(encoding="utf-8")
    assert "Each structure" in page and "Further measures" in page
    for name in NAMES:
        assert f"8 labelled cases: {name}" in page
        assert len(re.findall(rf"<option[^>]*>\s*{name}\s*<", page)) >= 3, "viewer, statistics and all measures"
    assert re.search(r"<option selected>\s*mean\s*<", page), "statistics show the mean first"


def test_nothing_done_and_nothing_planned(tmp_path, planned):
    for number, cells in enumerate(([], planned["cells"])):
        place = write_tables_of(write_plan(tmp_path / str(number), planned | {"cells": cells}))
        assert (place / "structures.md").exists() and (place / "further.md").exists()
        assert pd.read_csv(place / "statistics.csv").empty


def test_further_measures_are_recomputed(tmp_path):
    planned = plan(cells_of("a", "b"))
    records = {c["trial"]: values(planned, seed) for seed, c in enumerate(planned["cells"])}
    tables, _ = tables_of(write_folder(tmp_path, planned, records))
    table = tables["further"]
    labels = [column.label for column in table.blocks[0].columns]
    assert labels == ["Method", *OF_DICE, "95HD max [voxel]", "NSD at 2 mm [%]", "Volume error [%]", "Seeds", "Cases"]
    for method in "ab":
        of_method = pd.concat(records[c["trial"]] for c in planned["cells"] if c["method"] == method)
        of_method = of_method[of_method["postprocessing"] == "none"]
        line = table.frame.set_index("method").loc[method]
        for metric, unit, factor, column in (
            ("hd95_max", "voxel", 1, "hd95_max_voxel"), ("nsd", "", 100, "nsd_percent"),
            ("volume_error", "percent", 1, "volume_error_percent"),
        ):  # fmt: skip
            by_case = of_method[(of_method["metric"] == metric) & (of_method["unit"] == unit)].groupby("case")["value"]
            assert line[f"{column}_mean"] == pytest.approx(factor * by_case.mean().mean())
            assert line[f"{column}_sd"] == pytest.approx(factor * by_case.mean().std(ddof=1))
    ranks = [row.cells[6].rank for row in table.blocks[0].rows]
    assert ranks == [0, 0], "an error with a sign has no best"


def test_the_mean_dice_has_its_interval_and_its_tail_beside_the_further_measures(tmp_path):
    planned = plan(cells_of("a", "b"))
    rng = np.random.default_rng(0)
    dice = {c["trial"]: rng.uniform(0.3, 0.9, 6) for c in planned["cells"]}
    records = {trial: scored(planned, dice=list(of_run)) for trial, of_run in dice.items()}
    tables, _ = tables_of(write_folder(tmp_path, planned, records))
    single = 100 * np.array([of_run for trial, of_run in dice.items() if trial.startswith("a")])
    low, high, _ = mean_interval(pd.DataFrame(single))
    cells = {row.cells[0].text: row.cells for row in tables["further"].blocks[0].rows}["A"]
    assert [cell.text for cell in cells[1:4]] == [
        f"{single.mean():.2f} [{low:.2f}, {high:.2f}]", f"{np.percentile(single, 5):.2f}",
        f"{100 * np.mean(single < 50):.0f}",
    ]  # fmt: skip


def test_an_interval_of_dice_ends_where_dice_does(tmp_path):
    planned = plan(cells_of("a", "b", seeds=(1, 2)))
    records = {c["trial"]: scored(planned, dice=0.9 if c["seed"] == 1 else 0.2) for c in planned["cells"]}
    tables, _ = tables_of(write_folder(tmp_path, planned, records))
    assert tables["further"].blocks[0].rows[0].cells[1].text == "55.00 [0.00, 100.00]"


def test_a_larger_nsd_is_better(tmp_path):
    planned = plan([cell("a"), cell("b")])
    records = {t["trial"]: scored(planned, nsd=nsd) for t, nsd in zip(planned["cells"], (0.7, 0.9), strict=True)}
    tables, _ = tables_of(write_folder(tmp_path, planned, records))
    assert [row.cells[5].rank for row in tables["further"].blocks[0].rows] == [2, 1]


def test_two_tolerances_are_two_metrics(tmp_path):
    one = write_folder(tmp_path / "one", plan([cell("a")], evaluation={"nsd_tolerance": 1.5}))
    two = write_folder(tmp_path / "two", plan([cell("b")]))
    place = write_tables_of(one, two)
    for name in ("long.csv", "cases.csv"):
        table = pd.read_csv(place / name)
        found = table[table["metric"].str.startswith("nsd")].groupby("display")["metric"].unique()
        assert {display: list(metrics) for display, metrics in found.items()} == {"A": ["nsd_1.5mm"], "B": ["nsd_2mm"]}
    titles = [further_measures(read_results(folder))[1].label for folder in (one, two)]
    assert titles == ["NSD at 1.5 mm [%]", "NSD at 2 mm [%]"]
    assert sorted(path.name for path in place.iterdir() if path.is_dir()) == ["made_up", "made_up-2"]


def test_a_record_under_another_tolerance_is_scored_again_first(tmp_path):
    planned = plan([cell("a"), cell("b")])
    write_plan(tmp_path, planned)
    write_record(tmp_path, planned, planned["cells"][0])
    other = planned["evaluation"] | {"nsd_tolerance": 3.0}
    write_record(tmp_path, planned, planned["cells"][1], evaluation=other)
    cells = read_results(tmp_path).cells.set_index("method")
    assert cells["state"].to_dict() == {"a": "done", "b": "rescore"}
    assert "evaluation.nsd_tolerance is 3.0, the plan's 2.0" in cells.loc["b", "reason"]


@pytest.mark.parametrize("lacking", ["all", "one seed of A"])
def test_records_without_the_later_metrics_have_a_dash_and_the_way_to_fill_it(tmp_path, lacking):
    planned = plan(cells_of("a", "b"))
    records = {}
    for number, c in enumerate(planned["cells"]):
        table = values(planned, number)
        if lacking == "all" or c["trial"] == "a-8-2-first":
            table = table[~table["metric"].isin({metric for metric, _ in LATER})]
        records[c["trial"]] = table
    folder = write_folder(tmp_path / "r", planned, records)
    tables, _ = tables_of(folder)
    further, comparison = tables["further"], tables["comparison"]
    assert (read_results(folder).cells["state"] == "done").all()
    assert comparison.frame["runs_done"].tolist() == [3, 3] and comparison.frame["dice_percent_mean"].notna().all()
    dashed = ["A"] if lacking != "all" else ["A", "B"]
    for row in further.blocks[0].rows:
        assert ([cell.text for cell in row.cells[4:7]] == ["–"] * 3) == (row.cells[0].text in dashed)
    [note] = [note for note in further.notes if "`evaluate`" in note]
    assert f"records of {', '.join(dashed)} were made" in note
    page_of(folder, out=tmp_path)
