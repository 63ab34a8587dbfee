"""Which trainings count as collapsed, and that the study's own records are judged as they were."""

import csv
import shutil

import pytest
from helpers.results_folder import cell, plan, scored, write_plan, write_record

from benchmark.records.collapse import DEAD_BELOW, dead, dead_in_history, far_below
from benchmark.records.results_folder import ResultsFolder
from benchmark.records.states import planned_states
from docs.update_results import PAGES
from methods.shared import registry
from methods.shared.signed_distance import DEAD_FRACTION

ALIVE, GONE = 0.0003, 0.00005
DISTANCE_NETWORKS = {"dtml", "vnet_sdm", "dtc"}


def history(values, name="active_fraction"):
    return [{"step": step, "total": 0.5, name: value} for step, value in enumerate(values)]


@pytest.mark.parametrize(
    "values, is_dead",
    [
        ([ALIVE] * 90 + [GONE] * 10, True),
        ([GONE] * 90 + [ALIVE] * 10, False),  # it recovered
        ([ALIVE] * 90 + [GONE] * 4 + [ALIVE] * 6, False),  # it grazed
        ([ALIVE] * 90 + [GONE] * 6 + [ALIVE] * 4, True),
        ([0.0001] * 100, False),  # the limit itself
    ],
)
@pytest.mark.parametrize("name", ["active_fraction", "train/active_fraction"])
def test_the_median_of_the_last_tenth_decides(values, is_dead, name):
    found = dead(history(values, name), {"active_fraction": DEAD_FRACTION}, iterations=100)
    assert found.startswith(f"dead network: {name} has a median of ") if is_dead else found == ""


def test_only_what_a_method_declares_decides():
    assert dead(history([0.0] * 100), {"share": 0.5}, iterations=100) == ""
    assert "share has a median of 0.3 over" in dead(history([0.3] * 100, "share"), {"share": 0.5}, iterations=100)


def test_a_network_is_not_judged_before_a_tenth_of_its_steps():
    assert dead(history([0.0] * 59), DEAD_BELOW, iterations=600) == ""
    assert dead(history([0.0] * 60), DEAD_BELOW, iterations=600) != ""


@pytest.mark.parametrize(
    "text", ["", "step,total\n0,0.5\n", "step,active_fraction\n", "step,active_fraction\n0,x\n1\n"]
)
def test_a_history_that_says_nothing_marks_nothing(text):
    assert dead_in_history(text) == ""


def test_older_records_are_judged_as_the_methods_declare():
    declared = {name: registry.get(name).dead_below for name in registry.names()}
    assert {name for name, limits in declared.items() if limits} == DISTANCE_NETWORKS
    assert all(declared[name] == DEAD_BELOW == {"active_fraction": DEAD_FRACTION} for name in DISTANCE_NETWORKS)


@pytest.mark.parametrize(
    "dice, low",
    [
        ((69, 18, 65.6), [1]),
        ((69, 43.9, 64), [1]),
        ((69, 46, 64), []),
        ((70, 49.9, 70), [1]),
        ((70, 50, 70), []),
        ((20, 20, 70), []),  # a run far above the others is no collapse
        ((69, 18), []),  # of two nobody can say which is unusual
        ((69,), []),
        ((60, 62, 20, 19, 64), [2, 3]),
    ],
)
def test_a_run_far_below_the_median_of_the_others(dice, low):
    assert set(far_below(dict(enumerate(dice)))) == set(low)


def test_the_studys_dead_networks_are_found_in_its_records_and_no_healthy_run_is(tmp_path):
    shutil.unpack_archive(PAGES / "la_half_dev.tar.xz", tmp_path)
    found = {cell.trial: state.collapsed for cell, state in planned_states(ResultsFolder(tmp_path / "la_half_dev"))}
    assert len(found) == 93
    assert {trial.rpartition("-")[0] for trial, why in found.items() if why} == {
        "dtml-8-s2", "vnet_sdm-8-s2", "vnet_sdm-8-s3",
    }  # fmt: skip


def test_what_a_record_says_of_itself_goes_before_its_history(tmp_path):
    planned = plan([cell("a", seed=seed) for seed in (1, 2, 3)])
    write_plan(tmp_path, planned)
    said = {1: "", 2: "dead network: my own loss", 3: None}
    for planned_cell in planned["cells"]:
        record = write_record(tmp_path, planned, planned_cell, collapsed=said[planned_cell["seed"]])
        with (record / "history.csv").open("w", newline="") as file:
            csv.writer(file).writerows([["step", "active_fraction"], [0, 0.0]])
    found = [state.collapsed for _, state in planned_states(ResultsFolder(tmp_path))]
    assert found[:2] == ["", "dead network: my own loss"] and found[2].startswith("dead network: active_fraction")


def test_status_names_collapsed_runs(command, tmp_path):
    planned = plan([cell("a", seed=seed) for seed in (1, 2, 3)])
    write_plan(tmp_path, planned)
    for planned_cell, dice in zip(planned["cells"], (0.8, 0.2, 0.7), strict=True):
        write_record(tmp_path, planned, planned_cell, scored(planned, dice=dice), collapsed="")
    _, out, _ = command("status", tmp_path)
    told = " ".join(out.replace("│", " ").split())
    assert "1 collapsed without an error: tables count and mark them" in told
    assert "collapsed: Dice 20.0" in told and "Dice 80.0 lies" not in told
