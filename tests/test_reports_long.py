import csv

import numpy as np
import pandas as pd
import pytest
from helpers.results_folder import (
    CASES,
    cell,
    cells_of,
    plan,
    scored,
    values,
    write_folder,
    write_plan,
    write_tables_of,
)
from scipy import stats

from reports.measures import scores
from reports.results import read_results
from reports.statistics import mean_interval
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


def test_long_csv_has_intervals_tails_and_the_share_of_failures(tmp_path):
    planned = plan([*cells_of("a"), cell("b")])
    rng = np.random.default_rng(0)
    dice = {c["trial"]: rng.uniform(0.3, 0.9, len(CASES)) for c in planned["cells"]}
    tables = {trial: scored(planned, dice=list(of_run)) for trial, of_run in dice.items()}
    table = pd.read_csv(write_tables_of(write_folder(tmp_path, planned, tables)) / "long.csv")
    lines = table[table["postprocessing"] == "none"].set_index(["method", "metric", "unit"])
    of_dice = lines.xs("dice", level="metric").droplevel("unit")
    for method, over in (("a", "seeds"), ("b", "cases")):
        line = of_dice.loc[method]
        single = np.array([of_run for trial, of_run in dice.items() if trial.startswith(method)])
        assert line["mean_over"] == over and line["mean_low"] < single.mean() < line["mean_high"]
        assert line["sd_low"] < line["sd"] < line["sd_high"]
        assert line["iqm"] == pytest.approx(stats.trim_mean(single.ravel(), 0.25))
        assert (line["p5"], line["p95"]) == pytest.approx(tuple(np.percentile(single, [5, 95])))
        assert line["below_half"] == pytest.approx(np.mean([value < 0.5 for value in single.ravel()]))
    students = stats.ttest_1samp(dice["b-8-1-first"], 0).confidence_interval()
    assert tuple(of_dice.loc["b", ["mean_low", "mean_high"]]) == pytest.approx(tuple(students))
    assert lines.drop("dice", level="metric")["below_half"].isna().all()


def test_draws_are_the_runs_of_the_interval(tmp_path):
    planned = plan([cell("a", seed=seed, draw=draw) for draw in (0, 1, 2) for seed in (1, 2)])
    tables = {c["trial"]: values(planned, seed) for seed, c in enumerate(planned["cells"])}
    results = read_results(write_folder(tmp_path, planned, tables))
    line = long.long_frame(results).query("metric == 'dice' and postprocessing == 'none'").iloc[0]
    of_draws = scores(results)[0, "none", "dice_percent"].groupby(level="draw").mean()
    assert 100 * line["mean_low"] == pytest.approx(mean_interval(of_draws)[0])


def test_a_case_that_is_undefined_in_one_run_plays_no_part(tmp_path):
    planned = plan(cells_of("a"), evaluation={"empty": "exclude"})
    tables = {c["trial"]: values(planned, seed) for seed, c in enumerate(planned["cells"])}
    table = tables["a-8-2-first"]
    table.loc[(table["metric"] == "hd95") & (table["case"] == CASES[0]), "value"] = np.nan
    results = read_results(write_folder(tmp_path, planned, tables))
    line = long.long_frame(results).query("metric == 'hd95' and unit == 'mm' and postprocessing == 'none'").iloc[0]
    whole = [t.query("metric == 'hd95' and unit == 'mm' and postprocessing == 'none'") for t in tables.values()]
    single = np.array([t.set_index("case").loc[CASES[1:], "value"] for t in whole])
    assert line["n"] == len(CASES) - 1
    assert (line["iqm"], line["p5"]) == pytest.approx(
        (stats.trim_mean(single.ravel(), 0.25), np.quantile(single, 0.05))
    )


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
