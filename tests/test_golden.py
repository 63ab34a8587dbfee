"""Numbers stay what they are: a change that moves them fails here and says which version to raise."""

import copy
from functools import cache

import pytest
import torch
from golden import compute
from golden.compute import complaint, parts, renewed, stored

import benchmark.records.numerics as versions

PARTS = parts()


@cache
def numbers(name):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return PARTS[name].compute(None)
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("name", ["preparation", "training", "scoring"])
def test_shared_numbers_stay(name):
    assert not complaint(PARTS[name], stored(), numbers(name))


@pytest.mark.parametrize("name", compute.built_in())
def test_numbers_of_every_method_stay(name):
    shared_moved = bool(complaint(PARTS["training"], stored(), numbers("training")))
    known = copy.deepcopy(stored())
    known[name]["numbers"] = {key: bound for key, bound in known[name]["numbers"].items() if "=" not in key}
    assert not complaint(PARTS[name], known, compute.method(name, choices=False), shared_moved)


@pytest.mark.slow
@pytest.mark.parametrize("name", compute.built_in())
def test_numbers_of_every_choice_of_a_method_stay(name):
    assert not complaint(PARTS[name], stored(), numbers(name))


def test_a_changed_constant_of_a_method_is_named_with_the_version_to_raise():
    changed = compute.method("ua_mt", consistency_weight=0.13)
    message = complaint(PARTS["ua_mt"], stored(), changed)
    assert "numbers of ua_mt have moved (setting consistency_weight: 0.1 is now 0.13, and " in message
    assert any("total of step" in moved for moved in compute.moved(stored()["ua_mt"]["numbers"], changed))
    assert "raise `numerics` in the info of 'ua_mt' in methods/ua_mt.py to 2" in message


def test_a_changed_constant_that_methods_share_is_named_with_the_version_to_raise(monkeypatch):
    monkeypatch.setattr(compute, "ITERATIONS", 210)  # as a schedule's constant would: every ramp-up changes
    changed = PARTS["training"].compute(None)
    assert "raise TRAINING in benchmark/records/numerics.py to 2" in complaint(PARTS["training"], stored(), changed)
    message = complaint(PARTS["vnet"], stored(), compute.method("vnet"), shared_moved=True)
    assert "raise TRAINING alone" in message


@pytest.mark.parametrize(
    ("name", "key", "where"),
    [
        ("scoring", "hd95", "SCORING in benchmark/records/numerics.py"),
        ("preparation", "folder image", "PREPARATION in data/version.py"),
    ],
)
def test_any_number_that_moves_is_noticed(name, key, where):
    changed = dict(numbers(name))
    moved = next(found for found in changed if key in found)
    changed[moved] += 1e-3 * (abs(changed[moved]) + 1)
    message = complaint(PARTS[name], stored(), changed)
    assert moved in message and where in message
    del changed[moved]
    assert moved in complaint(PARTS[name], stored(), changed)


def test_a_raised_version_asks_for_new_numbers():
    known = copy.deepcopy(stored())
    known["urpc"]["version"] = 0
    assert complaint(PARTS["urpc"], known, {}) == (
        "urpc has version 1, and its golden numbers are of version 0: make golden"
    )


def test_renewing_is_refused_where_numbers_moved_under_the_same_version(monkeypatch):
    few = {name: PARTS[name] for name in ("scoring", "vnet")}
    monkeypatch.setattr(compute, "parts", lambda: few)
    known = copy.deepcopy({name: stored()[name] for name in few})
    assert renewed(known) == (known, [])
    first = next(iter(known["scoring"]["numbers"]))
    known["scoring"]["numbers"][first][0] += 1
    content, refused = renewed(known)
    assert len(refused) == 1 and "numbers of scoring have moved" in refused[0]
    known["scoring"]["version"] = 0  # today's code has version 1: it was raised
    content, refused = renewed(known)
    assert not refused and content["scoring"]["numbers"][first] == pytest.approx(stored()["scoring"]["numbers"][first])


def test_numbers_that_are_only_added_need_no_other_version(monkeypatch):
    monkeypatch.setattr(compute, "parts", lambda: {"scoring": PARTS["scoring"]})
    known = copy.deepcopy({"scoring": stored()["scoring"]})
    before = known["scoring"]["numbers"]
    later = [key for key in before if "nsd" in key or "hd95_max" in key or "volume_error" in key]
    assert later
    for key in later:
        del before[key]
    assert f"{len(later)} new numbers" in complaint(PARTS["scoring"], known, numbers("scoring"))
    content, refused = renewed(known)
    assert not refused and content["scoring"]["version"] == known["scoring"]["version"]
    assert content["scoring"]["numbers"].keys() == stored()["scoring"]["numbers"].keys()
    assert {key: content["scoring"]["numbers"][key] for key in before} == before, "the others keep their bounds"


def test_versions_of_the_file_are_those_of_the_code():
    assert {name: part["version"] for name, part in stored().items()} == {n: p.version for n, p in PARTS.items()}
    assert stored()["training"]["version"] == versions.TRAINING
