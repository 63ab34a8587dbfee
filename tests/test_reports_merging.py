"""Parts of one experiment in several folders are read as one; nothing else is."""

import warnings

import pandas as pd
import pytest
from helpers.results_folder import (
    CASES,
    EARLIER,
    cell,
    cells_of,
    plan,
    scored,
    write_folder,
    write_heartbeat,
    write_plan,
    write_record,
)

from benchmark.records.files import ResultsError
from benchmark.records.states import PROGRESS
from reports.measures import scores
from reports.merging import read_folders
from reports.results import read_results


@pytest.fixture(autouse=True)
def _no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def states(results):
    return dict(zip(results.cells["trial"], results.cells["state"], strict=True))


def test_one_folder_is_what_it_is_alone(tmp_path):
    folder = write_folder(tmp_path, plan(cells_of("a", "b")))
    [merged], alone = read_folders([folder]), read_results(folder)
    assert merged.plan == alone.plan and merged.records == alone.records
    pd.testing.assert_frame_equal(merged.cells, alone.cells)
    pd.testing.assert_frame_equal(merged.cases, alone.cases)


def test_a_folder_given_twice_counts_once(tmp_path):
    folder = write_folder(tmp_path / "x", plan(cells_of("a")))
    [merged] = read_folders([folder, str(folder) + "/", folder])
    assert len(merged.cells) == 3 and len(merged.cases) == 3 * 2 * len(CASES) * 14


def test_seeds_in_two_folders_are_seeds_of_one_row(tmp_path):
    whole = plan(cells_of("a", "b"))
    write_folder(tmp_path / "whole", whole)
    for name, seeds in (("one", (1,)), ("two", (2, 3))):
        write_folder(tmp_path / name, plan(cells_of("a", "b", seeds=seeds)))
    [merged] = read_folders([tmp_path / "one", tmp_path / "two"])
    [expected] = read_folders([tmp_path / "whole"])
    assert sorted(states(merged)) == sorted(states(expected)) and set(states(merged).values()) == {"done"}
    assert [c.trial for c in merged.plan.cells] == list(merged.cells["trial"]) == list(merged.records)
    assert set(merged.provenance.index) == set(merged.cells["trial"])
    found, wanted = scores(merged), scores(expected)
    assert set(found) == set(wanted)
    for key, table in wanted.items():
        pd.testing.assert_frame_equal(found[key].sort_index(), table.sort_index())


def test_a_record_in_two_folders_is_taken_from_the_first(tmp_path):
    planned = plan([cell("a")])
    for name, dice in (("one", 0.9), ("two", 0.5)):
        write_folder(tmp_path / name, planned, {"a-8-1-first": scored(planned, dice=dice)})
    [merged] = read_folders([tmp_path / "one", tmp_path / "two"])
    assert len(merged.cells) == 1 and len(merged.cases) == 2 * len(CASES) * 14
    assert set(merged.cases.loc[merged.cases["metric"] == "dice", "value"]) == {0.9}
    assert merged.records == {"a-8-1-first": tmp_path / "one" / "records" / "a-8-1-first"}
    assert len(merged.provenance) == 1


def put(folder, planned, state):
    """A folder in which the plan's only cell is in this state."""
    write_plan(folder, planned)
    [only] = planned["cells"]
    other_evaluation = {"evaluation": planned["evaluation"] | {"stride": [18, 18, 4]}}
    records = {
        "done": {}, "stale": {"numerics": EARLIER}, "rescore": other_evaluation,
        "failed": {"state": "failed", "reason": "out of memory"},
        "diverged": {"state": "diverged", "reason": "loss is nan"},
        "other protocol": {"training": planned["training"] | {"iterations": 5}},
        "unreadable": {"state": "unknown"},
    }  # fmt: skip
    if state in records:
        write_record(folder, planned, only, **records[state])
    elif state != "not run":
        write_heartbeat(
            folder, only, stage="interrupted" if state == "interrupted" else "training", step=2, iterations=5
        )
    assert list(read_results(folder).cells["state"]) == [state]
    return folder


@pytest.mark.parametrize("less, more", list(zip(PROGRESS, PROGRESS[1:], strict=False)))
def test_the_cell_that_got_furthest_stays(tmp_path, less, more):
    planned = plan([cell("a")])
    one, two = put(tmp_path / "one", planned, less), put(tmp_path / "two", planned, more)
    for folders in ([one, two], [two, one]):
        [merged] = read_folders(folders)
        alone = read_results(two)
        assert states(merged) == states(alone) and list(merged.cells["reason"]) == list(alone.cells["reason"])
        assert len(merged.cases) == len(alone.cases) and merged.records == alone.records
        assert list(merged.provenance.index) == list(alone.provenance.index)


def test_a_record_of_todays_code_is_preferred_to_a_stale_one(tmp_path):
    planned = plan([cell("a")])
    old, new = (write_plan(tmp_path / name, planned) for name in ("old", "new"))
    write_record(old, planned, planned["cells"][0], numerics=EARLIER)
    write_record(new, planned, planned["cells"][0])
    for folders in ([old, new], [new, old]):
        [merged] = read_folders(folders)
        assert list(merged.cells["stale"]) == [""] and merged.records["a-8-1-first"].is_relative_to(new)


@pytest.mark.parametrize(
    "change",
    [
        {"experiment": "other"},
        {"data": {"fingerprint": "0ff"}},
        {"data": {"name": "Phantom"}},
        {"training": {"iterations": 500}},
        {"evaluation": {"stride": [18, 18, 4]}},
        {"evaluation": {"postprocessing": "largest_component"}},
        {"evaluation": {"empty": "exclude"}},
        {"report": {"margin": 2}},
        {"data": {"stored_fingerprints": {"train": "0ff", "test": "f00"}}},
    ],
)
def test_other_experiments_data_and_protocols_stay_apart(tmp_path, change):
    one = write_folder(tmp_path / "one", plan(cells_of("a")))
    two = write_folder(tmp_path / "two", plan(cells_of("a"), **change))
    three = write_folder(tmp_path / "three", plan(cells_of("b")))
    apart = read_folders([one, two, three])
    assert [len(results.cells) for results in apart] == [6, 3]
    assert apart[0].plan.experiment == "made_up"
    titles = [results.plan.title for results in apart]
    assert titles == [f"Made up ({one}, {three})", f"Made up ({two})"]  # else nobody could tell which is which


def test_title_and_reference_are_those_of_the_first(tmp_path):
    one = write_folder(tmp_path / "one", plan([cell("a")], title="One", reference="A"))
    two = write_folder(tmp_path / "two", plan([cell("b")], title="Two", reference=None))
    [merged] = read_folders([two, one])
    assert (merged.plan.title, merged.plan.reference) == ("Two", None)
    assert list(merged.cells["display"]) == ["B", "A"]


def test_unplanned_records_are_what_no_part_plans(tmp_path):
    one, two = plan([cell("a")]), plan([cell("b")])
    write_folder(tmp_path / "one", one)
    write_record(tmp_path / "one", one, cell("b"))  # planned by the other
    write_record(tmp_path / "one", one, cell("old"))
    write_plan(tmp_path / "two", two)
    [merged] = read_folders([tmp_path / "one", tmp_path / "two"])
    assert merged.unplanned == ["old-8-1-first"] and states(merged)["b-8-1-first"] == "not run"


def test_pictures_of_all_parts_the_first_ones_first(tmp_path):
    for name, cases in (("one", ("A", "B")), ("two", ("B", "C"))):
        write_folder(tmp_path / name, plan([cell("a")]))
        (tmp_path / name / "cases").mkdir()
        for case in cases:
            (tmp_path / name / "cases" / f"{case}.npz").touch()
    [merged] = read_folders([tmp_path / "one", tmp_path / "two"])
    assert {case: path.parts[-3] for case, path in merged.pictures.items()} == {"A": "one", "B": "one", "C": "two"}


def test_parts_without_any_record(tmp_path):
    one = write_plan(tmp_path / "one", plan([cell("a")]))
    two = write_plan(tmp_path / "two", plan([cell("b")]))
    [merged] = read_folders([one, two])
    assert merged.cases.empty and merged.provenance.empty and merged.records == {}
    full = write_folder(tmp_path / "three", plan([cell("c")]))
    [merged] = read_folders([one, two, full])
    assert merged.cases["value"].dtype == float and merged.cases["class"].dtype.kind == "i"


def test_one_folder_that_is_none_stops_it(tmp_path):
    folder = write_folder(tmp_path / "one", plan([cell("a")]))
    with pytest.raises(ResultsError, match="nowhere does not exist"):
        read_folders([folder, tmp_path / "nowhere"])
