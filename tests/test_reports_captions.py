"""Sentences of a report that must be true of the table and the figure at which they stand."""

import re

import pytest
from helpers.page_folder import page_of
from helpers.results_folder import cell, cells_of, plan, write_plan, write_record

from benchmark.records.models import EXTERNAL
from reports.figures import draw_module
from reports.figures.measured import measured_in
from reports.page.lead import lead
from reports.results import read_results
from reports.tables import make_tables

FLOOR, CEILING = {"role": "floor", "unlabelled": 0}, {"role": "ceiling", "unlabelled": 0}
MASKS = [cell(EXTERNAL, display=name, fidelity=EXTERNAL, trial=name) for name in ("nnU-Net", "Other")]
SEVERAL = [*cells_of("a", **FLOOR), *cells_of("b", "c")]
FOLDERS = {
    "one seed": [cell("a", **FLOOR), cell("b"), cell("c")],
    "two budgets": [*SEVERAL, *cells_of("b", "c", labelled=16, seeds=(1, 2)), cell("a", 28, **CEILING)],
    "uneven seeds": [*cells_of("b"), *cells_of("c", seeds=(1, 2))],
    "masks": MASKS,
    "masks beside": [*SEVERAL, MASKS[0]],
    "draws": [c for draw in ("first", 1) for c in cells_of("b", "c", seeds=(1, 2), draw=draw)],
    "ceiling": cells_of("a", labelled=28, **CEILING),
}
TRAINS = "Each trains a V-Net with 8 filters for 600 iterations."


@pytest.fixture
def results(tmp_path, request):
    planned = plan(FOLDERS[request.param])
    write_plan(tmp_path, planned)
    for planned_cell in planned["cells"]:
        untimed = {"host": "x"} if planned_cell["fidelity"] == EXTERNAL else None
        write_record(tmp_path, planned, planned_cell, provenance=untimed)
    return read_results(tmp_path)


def notes_of(results):
    [made] = make_tables([results])
    return {table.name: " ".join(table.notes) for table in made.tables}


@pytest.mark.parametrize(
    ("results", "beginning", "trains"),
    [
        ("one seed", "3 methods with 8 of 28 training cases labelled and 1 seed, on", True),
        ("two budgets", "3 methods with 8 (3 seeds) or 16 (2 seeds) of 28 training cases labelled, on", True),
        ("uneven seeds", "2 methods with 8 of 28 training cases labelled and 2 or 3 seeds, on", True),
        ("masks", "external masks (nnU-Net, Other), on", False),
        ("masks beside", "3 methods with 8 of 28 training cases labelled and 3 seeds, and external masks (nnU-Net), on",
         False),
        ("draws", "2 methods with 8 of 28 training cases labelled and 2 seeds in each of 2 draws, on", True),
        ("ceiling", "1 ceiling with all 28 training cases labelled and 3 seeds, on", True),
    ],
    indirect=["results"],
)  # fmt: skip
def test_the_lead_counts_what_is_there(results, beginning, trains):
    text = lead(results)
    assert text.startswith(f"LA: {beginning} the same 6 test cases.") and (TRAINS in text) == trains
    assert ("V-Net" in text) == (results.cells["fidelity"] != EXTERNAL).any()


@pytest.mark.parametrize("results", ["masks", "masks beside", "one seed"], indirect=True)
def test_what_was_not_trained_here_is_not_said_to_be(results):
    notes = notes_of(results)["comparison"]
    masks = results.cells["fidelity"] == EXTERNAL
    assert ("Training" in notes, "last checkpoint" in notes, "network is dead" in notes) == (not masks.all(),) * 3
    assert ("masks as they were given" in notes) == masks.any()
    assert ("Training, external masks aside: 600 iterations" in notes) == (masks.any() and not masks.all())
    cost = notes_of(results)["cost"]
    assert ("Times are means" in cost) == (not masks.all())
    assert ("External masks have no costs here: nnU-Net" in cost) == masks.any() and "No timing is stored" not in cost


@pytest.mark.parametrize("results", ["one seed", "two budgets", "masks", "masks beside"], indirect=True)
def test_what_is_pasted_into_a_paper_says_how_it_was_trained(results):
    [made] = make_tables([results])
    publication = next(table for table in made.cuts if table.name == "publication")
    trained = (results.cells["fidelity"] != EXTERNAL).any()
    for block in publication.blocks:
        assert ("600 iterations, batch of 4" in " ".join(block.notes)) == trained


@pytest.mark.parametrize("results", ["two budgets"], indirect=True)
def test_floor_and_ceiling_have_one_name_in_every_table_and_figure(results):
    [made] = make_tables([results])
    names = {
        table.name: {row.cells[0].text for block in table.blocks for row in block.rows}
        for table in (*made.cuts, *made.tables)
        if table.name != "ledger"  # it has rows with published figures alone
    }
    assert set(measured_in(results).look) == {"A (floor)", "A (ceiling)", "B", "C"}
    assert len(names) > 5 and {name: found for name, found in names.items() if found != names["summary"]} == {}
    assert names["summary"] == {"A (floor)", "A (ceiling)", "B", "C"}


@pytest.mark.parametrize(
    ("results", "averaged"),
    [("one seed", ""), ("two budgets", " Each case is first averaged over its seeds."),
     ("draws", " Each case is first averaged over its seeds and draws.")],
    indirect=["results"],
)  # fmt: skip
def test_notes_are_of_the_rows_above_them(results, averaged):
    notes = notes_of(results)
    assert re.search(r"not over seeds\.(.*?) Empty predictions", notes["comparison"]).group(1) == averaged
    roles = set(results.cells["role"])
    for text in (notes["comparison"], notes["further"]):
        assert ("It is not ranked." in text) == ("ceiling" in roles)
    assert ("Floor:" in notes["sweep"], "Ceiling:" in notes["sweep"]) == ("floor" in roles, "ceiling" in roles)
    assert ("Gap closed" in notes["sweep"]) == ("floor" in roles) and "in brackets" not in notes["sweep"]
    told_apart = max(results.cells.groupby("display")["seed"].nunique()) > 2
    assert ("The figure of ranks shows" in notes["comparison"]) == told_apart
    assert "Verdict on Dice" not in notes["ledger"], "nothing is compared with a paper here"


@pytest.mark.parametrize(
    ("results", "ends"),
    [
        ("one seed", {8: "no postprocessing; one seed."}),
        ("two budgets", {8: "its mean over 1 or 3 seeds.", 16: "its mean over 1 or 2 seeds.",
                         None: "its mean over 1 to 3 seeds."}),
        ("uneven seeds", {8: "its mean over 2 or 3 seeds."}),
        ("masks", {8: "masks as they were given, no postprocessing. ‡ masks from elsewhere."}),
        ("masks beside", {8: "its mean over 3 seeds. ‡ masks from elsewhere."}),
        ("draws", {8: "its mean over 2 seeds and 2 draws of the labelled cases."}),
    ],
    indirect=["results"],
)  # fmt: skip
def test_captions_count_the_runs_that_a_figure_shows(results, ends):
    source = measured_in(results)
    modules = ["distributions"] + ["budgets"] * (None in ends)
    figures = [figure for module in modules for figure in draw_module(module, source)]
    captions = {figure.name: figure.caption for figure in figures if hasattr(figure, "caption")}
    for budget, end in ends.items():
        name = "budgets_dice" if budget is None else f"distributions_{budget}"
        assert captions[name].endswith(end), captions[name]


@pytest.mark.parametrize(
    ("results", "said"),
    [("uneven seeds", "too few seeds"), ("two budgets", "Rings:"), ("masks", "over the one pair (")],
    indirect=["results"],
)
def test_the_map_of_differences_says_why_it_has_no_rings(results, said):
    first = next(draw_module("pairwise_map", measured_in(results)))
    assert said in first.caption and "No method has two seeds" not in first.caption


def test_a_row_with_results_is_not_said_to_lack_them(tmp_path):
    planned = plan([*cells_of("b", "c"), cell("d")])
    write_plan(tmp_path / "r", planned)
    for planned_cell in planned["cells"]:
        failed = planned_cell["trial"] in ("c-8-2-first", "d-8-1-first")
        state = {"state": "diverged", "reason": "loss is nan"} if failed else {}
        write_record(tmp_path / "r", planned, planned_cell, **state)
    page = page_of(tmp_path / "r", out=tmp_path).read_text(encoding="utf-8")
    assert "Without results: 1 of 3 runs of C (diverged), D (diverged)." in page
    assert "On the slice" not in page and "It contains images" not in page, "there are no pictures"


def test_before_anything_is_done_no_note_speaks_of_figures(tmp_path):
    results = read_results(write_plan(tmp_path, plan(SEVERAL)))
    notes = notes_of(results)
    assert "Empty predictions" not in notes["comparison"] and "±" not in notes["comparison"]
    assert "Pareto" not in notes["cost"]
