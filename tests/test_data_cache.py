"""The cache: built once, keyed by content, whole or not there."""

import dataclasses
import json
import multiprocessing
import pickle

import numpy as np
import pytest

from data import phantom
from data.batches import PatchStream
from data.cache import prepare
from data.case import DataError
from data.sources import PhantomSettings, open_source

SETTINGS = PhantomSettings(source="phantom", train=2, test=1, size=(16, 16, 16))
COARSE = SETTINGS.model_copy(update={"spacing": 2.5})
ID = "train-000"


@pytest.fixture
def reads(monkeypatch):
    """The ids of the cases that were read from their source."""
    ids = []
    read = phantom.PhantomSource.read
    monkeypatch.setattr(phantom.PhantomSource, "read", lambda self, case_id: ids.append(case_id) or read(self, case_id))
    return ids


def entries(cache):
    return sorted(path for path in cache.iterdir() if path.is_dir())


def test_arrays_are_the_sources_as_memory_maps(tmp_path):
    dataset = prepare(SETTINGS, tmp_path)
    case = open_source(SETTINGS).read(ID)
    native = dataset.native(ID)
    assert (dataset.name, dataset.classes, dataset.spacing) == ("Phantom", 1, None)
    assert (dataset.train_ids, dataset.test_ids) == (["train-000", "train-001"], ["test-000"])
    assert native.id == ID and native.spacing == case.spacing
    for array, expected in ((dataset.image(ID), case.image), (native.image, case.image)):
        assert isinstance(array, np.memmap) and array.dtype == np.float32 and np.array_equal(array, expected)
    for array in (dataset.label(ID), native.label):
        assert isinstance(array, np.memmap) and array.dtype == np.uint8 and np.array_equal(array, case.label)
    with pytest.raises(ValueError, match="read-only"):
        dataset.image(ID)[0, 0, 0] = 1


def test_the_training_grid_has_the_spacing_and_the_native_one_stays(tmp_path):
    dataset = prepare(COARSE, tmp_path)
    native = dataset.native(ID)
    assert native.spacing == (1.25, 1.25, 1.25)
    assert dataset.image(ID).shape == dataset.label(ID).shape == tuple(round(n / 2) for n in native.image.shape)
    assert set(np.unique(dataset.label(ID))) == {0, 1}
    assert dataset.image(ID).dtype == np.float32 and dataset.label(ID).dtype == np.uint8


def test_a_case_is_built_once_whatever_the_spacing(tmp_path, reads):
    prepare(SETTINGS, tmp_path)
    assert len(entries(tmp_path)) == len(reads) == 3
    prepare(SETTINGS, tmp_path)
    prepare(COARSE, tmp_path)
    assert len(reads) == 3 and len(entries(tmp_path)) == 6


def test_changed_content_is_a_new_entry(tmp_path, reads, monkeypatch):
    before = prepare(SETTINGS, tmp_path)
    key = phantom.PhantomSource.content_key
    monkeypatch.setattr(phantom.PhantomSource, "content_key", lambda self, i: key(self, i) + ("!" if i == ID else ""))
    after = prepare(SETTINGS, tmp_path)
    assert reads.count(ID) == 2 and len(reads) == 4
    assert before.image(ID).filename != after.image(ID).filename


def test_another_version_of_the_preparation_is_a_new_entry(tmp_path, reads, monkeypatch):
    before = prepare(COARSE, tmp_path)
    monkeypatch.setattr("data.cache.PREPARATION", 1000)
    after = prepare(COARSE, tmp_path)
    assert len(reads) == 6 and len(entries(tmp_path)) == 12
    assert before.image(ID).filename != after.image(ID).filename
    assert before.fingerprint([ID]) == after.fingerprint([ID]), "the same arrays are the same data"


def truncate(entry):
    (entry / "image.npy").write_bytes((entry / "image.npy").read_bytes()[:-1])


def lose_label(entry):
    (entry / "label.npy").unlink()


def lose_description(entry):
    (entry / "entry.json").unlink()


def garble_description(entry):
    (entry / "entry.json").write_text('{"files": ')


@pytest.mark.parametrize("damage", [truncate, lose_label, lose_description, garble_description])
def test_a_damaged_entry_is_rebuilt(tmp_path, damage):
    expected = np.array(prepare(SETTINGS, tmp_path).image(ID)), np.array(prepare(SETTINGS, tmp_path).label(ID))
    for entry in entries(tmp_path):
        damage(entry)
    dataset = prepare(SETTINGS, tmp_path)
    assert np.array_equal(dataset.image(ID), expected[0]) and np.array_equal(dataset.label(ID), expected[1])
    assert len(entries(tmp_path)) == 3


def test_what_an_interrupted_process_left_is_cleared(tmp_path):
    prepare(SETTINGS, tmp_path)
    for entry in entries(tmp_path):
        entry.rename(entry.with_suffix(".unfinished"))
        truncate(entry.with_suffix(".unfinished"))
    dataset = prepare(SETTINGS, tmp_path)
    assert np.array_equal(dataset.image(ID), open_source(SETTINGS).read(ID).image)
    assert not list(tmp_path.glob("*.unfinished"))


def prepare_together(cache, barrier, results):
    reads = []
    read = phantom.PhantomSource.read
    phantom.PhantomSource.read = lambda self, case_id: reads.append(case_id) or read(self, case_id)
    barrier.wait()
    results.put((prepare(COARSE, cache).fingerprint([ID]), reads))


def test_two_processes_at_once_end_with_one_good_entry_a_case(tmp_path):
    spawn = multiprocessing.get_context("spawn")
    barrier, results = spawn.Barrier(2), spawn.Queue()
    processes = [spawn.Process(target=prepare_together, args=(tmp_path / "both", barrier, results)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    (first, first_reads), (second, second_reads) = results.get(), results.get()
    alone = prepare(COARSE, tmp_path / "alone")
    assert first == second == alone.fingerprint([ID])
    assert sorted(first_reads + second_reads) == sorted(alone.train_ids + alone.test_ids)  # each case by one of them
    assert [entry.name for entry in entries(tmp_path / "both")] == [entry.name for entry in entries(tmp_path / "alone")]
    for entry in entries(tmp_path / "both"):
        for name in ("image.npy", "label.npy"):
            assert (entry / name).read_bytes() == (tmp_path / "alone" / entry.name / name).read_bytes()


def test_the_fingerprint_is_of_ids_content_and_spacing(tmp_path):
    first, second = prepare(SETTINGS, tmp_path / "first"), prepare(SETTINGS, tmp_path / "second")
    other_seed = prepare(SETTINGS.model_copy(update={"seed": 1}), tmp_path / "first")
    coarse = prepare(COARSE, tmp_path / "first")
    ids = first.train_ids
    assert first.fingerprint(ids) == second.fingerprint(ids)
    different = [first.fingerprint(ids), first.fingerprint(ids[:1]), first.fingerprint(ids[::-1])]
    different += [other_seed.fingerprint(ids), coarse.fingerprint(ids)]
    assert len(set(different)) == len(different)


def test_the_label_counts_in_the_fingerprint(tmp_path, monkeypatch):
    before = prepare(SETTINGS, tmp_path / "before").fingerprint([ID])
    change_cases(monkeypatch, lambda case: dataclasses.replace(case, label=1 - case.label))
    assert prepare(SETTINGS, tmp_path / "after").fingerprint([ID]) != before


def change_cases(monkeypatch, change):
    read = phantom.PhantomSource.read
    monkeypatch.setattr(phantom.PhantomSource, "read", lambda self, case_id: change(read(self, case_id)))


def test_cases_may_have_no_label(tmp_path, monkeypatch):
    change_cases(monkeypatch, lambda case: dataclasses.replace(case, label=None) if case.id == "train-001" else case)
    dataset = prepare(COARSE, tmp_path)
    assert dataset.native("train-001").label is None and dataset.native(ID).label is not None
    with pytest.raises(DataError, match="case train-001 of Phantom has no label"):
        dataset.label("train-001")
    stream = PatchStream(dataset, [ID], ["train-001"], 1, 1, (8, 8, 8), "d4", seed=0)
    assert stream[0]["unlabelled_images"].any()


def test_labels_of_unlabelled_cases_are_never_opened(tmp_path):
    dataset = prepare(SETTINGS, tmp_path)
    for entry in entries(tmp_path):
        if json.loads((entry / "entry.json").read_text())["case"] == "train-001":
            lose_label(entry)
    stream = PatchStream(dataset, [ID], ["train-001"], 2, 2, (12, 12, 12), "uamt_exact", seed=0)
    assert all(stream[step]["labels"].any() for step in range(4))


def test_a_stream_pickles_small_and_equal(tmp_path):
    dataset = prepare(SETTINGS.model_copy(update={"size": (48, 48, 32)}), tmp_path)
    stream = PatchStream(dataset, [ID], ["train-001"], 2, 2, (32, 32, 16), "uamt_exact", seed=0)
    stream[0]
    pickled = pickle.dumps(stream)
    assert len(pickled) < 5000
    for key, array in pickle.loads(pickled)[3].items():
        assert np.array_equal(array, stream[3][key])


def test_the_default_folder_is_the_environments(tmp_path, monkeypatch):
    monkeypatch.setenv("SEMISEG_CACHE", str(tmp_path / "from-environment"))
    prepare(SETTINGS)
    assert len(entries(tmp_path / "from-environment")) == 3


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot build the cache in .*file.*: set SEMISEG_CACHE") as caught:
        prepare(SETTINGS, tmp_path / "file")
    assert "\n" not in str(caught.value)
