"""Rows that lack a run that failed or diverged: every table has both means and compares neither with anything."""

import pandas as pd
import pytest
from helpers.faulty_runs import line_of, planned_with, three_methods, write
from helpers.results_folder import cell, cells_of, plan, write_tables_of

from reports.figures import budgets, pairwise_map, ranks
from reports.figures.measured import measured_in, setting
from reports.merging import read_folders
from reports.results import read_results
from reports.tables import make_tables
from reports.tables.ledger import LEFT_OUT

ALIVE = 90.2  # Dice of A's two runs that are done
LEDGER = {"method": "vnet", "display": "V-Net", "labelled": 16, "unlabelled": 0, "role": "floor"}


@pytest.mark.parametrize("policy, state", [("exclude", "diverged"), ("worst", "failed")])
def test_every_table_has_both_means(tmp_path, policy, state):
    tables = write_tables_of(three_methods(policy, state=state, folder=tmp_path))
    for name in ("comparison", "summary", "publication", "further", "sweep", "cost"):
        text = (tables / f"{name}.md").read_text(encoding="utf-8")
        [dice] = [part for part in line_of(text, "A↓") if part.startswith(f"{ALIVE:.2f}")]
        assert f"({2 * ALIVE / 3:.2f})" in dice and "*" not in dice
        assert not any("(" in part for part in line_of(text, "B") if part.startswith(("80", "**80")))
    later = pd.read_csv(tables / "further.csv").set_index("display").loc["A"]
    assert later["nsd_percent_mean_of_all"] == pytest.approx(2 * later["nsd_percent_mean"] / 3)
    volumes = 2 * later["volume_error_percent_mean"] - 100
    assert later["volume_error_percent_mean_of_all"] == pytest.approx(volumes / 3)


def swept(folder, without):
    """Floor and method at 4 and 8 labelled cases, and a ceiling. `without`: the trial that failed."""
    roles = {"f": "floor", "a": "method"}
    cells = [cell(m, n, seed, role=roles[m]) for m in roles for n in (4, 8) for seed in (1, 2)]
    cells += [cell("f", 28, seed, role="ceiling") for seed in (1, 2)]
    dice = {("f", 4): 0.5, ("f", 8): 0.6, ("f", 28): 0.8, ("a", 4): 0.55, ("a", 8): 0.7}
    by_trial = {c["trial"]: dice[c["method"], c["labelled"]] for c in cells}
    return write(folder, planned_with(cells, reference=None), {without: "failed"}, by_trial)


@pytest.mark.parametrize(
    "without, gaps, saved, above",
    [
        ("a-8-1-first", [4], [4], [4]),
        ("f-8-1-first", [4], [4, 8], [4]),  # 8 lies between 4 and 28 on the floor's curve
        ("f-4-1-first", [8], [8], [8]),
        ("f-28-1-first", [], [4], [4, 8]),  # the curve ends at 60 with 8 cases
    ],
)
def test_nothing_is_compared_with_a_mean_that_lacks_a_run(tmp_path, without, gaps, saved, above):
    folder = swept(tmp_path, without)
    tables = write_tables_of(folder)
    sweep, cost = (
        pd.read_csv(tables / f"{name}.csv").set_index(["display", "labelled"]).loc["A"] for name in ("sweep", "cost")
    )
    assert list(sweep["gap_share"].dropna().index) == gaps
    assert list(sweep["labels_saved"].dropna().index) == saved
    assert list(cost["dice_above_floor"].dropna().index) == above
    assert sweep["dice_percent"].notna().all()


def test_figures_write_no_labels_saved_and_say_what_is_left_out(tmp_path):
    source = measured_in(read_results(swept(tmp_path, "a-8-1-first")))
    [(_, dice), _] = budgets.draw(source, None)
    [figure] = dice.pages
    assert [text.xy[0] for text in figure.axes[0].texts] == [4]
    assert "Failed or diverged, and left out: 1 of 10 planned trials." in dice.caption
    assert "Not everything is done" not in dice.caption


def test_maps_and_ranks_leave_such_a_row_out(tmp_path):
    source = measured_in(read_results(three_methods("exclude", folder=tmp_path)))
    assert sorted(source.competing(8)["row"].unique()) == ["B", "C"]
    [(_, drawn)] = pairwise_map.draw(source, 8)
    assert "over the one pair" in drawn.caption
    [(_, reason)] = ranks.draw(source, 8)
    assert reason == "No ranks to compare: fewer than 3 methods."
    assert "1 of 9 planned trials" in setting(source, source.runs)


@pytest.mark.parametrize("draw, compared", [("first", False), (1, True)])
def test_the_ledger_compares_no_mean_that_lacks_a_run(tmp_path, draw, compared):
    """Only runs on the papers' labelled cases count there, so runs of another draw may fail."""
    cells = [cell("a", seed=s, draw=d) | LEDGER | {"trial": f"v-{d}-{s}"} for d in ("first", 1) for s in (1, 2, 3)]
    dice = {c["trial"]: 0.8 for c in cells}
    folder = write(tmp_path, planned_with(cells, "exclude", reference=None), {f"v-{draw}-2": "diverged"}, dice)
    tables = write_tables_of(folder)
    ours = pd.read_csv(tables / "ledger.csv").set_index("display").loc["V-Net"]
    assert len(ours) and ours["differences"].str.contains(LEFT_OUT, regex=False).eq(not compared).all()
    ours = ours[ours["figure"] == "dice"]
    assert ours["mean"].tolist() == pytest.approx([80] * len(ours))
    assert ours["mean_of_all"].dropna().tolist() == pytest.approx([] if compared else [160 / 3] * len(ours))
    assert ("80.00 (53.33) / " in (tables / "ledger.md").read_text(encoding="utf-8")) == (not compared)


def test_tuned_settings_are_compared_with_no_such_mean(tmp_path):
    published = planned_with(cells_of("a", "b"), "exclude")
    tuned = planned_with(
        [c | {"trial": f"{c['trial']}-tuned"} for c in cells_of("a", "b", settings={"weight": 0.3})],
        "exclude", experiment="made_up-tuned", tuned={"experiment": "made_up", "how": "by hand"},
    )  # fmt: skip
    dice = {c["trial"]: 0.8 for c in published["cells"] + tuned["cells"]}
    first = write(tmp_path / "a", published, {"a-8-2-first": "diverged"}, dice)
    second = write(tmp_path / "b", tuned, {"b-8-2-first-tuned": "diverged"}, dice)
    tables = make_tables(read_folders([first, second]))
    table = next(table for table in tables[1].tables if table.name == "tuning")
    texts = {row.cells[0].text: [cell.text for cell in row.cells] for block in table.blocks for row in block.rows}
    both = "80.00 ± 0.00 (53.33)"
    assert texts["A↓"][1:4] == [both, "80.00 ± 0.00", "–"] and texts["B↓"][1:4] == ["80.00 ± 0.00", both, "–"]
    assert sum("In brackets" in note for note in table.notes) == 1


def collapsed(folder):
    """A's second run lies far below its others."""
    cells = cells_of("a", "b")
    return write(folder, plan(cells), dice={c["trial"]: 0.2 if c["trial"] == "a-8-2-first" else 0.8 for c in cells})


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["collapsed", "worst", "exclude", "failed"])
def test_every_table_with_the_mark_explains_it(tmp_path, kind):
    policy = kind if kind in ("worst", "exclude") else "worst"
    state = kind if kind == "failed" else "diverged"
    folder = collapsed(tmp_path) if kind == "collapsed" else three_methods(policy, state=state, folder=tmp_path)
    texts = {path.stem: path.read_text(encoding="utf-8") for path in write_tables_of(folder).glob("*.md")}
    marked = {name: text for name, text in texts.items() if "| A↓ |" in text}
    assert {"comparison", "summary", "publication", "further", "sweep", "cost"} <= set(marked)
    for name, text in marked.items():
        assert any(line.removeprefix("- ").startswith("↓") for line in text.splitlines()), name
        assert ("Collapsed, though it ended without an error" in text) == (name == "comparison")
    for cut in make_tables(read_folders([folder]))[0].cuts:
        [block] = cut.blocks
        assert any(note.startswith("↓") for note in block.notes), "terminal and paper have no other notes"
