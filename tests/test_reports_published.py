from collections import Counter

import pytest
from results_folder import cell, plan

from reports import published

ENTRIES = published.literature()["entries"]
FIELDS = {"method", "variant", "labelled", "unlabelled", "dice", "jaccard", "asd", "hd95", "source", "repeated_in",
          "certainty", "iterations", "checkpoint", "largest_component", "remark", "headline"}  # fmt: skip
OFFICIAL = plan(
    [],
    data={"split": "official", "spacing": None, "train": 80, "test": 20},
    training={"iterations": 6000, "patch": [112, 112, 80], "width": 16, "precision": "fp32"},
    evaluation={"stride": [18, 18, 4], "postprocessing": "largest_component"},
)


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
        assert 50 < dice < 100 and 5 < hd95 < 50
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
    assert figures(published.find(method, variant, labelled, unlabelled)) == expected


def test_variants_are_not_mixed_up():
    assert published.find("ua_mt", "unlabelled", 16, 64)["dice"] == 88.83
    assert published.find("ua_mt", "unlabelled", 8, 72)["dice"] == 84.25  # its source does not say which
    assert published.find("dtml", "else", 16, 64) is None


def test_budgets_match_by_labelled_cases_and_a_ceiling_by_all_being_labelled():
    assert published.find("ua_mt", "all", 8, 20)["unlabelled"] == 72
    assert published.find("ua_mt", "all", 8, 0) is None
    assert published.find("dtml", "mask", 8, 20) is None
    assert published.find("nobody", "", 8, 20) is None
    assert figures(published.find("vnet", "", 28, 0, ceiling=True)) == (91.14, 83.82, 1.52, 5.75)


def test_comparable_only_under_the_published_protocol():
    entry = published.find("dtml", "mask", 16, 64)
    assert published.differences(entry, OFFICIAL, cell("dtml")) == []
    for change in (
        {"data": {"split": "mine"}}, {"data": {"spacing": 1.25}},
        {"training": {"iterations": 600}}, {"training": {"patch": [64, 64, 48]}}, {"training": {"width": 8}},
        {"training": {"augmentation": "d4"}}, {"training": {"precision": "bf16"}},
        {"evaluation": {"stride": [9, 9, 2]}}, {"evaluation": {"postprocessing": "none"}},
    ):  # fmt: skip
        changed = {block: OFFICIAL[block] | change.get(block, {}) for block in ("data", "training", "evaluation")}
        assert len(published.differences(entry, changed, cell("dtml"))) == 1, change


@pytest.mark.parametrize(
    ("changes", "reason"),
    [({"draw": 0}, "drawn at random"), ({"unpublished": ["predict_with = mean"]}, "setting predict_with = mean")],
)
def test_a_cell_of_its_own_kind_is_not_comparable(changes, reason):
    [difference] = published.differences(published.find("dtml", "mask", 16, 64), OFFICIAL, cell("dtml", **changes))
    assert reason in difference


def test_what_a_published_run_did_otherwise_is_a_reason_too():
    def reasons(*row):
        return published.differences(published.find(*row), OFFICIAL, cell(row[0]))

    assert reasons("vnet", "", 16, 0) == ["some were published with no postprocessing"]
    assert any("iterations" in reason for reason in reasons("mc_net_plus", "", 16, 64))
    assert any("best checkpoint on the test cases" in reason for reason in reasons("bcp", "", 16, 64))
