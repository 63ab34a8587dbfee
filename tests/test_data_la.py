"""The left-atrium reader: what it reads, and what it says about what it cannot read."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers.la_folder import IMAGE, LABEL, write_la_case, write_la_folder

from data.cache import prepare
from data.case import DataError
from data.fetch import verify_la
from data.sources import LASettings, open_source
from data.splits import split_hash
from reports import published


@pytest.fixture
def root(tmp_path):
    return write_la_folder(tmp_path)


def settings(root, train="train.list", test="test.list", **more):
    return LASettings(source="la", root=str(root), split={"train": train, "test": test}, **more)


def error_of(call, *arguments):
    with pytest.raises(DataError) as caught:
        call(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_both_kinds_of_list_are_read(root):
    source = open_source(settings(root))
    assert (source.name, source.train_ids, source.test_ids, source.classes) == ("LA", ["A", "B"], ["C"], 1)


def test_a_case_is_read_as_it_is_stored(root):
    case = open_source(settings(root)).read("A")
    assert np.array_equal(case.image, IMAGE) and case.image.dtype == np.float32
    assert np.array_equal(case.label, LABEL) and case.label.dtype == np.uint8
    assert case.spacing == (0.625, 0.625, 0.625)


def test_the_root_may_be_the_folder_of_the_cases_and_name_a_variable(root, monkeypatch):
    monkeypatch.setenv("SOMEWHERE", str(root))
    inner = settings("${SOMEWHERE}/2018LA_Seg_Training Set", train="../train.list", test="../test.list")
    assert np.array_equal(open_source(inner).read("A").image, IMAGE)


@pytest.mark.parametrize("spelling", ["${NO_SUCH}/la", "$NO_SUCH/la"])
def test_an_unset_variable_is_named(spelling, monkeypatch):
    monkeypatch.delenv("NO_SUCH", raising=False)
    assert "environment variable NO_SUCH is not set" in error_of(open_source, settings(spelling))


def test_every_missing_case_is_named_at_once(root):
    (root / "train.list").write_text("A\nX\nB\nY\n")
    (root / "test.list").write_text("C\nZ\n")
    message = error_of(open_source, settings(root))
    assert "3 of the split's 6 cases are missing" in message and "X, Y, Z" in message


def test_the_official_split_is_the_default(root):
    message = error_of(open_source, LASettings(source="la", root=str(root)))
    assert "100 of the split's 100 cases are missing" in message and "06SR5RBREL16DQ6M8LWS" in message


@pytest.mark.parametrize("share", [0, 0.3, 0.9])
def test_truncated_files_are_named(root, share):
    path = write_la_case(root, "B", image=IMAGE, label=LABEL)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    message = error_of(open_source(settings(root)).read, "B")
    assert str(path) in message and "cannot be read" in message


def test_a_damaged_byte_in_the_data_is_noticed(root):
    path = write_la_case(
        root, "B", image=np.random.default_rng(0).random((30, 30, 30)), label=np.zeros((30, 30, 30), np.uint8)
    )
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    assert str(path) in error_of(open_source(settings(root)).read, "B")


def test_the_content_key_is_the_files(root):
    source = open_source(settings(root))
    before = {case_id: source.content_key(case_id) for case_id in "ABC"}
    write_la_case(root, "B", image=IMAGE + 1, label=LABEL)
    after = {case_id: source.content_key(case_id) for case_id in "ABC"}
    assert [case_id for case_id in "ABC" if before[case_id] != after[case_id]] == ["B"]


@pytest.fixture
def real():
    root = os.environ.get("SEMISEG_LA")
    if not root:
        pytest.skip("SEMISEG_LA is not set to a folder of the LA data set")
    return root


def test_real_development_split(real):
    source = open_source(settings(real))
    assert (len(source.train_ids), len(source.test_ids)) == (28, 12)


@pytest.mark.slow
def test_the_distributed_cases_have_the_fingerprints_that_the_ledger_knows(real, tmp_path):
    if wrong := verify_la(Path(real)):
        pytest.skip(f"SEMISEG_LA has not the 100 cases as distributed: {len(wrong)} are missing or others")
    known = published.protocols()["la"]["cases"]
    try:
        dataset = prepare(LASettings(source="la", root=real), tmp_path / "cache")
        assert split_hash(dataset.train_ids, dataset.test_ids) == known["split"]
        assert dataset.stored_fingerprint(dataset.train_ids) == known["train"]
        assert dataset.stored_fingerprint(dataset.test_ids) == known["test"]
    finally:
        shutil.rmtree(tmp_path / "cache", ignore_errors=True)  # 1.4 GB


def test_real_case_at_half_resolution(real, tmp_path):
    (tmp_path / "train.list").write_text("06SR5RBREL16DQ6M8LWS")
    (tmp_path / "test.list").write_text("9DHWWP5Y66VDMPXISZ13")
    lists = {"train": str(tmp_path / "train.list"), "test": str(tmp_path / "test.list")}
    dataset = prepare(settings(real, **lists, spacing=1.25), tmp_path / "cache")
    for case_id in ("06SR5RBREL16DQ6M8LWS", "9DHWWP5Y66VDMPXISZ13"):
        stored = open_source(settings(real, **lists)).read(case_id)
        native = dataset.native(case_id)
        assert np.array_equal(native.image, stored.image) and np.array_equal(native.label, stored.label)
        assert native.image.shape[2] == 88 and dataset.image(case_id).shape[2] == 44
        assert dataset.image(case_id).shape == tuple(round(n / 2) for n in native.image.shape)
        assert abs(float(dataset.image(case_id).mean()) - float(stored.image.mean())) < 0.02
        assert abs(dataset.label(case_id).mean() / stored.label.mean() - 1) < 0.05
