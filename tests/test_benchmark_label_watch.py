"""A method that opens labels which are not its own is noticed, however it opens them, and wherever it does."""

import json
import mmap
import multiprocessing
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import h5py
import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from helpers import tiny
from helpers.la_folder import IMAGE, LABEL, write_la_case
from helpers.scan_folder import blob, scan, write, write_folder

from benchmark.records.results_folder import ResultsFolder
from benchmark.trial.label_watch import UNKNOWN, LabelWatch, for_data_workers, install, peeked
from data.cache import prepare
from data.folder import FolderSettings
from data.la import LASettings
from data.phantom import PhantomSettings
from data.reading import Reading
from data.scans import read_label
from data.splits import ListFiles
from methods.shared import registry
from reports.report import write_report

OWN = "A"  # the one labelled case; B is unlabelled, D a test case


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    """A folder of scans A, B, C and the test scan D, prepared."""
    place = tmp_path_factory.mktemp("scans")
    root = write_folder(place / "root")
    return prepare(FolderSettings(source="folder", root=str(root)), place / "cache")


@pytest.fixture(scope="module")
def la(tmp_path_factory):
    """Cases whose files hold image and label: A, B and the test case C."""
    root = tmp_path_factory.mktemp("la")
    for number, case_id in enumerate("ABC"):
        write_la_case(root, case_id, image=IMAGE + number * LABEL, label=LABEL)
    (root / "train.list").write_text("A\nB\n")
    (root / "test.list").write_text("C\n")
    settings = LASettings(source="la", root=str(root), split=ListFiles(train="train.list", test="test.list"))
    return prepare(settings, root / "cache")


def name_of_function(frame):
    return frame.f_code.co_name


def cached(dataset, case_id):
    return dataset.label_files(case_id)[0]


def source_file(dataset, case_id):
    return dataset.label_files(case_id)[-1]


def seen(dataset, action, log=None):
    """The cases whose labels `action` opened, as a trial with one labelled case is watched."""
    watch = LabelWatch(log, name_of_function)
    with watch.watching(dataset, [OWN]):
        action()
    return [opening["case"] for opening in watch.openings]


def by_descriptor(path):
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.close(os.open(path.name, os.O_RDONLY, dir_fd=folder))
    finally:
        os.close(folder)


def mapped(path):
    with path.open("rb") as file:
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ).close()


def linked(link):
    """Through another name in another folder."""

    def through(path):
        other = path.parents[1] / f"link-{os.urandom(4).hex()}"
        link(path, other)
        other.read_bytes()
        other.unlink()

    return through


def in_a_thread(path):
    thread = threading.Thread(target=path.read_bytes)
    thread.start()
    thread.join()


def from_its_folder(path):
    here = os.getcwd()
    os.chdir(path.parent)
    try:
        Path(path.name).read_bytes()
    finally:
        os.chdir(here)


OPEN_ARRAY = {
    "open": lambda path: open(path).close(),
    "bytes": lambda path: open(os.fsencode(path), "rb").close(),
    "Path": lambda path: path.read_bytes(),
    "os.open": lambda path: os.close(os.open(path, os.O_RDONLY)),
    "a relative path": from_its_folder,
    "scandir": lambda path: [Path(found).read_bytes() for found in os.scandir(path.parent) if found.name == path.name],
    "np.load": np.load,
    "np.load, mapped": lambda path: np.load(path, mmap_mode="r"),
    "np.memmap": lambda path: np.memmap(path, mode="r"),
    "np.fromfile": lambda path: np.fromfile(path, np.uint8),
    "mmap": mapped,
    "a copy": lambda path: shutil.copy(path, path.parents[1] / "copy"),
    "a symbolic link": linked(lambda path, other: other.symlink_to(path)),
    "a hard link": linked(lambda path, other: other.hardlink_to(path)),
    "a thread": in_a_thread,
}
OPEN_SCAN = {
    "nibabel": lambda path: nibabel.load(path).get_fdata(),
    "SimpleITK": lambda path: sitk.ReadImage(path),
    "SimpleITK, by name": lambda path: sitk.ReadImage(fileName=str(path)),
    "SimpleITK, a list": lambda path: sitk.ReadImage([str(path)]),
    "the harness": lambda path: read_label(path, Reading(), [1]),
}


@pytest.mark.parametrize("case_id", ["B", "D"])
@pytest.mark.parametrize("way", OPEN_ARRAY)
def test_a_label_in_the_cache(scans, way, case_id):
    assert seen(scans, lambda: OPEN_ARRAY[way](cached(scans, case_id))) == [case_id]


def test_a_label_relative_to_the_descriptor_of_a_folder(scans):
    assert seen(scans, lambda: by_descriptor(cached(scans, "B"))) == [UNKNOWN], "Python does not tell which folder"


@pytest.mark.parametrize("way", OPEN_SCAN)
def test_a_label_where_it_was_read_from(scans, way):
    assert seen(scans, lambda: OPEN_SCAN[way](source_file(scans, "B"))) == ["B"]


@pytest.mark.parametrize("name", ["h5py", "open"])
def test_a_file_that_holds_image_and_label(la, name):
    path = source_file(la, "C")
    assert seen(la, lambda: h5py.File(path)["label"][:] if name == "h5py" else path.read_bytes()) == ["C"]


@pytest.mark.parametrize("suffix", [".mhd", ".nrrd", ".nhdr"])
def test_a_label_whose_voxels_lie_beside_its_header(tmp_path, suffix):
    for number, name in enumerate("AB"):
        write(tmp_path / "imagesTr" / f"{name}{suffix}", scan(number))
        write(tmp_path / "labelsTr" / f"{name}{suffix}", blob())
    for folder, array in (("imagesTs", scan(2)), ("labelsTs", blob())):
        write(tmp_path / folder / f"C{suffix}", array)
    dataset = prepare(FolderSettings(source="folder", root=str(tmp_path), labels={"organ": 1}), tmp_path / "cache")
    files = [path for path in (tmp_path / "labelsTr").iterdir() if path.stem == "B"]
    assert len(files) == (1 if suffix == ".nrrd" else 2)
    for path in files:
        assert seen(dataset, path.read_bytes) == ["B"]


@pytest.mark.parametrize(
    "through", [lambda d: d.label("B"), lambda d: d.native("B"), lambda d: d.source.read("B")], ids=[0, 1, 2]
)
def test_the_data_set_itself_can_be_asked_for_no_other_label(scans, through):
    assert seen(scans, lambda: through(scans)) == ["B"]


def test_a_phantom_that_is_computed_again(tmp_path):
    settings = PhantomSettings(source="phantom", train=2, test=1, size=(16, 16, 16))
    dataset = prepare(settings, tmp_path)
    assert seen(dataset, lambda: dataset.source.read("test-000")) == ["test-000"]


def test_a_label_of_another_cache_and_a_picture_of_any_results_folder(scans, tmp_path):
    prepare(FolderSettings(source="folder", root=str(scans.source._root), spacing=2.0), tmp_path / "cache")
    found = sorted((tmp_path / "cache").glob("*/label.npy"))
    assert set(seen(scans, lambda: [np.load(path) for path in found])) == set("ABCD")  # A on a grid of no trial
    (tmp_path / "cases").mkdir()
    np.savez(tmp_path / "cases" / "D.npz", label=0)
    assert seen(scans, lambda: np.load(tmp_path / "cases" / "D.npz")) == ["D"]


def test_what_a_trial_may_open_is_not_noticed(scans, tmp_path):
    def honest():
        scans.label(OWN)
        scans.native(OWN)
        read_label(source_file(scans, OWN), Reading(), [1])
        for case_id in "ABCD":
            scans.image(case_id)
            scans.native_shape(case_id)
            scans.source.geometry(case_id)
        (tmp_path / "label.npy").write_bytes(b"")  # somebody's own file
        (tmp_path / "label.npy").read_bytes()
        np.savez(tmp_path / "D.npz", label=0)
        with pytest.raises(FileNotFoundError):
            (tmp_path / "nothing").read_bytes()

    assert seen(scans, honest) == []


def test_scoring_may_open_labels_and_other_threads_meanwhile_may_not(scans):
    watch = LabelWatch(None, str)
    with watch.watching(scans, [OWN]), watch.scoring():
        scans.native("D")
        assert not watch._found
        in_a_thread(cached(scans, "D"))
    assert [opening["case"] for opening in watch.openings] == ["D"]
    assert seen(scans, lambda: None) == [], "and nothing is left for the next trial"


def test_it_says_where(scans):
    watch = LabelWatch(None, name_of_function)
    with watch.watching(scans, [OWN]):
        source_file(scans, "B").open().close()
        source_file(scans, "B").open().close()
    [opening] = watch.openings
    assert opening == {"case": "B", "file": str(source_file(scans, "B")), "at": "open"}
    assert "(B; open)" in peeked(watch.openings)


def read_in_worker(begin, path):
    begin(0)
    path.read_bytes()


@pytest.mark.parametrize("start", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
def test_data_workers_are_watched(scans, tmp_path, start):
    def in_a_process():
        context = multiprocessing.get_context(start)
        process = context.Process(target=read_in_worker, args=(for_data_workers(), cached(scans, "B")))
        process.start()
        process.join()
        assert process.exitcode == 0

    assert seen(scans, in_a_process, tmp_path / "log") == ["B"]


def test_what_an_earlier_session_opened_counts_unless_training_begins_anew(scans, tmp_path):
    log = tmp_path / "log"
    seen(scans, cached(scans, "B").read_bytes, log)
    assert seen(scans, cached(scans, "D").read_bytes, log) == ["B", "D"], "it went on from a checkpoint"
    with log.open("a") as file:
        file.write('{"case": "C", "fi')  # a full disk
    watch = LabelWatch(log, str)
    with watch.watching(scans, [OWN]):
        cached(scans, "C").read_bytes()  # as a plug-in is imported
        watch.forget_earlier_sessions()
    assert [opening["case"] for opening in watch.openings] == ["C"]


def test_one_hook_serves_all_trials_of_a_process():
    code = (
        "import sys; from benchmark.trial import label_watch; hooks = []; add = sys.addaudithook;"
        "sys.addaudithook = hooks.append; [label_watch.install() for _ in range(3)]; print(len(hooks))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "1\n"


# Whole trials. The first cheat looks for labels of unlabelled cases among all objects of the process, the second one
# for the test case in the cache. Both passed every check once, and the second had a Dice of 100.

THROUGH_GC = "import gc; from data.cache import Dataset; [[d.label(i) for i in d.train_ids] for d in gc.get_objects() \
if type(d) is Dataset]"
LOOKED_UP = """
        import itertools, numpy as np, torch
        from data.cache import cache_folder
        found = torch.zeros_like(images)
        for entry in cache_folder().glob("*/entry.json"):
            image = np.load(entry.with_name("image.npy"))
            for corner in itertools.product(*(range(n - 15) for n in image.shape)):
                window = tuple(slice(c, c + 16) for c in corner)
                for number, wanted in enumerate(images):
                    if np.array_equal(image[window], wanted[0]):
                        label = np.load(entry.with_name("label.npy"))[window]
                        found[number, 0] = torch.from_numpy(label.astype(np.float32))
        return found
"""
IN_A_WORKER = """return self.network(images).logits.sigmoid()

    def extra_arrays(self):
        return {"peek": peek}


def peek(batch, rng):
    import numpy as np
    from data.cache import cache_folder
    for entry in cache_folder().glob("*/label.npy"):
        np.load(entry)
    return batch["labels"]
"""


@pytest.fixture(scope="module")
def cheats(tmp_path_factory):
    """A results folder of the V-Net and three cheats, with its report."""
    place = tmp_path_factory.mktemp("cheats")
    with pytest.MonkeyPatch.context() as patch:
        registry.names()
        patch.setattr(registry, "_METHODS", dict(registry._METHODS))
        patch.setenv("SEMISEG_CACHE", str(place / "cache"))  # other tests may have cases of the same name
        tiny.draw_nothing(patch)
        plugins = [
            tiny.write_plugin(place, "through_gc", in_step=THROUGH_GC),
            tiny.write_plugin(place, "looked_up", in_predict=LOOKED_UP),
            tiny.write_plugin(place, "in_a_worker", in_predict=IN_A_WORKER),
        ]
        for plugin in plugins:
            registry.load_plugin(plugin)
        planned = tiny.experiment(
            methods=["vnet", *({"name": name, "display": name.title()} for name in OPENED)], baseline=None,
            plugins=list(map(str, plugins)), execution={"data_workers": 1}, data={"test": 2},
        )  # fmt: skip
        folder = tiny.finish(planned, place / "results")
        write_report([folder], folder / "report")
    return ResultsFolder(folder)


OPENED = {
    "through_gc": {"train-002", "train-003"},
    "looked_up": {"test-000", "test-001"},
    "in_a_worker": {"train-002", "train-003", "test-000", "test-001"},
}


def record_of(results, method):
    cell = next(cell for cell in results.read_plan().cells if cell.method == method)
    return results.read_record(cell.trial), results.read_provenance(cell.trial)


def texts_of(results):
    report = results.folder / "report"
    return (report / "tables" / "comparison.md").read_text(), (report / "index.html").read_text()


@pytest.mark.parametrize("method", OPENED)
def test_a_cheat_is_marked_in_record_provenance_table_and_page(cheats, command, method):
    record, facts = record_of(cheats, method)
    assert record.state == "done"
    assert {opening["case"] for opening in facts["labels_opened"]} >= OPENED[method]
    assert all(f"{method}.py:" in opening["at"] for opening in facts["labels_opened"])
    assert "not its own" in record.peeked and f"{method}.py:" in record.peeked
    table, page = texts_of(cheats)
    shown = record.cell.display
    assert f"| {shown}⊙ |".replace("_", r"\_") in table
    assert f"⊙ Peeked: {shown} with 2 labelled: it opened labels".replace("_", r"\_") in table
    assert f"{shown}⊙" in page and record.peeked.partition(" (")[0] in page
    _, out, _ = command("status", cheats.folder)
    assert sum("it opened labels" in line and method in line for line in out.splitlines()) == 1


@pytest.mark.slow
def test_no_label_but_those_of_labelled_cases_is_in_memory(tmp_path, own_registry, monkeypatch):
    monkeypatch.setenv("SEMISEG_CACHE", str(tmp_path / "cache"))
    look = (
        "import gc, numpy as np; found = [a.filename for a in gc.get_objects() if type(a) is np.memmap];"
        f"open({str(tmp_path / 'found')!r}, 'a').write('\\n'.join(map(str, found)) + '\\n')"
    )
    plugin = tiny.write_plugin(tmp_path, "looking", look, f"{look}; return self.network(images).logits.sigmoid()")
    registry.load_plugin(plugin)
    planned = tiny.experiment(methods=["looking"], baseline=None, seeds=[1, 2], plugins=[str(plugin)])
    tiny.finish(planned, tmp_path / "results")  # the second trial after the first one was scored
    dataset = prepare(planned.data)
    others = [path for case_id in ("train-002", "train-003", "test-000") for path in dataset.label_files(case_id)]
    found = set((tmp_path / "found").read_text().split())
    assert found and found.isdisjoint(map(str, others))


def test_an_honest_method_is_not_marked(cheats):
    record, facts = record_of(cheats, "vnet")
    assert record.peeked == "" and "labels_opened" not in facts
    table, _ = texts_of(cheats)
    assert "| V-Net |" in table and "V-Net⊙" not in table


def test_a_perfect_dice_is_remarked(cheats):
    table, _ = texts_of(cheats)
    [note] = [line for line in table.splitlines() if "Dice of 99.9 or more" in line]
    assert "100.00 ± 0.00" in note and "V-Net" not in note


def test_a_trial_that_peeked_gives_its_process_up(tmp_path, own_registry):
    plugin = tiny.write_plugin(tmp_path, "peeking", in_step=THROUGH_GC)
    registry.load_plugin(plugin)
    trial, planned = tiny.one_trial("peeking", plugins=[str(plugin)], baseline=None)
    results = tiny.new_results(tmp_path / "results")
    last = tiny.run(trial, results, planned)[-1]
    assert last.stage == "done" and last.process_changed
    assert any("peeking: it opened labels" in note and "tables mark it" in note for note in last.notes)
    changed = planned.evaluation.model_copy(update={"stride": (8, 8, 8)})
    again = trial.model_copy(update={"evaluation": changed})
    assert [sign.stage for sign in tiny.run(again, results, planned)] == ["testing 1/1", "scoring 1/1", "done"]
    assert "not its own" in results.read_record(trial.id).peeked, "scoring the weights again does not clear it"
    facts = json.loads((results.record(trial.id) / "provenance.json").read_text())
    assert {opening["case"] for opening in facts["labels_opened"]} >= {"train-002", "train-003"}


def test_installed_readers_still_read(la):
    install()
    with h5py.File(source_file(la, "A")) as file:
        assert file["label"].shape == LABEL.shape
    with pytest.raises(TypeError):
        sitk.ImageFileReader().SetFileName()
