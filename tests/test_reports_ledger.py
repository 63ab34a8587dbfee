import json

import numpy as np
import pytest
from helpers.results_folder import (
    CASES,
    cell,
    cells_of,
    make_stale,
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

CASES_OF_THE_PAPERS = published.protocols()["la"]["cases"]
OFFICIAL = {
    "data": {
        "split": "official",
        "spacing": None,
        "train": 80,
        "split_hash": CASES_OF_THE_PAPERS["split"],
        "stored_fingerprints": {side: CASES_OF_THE_PAPERS[side] for side in ("train", "test")},
    },
    "training": {"iterations": 6000, "patch": [112, 112, 80], "width": 16, "precision": "fp32"},
    "evaluation": {"stride": [18, 18, 4], "postprocessing": "largest_component"},
}
NOT_KNOWN = "their checkpoint not known"  # of DTML's run
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
        ((0.85, 0.80, 0.95), "not precise enough"),  # wide, as seeds vary a lot
        ((0.876, 0.881, 0.886), "not precise enough"),  # 2 points lower, or 0.8, says the interval
        ((0.901, 0.902), "reproduced"),
        ((0.899, 0.903), "not precise enough"),
        ((0.901,), "not precise enough"),
        ((0.5,), "not precise enough"),
        ((0.9012, 0.9012, 0.9012), "not precise enough"),  # runs that are copies say nothing about seeds
    ],
)
def test_the_verdict_on_a_comparable_figure(tmp_path, dice, verdict):
    table = ledger_of(write_dtml(tmp_path, dice))
    line = figures_of(table, "dtml").loc["dice"]
    ours = 100 * np.array(dice)
    assert line["verdict"] == verdict and line["differences"] == "" and line["seeds"] == len(dice)
    assert (line["published"], line["mean"], line["gap"]) == pytest.approx((90.12, ours.mean(), ours.mean() - 90.12))
    if len(set(dice)) > 1:
        t = stats.ttest_1samp(ours, 90.12).confidence_interval(0.95)
        assert (line["low"], line["high"]) == pytest.approx((t.low - 90.12, t.high - 90.12))
    else:
        assert np.isnan([line["low"], line["high"]]).all()
    assert line["caveats"] == NOT_KNOWN
    assert table.blocks[0].rows[0].cells[-1].text == f"{verdict} ({NOT_KNOWN})"


@pytest.mark.parametrize(
    "margin, verdict",
    [(3.5, "reproduced"), (2.5, "not precise enough"), (1.0, "not reproduced"), (0.1, "not reproduced")],
)
def test_the_margin_is_the_plans_and_is_said(tmp_path, margin, verdict):
    table = ledger_of(write_dtml(tmp_path, (0.8762, 0.8772, 0.8792), report={"margin": margin}))  # 3.1 to 1.8 lower
    assert figures_of(table, "dtml").loc["dice", "verdict"] == verdict
    assert any(f"within ±{margin:g} points (report.margin)" in note for note in table.notes)


def test_a_plan_without_a_margin_has_one_point(tmp_path):
    folder = write_dtml(tmp_path, (0.899, 0.901, 0.903))
    assert "report" not in json.loads((folder / "plan.json").read_text())
    assert any("within ±1 points" in note for note in ledger_of(folder).notes)


def test_figures_other_than_dice_have_no_verdict(tmp_path):
    verdicts = figures_of(ledger_of(write_dtml(tmp_path, (0.899, 0.901, 0.903))), "dtml")["verdict"]
    assert verdicts.drop("dice").unique().tolist() == ["no margin"]


@pytest.mark.parametrize(
    "mean, verdict, in_reach", [(89.12, "not reproduced", True), (88.12, "not reproduced", False),
                                (89.62, "not precise enough", False)],
)  # fmt: skip
def test_a_verdict_says_where_one_more_run_could_give_the_published_figure(tmp_path, mean, verdict, in_reach):
    """Published figures are of one run. Ours have SD 0.3: the interval reaches 0.75 far, one further run 1.5."""
    dice = [(mean + step) / 100 for step in (-0.3, 0, 0.3)]
    table = ledger_of(write_dtml(tmp_path, dice, report={"margin": 0.1}))
    line = figures_of(table, "dtml").loc["dice"]
    assert any("one further run of ours would fall" in note for note in table.notes) is in_reach
    reach = stats.t.ppf(0.975, 2) * 0.3 * (1 + 1 / 3) ** 0.5
    assert (line["run_low"], line["run_high"]) == pytest.approx((mean - reach, mean + reach))
    assert line["verdict"] == verdict
    assert line["caveats"] == NOT_KNOWN + "; one run of ours may reach it" * in_reach


def test_what_is_not_known_of_the_published_run_stands_beside_the_verdict(tmp_path):
    cells = cells_of("ict", unlabelled=64, labelled=16) + cells_of("vnet", unlabelled=0, labelled=16)
    planned = plan(cells, **OFFICIAL)
    tables = {c["trial"]: scored(planned, dice=0.5 + 0.001 * c["seed"]) for c in cells}
    frame = ledger_of(write_folder(tmp_path, planned, tables)).frame
    dice = frame[(frame["figure"] == "dice") & frame["verdict"].eq("not reproduced")].set_index("published")
    assert dice.loc[89.02, "caveats"] == "; ".join(
        f"their {word} not known" for word in ("checkpoint", "postprocessing", "iterations")
    )
    assert dice.loc[86.03, "caveats"] == ""


def test_no_interval_shown_leaves_what_a_dice_can_be(tmp_path):
    table = ledger_of(write_dtml(tmp_path, (0.2, 0.9)))
    line = figures_of(table, "dtml").loc["dice"]
    assert line["low"] < -90.12 and line["high"] > 9.88  # the csv keeps what was computed
    [row] = table.blocks[0].rows
    assert row.cells[5].text == "[−90.12, +9.88]"


SIDES = OFFICIAL["data"]["stored_fingerprints"]


def other(side):
    return {"data": OFFICIAL["data"] | {"stored_fingerprints": SIDES | {side: "0123456789abcdef"}}}


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes, part",
    [
        (other("test"), "other files than the distributed ones under the names of the test cases"),
        (other("train"), "other files than the distributed ones under the names of the training cases"),
        ({"data": OFFICIAL["data"] | {"stored_fingerprints": {}}}, "which files the cases are was not recorded"),
        (
            {"data": OFFICIAL["data"] | {"reading": {"orientation": "stored", "normalise": "zscore"}}},
            "images read with normalise zscore, not none",
        ),
        (
            {"data": OFFICIAL["data"] | {"reading": {"orientation": "RAS", "normalise": "none"}}},
            "images read with orientation RAS, not stored",
        ),
        ({"data": OFFICIAL["data"] | {"preparation": "cropped around the centre"}}, "images cropped around the centre"),
        ({"data": OFFICIAL["data"] | {"spacing": 1.25}}, "trained at 1.25 mm"),
        ({"evaluation": OFFICIAL["evaluation"] | {"empty": "exclude"}}, "evaluation.empty: exclude"),
        ({"tuned": {"experiment": "made_up", "how": "by search; with care"}}, "settings were tuned here"),
        ({"training": OFFICIAL["training"] | {"patch": [96, 96, 80]}}, "patch 96×96×80, not 112×112×80"),
        ({"training": OFFICIAL["training"] | {"iterations": 600}}, "iterations 600, not 6000"),
        ({"training": OFFICIAL["training"] | {"precision": "bf16"}}, "precision bf16, not fp32"),
        ({"data": OFFICIAL["data"] | {"split_hash": "5911a5"}}, "not the official split"),
        (
            {"data": OFFICIAL["data"] | {"split_hash": "5911a5", "split": "official; 8 held out"}},
            "(split official, 8 held out), not the official split",
        ),
        ({"evaluation": OFFICIAL["evaluation"] | {"stride": [9, 9, 2]}}, "stride 9×9×2, not 18×18×4"),
    ],
)
def test_another_protocol_is_not_comparable_and_which_part_is_said(tmp_path, changes, part):
    table = ledger_of(write_dtml(tmp_path, (0.899, 0.901, 0.903), **changes))
    line = figures_of(table, "dtml").loc["dice"]
    assert line["verdict"] == "not comparable" and part in line["differences"]
    assert set(figures_of(table, "dtml")["verdict"]) == {"not comparable"} and line["caveats"] == ""
    [row] = table.blocks[0].rows
    assert row.cells[-1].text == "not comparable (a)"
    assert any(note.startswith("(a) Not comparable: ") and part in note for note in table.notes)


def test_stale_records_are_not_comparable(tmp_path):
    folder = write_dtml(tmp_path, (0.899, 0.901, 0.903))
    make_stale(folder, "dtml-16-2-first")
    line = figures_of(ledger_of(folder), "dtml").loc["dice"]
    assert (line["verdict"], line["differences"]) == ("not comparable", "some of our records are stale (§)")


def test_list_files_with_the_published_cases_are_the_published_split(tmp_path):
    data = OFFICIAL["data"] | {"split": "my_train.list / my_test.list"}
    assert (
        figures_of(ledger_of(write_dtml(tmp_path, (0.899, 0.901, 0.903), data=data)), "dtml").loc["dice", "verdict"]
        == "reproduced"
    )


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
    entries = published.protocols()["la"]["entries"]
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
    assert row.cells[-1].text == f"reproduced ({NOT_KNOWN}); ASD, 95HD not comparable (a)"


def test_only_the_papers_labelled_cases_count(tmp_path):
    cells = [cell("dtml", seed=seed, draw=draw, **DTML) for draw in ("first", 0) for seed in (1, 2, 3)]
    planned = plan(cells, **OFFICIAL)
    tables = {c["trial"]: scored(planned, dice=0.9 if c["draw"] == "first" else 0.5) for c in cells}
    line = figures_of(ledger_of(write_folder(tmp_path, planned, tables)), "dtml").loc["dice"]
    assert (line["seeds"], line["mean"], line["differences"]) == (3, pytest.approx(90), "")
    drawn = plan([cell("dtml", draw=0, **DTML)], **OFFICIAL)
    line = figures_of(ledger_of(write_folder(tmp_path / "drawn", drawn)), "dtml").loc["dice"]
    assert line["differences"] == "labelled cases drawn at random, not the first of the list"


def test_rows_that_no_paper_has_leave_the_ledger_without_a_block(tmp_path):
    table = ledger_of(write_folder(tmp_path, plan(cells_of("mine"), **OFFICIAL)))
    assert table.blocks == [] and set(table.frame["verdict"]) == {"not planned"}
    assert table.notes[2].startswith("Published figures of Dice with a row of ours: none.")


def test_other_data_have_no_ledger(tmp_path):
    folder = write_folder(tmp_path, plan([cell("ua_mt")], data={"name": "Phantom"}))
    table = ledger_of(folder)
    assert table.frame.empty and table.blocks == []
    text = (write_tables_of(folder) / "ledger.md").read_text()
    assert (
        "84.25" not in text
        and "No published figures are shown: they are for LA, ACDC, BraTS-2019 and Pancreas-CT." in text
    )


@pytest.mark.parametrize(("recipe", "shown"), [("pancreas_a", [82.61, 82.61, 77.84]), ("pancreas_b", [])])
def test_only_figures_of_the_protocol_of_the_data_are_shown(tmp_path, recipe, shown):
    planned = plan([cell("ad_mt", 12, unlabelled=50)], data={"name": "Pancreas-CT", "recipe": recipe})
    table = ledger_of(write_folder(tmp_path, planned))
    assert set(table.frame["protocol"]) == {recipe}
    dice = figures_of(table, "ad_mt")
    assert dice.loc[dice.index == "dice", "published"].tolist() == shown
    assert set(dice["verdict"]) <= {"not comparable"}  # patch and iterations are others
    if shown:
        assert any(note.startswith(f"Protocol {recipe}: Pancreas-CT") for note in table.notes)


def test_data_with_several_protocols_that_name_none_have_no_ledger(tmp_path):
    planned = plan([cell("ad_mt", 12, unlabelled=50)], data={"name": "Pancreas-CT"})
    table = ledger_of(write_folder(tmp_path, planned))
    assert table.frame.empty and table.blocks == []
    assert any("has the protocols pancreas_a, pancreas_b, pancreas_c" in note for note in table.notes)
