"""Other checkpoints than the last stand beside the headline and change nothing of it."""

import pandas as pd
import pytest
from helpers.results_folder import cells_of, plan, values, write_plan, write_record
from rich.console import Console

from benchmark.command_line.reporting import show_report
from benchmark.records.case_values import BEST_ON_TEST, BEST_ON_VALIDATION
from benchmark.records.results_folder import ResultsFolder
from benchmark.records.selection import Point, curve_text, with_choices
from reports.figures import draw_module
from reports.figures.measured import measured_in
from reports.page.lead import lead
from reports.results import read_results
from reports.selection import GAIN, column_of
from reports.tables import make_tables, write_tables
from reports.tables.latex import latex
from reports.tables.rendering import markdown

METHODS, SEEDS = ("A", "B"), (1, 2, 3)
GAINS = {1: 0.002, 2: 0.004, 3: 0.009}  # oracle minus last, by seed


def selecting(folder, checkpoints=200, lacking=(), **data):
    """Three seeds of two methods; of all but `lacking` an oracle and a choice by validation were scored."""
    cells = cells_of(*METHODS, seeds=SEEDS)
    planned = plan(cells, evaluation={"checkpoints": checkpoints}, data=data)
    write_plan(folder, planned)
    for cell in cells:
        last = values(planned, sum(cell["trial"].encode()))
        has = checkpoints and cell["trial"] not in lacking
        tables = [last]
        for rule, share in ((BEST_ON_TEST, 1), (BEST_ON_VALIDATION, 0.5)) if has else ():
            chosen = last.assign(checkpoint=rule)
            chosen.loc[chosen["metric"] == "dice", "value"] += share * GAINS[cell["seed"]]
            tables.append(chosen)
        evaluation = planned["evaluation"] | {"checkpoints": 200 if has else None}
        record = write_record(folder, planned, cell, pd.concat(tables), evaluation=evaluation)
        if has:
            points = [
                Point(iteration, cases, postprocessing, 0.8 + cell["seed"] / 100 + (iteration == best) / 10)
                for postprocessing in ("none", "largest_component")
                for cases, best in (("test", 400), ("validation", 200))
                for iteration in (200, 400, 600)
            ]
            (record / "checkpoints.csv").write_text(curve_text(with_choices(points)))
    return folder


def tables_of(folder):
    [made] = make_tables([read_results(folder)])
    return made, {table.name: table for table in made.tables}


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """The same runs with and without other checkpoints."""
    folder = tmp_path_factory.mktemp("selection")
    return selecting(folder / "with", validation_cases=2), selecting(folder / "without", checkpoints=None)


def test_headline_tests_and_ranks_are_those_of_the_last_checkpoint(both):
    (chosen, tables), (plain, others) = map(tables_of, both)
    pd.testing.assert_frame_equal(chosen.statistics, plain.statistics)
    for name in ("further", "sweep", "ledger", "cost"):
        if name in others:
            shared = [column for column in others[name].frame if column in tables[name].frame]
            pd.testing.assert_frame_equal(tables[name].frame[shared], others[name].frame)
    assert "selection" not in others
    frame = tables["comparison"].frame
    new = {column_of(rule, what) for rule in (BEST_ON_TEST, BEST_ON_VALIDATION) for what in ("mean", "sd")}
    assert set(frame) - set(others["comparison"].frame) == new | {"validation_cases"}
    pd.testing.assert_frame_equal(frame[others["comparison"].frame.columns], others["comparison"].frame)


def test_the_oracle_is_never_ranked_bold_or_starred_and_its_heading_says_what_it_is(both):
    _, tables = tables_of(both[0])
    for name in ("comparison", "selection"):
        for block in tables[name].blocks:
            places = [place for place, column in enumerate(block.columns) if BEST_ON_TEST in column.key]
            assert places and all(row.cells[place].rank == 0 for row in block.rows for place in places)
            assert not any("*" in row.cells[place].text for row in block.rows for place in places)
            heading = next(column.label for column in block.columns if column.key == column_of(BEST_ON_TEST, "mean"))
            assert "oracle: chosen with test labels" in heading
            assert "oracle: chosen with test labels" in " ".join(markdown(tables[name]).split())
            assert "oracle" in latex(tables[name])
    assert all(cell.rank == 0 for block in tables["selection"].blocks for row in block.rows for cell in row.cells)


def test_the_table_of_rules_has_mean_median_maximum_and_what_the_oracle_adds(both):
    made, tables = tables_of(both[0])
    line = tables["selection"].frame.set_index("method").loc["A"]
    results = made.results
    dice = results.cases[(results.cases["metric"] == "dice") & (results.cases["postprocessing"] == "none")]
    runs = 100 * dice.groupby(["trial", "checkpoint"])["value"].mean().unstack()
    runs = runs[runs.index.str.startswith("A-")]
    for rule in runs:
        of = runs[rule]
        found = [line[column_of(rule, what)] for what in ("mean", "median", "highest")]
        assert found == pytest.approx([of.mean(), of.median(), of.max()])
    found = [line[column_of(GAIN, what)] for what in ("mean", "median", "lowest", "highest")]
    assert found == pytest.approx([0.5, 0.4, 0.2, 0.9])
    assert line[f"{BEST_ON_TEST}_iterations"] == "400, 400, 400"
    assert line[f"{BEST_ON_VALIDATION}_iterations"] == "200, 200, 200"
    text = " ".join(tables["selection"].notes)
    assert "0.3 to 0.8 points" in text and "every 200 iterations" in text


def test_validation_cases_stand_beside_the_labelled_cases(both, tmp_path):
    made, _ = tables_of(both[0])
    write_tables([made], tmp_path / "tables")
    for name in ("comparison", "publication", "selection"):
        for suffix in ("md", "tex"):
            assert "8 (+2 val)" in (tmp_path / "tables" / f"{name}.{suffix}").read_text(), (name, suffix)
    assert "2 labelled cases choose a checkpoint" in (tmp_path / "tables" / "comparison.md").read_text()
    long = pd.read_csv(tmp_path / "tables" / "long.csv")
    assert set(long["checkpoint"]) == {"last", BEST_ON_TEST, BEST_ON_VALIDATION}
    curves = pd.read_csv(tmp_path / "tables" / "checkpoints.csv")
    assert len(curves) == len(METHODS) * len(SEEDS) * 12 and set(curves["iteration"]) == {200, 400, 600}


def test_a_row_without_an_oracle_in_some_run_has_none(tmp_path):
    _, tables = tables_of(selecting(tmp_path, lacking={"B-8-2-first"}))
    frame = tables["selection"].frame.set_index("method")
    assert frame[column_of(BEST_ON_TEST, "mean")].notna().to_dict() == {"A": True, "B": False}
    assert any("some run of B stored no checkpoints" in note for note in tables["selection"].notes)
    dice = tables["comparison"].frame.set_index("method")
    assert dice["dice_percent_mean"].notna().all() and dice[column_of(BEST_ON_TEST, "mean")].notna().tolist() == [
        True,
        False,
    ]


def test_values_of_another_interval_are_not_shown(tmp_path):
    folder = selecting(tmp_path)
    text = (folder / "plan.json").read_text()
    (folder / "plan.json").write_text(text.replace('"checkpoints": 200', '"checkpoints": 150'))
    made, tables = tables_of(folder)
    assert "selection" not in tables and set(made.results.cases["checkpoint"]) == {"last"}
    assert made.results.cells["state"].eq("done").all()
    assert made.results.cells["reason"].str.contains("no weights of every 150 iterations").all()


def test_a_figure_shows_what_selection_on_test_cases_adds(both):
    [figure] = draw_module("selection", measured_in(read_results(both[0])))
    assert figure.name == "selection_8" and "0.3 to 0.8" in figure.caption
    dots = [point for found in figure.figure.axes[0].collections for point, _ in found.get_offsets().tolist()]
    assert sorted(dots) == pytest.approx(sorted([*(100 * gain for gain in GAINS.values())] * 2))
    [left_out] = draw_module("selection", measured_in(read_results(both[1])))
    assert "no method has stored checkpoints" in left_out.reason


def test_the_page_and_the_end_of_a_run_say_how_checkpoints_were_chosen(both, no_drawing, capsys):
    chosen, plain = map(read_results, both)
    assert "No checkpoint was selected on test cases." in lead(plain)
    assert "No checkpoint behind headline figures, tests and ranks was selected" in lead(chosen)
    show_report(Console(width=200), ResultsFolder(both[0]))
    assert "best on validation with 8 labelled: A, seed 3, iteration 200, Dice 93.00" in capsys.readouterr().out
    page = (both[0] / "report" / "index.html").read_text()
    assert "Choice of the checkpoint" in page and "8 (+2 val)" in page
