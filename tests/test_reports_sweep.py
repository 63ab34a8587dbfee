import numpy as np
import pandas as pd
import pytest
from helpers.results_folder import cell, plan, scored, write_folder, write_plan, write_record

from reports.measures import scores, with_rows
from reports.results import read_results
from reports.statistics import contrasts, gap_interval, run_pool, saved_interval
from reports.tables import make_tables
from reports.tables.sweep_dashes import gap_reason, saved_reason

# Dice of floor and methods at 4 and 8 labelled cases, and of the ceiling
DICE = {("floor", 4): 0.60, ("floor", 8): 0.70, ("a", 4): 0.65, ("a", 8): 0.80, ("b", 4): 0.55, ("b", 8): 0.92,
        ("floor", 28): 0.90}  # fmt: skip
ROLES = {"floor": "floor", "a": "method", "b": "method"}


def planned_cells(budgets=(4, 8)):
    cells = [cell(m, n, role=ROLES[m], unlabelled=0 if m == "floor" else 20) for n in budgets for m in ROLES]
    return [*cells, cell("floor", 28, role="ceiling", unlabelled=0)]


def write_sweep(folder, budgets=(4, 8), dice=DICE):
    planned = plan(planned_cells(budgets), reference=None)
    tables = {c["trial"]: scored(planned, dice=dice[c["method"], c["labelled"]], hd95=5.0) for c in planned["cells"]}
    return write_folder(folder, planned, tables)


def sweep_of(folder):
    [made] = make_tables([read_results(folder)])
    return next(table for table in made.tables if table.name == "sweep")


def texts(block):
    return {row.cells[0].text: [cell.text for cell in row.cells[1:]] for row in block.rows}


def test_figures_equal_those_worked_out_by_hand(tmp_path):
    frame = sweep_of(write_sweep(tmp_path)).frame.set_index(["method", "labelled"])
    assert frame["dice_percent"].to_dict() == pytest.approx({key: 100 * dice for key, dice in DICE.items()})
    share = {("a", 4): 5 / 30, ("a", 8): 10 / 20, ("b", 4): -5 / 30, ("b", 8): 22 / 20}
    assert frame["gap_share"].dropna().to_dict() == pytest.approx(share)
    saved = {
        ("a", 4): 4 * 2**0.5 - 4,  # half way from 60 to 70 on the logarithm of 4 to 8
        ("a", 8): 8 * (28 / 8) ** 0.5 - 8,  # half way from 70 to 90 on that of 8 to 28
    }
    assert frame["labels_saved"].dropna().to_dict() == pytest.approx(saved)
    assert frame["labels_saved_beyond"].dropna().to_dict() == {("b", 8): 20}


def test_several_budgets_are_columns(tmp_path):
    blocks = sweep_of(write_sweep(tmp_path)).blocks
    assert [block.heading for block in blocks] == [
        "Dice [%]", "95HD [voxel]", "Gap closed [%] [95 % interval]", "Labels saved [cases] [95 % interval]",
    ]  # fmt: skip
    dice, _, gap, saved = (texts(block) for block in blocks)
    assert [column.label for column in blocks[0].columns] == ["Method", "4 labelled cases", "8 labelled cases"]
    assert dice == {
        "FLOOR (floor)": ["60.00", "70.00"], "A": ["65.00", "80.00"], "B": ["55.00", "92.00"],
        "FLOOR (ceiling)": ["90.00", "90.00"],
    }  # fmt: skip
    assert (gap["A"], gap["B"]) == (["17", "50"], ["−17", "110"])
    assert (saved["A"], saved["B"]) == (["+1.7", "+7.0"], ["–", "more than 20"])
    assert gap["FLOOR (floor)"] == saved["FLOOR (ceiling)"] == ["–", "–"]


def test_best_and_second_best_of_each_budget_without_the_ceiling(tmp_path):
    block = sweep_of(write_sweep(tmp_path)).blocks[0]
    ranks = {row.cells[0].text: [cell.rank for cell in row.cells[1:]] for row in block.rows}
    assert ranks == {
        "FLOOR (floor)": [2, 0], "A": [1, 2], "B": [0, 1], "FLOOR (ceiling)": [0, 0],
    }  # fmt: skip


def test_one_budget_has_a_column_a_quantity(tmp_path):
    [block] = sweep_of(write_sweep(tmp_path, budgets=(8,))).blocks
    assert block.heading == "8 labelled cases"
    assert [column.label for column in block.columns] == [
        "Method",
        "Dice [%]",
        "95HD [voxel]",
        "Gap closed [%] [95 % interval]",
        "Labels saved [cases] [95 % interval]",
    ]
    assert texts(block)["A"] == ["80.00", "5.00", "50", "+7.0"]


def write_with_seeds(folder, dice, run_sd, seeds=(1, 2, 3)):
    """As `write_sweep`, but every method's mean changes by `run_sd` from seed to seed, and single scores by 0.005."""
    rng = np.random.default_rng(0)
    cells = [c | {"seed": seed, "trial": f"{c['trial']}-{seed}"} for c in planned_cells() for seed in seeds]
    planned = plan(cells, reference=None)
    tables = {
        c["trial"]: scored(planned, dice=list(dice[c["method"], c["labelled"]] + rng.normal(0, run_sd)
                                              + rng.normal(0, 0.005, 6)))
        for c in planned["cells"]
    }  # fmt: skip
    return write_folder(folder, planned, tables)


def test_intervals_are_those_of_the_seed_aware_test(tmp_path):
    folder = write_with_seeds(tmp_path, DICE, run_sd=0.01)
    table, results = sweep_of(folder), read_results(folder)
    line = table.frame.set_index(["method", "labelled"]).loc[("a", 8)]
    scored_tables = scores(results)
    rows = with_rows(results.cells).drop_duplicates("row").set_index(["method", "labelled", "role"])["row"]
    of = {key: scored_tables[row, "none", "dice_percent"] for key, row in rows.items()}
    pools = {n: run_pool([of["floor", n, "floor"], of["a", n, "method"], of["b", n, "method"]]) for n in (4, 8)}
    method, floors, ceiling = (
        of["a", 8, "method"],
        [of["floor", n, "floor"] for n in (4, 8)],
        of["floor", 28, "ceiling"],
    )
    gap = gap_interval(contrasts([method, floors[1], ceiling], [pools[8], pools[8], None]))
    saved = saved_interval(contrasts([method, *floors, ceiling], [pools[8], pools[4], pools[8], None]), (4, 8, 28), 8)
    assert tuple(line[["gap_low", "gap_high"]]) == pytest.approx(gap)
    assert tuple(line[["saved_low", "saved_high"]]) == pytest.approx(saved)
    assert 0 < gap[0] < line["gap_share"] < gap[1] < 1 and saved[0] < line["labels_saved"] < saved[1]
    _, _, gaps, labels = (texts(block) for block in table.blocks)
    assert gaps["A"][1] == f"{100 * line['gap_share']:.0f} [{100 * gap[0]:.0f}, {100 * gap[1]:.0f}]"
    assert labels["A"][1] == f"+{line['labels_saved']:.1f} [+{saved[0]:.1f}, +{saved[1]:.1f}]"
    assert labels["B"][1].startswith("more than 20 [+") and labels["B"][1].endswith(", …]")


def test_numbers_that_say_nothing_are_dashes_and_stay_in_the_csv(tmp_path):
    """The seeds of a method differ by more than floor and ceiling do."""
    table = sweep_of(write_with_seeds(tmp_path, DICE, run_sd=0.2))
    _, _, gaps, labels = (texts(block) for block in table.blocks)
    assert gaps["A"] == gaps["B"] == labels["A"] == ["–", "–"]
    frame = table.frame[table.frame["role"] == "method"]
    assert ((frame["gap_low"] <= 0) & (frame["gap_high"] >= 1)).all()
    assert frame.loc[frame["method"] == "a", "gap_share"].notna().any()


WHY = {
    "seeds that say nothing": ({"run_sd": 0.2}, {}, ["holds both 0 and 100 %", "holds every number of labels"]),
    "a Dice below every floor": ({"run_sd": 0.001}, {}, ["with fewer labelled cases has so low a Dice: B with 4"]),
    "a low ceiling": (
        {"run_sd": 0.001},
        {("floor", 28): 0.65},
        ["The ceiling is not above the floor: all methods with 8 labelled."],
    ),
}


@pytest.mark.parametrize("noise, changed, reasons", WHY.values(), ids=WHY.keys())
def test_every_dash_of_a_method_has_its_reason_beside_it(tmp_path, noise, changed, reasons):
    table = sweep_of(write_with_seeds(tmp_path, DICE | changed, **noise))
    for reason in reasons:
        assert any(reason in note for block in table.blocks[2:] for note in block.notes), reason
    frame = table.frame[table.frame["role"] == "method"]
    for block, reason_of in zip(table.blocks[2:], (gap_reason, saved_reason), strict=True):
        for line in frame.to_dict("records"):
            shown = texts(block)[line["display"]][(4, 8).index(line["labelled"])]
            assert (shown == "–") == bool(reason_of(line)), (block.heading, line)


def test_a_row_or_floor_without_all_its_runs_is_the_reason_of_a_dash(tmp_path):
    planned = plan([*planned_cells(), cell("a", 8, seed=2)], reference=None)
    write_plan(tmp_path, planned)
    for c in planned["cells"][:-1]:
        if (c["method"], c["labelled"]) != ("floor", 4):
            write_record(tmp_path, planned, c, scored(planned, dice=DICE[c["method"], c["labelled"]]))
    write_record(tmp_path, planned, planned["cells"][-1], state="failed", reason="out of memory")
    notes = sweep_of(tmp_path).blocks[2].notes
    assert notes == [
        "Gap closed, cells with –. No floor with so many labelled cases has all its results: all methods with 4 "
        "labelled. The row lacks runs that failed or diverged: A↓ with 8 labelled."
    ]


def test_one_seed_has_intervals_over_cases(tmp_path):
    table = sweep_of(write_with_seeds(tmp_path, DICE, run_sd=0.2, seeds=(1,)))
    intervals = table.frame.loc[table.frame["role"] == "method", ["gap_low", "gap_high"]]
    assert np.isfinite(intervals).all(axis=None) and (intervals["gap_high"] - intervals["gap_low"] < 1).all()


def test_a_ceiling_below_the_floor_closes_no_gap(tmp_path):
    frame = sweep_of(write_sweep(tmp_path, dice=DICE | {("floor", 28): 0.65})).frame.set_index(["method", "labelled"])
    assert frame["gap_share"].dropna().to_dict() == pytest.approx({("a", 4): 1.0, ("b", 4): -1.0})


def test_cells_that_are_not_done_say_so(tmp_path):
    planned = plan([*planned_cells(), cell("a", 8, seed=2)], reference=None)
    write_plan(tmp_path, planned)
    for c in planned["cells"][:-2]:
        if (c["method"], c["labelled"]) != ("b", 4):
            write_record(tmp_path, planned, c, scored(planned, dice=DICE[c["method"], c["labelled"]]))
    write_record(tmp_path, planned, planned["cells"][2], state="failed", reason="out of memory")
    table = sweep_of(tmp_path)
    dice = texts(table.blocks[0])
    assert dice["B"] == ["failed", "92.00"] and dice["A"] == ["65.00", "80.00 (1 of 2)"]
    assert dice["FLOOR (ceiling)"] == ["not run", "not run"]
    assert "B, 4 labelled, seed 1: failed: out of memory." in table.notes
    frame = table.frame.set_index(["method", "labelled"])
    assert frame["gap_share"].isna().all() and frame["labels_saved_beyond"].isna().all()


def test_without_a_baseline_there_is_neither_gap_nor_saving(tmp_path):
    folder = write_folder(tmp_path, plan([cell("a", 4), cell("a", 8)], reference=None))
    assert [block.heading for block in sweep_of(folder).blocks] == ["Dice [%]", "95HD [voxel]"]


def test_missing_values_stay_missing(tmp_path):
    frame = sweep_of(write_plan(tmp_path, plan(planned_cells()))).frame
    assert frame[["dice_percent", "gap_share", "labels_saved", "labels_saved_beyond"]].isna().all(axis=None)
    assert np.isnan(frame["floor"]).all() and isinstance(frame, pd.DataFrame)


def test_a_floor_that_has_every_label_there_is_stands_for_the_ceiling(tmp_path):
    """10 training scans, 7 of them with a label: at 7 the methods have 3 unlabelled ones, and the floor has all."""
    cells = [cell(m, n, role=ROLES[m], unlabelled=0 if m == "floor" else 10 - n) for n in (4, 7) for m in ROLES]
    planned = plan(cells, reference=None, data={"train": 10, "with_label": 7})
    dice = {("floor", 4): 0.6, ("a", 4): 0.7, ("b", 4): 0.95, ("floor", 7): 0.8, ("a", 7): 0.8, ("b", 7): 0.9}
    tables = {c["trial"]: scored(planned, dice=dice[c["method"], c["labelled"]]) for c in planned["cells"]}
    frame = sweep_of(write_folder(tmp_path, planned, tables)).frame.set_index(["method", "labelled"])
    assert set(frame["ceiling"].round(6)) == {80.0}
    assert frame["gap_share"].dropna().to_dict() == pytest.approx({("a", 4): 0.5, ("b", 4): 1.75})
    # beyond what was measured: the floor knows 7 labelled cases, not the 10 that are there
    assert frame["labels_saved_beyond"].dropna().to_dict() == {("b", 4): 3}
