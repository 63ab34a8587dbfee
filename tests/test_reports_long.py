import csv

import numpy as np
import pandas as pd
import pytest
from helpers.results_folder import CASES, cell, cells_of, plan, values, write_folder, write_plan, write_tables_of

from reports.results import read_results
from reports.tables import long


@pytest.fixture
def planned():
    return plan([*cells_of("a"), cell("b", 4)], data={"classes": 2})


def test_long_csv_has_every_view_of_every_row(tmp_path, planned):
    tables = {c["trial"]: values(planned, seed) for seed, c in enumerate(planned["cells"])}
    place = write_tables_of(write_folder(tmp_path, planned, tables))
    table = pd.read_csv(place / "long.csv", keep_default_na=False, na_values={"seed_sd": [""]})
    assert len(table) == 2 * 2 * 2 * 14 and set(table["experiment"]) == {"made_up"}
    keys = ["method", "labelled", "checkpoint", "postprocessing", "class", "metric", "unit"]
    assert not table.duplicated(keys).any()
    of_a = [tables[c["trial"]] for c in planned["cells"] if c["method"] == "a"]
    for postprocessing, number, metric, unit in (("none", 1, "dice", ""), ("largest_component", 2, "assd", "mm")):
        runs = np.array([
            t[(t["postprocessing"] == postprocessing) & (t["class"] == number) & (t["metric"] == metric)
              & (t["unit"] == unit)].set_index("case").loc[CASES, "value"]
            for t in of_a
        ])  # fmt: skip
        line = table.set_index(keys).loc[("a", 8, "last", postprocessing, number, metric, unit)]
        assert line["mean"] == pytest.approx(runs.mean())
        assert line["sd"] == pytest.approx(runs.mean(axis=0).std(ddof=1))
        assert line["seed_sd"] == pytest.approx(runs.mean(axis=1).std(ddof=1))
        assert (line["n"], line["runs"], line["seeds"]) == (len(CASES), 3, "1 2 3")
    assert table.loc[table["method"] == "b", "seed_sd"].isna().all()


def test_cases_csv_has_every_value(tmp_path, planned):
    folder = write_folder(tmp_path, planned)
    with (write_tables_of(folder) / "cases.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4 * 2 * 2 * len(CASES) * 14
    results = read_results(folder)
    assert sum(float(row["value"]) for row in rows) == pytest.approx(results.cases["value"].sum())
    assert {(row["method"], row["seed"], row["trial"]) for row in rows} >= {("a", "3", "a-8-3-first")}


def test_many_values_stay_in_the_records(tmp_path, planned, monkeypatch):
    monkeypatch.setattr(long, "SMALL", 100)
    tables = write_tables_of(write_folder(tmp_path, planned))
    assert (tables / "long.csv").exists() and not (tables / "cases.csv").exists()


def test_nothing_scored(tmp_path, planned):
    tables = write_tables_of(write_plan(tmp_path, planned))
    assert (tables / "long.csv").read_text().count("\n") == (tables / "cases.csv").read_text().count("\n") == 1
