import numpy as np
import pytest
from helpers.results_folder import (
    CASES,
    cell,
    cells_of,
    plan,
    scored,
    write_folder,
    write_plan,
    write_record,
    write_tables_of,
)
from scipy import stats

from reports import published
from reports.results import read_results
from reports.tables import make_tables
from reports.tables.ledger import prediction_interval

OFFICIAL = {
    "data": {"split": "official", "spacing": None, "train": 80},
    "training": {"iterations": 6000, "patch": [112, 112, 80], "width": 16, "precision": "fp32"},
    "evaluation": {"stride": [18, 18, 4], "postprocessing": "largest_component"},
}
DTML = {"unlabelled": 64, "variant": "mask", "labelled": 16}


def ledger_of(folder):
    [made] = make_tables([read_results(folder)])
    return next(table for table in made.tables if table.name == "ledger")


def figures_of(table, method, source=""):
    chosen = (table.frame["method"] == method) & (table.frame["verdict"] != "not planned")
    return table.frame[chosen & table.frame["source"].str.contains(source, regex=False)].set_index("figure")


def write_dtml(folder, dice, **changes):
    """Official DTML with these Dice, one a seed; the largest component's are what counts."""
    planned = plan(cells_of("dtml", seeds=range(1, len(dice) + 1), **DTML), **(OFFICIAL | changes))
    tables = {}
    for c, value in zip(planned["cells"], dice, strict=True):
        table = scored(planned, seed=c["seed"], dice=value)
        table.loc[(table["metric"] == "dice") & (table["postprocessing"] == "none"), "value"] = 0.1
        tables[c["trial"]] = table
    return write_folder(folder, planned, tables)


@pytest.mark.parametrize(
    "dice, verdict",
    [
        ((0.899, 0.901, 0.903), "reproduced"),
        ((0.880, 0.881, 0.882), "not reproduced"),
        ((0.920, 0.921, 0.922), "not reproduced"),
        ((0.85, 0.80, 0.95), "reproduced"),  # wide, as seeds vary a lot
        ((0.901, 0.902), "undecided"),
        ((0.901,), "undecided"),
    ],
)
def test_the_verdict_on_a_comparable_figure(tmp_path, dice, verdict):
    table = ledger_of(write_dtml(tmp_path, dice))
    line = figures_of(table, "dtml").loc["dice"]
    ours = 100 * np.array(dice)
    assert line["verdict"] == verdict and line["differences"] == "" and line["seeds"] == len(dice)
    assert (line["published"], line["mean"], line["gap"]) == pytest.approx((90.12, ours.mean(), ours.mean() - 90.12))
    if len(dice) > 2:
        reach = stats.t.ppf(0.975, len(dice) - 1) * ours.std(ddof=1) * (1 + 1 / len(dice)) ** 0.5
        assert (line["low"], line["high"]) == pytest.approx((ours.mean() - reach, ours.mean() + reach))
        assert (verdict == "reproduced") == (abs(90.12 - ours.mean()) <= reach)


def test_no_interval_shown_leaves_what_a_dice_can_be(tmp_path):
    table = ledger_of(write_dtml(tmp_path, (0.2, 0.9)))
    line = figures_of(table, "dtml").loc["dice"]
    assert line["low"] < 0 and line["high"] > 100  # the csv keeps what was computed
    [row] = table.blocks[0].rows
    assert row.cells[5].text == "[0.00, 100.00]"


def test_the_interval_holds_95_of_100_new_seeds():
    rng = np.random.default_rng(0)
    inside = 0
    for _ in range(4000):
        *seeds, new = rng.normal(90, 0.8, 4)
        low, high = prediction_interval(np.array(seeds))
        inside += low <= new <= high
    assert inside / 4000 == pytest.approx(0.95, abs=0.012)
    assert np.isnan(prediction_interval(np.array([90.0]))).all()


@pytest.mark.parametrize(
    "changes, part",
    [
        ({"training": OFFICIAL["training"] | {"iterations": 600}}, "iterations 600, not 6000"),
        ({"training": OFFICIAL["training"] | {"precision": "bf16"}}, "precision bf16, not fp32"),
        ({"data": OFFICIAL["data"] | {"split": "mine"}}, "not the official split"),
        ({"evaluation": OFFICIAL["evaluation"] | {"stride": [9, 9, 2]}}, "stride 9×9×2, not 18×18×4"),
    ],
)
def test_another_protocol_is_not_comparable_and_which_part_is_said(tmp_path, changes, part):
    table = ledger_of(write_dtml(tmp_path, (0.899, 0.901, 0.903), **changes))
    line = figures_of(table, "dtml").loc["dice"]
    assert line["verdict"] == "not comparable" and part in line["differences"]
    [row] = table.blocks[0].rows
    assert row.cells[-1].text == "not comparable (a)"
    assert any(note.startswith("(a) Not comparable: ") and part in note for note in table.notes)


def test_the_plans_postprocessing_does_not_matter_where_the_published_one_is_known(tmp_path):
    evaluation = OFFICIAL["evaluation"] | {"postprocessing": "none"}
    line = figures_of(ledger_of(write_dtml(tmp_path, (0.899, 0.901, 0.903), evaluation=evaluation)), "dtml").loc["dice"]
    assert (line["postprocessing"], line["verdict"]) == ("largest_component", "reproduced")


def test_every_published_figure_of_a_planned_row_stands_there_with_source_and_certainty(tmp_path):
    planned = plan([cell("ua_mt", 8, variant="all"), cell("vnet", 28, role="ceiling", unlabelled=0)])
    table = ledger_of(write_folder(tmp_path, planned))
    of = table.frame[table.frame["verdict"] != "not planned"]
    dice = of[of["figure"] == "dice"]
    assert dice[["method", "published"]].to_numpy().tolist() == [
        ["ua_mt", 84.25], ["ua_mt", 86.28], ["ua_mt", 87.79], ["vnet", 91.14],
    ]  # fmt: skip
    assert dice["certainty"].tolist()[:2] == ["readme", "memory, Dice and 95HD confirmed elsewhere"]
    assert len(of) == 4 * 4 and set(of["verdict"]) == {"not comparable"}
    labelled, everything = table.blocks
    assert (labelled.heading, everything.heading) == ("8 labelled cases", "All cases labelled")
    texts = [row.cells[1].text for block in (labelled, everything) for row in block.rows]
    assert texts == [
        "84.25 / 73.48 / 3.36 / 13.84 (8/72) [1]", "86.28 / 76.11 / 4.63 / 18.71? (8/72) [2]",
        "87.79 / 78.39 / 2.12 / 8.68? (8/72) [3]", "91.14 / 83.82 / 1.52 / 5.75 (80/0) [4]",
    ]  # fmt: skip
    assert table.literature[0].startswith("README of the DTC repository")
    assert "6000 iterations, checkpoint: last, no postprocessing" in table.literature[0]


def test_all_other_figures_of_the_literature_are_in_the_csv(tmp_path):
    frame = ledger_of(write_dtml(tmp_path, (0.9,))).frame
    entries = published.literature()["entries"]
    assert set(frame["entry"]) == set(range(len(entries)))
    figures = sum(entry[figure] is not None for entry in entries for figure in ("dice", "jaccard", "asd", "hd95"))
    assert len(frame) == figures and (frame["verdict"] == "not planned").sum() == figures - 4


def test_rows_without_figures_say_where_they_are(tmp_path):
    planned = plan(cells_of("dtml", **DTML), **OFFICIAL)
    write_plan(tmp_path, planned)
    write_record(tmp_path, planned, planned["cells"][0], state="failed", reason="out of memory")
    table = ledger_of(tmp_path)
    assert set(figures_of(table, "dtml")["verdict"]) == {"no figure of ours"}
    [row] = table.blocks[0].rows
    assert [cell.text for cell in row.cells[2:]] == ["–", "0 of 3", "–", "–", "1 failed; 2 not run"]


def test_distances_of_empty_predictions_are_not_comparable(tmp_path):
    folder = write_dtml(tmp_path, (0.899, 0.901, 0.903))
    record = folder / "records" / "dtml-16-1-first" / "cases.csv"
    kept = record.read_text().splitlines()
    emptied = [line.rsplit(",", 1)[0] + ",0" if f",{CASES[0]},predicted," in line else line for line in kept]
    assert emptied != kept
    record.write_text("\n".join(emptied) + "\n")
    table = ledger_of(folder)
    verdicts = figures_of(table, "dtml")["verdict"].to_dict()
    assert verdicts["dice"] == "reproduced" and verdicts["asd"] == verdicts["hd95"] == "not comparable"
    [row] = table.blocks[0].rows
    assert "ASD, 95HD not comparable (a)" in row.cells[-1].text


def test_only_the_papers_labelled_cases_count(tmp_path):
    cells = [cell("dtml", seed=seed, draw=draw, **DTML) for draw in ("first", 0) for seed in (1, 2, 3)]
    planned = plan(cells, **OFFICIAL)
    tables = {c["trial"]: scored(planned, dice=0.9 if c["draw"] == "first" else 0.5) for c in cells}
    line = figures_of(ledger_of(write_folder(tmp_path, planned, tables)), "dtml").loc["dice"]
    assert (line["seeds"], line["mean"], line["differences"]) == (3, pytest.approx(90), "")
    drawn = plan([cell("dtml", draw=0, **DTML)], **OFFICIAL)
    line = figures_of(ledger_of(write_folder(tmp_path / "drawn", drawn)), "dtml").loc["dice"]
    assert line["differences"] == "labelled cases drawn at random, not the first of the list"


def test_other_data_have_no_ledger(tmp_path):
    folder = write_folder(tmp_path, plan([cell("ua_mt")], data={"name": "Phantom"}))
    table = ledger_of(folder)
    assert table.frame.empty and table.blocks == []
    text = (write_tables_of(folder) / "ledger.md").read_text()
    assert "84.25" not in text and "No published figures are shown: they are for LA." in text
