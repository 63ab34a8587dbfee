"""What a user can get wrong, each with the one line that says what it is, where, and what to do about it.

Every row goes through the command line, over a folder that holds a finished record: none may touch what it holds.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from helpers import tiny
from helpers.command_line import one_line_error
from helpers.la_folder import IMAGE, LABEL, write_la_case, write_la_folder

PLAIN = {"methods": ["vnet"], "baseline": None}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return tiny.finished(tmp_path_factory.mktemp("trained") / "results", **PLAIN)


@pytest.fixture
def folder(trained, tmp_path):
    """A results folder with one finished record."""
    return shutil.copytree(trained, tmp_path / "results")


def contents(folder):
    """What would be lost; `running` holds locks and what is being put together."""
    if not folder.is_dir():
        return folder.read_bytes()
    files = [path for path in folder.rglob("*") if path.is_file() and "running" not in path.parts]
    return {path: path.read_bytes() for path in files}


def assert_refused(command, folder, arguments, words):
    before = contents(folder)
    message = one_line_error(command(*arguments))
    assert all(word in message for word in words), message
    assert contents(folder) == before


# The experiment: changes to a small one that is right, and words of the message.

EXPERIMENTS = [
    ({"metods": ["dtml"]}, ["tiny.yaml: unknown key 'metods'", "did you mean 'methods'?"]),
    ({"training": {"iteration": 5}}, ["unknown key 'training.iteration'", "did you mean 'iterations'?"]),
    ({"data": {"trian": 5}}, ["unknown key 'data.trian'", "did you mean 'train'?"]),
    ({"methods": [{"name": "dtml", "setings": {}}]}, ["key 'methods.0.setings'", "did you mean 'settings'?"]),
    ({"methods": [{"display": "X"}]}, ["key 'methods.0.name' is missing"]),
    ({"methods": []}, ["key 'methods'", "must not be empty"]),
    ({"methods": "vnet"}, ["key 'methods'", "should be a valid list", "got 'vnet'"]),
    ({"methods": [3]}, ["key 'methods.0'", "should be a mapping of keys", "got 3"]),
    ({"methods": ["ua_tm"]}, ["unknown method 'ua_tm'", "did you mean 'ua_mt'?"]),
    ({"tuning": {"settings_per_method": 2, "validation": 1, "methods": ["vent"]}},
     ["key 'tuning.methods'", "no method of this experiment is called 'vent'", "did you mean 'vnet'?"]),
    ({"tuning": {"settings_per_method": 2, "validation": 1, "methods": []}}, ["key 'tuning.methods'", "be empty"]),
    ({"baseline": "vent"}, ["unknown method 'vent'", "did you mean 'vnet'?"]),
    ({"methods": ["dtml", "dtml"]}, ["methods.1: 'dtml' with these settings is methods.0 too", "remove one"]),
    ({"methods": ["dtml", {"name": "dtml", "display": "B", "settings": {"supervision": "mask"}}]}, ["methods.0 too"]),
    ({"methods": [{"name": n, "display": "Mine"} for n in ("dtml", "vnet")]}, ["displayed as 'Mine'", "`display`"]),
    ({"methods": [{"name": "dtml", "display": " "}]}, ["key 'methods.0.display'", "leave it out"]),
    ({"methods": [{"name": "dtml", "settings": {"consistency_wieght": 1}}]},
     ["settings of method 'dtml'", "unknown key 'consistency_wieght'", "did you mean 'consistency_weight'?"]),
    ({"methods": [{"name": "ua_mt", "settings": {"ema_decay": 1.5}}]}, ["'ema_decay'", "less than 1", "got 1.5"]),
    ({"methods": [{"name": "dtml", "settings": {1: 2}}]}, ["key 'methods.0.settings.1'", "valid string", "got 1"]),
    ({"labelled": [0]}, ["key 'labelled.0'", "greater than 0, got 0"]),
    ({"labelled": [9]}, ["labelled: 9 is more than the 4 training cases of Phantom"]),
    ({"labelled": [4]}, ["nothing to run", "labelled [4] leaves no unlabelled case", "no baseline"]),
    ({"labelled": [2.5]}, ["key 'labelled.0'", "valid integer, got 2.5"]),
    ({"labelled": 2}, ["key 'labelled'", "valid list, got 2"]),
    ({"labelled": [2, 2]}, ["key 'labelled'", "2 is given twice: remove one"]),
    ({"seeds": [7, 8, 7]}, ["key 'seeds'", "7 is given twice: remove one"]),
    ({"seeds": ["a"]}, ["key 'seeds.0'", "valid integer", "got 'a'"]),
    ({"draws": ["fist"]}, ["key 'draws.0'", "'first' or input should be a valid integer", "got 'fist'"]),
    ({"reference": "UA-MT"}, ["reference 'UA-MT' is no display name of a planned method: choose one of V-Net"]),
    ({"name": "../../x"}, ["key 'name'", "names a folder", "got '../../x'"]),
    ({"training": None}, ["key 'training'", "mapping of keys", "got None"]),
    ({"training": {"iterations": 0}}, ["key 'training.iterations'", "greater than 0, got 0"]),
    ({"training": {"iterations": "many"}}, ["key 'training.iterations'", "valid integer", "got 'many'"]),
    ({"training": {"iterations": True}}, ["key 'training.iterations'", "must be a number, got True"]),
    ({"training": {"iterations": [["x" * 50] * 50] * 50}}, ["key 'training.iterations'", "valid integer", "...]"]),
    ({"training": {"threads": 0}}, ["key 'training.threads'", "greater than or equal to 1, got 0"]),
    ({"training": {"threads": 100_000}}, ["key 'training.threads'", "less than or equal to 1024, got 100000"]),
    ({"training": {"learning_rate": -0.1}}, ["key 'training.learning_rate'", "greater than 0, got -0.1"]),
    ({"training": {"learning_rate": float("inf")}}, ["key 'training.learning_rate'", "finite", "got inf"]),
    ({"training": {"batch_size": 1}}, ["key 'training.batch_size'", "greater than or equal to 2, got 1"]),
    ({"report": {"margin": 0}}, ["key 'report.margin'", "greater than 0, got 0"]),
    ({"report": {"margin": True}}, ["key 'report.margin'", "must be a number, got True"]),
    ({"report": {"margin": float("nan")}}, ["key 'report.margin'", "finite", "got nan"]),
    ({"report": {"margin": 101}}, ["key 'report.margin'", "less than or equal to 100, got 101"]),
    ({"report": {"margins": 1}}, ["report.margins"]),
    ({"methods": ["bcp"], "training": {"batch_size": 6}}, ["training.batch_size 6: BCP", "must be a multiple of 4"]),
    ({"methods": ["ict"], "training": {"batch_size": 2}}, ["training.batch_size 2: ICT", "must be a multiple of 4"]),
    ({"training": {"precision": "fp8"}}, ["key 'training.precision'", "'bf16', 'fp16' or 'fp32', got 'fp8'"]),
    ({"training": {"augmentation": "flip"}}, ["key 'training.augmentation'", "must be one of uamt_exact", "'flip'"]),
    ({"training": {"patch": [16]}}, ["key 'training.patch': give three numbers, or two for slices, got [16]"]),
    ({"training": {"patch": [16, 16, 8]}}, ["key 'training.patch'", "between 16", "512"]),
    ({"training": {"patch": [16, 16, 48]}}, ["training.patch [16, 16, 48] is more than twice", "choose a smaller one"]),
    ({"evaluation": {"stride": [16, 17, 16]}}, ["evaluation.stride [16, 17, 16]", "training.patch", "leave gaps"]),
    ({"evaluation": {"empty": "zero"}}, ["key 'evaluation.empty'", "'worst' or 'exclude', got 'zero'"]),
    ({"execution": {"gpus_per_trial": "x"}}, ["key 'execution.gpus_per_trial'", "number", "'auto'", "got 'x'"]),
    ({"execution": {"data_workers": -1}}, ["key 'execution.data_workers'", "equal to 0 or", "'auto'", "got -1"]),
    ({"execution": {"device": "tpu"}}, ["key 'execution.device'", "'auto', 'cpu' or 'cuda', got 'tpu'"]),
    ({"data": None}, ["key 'data'", "mapping of keys", "got None"]),
    ({"data": {"source": "fantom"}}, ["key 'data.source'", "unknown 'fantom'", "did you mean 'phantom'?"]),
    ({"data": {"train": 0}}, ["key 'data.train'", "greater than or equal to 1, got 0"]),
    ({"data": {"size": [8, 16, 16]}}, ["key 'data.size.0'", "greater than or equal to 16, got 8"]),
    ({"data": {"spacing": -1}}, ["key 'data.spacing'", "greater than 0", ", got -1"]),
    ({"data": {"spacing": 0.001}}, ["data.spacing 0.001 makes", "voxels of case train-000", "choose a larger one"]),
    ({"seeds": {9: [1]}}, ["seeds must be a list, or give one for each budget of labelled"]),
    ({"seeds": {2: [1, 1]}}, ["key 'seeds'", "1 is given twice"]),
    ({"data": {"validation": ["nobody"]}}, ["data.validation names nobody", "no training cases of Phantom"]),
    ({"tuning": {"settings_per_method": 1, "validation": 1}},
     ["key 'tuning.settings_per_method'", "greater than or equal to 2, got 1"]),
    ({"tuning": {"settings_per_method": 2, "validation": 9}}, ["tuning.validation 9", "Choose fewer validation cases"]),
    ({"tuning": {"draws": 3, "validation": 1}}, ["'tuning.draws' is now called 'tuning.settings_per_method'"]),
    ({"data": {"spacing": 100}}, ["training.patch", "(largest: [1, 1, 1] at data.spacing 100)"]),
    ({"plugins": ["no.py"]}, ["plug-in", "no.py does not exist"]),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "words"), EXPERIMENTS, ids=lambda value: str(value)[:60])
def test_an_experiment(command, folder, tmp_path, changes, words):
    path = tiny.write_experiment(tmp_path, **PLAIN | changes)
    assert_refused(command, folder, ("run", path, "--results", folder, "--dry-run"), words)
    assert_refused(command, folder, ("run", path, "--results", folder), words)


TEXT = yaml.safe_dump(tiny.VALUES)
FILES = {
    "not YAML": (b"a: [1, 2\nb: c: d\n", ["not valid YAML", "line 2"]),
    "control character": (b"a: \x00", ["not valid YAML"]),
    "not UTF-8": (b"\xff\xfe\xfa", ["cannot be read", "utf-8"]),
    "a list": (b"- vnet\n- dtml\n", ["must be a mapping of keys", "configs/demo.yaml"]),
    "empty": (b"", ["must be a mapping of keys", "configs/demo.yaml"]),
    "a number for a key": (b"1: 2\n", ["is missing"]),
    "a switch for a key": (TEXT.encode() + b"on: 2\n", ["key True must be text", "quotes"]),
    "a key twice": (TEXT.encode() + b"seeds: [1]\n", ["key 'seeds' is given twice", "remove one"]),
    "a date that is none": (TEXT.encode() + b"title: 2024-13-45\n", ["not valid YAML", "month must be in 1..12"]),
    "nested too deep": (b"a: " + b"[" * 5000, ["not valid YAML", "recursion"]),
    "a key missing": (yaml.safe_dump(tiny.VALUES | {"labelled": None}).encode(), ["key 'labelled'", "got None"]),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_no_experiment(command, folder, tmp_path, name):
    path = tmp_path / "file.yaml"
    path.write_bytes(FILES[name][0])
    assert_refused(command, folder, ("run", path, "--results", folder), [str(path), *FILES[name][1]])


# The command line. CONFIG, FOLDER, EMPTY and TMP stand for paths.

COMMANDS = [
    ("", ["no command given"]),
    ("fly", ["No such command 'fly'", "--help"]),
    ("run CONFIG --results ~nobody/x", ["--results ~nobody/x", "write the whole path"]),
    ("score TMP --name X", ["the command 'score' is now called 'add-masks'", "--help"]),
    ("run", ["Missing argument", "--help"]),
    ("run TMP/no.yaml", ["no.yaml does not exist"]),
    ("run TMP", ["experiment file TMP cannot be read", "directory"]),
    ("run CONFIG more", ["unexpected extra argument", "more"]),
    ("run CONFIG --result x", ["No such option: --result", "--results"]),
    ("run CONFIG --results --dry-run", ["--results --dry-run: give a folder"]),
    ("run CONFIG --results FOLDER/plan.json", ["results folder FOLDER/plan.json cannot be written", "--results"]),
    ("run CONFIG --dry-run --results CONFIG", ["results folder CONFIG cannot be made (CONFIG is no folder)"]),
    ("run CONFIG --dry-run --results CONFIG/a/b", ["folder CONFIG/a/b cannot be made (CONFIG is no folder)"]),
    ("run CONFIG --results FOLDER --rerun nonsense", ["--rerun", "nonsense", "stale"]),
    ("run CONFIG --plugin TMP/no.py", ["plug-in TMP/no.py does not exist"]),
    ("run CONFIG --plugin TMP", ["plug-in TMP is a folder", ".py file"]),
    ("run CONFIG --plugin CONFIG", ["plug-in CONFIG is not a Python file", ".py file"]),
    ("run CONFIG --set training", ["--set 'training'", "write key=value"]),
    ("run CONFIG --set =5", ["--set '=5'", "write key=value"]),
    ("run CONFIG --set training..iterations=5", ["--set 'training..iterations=5'", "write key=value"]),
    ("run CONFIG --set labelled=[1", ["--set 'labelled=[1'", "not valid YAML"]),
    ("run CONFIG --set title=2024-13-45", ["--set 'title=2024-13-45'", "not valid YAML"]),
    ("run CONFIG --set labelled.7=3", ["labelled is neither a mapping nor long enough a list"]),
    ("run CONFIG --set methods.0.settings.x=3", ["there is no 'settings' to set something in"]),
    ("run CONFIG --set training.itertions=5", ["CONFIG --set training.itertions=5: unknown key", "'iterations'"]),
    ("evaluate FOLDER --set training.iterations=9", ["--set training.iterations=9", "evaluation.", "another folder"]),
    ("evaluate FOLDER --set evaluation.strid=[4]", ["unknown key 'evaluation.strid'", "did you mean 'stride'?"]),
    ("evaluate TMP", ["TMP is no results folder", "plan.json", "`run` makes one"]),
    ("report", ["Missing argument 'DIR'"]),
    ("report TMP/missing", ["TMP/missing does not exist"]),
    ("report EMPTY", ["EMPTY is no results folder", "`run` makes one"]),
    ("report CONFIG", ["CONFIG does not exist"]),
    ("status EMPTY", ["EMPTY is no results folder", "`run` makes one"]),
    ("methods dtlm", ["unknown method 'dtlm'", "did you mean 'dtml'?"]),
    ("check dtlm", ["unknown method 'dtlm'", "did you mean 'dtml'?"]),
    ("check TMP/no.py", ["plug-in TMP/no.py does not exist"]),
    ("new-method ../up", ["method name '../up'", "lower-case letters, digits and underscores"]),
    ("new-method vnet", ["method name 'vnet' is taken", "choose another"]),
    ("new-method there", ["there.py exists already", "choose another name, or remove it"]),
]  # fmt: skip


@pytest.mark.parametrize(("line", "words"), COMMANDS, ids=[line for line, _ in COMMANDS])
def test_a_command(command, folder, tmp_path, monkeypatch, line, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.py").write_text("mine")
    (tmp_path / "empty").mkdir()
    places = {"CONFIG": tiny.write_experiment(tmp_path), "FOLDER": folder, "EMPTY": tmp_path / "empty", "TMP": tmp_path}

    def with_places(text):
        for name, path in places.items():
            text = text.replace(name, str(path))
        return text

    before = sorted(tmp_path.iterdir())
    assert_refused(command, folder, with_places(line).split(), map(with_places, words))
    assert sorted(tmp_path.iterdir()) == before and (tmp_path / "there.py").read_text() == "mine"


LONG = "x" * 300  # longer than a file system takes: asking whether it exists is an error of its own


@pytest.mark.parametrize(
    "line",
    [
        "status LONG", "report LONG", "report FOLDER LONG", "evaluate LONG", "run LONG", "run CONFIG --results LONG",
        "run CONFIG --results LONG --dry-run --plugin LONG.py", "predict LONG CONFIG", "predict RECORD LONG",
        "predict RECORD CONFIG --plugin LONG.py", "add-masks LONG --name X --results FOLDER --labelled 2",
        "add-masks TMP --name X --results LONG --labelled 2", "check LONG.py", "methods LONG.py", "data info LONG",
    ],
)  # fmt: skip
def test_a_path_that_is_too_long(command, folder, tmp_path, monkeypatch, line):
    monkeypatch.chdir(tmp_path)
    [record] = (folder / "records").iterdir()
    places = {"CONFIG": tiny.write_experiment(tmp_path), "FOLDER": folder, "RECORD": record, "TMP": tmp_path}
    for name, path in places.items():
        line = line.replace(name, str(path))
    assert_refused(command, folder, line.replace("LONG", LONG).split(), [LONG[:20]])


def test_in_a_process_of_its_own(tmp_path):
    script = Path(__file__).parents[1] / "run_benchmark.py"
    done = subprocess.run([sys.executable, script, "status", tmp_path], capture_output=True, text=True)
    assert "is no results folder" in one_line_error((done.returncode, done.stdout, done.stderr))


# Plug-ins: what stands in the file.

INFO = 'info = Info(title="T", year=2000, source="s", fidelity="adapted", passes=Passes(train=4))'
HEAD = (
    f"from methods.shared.method import *\nfrom methods.shared.registry import register\n{INFO}\n@register('thing')\n"
)
CLASS = f"{HEAD}class Thing(Method):\n    {INFO}\n    "
PLUGINS = {
    "text": ("some words", ["cannot be imported: SyntaxError"]),
    "bytes": ("a = '\xff'", ["cannot be imported: SyntaxError", "utf-8"]),
    "raises": ("raise OSError('two\\nlines')", ["cannot be imported: OSError: two lines"]),
    "exits": ("import sys\nsys.exit(3)", ["cannot be imported: SystemExit: 3"]),
    "needs a package": ("import not_there", ["cannot be imported: ModuleNotFoundError", "'not_there'"]),
    "registers nothing": ("x = 1", ["registers no method", '@register("name")']),
    "a name that is taken": (CLASS.replace("thing", "vnet"), ["method name 'vnet'", "is taken by", "choose another"]),
    "a name that is no name": (CLASS.replace("thing", "My Thing"), ["method name 'My Thing'", "lower-case letters"]),
    "no name": (CLASS.replace("('thing')", ""), ["@register was given", '@register("my_method")']),
    "a class that is no method": (CLASS.replace("(Method)", ""), ["'thing' is not a Method", "class Thing(Method)"]),
    "a function": (f"{HEAD}def thing(): pass", ["'thing' is not a Method", "methods/shared/method.py"]),
    "no info": (f"{HEAD}class Thing(Method): pass", ["'thing' has no `info`", "add `info = Info("]),
    "a setting without default": (f"{CLASS}class Settings(MethodSettings):\n        weight: float",
                                  ["setting 'weight' of method 'thing' has no default", "setting(default, meaning)"]),
    "settings of another kind": (f"{CLASS}class Settings:\n        weight = 1.0",
                                 ["Settings of method 'thing'", "class Settings(MethodSettings)"]),
    "patches() raises": (f"{CLASS}patches = lambda settings, size: 1 / 0", ["plugin.py: Thing.patches() raised Zero"]),
}  # fmt: skip


@pytest.mark.parametrize("name", PLUGINS)
def test_a_plug_in(command, folder, tmp_path, name):
    text, words = PLUGINS[name]
    (tmp_path / "plugin.py").write_text(text, encoding="latin1")
    path = tiny.write_experiment(tmp_path, **PLAIN | {"methods": ["thing"]})
    assert_refused(command, folder, ("run", path, "--results", folder, "--plugin", tmp_path / "plugin.py"), words)


# Data: what is done to a folder that is right, or to what the experiment says of it.


def case(**datasets):
    return lambda root: write_la_case(root, "B", **datasets)


def of_case(change):
    def damage(root):
        path = write_la_case(root, "B", image=IMAGE, label=LABEL)
        path.write_bytes(change(path.read_bytes()))

    return damage


def listed(text):
    return lambda root: (root / "test.list").write_bytes(text)


DATA = {
    "no root": ({"root": ""}, None, ["data.root", "empty", "set it to the folder"]),
    "a root that is not there": ({"root": "/no/where"}, None, ["data.root: there is no folder /no/where"]),
    "a root that is a file": ({"root": __file__}, None, ["data.root: there is no folder", __file__]),
    "a variable that is not set": ({"root": "$NO_SUCH/la"}, None, ["variable NO_SUCH is not set", "export NO_SUCH="]),
    "a variable that points nowhere": ({"root": "$SEMISEG_LA"}, None, ["there is no folder /points/nowhere"]),
    "a folder without cases": ({"split": "official"}, None, ["100 of the split's 100 cases are missing", "data.split"]),
    "a split that is none": ({"split": "ofical"}, None, ["key 'data.split'", "'official'", "mapping", "got 'ofical'"]),
    "half a split": ({"split": {"train": "train.list"}}, None, ["key 'data.split.test' is missing"]),
    "a list that is not there": ({"split": {"train": "no", "test": "no"}}, None, ["cannot read the list file", "/no "]),
    "a list of bytes": ({}, listed(b"\xff"), ["test.list", "data.split", "one case a line"]),
    "an empty list": ({}, listed(b"\n"), ["test.list", "names no case", "one a line"]),
    "a case twice": ({}, listed(b"C\nC\n"), ["test.list", "names cases twice: C"]),
    "a case in both lists": ({}, listed(b"B\n"), ["in both", "train.list", ": B; remove each from one"]),
    "a case elsewhere": ({}, listed(b"../C\n"), ["test.list", "'../C'", "is a path", "the case alone"]),
    "a case that is not there": ({}, listed(b"D\n"), ["1 of the split's 3 cases are missing", "D", "add them"]),
    "no label": ({}, case(image=IMAGE), ["B/mri_norm2.h5: there is no dataset named label"]),
    "no image": ({}, case(label=LABEL), ["B/mri_norm2.h5: there is no dataset named image"]),
    "shapes that differ": ({}, case(image=IMAGE, label=LABEL[1:]), ["(5, 4, 3) and label (4, 4, 3)", "in shape"]),
    "a flat image": ({}, case(image=IMAGE[0], label=LABEL[0]), ["B/mri_norm2.h5: image has 4 x 3 voxels", "3D"]),
    "no voxels": ({}, case(image=IMAGE[:0], label=LABEL[:0]), ["image has 0 x 4 x 3 voxels"]),
    "NaN": ({}, case(image=np.where(LABEL, np.nan, IMAGE), label=LABEL), ["mri_norm2.h5", "NaN", "download"]),
    "infinite": ({}, case(image=IMAGE.astype(float) * 1e300, label=LABEL), ["mri_norm2.h5", "infinite", "download"]),
    "truth values for an image": ({}, case(image=IMAGE > 0, label=LABEL), ["mri_norm2.h5", "holds bool, not numbers"]),
    "text for an image": ({}, case(image=IMAGE.astype("S3"), label=LABEL), ["mri_norm2.h5", "not numbers"]),
    "labels of 255": ({}, case(image=IMAGE, label=LABEL * 255), ["mri_norm2.h5", "holds 255, but may hold 0, 1"]),
    "a soft label": ({}, case(image=IMAGE, label=IMAGE), ["mri_norm2.h5", "holds -1, -0.898305, "]),
    "a truncated file": ({}, of_case(lambda whole: whole[:3000]), ["mri_norm2.h5", "cannot be read", "download"]),
    "no HDF5": ({}, of_case(lambda whole: b"words"), ["mri_norm2.h5", "cannot be read", "download"]),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", DATA)
def test_data(command, folder, tmp_path, monkeypatch, name):
    changes, damage, words = DATA[name]
    monkeypatch.setenv("SEMISEG_LA", "/points/nowhere")
    root = write_la_folder(tmp_path / "la")
    if damage:
        damage(root)
    data = {"source": "la", "root": str(root), "split": {"train": "train.list", "test": "test.list"}}
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(tiny.VALUES | {"labelled": [1], "data": data | changes}))
    assert_refused(command, folder, ("run", path, "--results", folder), words)


# Results folders: what is done to one that is right, and which command is then refused.


def write(name, text):
    return lambda folder: (folder / name).write_text(text)


def plan(**changes):
    def change(folder):
        path = folder / "plan.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return change


def first_cell(**changes):
    def change(folder):
        [cell] = json.loads((folder / "plan.json").read_text())["cells"]
        plan(cells=[cell | changes])(folder)

    return change


RESULTS = {
    "a plan that is no JSON": (write("plan.json", "{"), "status FOLDER", ["plan.json cannot be read", "keeps all"]),
    "a plan nested too deep": (write("plan.json", "[" * 99999), "report FOLDER", ["plan.json cannot be read"]),
    "a plan of another format": (plan(format=3), "report FOLDER", ["plan.json is of format 3", "use the version"]),
    "running over that": (plan(format=3), "run CONFIG --results FOLDER", ["is of format 3", "another folder"]),
    "a plan without cells": (plan(cells=None), "status FOLDER", ["plan.json cells: input", "`run`", "keeps all"]),
    "a plan without evaluation": (plan(evaluation=1), "status FOLDER", ["plan.json evaluation: ", "keeps all"]),
    "half a cell": (plan(cells=[{"trial": "a"}]), "report FOLDER", ["plan.json lacks cells.0.method", "`run`"]),
    "a cell of other types": (first_cell(trial=3), "status FOLDER", ["plan.json cells.0.trial: ", "valid string"]),
    "a trial elsewhere": (first_cell(trial="../../x"), "report FOLDER", ["plan.json cells.0.trial: ", "`run`"]),
    "no experiment": (write("experiment.yaml", ""), "evaluate FOLDER", ["experiment.yaml must be a mapping"]),
    "a report in the way": (write("report", ""), "report FOLDER", ["results/report cannot be written"]),
}  # fmt: skip


@pytest.mark.parametrize("name", RESULTS)
def test_a_results_folder(command, folder, tmp_path, name):
    damage, line, words = RESULTS[name]
    damage(folder)
    config = tiny.write_experiment(tmp_path, **PLAIN)
    line = line.replace("CONFIG", str(config)).replace("FOLDER", str(folder))
    assert_refused(command, folder, line.split(), words)


# Records: one that is damaged stops no command; what it holds besides is kept or made again.


def cut(record):
    path = record / "cases.csv"
    path.write_text(path.read_text()[:-300])


def words_for_numbers(record):
    path = record / "cases.csv"
    path.write_text(path.read_text().replace(",0.", ",x."))


DAMAGES = {
    "trial.yaml is no YAML": (
        lambda r: (r / "trial.yaml").write_text("a: ["),
        "unreadable",
        "trial.yaml",
        "unreadable",
    ),
    "trial.yaml is half": (
        lambda r: (r / "trial.yaml").write_text("format: 1\n"),
        "unreadable",
        "trial.yaml",
        "unreadable",
    ),
    "cases.csv is cut": (cut, "rescore", "cases.csv", "rescore"),
    "cases.csv has words": (words_for_numbers, "rescore", "cases.csv", "rescore"),
    "cases.csv is gone": (lambda r: (r / "cases.csv").unlink(), "rescore", "cases.csv", "rescore"),
    "predictions are gone": (lambda r: shutil.rmtree(r / "predictions"), "done", "1 of 1 cells done", None),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_record(command, folder, tmp_path, no_ray, name):
    damage, state, words, reported = DAMAGES[name]
    [record] = (folder / "records").iterdir()
    weights = (record / "weights.pt").read_bytes()
    damage(record)
    status, out, _ = command("status", folder)
    assert status == 0 and state in out and words in out
    if reported:
        assert command("report", folder)[0] == 0
        assert reported in (folder / "report" / "tables" / "comparison.md").read_text()
    status, out, _ = command("run", tiny.write_experiment(tmp_path, **PLAIN), "--results", folder)
    assert status == 0 and command("status", folder)[1].endswith("1 of 1 cells done\n")
    assert (record / "weights.pt").read_bytes() == weights, "scored again, or trained again to the same bits"


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("weights.pt", "RECORD cannot be read, remove it to train the trial again"),
        ("history.csv", "RECORD cannot be read, remove it to train the trial again"),
        ("provenance.json", "RECORD cannot be read, remove it to train the trial again"),
        ("trial.yaml", "1 unreadable cells are not scored (trial.yaml: "),
    ],
)
def test_a_record_that_cannot_be_scored_again(command, folder, no_ray, no_drawing, file, words):
    [record] = (folder / "records").iterdir()
    (record / file).write_bytes((record / file).read_bytes()[:20] + b"\xff")
    before = contents(record)
    status, out, _ = command("evaluate", folder, "--set", "evaluation.empty=exclude")
    assert status == 1 and words.replace("RECORD", str(record)) in out
    assert contents(record) == before
