"""Results folders that were damaged by hand: whatever was done to whichever file, no command ends in a traceback.

A damage costs the cell that it hits, the rest goes on. Where a command cannot do its work, it says so in one line.
"""

import itertools
import json
import random
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from helpers import tiny
from helpers.scan_folder import write_folder

from benchmark.planning.experiment import Experiment
from benchmark.planning.plan import make_plan, write_plan
from benchmark.records.results_folder import ResultsFolder
from benchmark.trial import run as trial_run

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A folder with scans, an experiment and its results: two trials done, one interrupted, masks of another tool."""
    place = tmp_path_factory.mktemp("whole")
    write_folder(place / "scans", train=4, test=1, organ=1, background=0)
    data = {"source": "folder", "root": str(place / "scans"), "spacing": 0.5}
    execution = tiny.VALUES["execution"] | {"checkpoint_iterations": 1, "tensorboard": False}
    values = tiny.VALUES | {"data": data, "methods": ["vnet"], "baseline": None, "execution": execution}
    (place / "tiny.yaml").write_text(yaml.safe_dump(values | {"seeds": [7, 8, 9]}))
    tiny.finish(Experiment(**values | {"seeds": [7, 8]}), place / "results")
    results = ResultsFolder(place / "results")
    plan = make_plan(Experiment(**values | {"seeds": [7, 8, 9]}), results)
    write_plan(plan)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trial_run, "REPORT_SECONDS", 0)
        steps = trial_run.run_trial(plan.trials[2].trial, results, plan.experiment.execution)
        next(steps), next(steps)
        steps.close()
    assert len(list(results.folder.glob("running/*/checkpoint-*.pt"))) == 2
    return place


def remove(path):
    shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def become_folder(path):
    remove(path)
    path.mkdir()
    (path / "something").write_text("else")


def become_file(path):
    remove(path)
    path.write_text("a file")


def become_loop(path):
    remove(path)
    path.symlink_to(path.name)


OF_FILES = {
    "gone": remove,
    "empty": lambda path: path.write_bytes(b""),
    "half": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "noise": lambda path: path.write_bytes(bytes(range(255, -1, -1)) * 4),
    "a list": lambda path: path.write_text("[1, 2]\n"),
    "a folder": become_folder,
    "a link to itself": become_loop,
}
WRITTEN_OVER = ("half", "a folder", "a link to itself")  # also by commands that train and score, which take seconds
OF_FOLDERS = {"gone": remove, "a file": become_file, "a link to itself": become_loop, "empty": lambda p: empty(p)}
FILES = {
    "plan": "plan.json",
    "experiment": "experiment.yaml",
    "record": "records/*-s7-*/trial.yaml",
    "cases": "records/*-s7-*/cases.csv",
    "history": "records/*-s7-*/history.csv",
    "provenance": "records/*-s7-*/provenance.json",
    "weights": "records/*-s7-*/weights.pt",
    "prediction": "records/*-s7-*/predictions/*.npz",
    "labels": "records/*-s7-*/predictions/*.nii.gz",
    "picture": "cases/*.npz",
    "heartbeat": "running/*/heartbeat.json",
    "sessions": "running/*/sessions.json",
    "checkpoint": "running/*/checkpoint-00000002.pt",
    "lock": "running/.lock",
}
FOLDERS = {
    "records": "records",
    "a record": "records/*-s7-*",
    "predictions": "records/*-s7-*/predictions",
    "cases": "cases",
    "running": "running",
    "a running trial": "running/*-s9-*",
}


def empty(path):
    remove(path)
    path.mkdir()


class Copy:
    """A copy of the results, and what each command is called with."""

    def __init__(self, whole: Path, to: Path):
        self.folder = shutil.copytree(whole / "results", to / "results")
        self.config, self.scans, self.to = whole / "tiny.yaml", whole / "scans" / "imagesTs", to
        (self.folder / "running" / ".lock").touch()  # as a run leaves it
        [self.record] = self.folder.glob("records/*-s7-*")

    def place(self, pattern: str) -> Path:
        [path] = self.folder.glob(pattern)
        return path

    def commands(self) -> dict[str, tuple]:
        return {
            "status": ("status", self.folder),
            "dry run": ("run", self.config, "--results", self.folder, "--dry-run"),
            "report": ("report", self.folder),
            "predict": ("predict", self.record, self.scans, "--to", self.to / "labels"),
            "check-metrics": ("evaluate", self.folder, "--check-metrics", self.record.name),
            "evaluate": ("evaluate", self.folder, "--set", "evaluation.empty=exclude"),
            "run": ("run", self.config, "--results", self.folder),
        }


@pytest.fixture
def copy(whole, tmp_path):
    return Copy(whole, tmp_path)


def assert_no_traceback(outcome, what):
    """Done, done in part, or refused in one line. A traceback is raised through `command` itself."""
    status, out, err = outcome
    assert status in (0, 1, 2), what
    assert "Traceback" not in out + err, what
    if status == 2:
        assert err.startswith("error: ") and err.count("\n") == 1, (what, err)


def try_all(command, copy, without=()):
    """Ask each command in turn, those that change the folder last; and then once more what `run` has made of it."""
    for name, arguments in copy.commands().items():
        if name not in without:
            assert_no_traceback(command(*arguments), name)
    assert_no_traceback(command("status", copy.folder), "status after run")


@pytest.mark.parametrize("damage", OF_FILES)
@pytest.mark.parametrize("file", FILES)
def test_no_command_ends_in_a_traceback_over_a_damaged_file(command, copy, no_ray, no_drawing, file, damage):
    OF_FILES[damage](copy.place(FILES[file]))
    try_all(command, copy, without=() if damage in WRITTEN_OVER else ("evaluate", "run"))


@pytest.mark.parametrize("damage", OF_FOLDERS)
@pytest.mark.parametrize("folder", FOLDERS)
def test_no_command_ends_in_a_traceback_over_a_damaged_folder(command, copy, no_ray, no_drawing, folder, damage):
    OF_FOLDERS[damage](copy.place(FOLDERS[folder]))
    try_all(command, copy)


@pytest.mark.parametrize("damage", [name for name in OF_FILES if name != "gone"])
def test_a_record_that_cannot_be_read_costs_its_own_cell_alone(command, copy, no_ray, no_drawing, damage):
    OF_FILES[damage](copy.place(FILES["record"]))
    states = {line.split("  ")[0]: re.split(r"\s{2,}", line)[2] for line in table(command("status", copy.folder))}
    assert sorted(states.values()) in (["done", "interrupted", "unreadable"], ["done", "interrupted", "not run"])
    assert command("report", copy.folder)[0] == 0
    assert command("run", copy.config, "--results", copy.folder)[0] == 0
    assert command("status", copy.folder)[1].endswith("3 of 3 cells done\n")


def table(outcome):
    return [line.strip() for line in outcome[1].splitlines() if line.startswith(" vnet-")]


# What stands in the files: a value of another kind, wherever one stands.

VALUES = [
    {},
    {"a": 1},
    [],
    [None],
    None,
    "text",
    "",
    float("inf"),
    float("nan"),
    -1,
    10**18,
    10**400,
    "\ud800",
    "\x1b[31m",
]


def places(content, path=()):
    """The path of every value within nested mappings and lists; of a list the first one."""
    yield path
    items = (
        content.items() if isinstance(content, dict) else enumerate(content[:1]) if isinstance(content, list) else ()
    )
    for key, value in items:
        yield from places(value, (*path, key))


def replaced(content, path, value):
    if not path:
        return value
    changed = dict(content) if isinstance(content, dict) else list(content)
    changed[path[0]] = replaced(content[path[0]], path[1:], value)
    return changed


@pytest.mark.parametrize(
    ("file", "names"),
    [
        ("plan", ("status", "report")),
        ("record", ("status", "report", "predict")),
        ("provenance", ("status", "report")),
        ("heartbeat", ("status",)),
    ],
)
def test_a_value_of_another_kind_ends_in_no_traceback(command, copy, no_drawing, file, names):
    """Some of all pairs of a place and a value, the same ones each time; `make fuzz` tries more."""
    path = copy.place(FILES[file])
    content = json.loads(path.read_text()) if path.suffix == ".json" else yaml.safe_load(path.read_text())
    pairs = list(itertools.product(places(content), VALUES))
    for place, value in random.Random(file).sample(pairs, 40):
        path.write_text(json.dumps(replaced(content, place, value)))  # which is YAML, too
        for name in names:
            assert_no_traceback(command(*copy.commands()[name]), (place, value, name))


def test_a_sign_of_life_of_the_future_is_no_sign_of_life(command, copy, no_ray, no_drawing):
    for path in (copy.place(FILES["heartbeat"]), copy.folder / "running" / ".run.json"):
        beat = json.loads(path.read_text()) if path.exists() else {"host": "elsewhere", "process": 1, "start": 0}
        path.write_text(json.dumps(beat | {"time": 4e9}))
    assert "interrupted" in command("status", copy.folder)[1]
    assert command("run", copy.config, "--results", copy.folder)[0] == 0


@pytest.mark.parametrize("time", ["Infinity", "-Infinity", "NaN", "1e999", "[]", "{}", '"now"'])
@pytest.mark.parametrize("key", ["time", "start", "process"])
def test_a_damaged_sign_of_life_of_a_run_stops_nobody(command, copy, no_ray, no_drawing, key, time):
    beat = {"host": '"elsewhere"', "process": "1", "start": "1", "time": "1"} | {key: time}
    text = ", ".join(f'"{name}": {value}' for name, value in beat.items())
    (copy.folder / "running" / ".run.json").write_text(f"{{{text}}}")
    status, _, err = command("run", copy.config, "--results", copy.folder, "--set", "seeds=[7, 8]")
    assert status == 0, err


# Checkpoints that torch reads, but that are not whole.


def change(**changes):
    """A damage: these keys of a checkpoint are replaced; None removes one."""
    return lambda content: {k: v for k, v in (content | changes).items() if v is not None}


def first_group(**changes):
    def damage(content):
        [(phase, state)] = content["optimizers"].items()
        groups = [group | changes for group in state["param_groups"]]
        return content | {"optimizers": {phase: state | {"param_groups": groups}}}

    return damage


CHECKPOINTS = {
    "no optimisers": change(optimizers=None),
    "an optimiser of another phase": lambda content: content | {"optimizers": {"other": {}}},
    "a list for optimisers": change(optimizers=[1]),
    "an optimiser without state": lambda content: content | {"optimizers": dict.fromkeys(content["optimizers"], {})},
    "fewer parameters": first_group(params=[0]),
    "other options of the optimiser": first_group(new_option=1),
    "no history": change(history=None),
    "a short history": change(history=[]),
    "a history of words": lambda content: content | {"history": ["a"] * content["step"]},
    "no step": change(step=None),
    "a step of text": change(step="2"),
    "a step further on": change(step=3),
    "no weights": change(method=None),
    "weights of another network": change(method={"a": torch.zeros(2)}),
    "a tensor of another shape": lambda c: c | {"method": c["method"] | {next(iter(c["method"])): torch.zeros(1)}},
    "another format": change(format=99),
    "a list": lambda content: [content],
}


@pytest.mark.parametrize("damage", CHECKPOINTS)
def test_a_checkpoint_that_is_not_whole_gives_way_to_the_one_before(command, whole, copy, no_ray, no_drawing, damage):
    path = copy.place(FILES["checkpoint"])
    torch.save(CHECKPOINTS[damage](torch.load(path, weights_only=True)), path)
    assert command("run", copy.config, "--results", copy.folder)[0] == 0
    [record] = copy.folder.glob("records/*-s9-*")
    assert json.loads((record / "provenance.json").read_text())["resumed_at_step"] == 1


def test_a_checkpoint_of_an_old_torch_is_read_or_left_aside(command, copy, no_ray, no_drawing):
    path = copy.place(FILES["checkpoint"])
    content = torch.load(path, weights_only=True)
    torch.save(content, path, _use_new_zipfile_serialization=False)  # as torch before 1.6
    assert command("run", copy.config, "--results", copy.folder)[0] == 0
    assert command("status", copy.folder)[1].endswith("3 of 3 cells done\n")


# Arrays that numpy reads, but that are no pictures and no masks.

ARRAYS = {
    "a shape without end": {"shape": np.array([1, 10**6, 10**6, 10**6])},
    "a negative shape": {"shape": np.array([1, -1, -1, 8])},
    "an infinite shape": {"shape": np.array([np.inf] * 4)},
    "a flat shape": {"shape": np.array([8])},
    "masks of numbers": {"masks": np.array([0.5])},
    "masks of text": {"masks": np.array(["a"])},
    "an image of text": {"image": np.array([[["a"]]]), "label": np.array([[["a"]]])},
    "an image of other numbers": {"image": np.zeros((4, 4, 4), complex), "label": np.zeros((4, 4, 4), complex)},
    "an image without voxels": {"image": np.zeros((0, 4, 4), np.uint8), "label": np.zeros((0, 4, 4), np.uint8)},
    "labels beyond the structures": {"label": np.full((4, 4, 4), 9, np.uint8), "image": np.zeros((4, 4, 4), np.uint8)},
}


@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_that_are_no_masks_and_no_pictures(command, copy, no_ray, no_drawing, name):
    path = copy.place(FILES["picture" if "image" in ARRAYS[name] else "prediction"])
    with np.load(path, allow_pickle=False) as stored:
        content = {key: stored[key] for key in stored}
    np.savez_compressed(path, **content | ARRAYS[name])
    try_all(command, copy)


# A folder that goes while a run works on it.


def move(folder):
    folder.rename(folder.with_name("elsewhere"))


def take(*names):
    return lambda folder: [shutil.rmtree(folder / name) for name in names]


MOVES = {
    "moved": move,
    "deleted": shutil.rmtree,
    "records deleted": take("records"),
    "running deleted": take("running"),
    "cases deleted": take("cases"),
}


@pytest.mark.parametrize("stage", ["training", "testing", "between two trials"])
@pytest.mark.parametrize("what", MOVES)
def test_a_results_folder_that_goes_during_a_run(command, copy, monkeypatch, no_ray, no_drawing, what, stage):
    """One line, and nothing of it is made anew. Back in its place, the run goes on."""
    config = yaml.safe_load(copy.config.read_text()) | {"seeds": [9, 10]}
    config["execution"]["tensorboard"] = True
    copy.config = copy.to / "tiny.yaml"
    copy.config.write_text(yaml.safe_dump(config))
    original, seen = trial_run._report, []

    def report(results, progress):
        word = "training" if stage == "between two trials" else stage
        wanted = f"-s{10 if stage == 'between two trials' else 9}-"
        if progress.stage.startswith(word) and wanted in progress.trial and not seen:
            seen.append(progress)
            MOVES[what](copy.folder)
        return original(results, progress)

    monkeypatch.setattr(trial_run, "_report", report)
    monkeypatch.setattr(trial_run, "REPORT_SECONDS", 0)
    status, out, err = command("run", copy.config, "--results", copy.folder)
    assert seen and status == 2 and err.count("\n") == 1 and "Traceback" not in out + err, (status, out, err)
    assert str(copy.folder) in err and ("moved or deleted" in err or "is damaged" in err), err
    if what in ("moved", "deleted"):
        assert "moved or deleted" in err and not copy.folder.exists(), "nothing is made anew"
    if what == "moved":
        (copy.to / "elsewhere").rename(copy.folder)
    assert command("run", copy.config, "--results", copy.folder)[0] == 0
    assert command("status", copy.folder)[1].endswith("2 of 2 cells done\n")
