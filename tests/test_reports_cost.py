import re

import numpy as np
import pandas as pd
import pytest
from helpers.page_folder import page_of
from helpers.results_folder import cell, cells_of, plan, scored, write_plan, write_record

from reports.durations import duration
from reports.results import read_results
from reports.tables import make_tables
from reports.tables.cost import pareto_ranks

FACTS = {"seconds_training": 600.0, "iterations_per_second": 1.5, "peak_memory_bytes": 2**30, "device": "a machine",
         "inference_seconds_per_case": 1.25, "trials_sharing_the_machine": 1}  # fmt: skip


def write(folder, cells, facts, dice=None):
    """A folder of these cells; `facts` and `dice` by method, of a method with several seeds a list."""
    planned = plan(cells, reference=None)
    write_plan(folder, planned)
    for number, c in enumerate(planned["cells"]):
        of = facts[c["method"]]
        of = of[c["seed"] - 1] if isinstance(of, list) else of
        table = scored(planned, seed=number, dice=dice[c["method"]]) if dice else None
        write_record(folder, planned, c, table, provenance=of)
    return folder


def cost_of(folder):
    [made] = make_tables([read_results(folder)])
    return next(table for table in made.tables if table.name == "cost")


def row_of(table, method):
    rows = [row for block in table.blocks for row in block.rows]
    return [cell.text for cell in next(row.cells for row in rows if row.cells[0].text == method)]


def test_means_over_seeds_and_what_the_floor_takes(tmp_path):
    cells = [cell("f", role="floor", unlabelled=0), *cells_of("a", seeds=(1, 2))]
    slow = FACTS | {"seconds_training": 1800.0, "iterations_per_second": 0.5, "peak_memory_bytes": 3 * 2**30}
    folder = write(tmp_path, cells, {"f": FACTS, "a": [FACTS, slow]}, {"f": 0.7, "a": 0.8})
    table = cost_of(folder)
    line = table.frame.set_index("method").loc["a"]
    assert (line["seconds_training"], line["iterations_per_second"], line["peak_memory_bytes"]) == (
        1200,
        1.0,
        3 * 2**30,
    )
    assert (line["times_the_floor"], line["dice_above_floor"]) == pytest.approx((2.0, 10.0))
    assert row_of(table, "A") == ["A", "2", "20 min", "2.00", "1.00", "3.00", "1.2", "80.00", "+10.00", "1"]
    assert row_of(table, "F (floor)")[-1] == "1"  # as fast and worse, or as good and slower: neither beats the other
    assert "Trained on: a machine." in table.notes and "¶" not in str(table.blocks)


def test_timings_of_a_shared_machine_are_marked_and_grey(tmp_path):
    packed = FACTS | {"trials_sharing_the_machine": 4, "seconds_training": 1200.0}
    facts = {"a": [FACTS, packed], "b": FACTS, "c": packed}
    folder = write(tmp_path, [*cells_of("a", seeds=(1, 2)), cell("b"), cell("c")], facts)
    table = cost_of(folder)
    assert [row_of(table, name)[2] for name in "ABC"] == ["10 min", "10 min", "20 min ¶"]
    assert [note for note in table.notes if note.startswith("¶") and "Up to 4 trials shared one machine" in note]
    frame = table.frame.set_index("method")
    assert frame["trials_sharing_the_machine"].to_dict() == {"a": 4, "b": 1, "c": 4}
    assert frame["seconds_training_shared"].to_dict() == {"a": False, "b": False, "c": True}
    [block] = table.blocks
    last = block.rows[-1].cells
    grey = {column.key for column, cell in zip(block.columns, last, strict=True) if cell.quiet}
    assert grey == {"seconds_training", "iterations_per_second", "inference_seconds_per_case", "pareto_rank"}
    assert [row.cells[-1].rank for row in block.rows] == [0, 0, 0], "ranks among such times have no bold"
    page = page_of(folder, out=tmp_path / "page").read_text(encoding="utf-8")
    assert len(re.findall(r'<td class="number quiet"[^>]*>20 min ¶</td>', page)) == 1


def test_inference_is_judged_by_when_it_was_timed(tmp_path):
    packed = FACTS | {"trials_sharing_the_machine": 4}
    facts = {
        "a": packed | {"scored_again": {"trials_sharing_the_machine": 1}},
        "b": FACTS | {"scored_again": {"trials_sharing_the_machine": 4}},
        "c": FACTS,
    }
    frame = cost_of(write(tmp_path, [cell("a"), cell("b"), cell("c")], facts)).frame.set_index("method")
    assert frame["seconds_training_shared"].to_dict() == {"a": True, "b": False, "c": False}
    assert frame["inference_seconds_per_case_shared"].to_dict() == {"a": False, "b": True, "c": False}


def test_several_machines_are_not_compared(tmp_path):
    facts = {"a": FACTS, "b": FACTS | {"device": "another"}}
    table = cost_of(write(tmp_path, [cell("a"), cell("b")], facts))
    assert "Trained on: a machine, another." in table.notes
    assert any(note.startswith("Times were taken on different machines") for note in table.notes)
    assert table.frame["devices"].tolist() == ["a machine", "another"]


def test_no_dice_at_equal_cost_is_made_up(tmp_path):
    notes = cost_of(write(tmp_path, [cell("a")], {"a": FACTS})).notes
    assert any(note.startswith("Dice at equal training time is unknown") for note in notes)


@pytest.mark.parametrize("facts", [{"host": "x"}, {"seconds_training": None}, {"seconds_training": "soon"}])
def test_records_without_timings(tmp_path, facts):
    table = cost_of(write(tmp_path, [cell("a"), cell("b")], {"a": facts, "b": FACTS}))
    assert row_of(table, "A")[2:7] == ["–"] * 5 and row_of(table, "B")[2] == "10 min"
    assert "No timing is stored of some runs of A." in table.notes
    assert np.isnan(table.frame.set_index("method").loc["a", "pareto_rank"])


def test_rows_that_are_not_done_say_why_and_cost_nothing(tmp_path):
    planned = plan([cell("a"), cell("b")])
    write_plan(tmp_path, planned)
    write_record(tmp_path, planned, planned["cells"][0], state="diverged", reason="loss is NaN")
    table = cost_of(tmp_path)
    assert row_of(table, "A") == ["A", "0 of 1", "diverged"] and row_of(table, "B") == ["B", "0 of 1", "not run"]
    assert table.status == "Nothing is done yet. Of 2 planned trials: 1 diverged, 1 not run."
    assert table.frame["seconds_training"].isna().all()


def test_pareto_ranks():
    seconds = pd.Series({"fast": 1.0, "good": 5.0, "beaten": 5.0, "twin": 5.0, "last": 9.0, "untimed": np.nan})
    dice = pd.Series({"fast": 70.0, "good": 80.0, "beaten": 75.0, "twin": 80.0, "last": 74.0, "untimed": 99.0})
    ranks = pareto_ranks(seconds, dice)
    assert ranks.dropna().to_dict() == {"fast": 1, "good": 1, "twin": 1, "beaten": 2, "last": 3}
    assert pareto_ranks(seconds[:0], dice[:0]).empty


@pytest.mark.parametrize(
    "seconds, text", [(3.25, "3.2 s"), (59.97, "1 min"), (90, "2 min"), (3570, "1 h 00 min"), (7500, "2 h 05 min")]
)
def test_durations_are_readable(seconds, text):
    assert duration(seconds) == text
