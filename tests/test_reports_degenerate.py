"""Reports on scores that say nothing: every row of them all zero, all alike, or without variation from run to run."""

import warnings

import numpy as np
import pytest
from helpers.results_folder import CASES, cell, plan, scored, write_folder

from reports.figures import draw_module
from reports.figures.measured import measured_in
from reports.merging import read_folders
from reports.tables import make_tables, write_tables

ROLES = {"f": "floor", "a": "method", "b": "method", "c": "method", "top": "ceiling"}
PATTERNS = {
    "all zero": lambda name, seed, case: 0.0,
    "all one": lambda name, seed, case: 1.0,
    "one method varies": lambda name, seed, case: 0.5 + 0.01 * case if name == "a" else 0.0,
    "floor and ceiling zero": lambda name, seed, case: 0.0 if ROLES[name] != "method" else 0.4 + 0.01 * case * seed,
    "no variation from case to case": lambda name, seed, case: 0.5 + 0.01 * seed,
    "no variation from run to run": lambda name, seed, case: 0.5 + 0.01 * case + 0.1 * (name == "a"),
    "the same run three times but for one row": lambda name, seed, case: 0.5 + 0.01 * case * (name != "b" or seed),
}


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [1, 2, 3])
@pytest.mark.parametrize("pattern", PATTERNS.values(), ids=PATTERNS.keys())
def test_tables_and_figures_of_scores_that_say_nothing(tmp_path, pattern, seeds):
    cells, tables = [], {}
    for name, role in ROLES.items():
        for labelled in (28,) if role == "ceiling" else (4, 8):
            for seed in range(1, seeds + 1):
                cells.append(cell(name, labelled, seed=seed, role=role, unlabelled=28 - labelled))
    planned = plan(cells, reference="A")
    for planned_cell in cells:
        name = planned_cell["method"]
        dice = [float(np.clip(pattern(name, planned_cell["seed"], case), 0, 1)) for case in range(len(CASES))]
        tables[planned_cell["trial"]] = scored(planned, dice=dice)
    results = read_folders([write_folder(tmp_path / "r", planned, tables)])
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a division by zero is an error here
        made = make_tables(results)
    write_tables(made, tmp_path / "tables")
    text = (tmp_path / "tables" / "comparison.md").read_text()
    assert "| A |" in text and "nan" not in text.lower().replace("nano", "") and "inf" not in text.split()
    source = measured_in(results[0])
    for module in ("budgets", "ranks", "pairwise_map", "distributions"):
        assert list(draw_module(module, source))
