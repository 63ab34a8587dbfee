from collections import Counter
from pathlib import Path

import pytest
from helpers.results_folder import cell, plan

from benchmark.records.models import StoredPlan
from data.la import _preparation
from reports import published

LA = published.protocols()["la"]
ENTRIES = LA["entries"]
FIELDS = {"method", "variant", "labelled", "unlabelled", "dice", "jaccard", "asd", "hd95", "source", "repeated_in",
          "certainty", "iterations", "checkpoint", "largest_component", "remark", "headline", "protocol"}  # fmt: skip
CASES = LA["cases"]
OFFICIAL = plan(
    [],
    data={
        "split": "official",
        "spacing": None,
        "train": 80,
        "test": 20,
        "split_hash": CASES["split"],
        "stored_fingerprints": {side: CASES[side] for side in ("train", "test")},
    },
    training={"iterations": 6000, "patch": [112, 112, 80], "width": 16, "precision": "fp32"},
    evaluation={"stride": [18, 18, 4], "postprocessing": "largest_component"},
)


def differences(entry, planned, planned_cell):
    return published.differences(entry, StoredPlan.model_validate(planned), planned_cell)


def figures(entry):
    return entry["dice"], entry["jaccard"], entry["asd"], entry["hd95"]


def test_every_entry_has_all_fields_with_allowed_values():
    for entry in ENTRIES:
        assert set(entry) == FIELDS, entry
        assert entry["certainty"] in published.CERTAINTY
        assert entry["checkpoint"] in ("last", "best on test", "unknown")
        assert entry["largest_component"] in (True, False, None)
        assert isinstance(entry["headline"], bool) and len(entry["source"].split()) > 2
        assert entry["labelled"] + entry["unlabelled"] == 80 or entry["unlabelled"] == 0


def test_figures_are_plausible():
    for entry in ENTRIES:
        dice, jaccard, asd, hd95 = figures(entry)
        assert 50 < dice < 100 and (hd95 is None or 5 < hd95 < 50)
        if jaccard is not None:
            # of one scan Jaccard is d / (2 - d); a mean over scans lies a little above, and a slipped digit far away
            assert 0 <= jaccard - 100 * dice / (200 - dice) < 4, entry
            assert 1 < asd < 10


def test_one_headline_for_each_method_variant_and_budget():
    headlines = Counter((e["method"], e["variant"], e["labelled"], e["unlabelled"]) for e in ENTRIES if e["headline"])
    assert set(headlines.values()) == {1}
    shown = {(method, *budget) for method, _, *budget in headlines}
    assert shown == {(e["method"], e["labelled"], e["unlabelled"]) for e in ENTRIES}


def test_every_budget_is_there():
    budgets = {(80, 0), (16, 0), (16, 64), (8, 0), (8, 72), (4, 0), (4, 76)}
    assert {(e["labelled"], e["unlabelled"]) for e in ENTRIES} == budgets


@pytest.mark.parametrize(
    "method, variant, labelled, unlabelled, expected",
    [
        ("vnet", "", 16, 0, (86.03, 76.06, 3.51, 14.26)),
        ("asdnet", "", 16, 64, (87.90, 78.85, 2.08, 9.24)),
        ("tcse", "", 16, 64, (88.15, 79.20, 2.44, 9.57)),
        ("ua_mt", "all", 16, 64, (88.88, 80.21, 2.26, 7.32)),
        ("dtc", "", 16, 64, (89.42, 80.89, 2.10, 7.32)),
        ("sass", "", 16, 64, (89.54, 81.24, 2.20, 8.24)),
        ("double_uncertainty", "", 16, 64, (89.65, 81.35, 2.03, 7.04)),
        ("dtml", "mask", 16, 64, (90.12, 82.14, 1.82, 7.01)),
        ("dtml", "dis", 16, 64, (89.72, 81.55, 1.97, 7.64)),
        ("dtml", "dis_mask", 16, 64, (89.89, 81.82, 1.93, 6.61)),
        ("vnet_sdm", "dis", 16, 0, (88.69, 79.91, 3.12, 11.62)),
        ("dtml", "labelled_only", 16, 0, (89.17, 80.68, 2.13, 7.82)),
        ("bcp", "", 4, 76, (88.02, 78.72, 2.15, 7.90)),
    ],
)
def test_the_papers_tables(method, variant, labelled, unlabelled, expected):
    assert figures(published.find(LA, method, variant, labelled, unlabelled)[0]) == expected


def dices(*row, **of):
    return [entry["dice"] for entry in published.find(LA, *row, **of)]


def test_variants_are_not_mixed_up():
    assert dices("ua_mt", "unlabelled", 16, 64) == [88.83, 88.74]  # that of a re-run does not say which
    assert dices("ua_mt", "all", 16, 64) == [88.88, 88.74]
    assert dices("ua_mt", "unlabelled", 8, 72) == [84.25, 86.28, 87.79]  # nor do these
    assert dices("vnet", "", 16, 0) == [86.03, 86.96]  # not the V-Net without dropout
    assert dices("dtml", "else", 16, 64) == []


def test_the_headline_is_the_first():
    for entry in (entry for entry in ENTRIES if entry["headline"]):
        found = published.find(LA, entry["method"], entry["variant"] or "", entry["labelled"], entry["unlabelled"])
        assert found[0] is entry


def test_budgets_match_by_labelled_cases_and_a_ceiling_by_all_being_labelled():
    assert {entry["unlabelled"] for entry in published.find(LA, "ua_mt", "all", 8, 20)} == {72}
    assert dices("ua_mt", "all", 8, 0) == []
    assert dices("dtml", "mask", 8, 20) == []
    assert dices("nobody", "", 8, 20) == []
    [ceiling] = published.find(LA, "vnet", "", 28, 0, ceiling=True)
    assert figures(ceiling) == (91.14, 83.82, 1.52, 5.75)


def test_comparable_only_under_the_published_protocol():
    [entry] = published.find(LA, "dtml", "mask", 16, 64)
    assert differences(entry, OFFICIAL, cell("dtml")) == []
    for change in (
        {"data": {"split_hash": "5911a5"}}, {"data": {"spacing": 1.25}},
        {"training": {"iterations": 600}}, {"training": {"patch": [64, 64, 48]}}, {"training": {"width": 8}},
        {"training": {"augmentation": "d4"}}, {"training": {"precision": "bf16"}},
        {"evaluation": {"stride": [9, 9, 2]}},
    ):  # fmt: skip
        changed = OFFICIAL | {block: OFFICIAL[block] | values for block, values in change.items()}
        assert len(differences(entry, changed, cell("dtml"))) == 1, change


@pytest.mark.parametrize(
    ("changes", "reason"),
    [({"draw": 0}, "drawn at random"), ({"unpublished": ["predict_with = mean"]}, "setting predict_with = mean")],
)
def test_a_cell_of_its_own_kind_is_not_comparable(changes, reason):
    [entry] = published.find(LA, "dtml", "mask", 16, 64)
    [difference] = differences(entry, OFFICIAL, cell("dtml", **changes))
    assert reason in difference


def test_what_a_published_run_did_otherwise_is_a_reason_too():
    def reasons(*row):
        return differences(published.find(LA, *row)[0], OFFICIAL, cell(row[0]))

    assert reasons("vnet", "", 16, 0) == []
    assert "iterations 6000, not 15000" in reasons("mc_net_plus", "", 16, 64)
    assert any("best checkpoint on the test cases" in reason for reason in reasons("bcp", "", 16, 64))


def test_ours_are_taken_under_the_published_postprocessing():
    def postprocessing(*row):
        return published.postprocessing(published.find(LA, *row)[0], "default")

    assert postprocessing("vnet", "", 16, 0) == "none"
    assert postprocessing("dtml", "mask", 16, 64) == "largest_component"
    assert postprocessing("ict", "", 16, 64) == "default"


# Every figure of the specification's list, in its order: method, labelled, unlabelled, Dice, Jaccard, ASD, 95HD.
SPECIFIED = """
vnet 80 0 91.14 83.82 1.52 5.75
vnet 16 0 86.03 76.06 3.51 14.26
vnet 16 0 86.96 77.31 3.22 11.85
dan 16 64 87.52 78.29 2.42 9.01
asdnet 16 64 87.90 78.85 2.08 9.24
tcse 16 64 88.15 79.20 2.44 9.57
mean_teacher 16 64 88.23 79.29 2.73 10.64
mean_teacher 16 64 88.42 79.45 2.73 13.07
entropy_min 16 64 88.45 79.51 3.72 14.14
ict 16 64 89.02 80.34 1.97 10.38
ua_mt 16 64 88.88 80.21 2.26 7.32
ua_mt 16 64 88.74 79.94 2.32 8.39
sass 16 64 89.54 81.24 2.20 8.24
sass 16 64 89.27 80.82 3.13 8.83
sass 16 64 89.16 80.60 2.26 8.95
dtc 16 64 89.42 80.98 2.10 7.32
dtc 16 64 89.42 80.89 2.10 7.32
dtc 16 64 89.52 81.22 1.96 7.07
lg_er_mt 16 64 89.62 81.31 2.06 7.16
double_uncertainty 16 64 89.65 81.35 2.03 7.04
urpc 16 64 88.74 79.93 3.66 12.73
mc_net 16 64 90.34 82.48 1.77 6.00
mc_net_plus 16 64 91.07 83.67 1.67 5.84
dtml 16 64 90.12 82.14 1.82 7.01
ug_mcl 16 64 90.16 82.18 1.98 6.50
ss_net 16 64 89.28 - - 7.29
bcp 16 64 91.26 - - 5.76
vnet 8 0 79.99 68.12 5.48 21.11
vnet 8 0 82.74 71.72 3.26 13.35
ua_mt 8 72 84.25 73.48 3.36 13.84
ua_mt 8 72 86.28 76.11 4.63 18.71
ua_mt 8 72 87.79 78.39 2.12 8.68
sass 8 72 87.32 77.72 2.55 9.62
sass 8 72 85.22 75.09 2.89 11.18
dtc 8 72 87.51 78.17 2.36 8.23
lg_er_mt 8 72 85.54 75.12 3.77 13.29
double_uncertainty 8 72 85.91 75.75 3.31 12.67
urpc 8 72 85.01 74.36 3.96 15.37
urpc 8 72 86.92 77.03 2.28 11.13
mc_net 8 72 87.71 78.31 2.18 9.36
mc_net_plus 8 72 88.96 80.25 1.86 7.93
ss_net 8 72 88.55 79.62 1.90 7.49
bcp 8 72 89.62 81.31 1.76 6.81
vnet 4 0 52.55 39.60 9.87 47.05
ua_mt 4 76 82.26 70.98 3.82 13.71
sass 4 76 81.60 69.63 3.58 16.16
dtc 4 76 81.25 69.33 3.99 14.90
urpc 4 76 82.48 71.35 3.65 14.65
mc_net 4 76 83.59 72.36 2.70 14.07
ss_net 4 76 86.33 76.15 2.31 9.97
bcp 4 76 88.02 78.72 2.15 7.90
"""


def test_no_figure_is_missing():
    have = {(entry["method"], entry["labelled"], entry["unlabelled"], *figures(entry)) for entry in ENTRIES}
    for line in SPECIFIED.split("\n")[1:-1]:
        method, *numbers = line.split()
        labelled, unlabelled, *of = (None if number == "-" else float(number) for number in numbers)
        assert (method, labelled, unlabelled, *of) in have, line


@pytest.mark.parametrize("key, value, reason", [("momentum", 0.5, "momentum 0.5, not 0.9"),
                                                ("weight_decay", 0.0, "weight decay 0.0, not 0.0001")])  # fmt: skip
def test_another_optimiser_is_not_comparable(key, value, reason):
    entry = published.find(LA, "vnet", "", 16, 0)[0]
    published_settings = {"momentum": 0.9, "weight_decay": 0.0001}
    ours = OFFICIAL | {"training": OFFICIAL["training"] | published_settings}
    assert differences(entry, ours, cell("vnet", 16)) == []
    ours["training"][key] = value
    assert differences(entry, ours, cell("vnet", 16)) == [reason]


def test_images_cropped_otherwise_are_not_comparable():
    entry = published.find(LA, "dtml", "mask", 16, 64)[0]
    here, distributed = cell("dtml", 16, variant="mask"), LA["preparation"]
    assert distributed == _preparation(Path("nowhere"))
    for preparation, count in ((None, 0), (distributed, 0), ("z-scored, cropped around the centre", 1)):
        planned = OFFICIAL | {"data": OFFICIAL["data"] | {"preparation": preparation}}
        reasons = differences(entry, planned, here)
        assert len(reasons) == count and all("images z-scored, cropped around the centre, not " in r for r in reasons)
