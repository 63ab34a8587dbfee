from collections import Counter
from pathlib import Path

import pytest
import yaml
from helpers.results_folder import cell, plan

from benchmark.records.models import StoredPlan
from benchmark.records.protocol import Training
from data.la import _preparation
from data.recipes.recipe import read_recipe
from reports import published

PROTOCOLS = published.protocols()
LA = PROTOCOLS["la"]
ENTRIES = LA["entries"]
ALL_ENTRIES = [entry for protocol in PROTOCOLS.values() for entry in protocol["entries"]]
FIELDS = {"method", "variant", "labelled", "unlabelled", "dice", "jaccard", "asd", "hd95", "source", "repeated_in",
          "certainty", "iterations", "checkpoint", "largest_component", "remark", "headline", "protocol"}  # fmt: skip
PROTOCOL_FIELDS = {"id", "data", "title", "counted_in", "cases_each", "train", "validation", "test", "distances",
                   "leaks", "reading", "preparation", "training", "stride", "cases", "entries"}  # fmt: skip
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
    for entry in ALL_ENTRIES:
        assert set(entry) == FIELDS, entry
        assert entry["certainty"] in published.CERTAINTY
        assert entry["checkpoint"] in ("last", "best on validation", "best on test", "unknown")
        assert entry["largest_component"] in (True, False, None)
        assert isinstance(entry["headline"], bool) and len(entry["source"].split()) > 2
        train = PROTOCOLS[entry["protocol"]]["train"]
        assert entry["labelled"] + entry["unlabelled"] == train or entry["unlabelled"] == 0


def test_every_protocol_has_all_facts_and_keys_of_an_experiment():
    for name, protocol in PROTOCOLS.items():
        assert set(protocol) == PROTOCOL_FIELDS, name
        assert protocol["id"] == name and set(protocol["training"]) <= set(Training.model_fields)
        Training(**protocol["training"])
    assert list(PROTOCOLS) == ["la", "acdc", "brats2019", "pancreas_a", "pancreas_b", "pancreas_c"]


def test_every_source_is_used_and_every_file_is_a_protocol():
    texts = yaml.safe_load((published.FOLDER / published.SOURCES).read_text())
    used = {text for entry in ALL_ENTRIES for text in (entry["source"], *entry["repeated_in"])}
    assert used <= set(texts.values())
    assert len(set(texts.values())) == len(texts)


def test_figures_are_plausible():
    for entry in ALL_ENTRIES:
        dice, jaccard, asd, hd95 = figures(entry)
        assert 45 < dice < 95 and (hd95 is None or 1 < hd95 < 50)
        if jaccard is not None:
            # of one scan Jaccard is d / (2 - d); a mean over scans lies a little above, and a slipped digit far away
            assert 0 <= jaccard - 100 * dice / (200 - dice) < (7 if dice < 70 else 4), entry
            assert 0.3 < asd < 10 and asd < hd95


def test_one_headline_for_each_method_variant_and_budget():
    keys = [(e["protocol"], e["method"], e["labelled"], e["unlabelled"], e["variant"]) for e in ALL_ENTRIES]
    headlines = Counter(key for key, entry in zip(keys, ALL_ENTRIES, strict=True) if entry["headline"])
    assert set(headlines.values()) == {1}
    assert {key[:-1] for key in headlines} == {key[:-1] for key in keys}


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
    assert dices("dual_fete", "", 4, 76) == [90.35]  # not the one that was fine-tuned


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


# The figures of the other protocols and the younger ones of LA: protocol, method, labelled, Dice, Jaccard, 95HD, ASD.
# "last": of the last iterate. Where both are known the best on test cases stands beside it.
SPECIFIED_LATER = """
la unimatch 4 86.08
la unimatch 8 89.09 80.47 12.50 3.59
la unimatch 16 90.77 83.18 7.21 2.05
la ss_net 8 86.56
la caml 4 87.34
la caml 8 89.62 81.28 8.76 2.02
la caml 16 90.78 83.19 6.11 1.68
la tracoco 8 89.29 last
la tracoco 8 89.86
la tracoco 16 90.94 last
la tracoco 16 91.51
la ad_mt 4 89.63
la ad_mt 4 89.29 last
la ad_mt 8 90.55 82.79 5.81 1.70
la ad_mt 8 90.07 last
la ad_mt 8 90.11 last
la cross_match 8 91.33 84.11 5.29 1.53
la cross_match 16 91.61 84.57 5.36 1.57
la dual_fete 4 90.35
la dual_fete 4 90.22
la dual_fete 8 91.28
la dual_fete 8 91.12
la dual_fete 16 91.89
la dual_fete 16 91.91
la tcseg 8 90.28 last
la tcseg 8 90.85
la tcseg 16 90.83 last
la tcseg 16 91.62
pancreas_a ua_mt 6 66.44
pancreas_a unimatch 6 69.90
pancreas_a mc_net_plus 12 80.59
pancreas_a ad_mt 6 80.21 67.51 7.18 1.66
pancreas_a ad_mt 6 79.76 last
pancreas_a ad_mt 12 82.61
pancreas_a ad_mt 12 77.84 last
pancreas_a tracoco 6 79.22 last
pancreas_a tracoco 12 81.80 last
pancreas_b tracoco 12 83.36
pancreas_b bcp 6 73.83
pancreas_b bcp 12 82.91 70.97 6.43 2.25
pancreas_b sdcl 12 85.04
pancreas_b sdcl 12 82.36
pancreas_b sdcl 12 83.33
pancreas_b sdcl 12 83.58
pancreas_c dycon 12 84.81 73.86 5.41 1.44
brats2019 ua_mt 25 84.64
brats2019 ua_mt 50 85.32
brats2019 bcp 25 85.14
brats2019 bcp 50 86.13
brats2019 tracoco 25 85.71 last
brats2019 tracoco 50 86.69 last
brats2019 dual_fete 25 86.13
brats2019 dual_fete 50 85.83
acdc ua_mt 3 46.04
acdc ss_net 3 65.82
acdc bcp 3 87.59 78.67 1.90 0.67
acdc bcp 7 88.84 80.62 3.98 1.17
acdc bcp_no_mixing 7 88.80
acdc unimatch 3 84.38
acdc unimatch 7 88.08
acdc unimatch 3 88.90
acdc unimatch 3 88.77 last
acdc unimatch 7 89.90
acdc unimatch 7 89.68 last
acdc ad_mt 3 88.75 80.41 1.48 0.50
acdc ad_mt 7 89.46
acdc cross_match 3 88.27
acdc cross_match 7 89.08
acdc abd 3 88.96
acdc abd 7 89.81
"""


@pytest.mark.parametrize("line", SPECIFIED_LATER.split("\n")[1:-1])
def test_no_later_figure_is_missing(line):
    protocol, method, labelled, dice, *rest = line.split()
    found = [
        entry
        for entry in PROTOCOLS[protocol]["entries"]
        if (entry["method"], entry["labelled"], entry["dice"]) == (method, int(labelled), float(dice))
    ]
    if rest == ["last"]:
        assert "last" in [entry["checkpoint"] for entry in found]
    elif rest:
        assert [float(number) for number in rest] in [[e["jaccard"], e["hd95"], e["asd"]] for e in found]
    assert found


def data(**changes):
    return StoredPlan.model_validate(plan([], data=changes)).data


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "la"), ({"name": "ACDC"}, "acdc"), ({"name": "Pancreas-CT"}, None), ({"name": "Phantom"}, None),
        ({"name": "Pancreas-CT", "recipe": "pancreas_b"}, "pancreas_b"), ({"name": "mine", "recipe": "acdc"}, "acdc"),
        ({"recipe": "another"}, None), ({"recipe": "la, other cases"}, "la"), ({"recipe": "la"}, "la"),
    ],
)  # fmt: skip
def test_data_have_the_protocol_of_their_recipe_or_the_only_one_of_their_name(changes, expected):
    assert published.protocol_of(data(**changes)) is PROTOCOLS.get(expected)


def test_a_data_set_with_several_protocols_says_which():
    reason = published.without_protocol(data(name="Pancreas-CT"))
    assert "Pancreas-CT has the protocols pancreas_a, pancreas_b, pancreas_c, and no recipe says which" in reason
    for changes in ({"name": "Phantom"}, {"name": "Pancreas-CT", "recipe": "another"}):
        assert "they are for LA, ACDC, BraTS-2019 and Pancreas-CT." in published.without_protocol(data(**changes))


def test_figures_of_another_protocol_are_neither_found_nor_comparable():
    by_protocol = {name: [e["dice"] for e in published.find(PROTOCOLS[name], "bcp", "", 12, 50)] for name in PROTOCOLS}
    assert by_protocol == {name: [82.91] if name == "pancreas_b" else [] for name in PROTOCOLS}
    entry = published.find(PROTOCOLS["pancreas_b"], "bcp", "", 12, 50)[0]
    for changes in ({"name": "Pancreas-CT", "recipe": "pancreas_a"}, {"name": "Pancreas-CT"}, {}):
        [reason] = differences(entry, plan([], data=changes), cell("bcp"))
        assert reason.endswith("not of the protocol pancreas_b")


def test_published_patients_are_matched_by_their_volumes():
    acdc = PROTOCOLS["acdc"]
    assert published.find(acdc, "bcp", "", 6, 134)[0]["dice"] == 87.59
    assert published.find(acdc, "bcp", "", 3, 67) == []
    assert "70 training, 10 validation and 20 test patients of two volumes each" in published.facts(acdc)


@pytest.mark.parametrize("name", PROTOCOLS)
def test_the_recipe_of_a_protocol_is_comparable_with_its_figures(name):
    """Recipe and published figures agree in cases, training and stride, so that no difference is made up."""
    recipe, protocol = read_recipe(name), PROTOCOLS[name]
    lists, each = recipe.lists, protocol["cases_each"]
    counts = [each * protocol[side] for side in ("train", "validation", "test")]
    assert counts == [len(lists.train), len(lists.validation), len(lists.test)]
    assert {each * entry["labelled"] for entry in protocol["entries"]} <= {*recipe.labelled, len(lists.train)}
    assert bool(recipe.leaks) == bool(protocol["leaks"])
    if name == "la":
        return  # its experiments give no training: the defaults are the published ones
    ours = recipe.experiment
    planned = plan(
        [], data={"name": "any", "recipe": name, "spacing": None}, evaluation={"stride": ours["evaluation"]["stride"]}
    )
    planned["training"] = ours["training"]
    entry = protocol["entries"][0] | {"iterations": ours["training"]["iterations"], "checkpoint": "last"}
    assert differences(entry, planned, cell("any")) == []
    assert "prepared files" in published.left_open(entry, "")


@pytest.mark.parametrize(
    ("recipe", "reason"),
    [("", "cases prepared by no recipe, not by recipe acdc"),
     ("acdc, other cases", "cases prepared by recipe acdc, other cases, not by recipe acdc")],
)  # fmt: skip
def test_other_cases_and_another_network_are_reasons(recipe, reason):
    acdc = PROTOCOLS["acdc"]
    network = {"network": {"name": "unet_3d", "arguments": {}}, "head": "sigmoid"}
    planned = plan(
        [], data={"name": "ACDC", "recipe": recipe, "spacing": None}, training=acdc["training"] | network,
        evaluation={"stride": [256, 256]},
    )  # fmt: skip
    entry = published.find(acdc, "bcp", "", 6, 134)[0]
    assert differences(entry, planned, cell("bcp")) == [
        reason, "network name unet_3d, not name unet_2d", "head sigmoid, not softmax"
    ]  # fmt: skip


def test_a_stride_that_papers_do_not_share_is_left_open():
    entry = published.find(PROTOCOLS["brats2019"], "tracoco", "", 25, 225)[0]
    assert published.left_open(entry, "") == ["postprocessing", "stride", "prepared files"]


def test_a_checkpoint_that_validation_chose_is_a_reason():
    entry = published.find(LA, "dtml", "mask", 16, 64)[0] | {"checkpoint": "best on validation"}
    assert differences(entry, OFFICIAL, cell("dtml")) == [
        "theirs is the best checkpoint on validation cases, ours the last"
    ]


def test_the_guide_counts_what_papers_leave_open():
    others = [entry for entry in ALL_ENTRIES if not entry["checkpoint"].startswith("best")]
    count = sum(bool(published.left_open(entry, "")) for entry in others)
    guide = " ".join((Path(__file__).parents[1] / "docs/guides/tables.md").read_text(encoding="utf-8").split())
    assert f"Of the {len(others)} published figures that are not a best checkpoint, {count} leave something" in guide
