"""What comes from elsewhere (experiments, records, data) is data: it runs nothing, and leads nowhere but where it lies.

Plug-ins are code, and meant to be.
"""

import ast
import csv
import json
import os
import pickle
import re
import shutil
import stat
from html.parser import HTMLParser
from pathlib import Path

import fsspec
import numpy as np
import pytest
import torch
import yaml
from helpers import tiny
from helpers.command_line import one_line_error
from helpers.page_folder import page_of, write_pictures
from helpers.records import case_rows
from helpers.results_folder import CASES, cell, plan, values, write_plan, write_record, write_tables_of
from helpers.scan_folder import write_folder

from benchmark.cluster import token_file
from benchmark.planning.experiment import Experiment
from benchmark.records import remote_copies, spreadsheets
from benchmark.records.case_values import COLUMNS, read_case_values
from benchmark.records.files import ResultsError, csv_text
from benchmark.trial.checkpoints import CHECKPOINT_FORMAT
from data import phantom
from data.cache import prepare
from data.case import DataError
from methods.shared import registry

ROOT = Path(__file__).parents[1]


@pytest.fixture
def marker(tmp_path):
    """A file that is there once an attack has worked."""
    path = tmp_path / "marker"
    yield path
    assert not path.exists()


class Attack:
    """Unpickling it makes a file."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (self.marker,)


def yaml_attack(marker):
    return f"!!python/object/apply:os.system ['touch {marker}']"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return tiny.finished(tmp_path_factory.mktemp("trained") / "results", methods=["vnet"], baseline=None)


@pytest.fixture
def folder(trained, tmp_path):
    return shutil.copytree(trained, tmp_path / "results")


@pytest.fixture
def record(folder):
    return next((folder / "records").iterdir())


@pytest.fixture
def config(tmp_path):
    return tiny.write_experiment(tmp_path, methods=["vnet"], baseline=None)


def test_the_attacks_work_where_nothing_stands_against_them(tmp_path):
    pickle.loads(pickle.dumps(Attack(tmp_path / "a")))
    yaml.unsafe_load(yaml_attack(tmp_path / "b"))
    torch.save(Attack(tmp_path / "c"), tmp_path / "weights.pt")
    torch.load(tmp_path / "weights.pt", weights_only=False)
    assert all((tmp_path / name).exists() for name in "abc")


# YAML.


def test_an_experiment_runs_nothing(command, folder, config, marker):
    config.write_text(f"{config.read_text()}title: {yaml_attack(marker)}\n")
    message = one_line_error(command("run", config, "--results", folder))
    assert f"{config} is not valid YAML: could not determine a constructor" in message
    config.write_text(config.read_text().partition("title")[0])
    message = one_line_error(command("run", config, "--set", f"title={yaml_attack(marker)}"))
    assert "the value is not valid YAML" in message
    (folder / "experiment.yaml").write_text(config.read_text() + f"title: {yaml_attack(marker)}\n")
    assert "is not valid YAML" in one_line_error(command("evaluate", folder))


def test_a_record_runs_nothing(command, folder, record, marker):
    text = (record / "trial.yaml").read_text()
    (record / "trial.yaml").write_text(text.replace("reason: null", f"reason: {yaml_attack(marker)}"))
    assert yaml_attack(marker) in (record / "trial.yaml").read_text()
    status, out, _ = command("status", folder)
    assert status == 0 and "unreadable" in out and "trial.yaml: could not determine a constructor" in out
    assert command("report", folder)[0] == 0
    assert "could not determine a constructor" in (folder / "report" / "tables" / "comparison.md").read_text()


def test_a_plan_runs_nothing(command, folder, marker):
    (folder / "plan.json").write_text(f"format: 2\ncells: {yaml_attack(marker)}\n")
    for name in ("status", "report", "evaluate"):
        assert "plan.json cannot be read" in one_line_error(command(name, folder))


# Pickles.


@pytest.mark.parametrize("save", [torch.save, lambda attack, path: path.write_bytes(pickle.dumps(attack, 2))])
def test_weights_run_nothing(command, folder, record, no_ray, marker, save):
    save(Attack(marker), record / "weights.pt")
    scores = (record / "cases.csv").read_bytes()
    status, out, _ = command("evaluate", folder, "--set", "evaluation.empty=exclude")
    assert status == 1 and "cannot be read, remove it to train the trial again (UnpicklingError" in out
    assert (record / "cases.csv").read_bytes() == scores


def test_a_checkpoint_runs_nothing_and_the_trial_begins_anew(trained, tmp_path, marker):
    planned = tiny.experiment(methods=["vnet"], baseline=None)
    results = tiny.new_results(tmp_path / "results")
    [trial] = tiny.trials(planned)
    results.running(trial.id).mkdir()
    head = {"format": CHECKPOINT_FORMAT, "numerics": trial.numerics.of_weights(), "step": 2}
    torch.save(head | {"method": Attack(marker)}, results.running(trial.id) / "checkpoint-00000002.pt")
    assert tiny.run(trial, results, planned)[-1].stage == "done"
    mine, theirs = (
        torch.load(folder / "records" / trial.id / "weights.pt", weights_only=True)
        for folder in (results.folder, trained)
    )
    assert all(torch.equal(mine[key], theirs[key]) for key in theirs)


@pytest.mark.slow
def test_predictions_and_pictures_run_nothing(command, folder, record, config, no_ray, marker):
    attack = np.array([Attack(marker)], dtype=object)
    [prediction], [picture] = (record / "predictions").iterdir(), (folder / "cases").iterdir()
    np.savez(prediction, masks=attack, shape=attack)
    assert command("report", folder)[0] == 0
    [stored] = Page(folder / "report" / "index.html").data("data-volumes")
    assert stored["missing"] == [0], "the viewer says that this prediction is not stored"
    np.savez(picture, image=attack, label=attack, content=attack)
    assert command("report", folder)[0] == 0
    assert Page(folder / "report" / "index.html").data("data-volumes") == []
    assert command("run", config, "--results", folder, "--set", "evaluation.empty=exclude")[0] == 0
    with np.load(picture, allow_pickle=False) as mended:
        assert mended["image"].shape == mended["label"].shape


# Plug-ins that a results folder names.

ATTACK = """
from pathlib import Path
Path({marker!r}).touch()
"""


@pytest.fixture(scope="module")
def of_a_plugin(tmp_path_factory):
    """A results folder of a trial whose method is a plug-in, and the plug-in. Somebody else made both."""
    place = tmp_path_factory.mktemp("of_a_plugin")
    plugin = tiny.write_plugin(place, "theirs")
    with pytest.MonkeyPatch.context() as patch:
        registry.names()
        patch.setattr(registry, "_METHODS", dict(registry._METHODS))
        registry.load_plugin(plugin)
        write_folder(place / "scans", train=4, test=1, organ=1, background=0)
        data = {"source": "folder", "root": str(place / "scans"), "spacing": 0.5}
        values = {"data": data, "methods": ["theirs"], "baseline": None, "plugins": [str(plugin)]}
        folder = tiny.finish(Experiment(**tiny.VALUES | values), place / "results")
    return folder, plugin


@pytest.fixture
def theirs(of_a_plugin, tmp_path):
    """A copy of that folder, and what each command that needs the method is called with."""
    made, plugin = of_a_plugin
    folder = shutil.copytree(made, tmp_path / "theirs")
    [record] = (folder / "records").iterdir()
    scans = made.parent / "scans"
    shutil.copytree(scans / "labelsTs", tmp_path / "masks")
    commands = {
        "evaluate": ("evaluate", folder, "--set", "evaluation.empty=exclude"),
        "predict": ("predict", record, scans / "imagesTs", "--to", tmp_path / "labels"),
        "add-masks": ("add-masks", tmp_path / "masks", "--name", "X", "--results", folder, "--labelled", 2),
        "run": ("run", folder / "experiment.yaml", "--results", folder),
        "dry run": ("run", folder / "experiment.yaml", "--results", folder, "--dry-run"),
        "smoke test": ("run", folder / "experiment.yaml", "--smoke"),
    }
    return folder, plugin, commands


NEEDING = ("evaluate", "predict", "add-masks", "run", "dry run", "smoke test")


def name_plugins(folder, *plugins):
    """Let the experiment of a results folder name these plug-ins."""
    path = folder / "experiment.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | {"plugins": list(map(str, plugins))}))


@pytest.mark.slow
@pytest.mark.parametrize("name", NEEDING)
def test_a_plugin_of_a_results_folder_runs_only_if_it_is_trusted(command, theirs, tmp_path, no_ray, marker, name):
    folder, plugin, commands = theirs
    (tmp_path / "attack.py").write_text(ATTACK.format(marker=str(marker)) + plugin.read_text())
    name_plugins(folder, tmp_path / "attack.py")
    message = one_line_error(command(*commands[name]))
    assert f"{tmp_path / 'attack.py'} for method theirs" in message and "--trust" in message and "--plugin" in message
    assert not marker.exists()
    command(*commands[name], "--trust")
    assert marker.exists(), "it does run where it is trusted"
    marker.unlink()


@pytest.mark.slow
@pytest.mark.parametrize("name", NEEDING)
def test_a_plugin_that_is_given_again_runs_in_the_place_of_theirs(
    command, theirs, tmp_path, no_ray, no_drawing, marker, name
):
    folder, plugin, commands = theirs
    (tmp_path / "attack.py").write_text(ATTACK.format(marker=str(marker)) + plugin.read_text())
    name_plugins(folder, tmp_path / "attack.py")
    status, out, err = command(*commands[name], "--plugin", plugin)
    assert status == 0, out + err


@pytest.mark.parametrize("name", ["status", "report", "check-metrics", "info"])
def test_commands_that_need_no_method_run_no_plugin(command, theirs, tmp_path, no_drawing, marker, name):
    folder, plugin, _ = theirs
    (tmp_path / "attack.py").write_text(ATTACK.format(marker=str(marker)) + plugin.read_text())
    name_plugins(folder, tmp_path / "attack.py")
    [record] = (folder / "records").iterdir()
    lines = {
        "status": ("status", folder),
        "report": ("report", folder),
        "check-metrics": ("evaluate", folder, "--check-metrics", record.name),
        "info": ("data", "info", folder / "experiment.yaml", "--picture", tmp_path / "data.png"),
    }
    status, out, err = command(*lines[name])
    assert status == 0, out + err


def test_a_folder_of_built_in_methods_needs_no_trust_and_runs_no_plugin(command, folder, tmp_path, no_drawing, marker):
    (tmp_path / "attack.py").write_text(ATTACK.format(marker=str(marker)))
    name_plugins(folder, tmp_path / "attack.py")
    assert command("run", folder / "experiment.yaml", "--results", folder)[0] == 0
    assert command("evaluate", folder)[0] == 0


def test_predicting_with_a_built_in_method_reads_no_experiment(command, theirs, tmp_path, marker):
    """Were the method that a record names enough to choose the code, a stranger could claim a built-in name."""
    folder, _, commands = theirs
    (tmp_path / "attack.py").write_text(ATTACK.format(marker=str(marker)))
    name_plugins(folder, tmp_path / "attack.py")
    [record] = (folder / "records").iterdir()
    stored = yaml.safe_load((record / "trial.yaml").read_text())
    stored["cell"] |= {"method": "vnet"}
    (record / "trial.yaml").write_text(yaml.safe_dump(stored))
    command(*commands["predict"])  # its weights do not fit, perhaps: no code of theirs has run


# What is shown.

NASTY = """</script><script>alert(1)</script><img src=x onerror=alert(1)>"'&{{7*7}}"""


class Page(HTMLParser):
    """The elements of a page, their attributes, and what its JSON holds."""

    def __init__(self, path):
        super().__init__()
        self.tags, self.names, self.scripts = [], [], []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.names += [name for name, _ in attributes]
        if tag == "script":
            self.scripts.append((dict(attributes), ""))

    def handle_data(self, data):
        if self.tags and self.tags[-1] == "script":
            self.scripts[-1] = (self.scripts[-1][0], self.scripts[-1][1] + data)

    def data(self, attribute="type"):
        return [json.loads(text) for names, text in self.scripts if attribute in names and "json" in names["type"]]


def nasty_folder(folder, nasty):
    """Everything that a stranger can name has this name; `case`: a file's name, so without a slash."""
    case = nasty.replace("/", "")
    cells = [cell("a", display=nasty, settings={nasty: nasty}, unpublished=[nasty]), cell("b", source=nasty), cell("c")]
    planned = plan(cells, title=nasty, experiment=nasty, reference=nasty)
    planned["data"] |= {"name": nasty, "split": nasty}
    write_plan(folder, planned)
    for number, planned_cell in enumerate(cells[:2]):
        facts = {"device": nasty, "packages": {nasty: nasty}, "git_revision": nasty}
        write_record(folder, planned, planned_cell, values(planned, number).replace(CASES[0], case), facts)
    write_record(folder, planned, cells[2], state="failed", reason=nasty)
    write_record(folder, planned, cell("stray" + case))
    write_pictures(folder, planned)
    (folder / "cases" / f"{CASES[0]}.npz").rename(folder / "cases" / f"{case}.npz")
    return folder


def test_names_and_reasons_are_text_on_the_page(tmp_path):
    plain = Page(page_of(nasty_folder(tmp_path / "plain", "plain"), out=tmp_path / "1"))
    page = Page(page_of(nasty_folder(tmp_path / "nasty", NASTY), out=tmp_path / "2"))
    assert sorted(page.tags) == sorted(plain.tags)
    assert not any(name.startswith("on") for name in page.names)
    [viewer] = [data for data in page.data() if "cases" in data]
    assert NASTY in viewer["views"][0]["labels"] and NASTY.replace("/", "") in viewer["cases"]


def test_names_and_reasons_are_text_in_latex_and_markdown(tmp_path):
    attack = r"\input{/etc/passwd}\write18{ls}%$&#_^~ <script> `x` |[a](javascript:b)"
    tables = write_tables_of(nasty_folder(tmp_path, attack))
    texts = {path: path.read_text() for path in tables.iterdir()}
    latex = [text for path, text in texts.items() if path.suffix == ".tex"]
    markdown = [text for path, text in texts.items() if path.suffix == ".md"]
    assert any(r"\textbackslash{}input\{/etc/passwd\}" in text for text in latex)
    assert not any(word in text for text in latex for word in (r"\input", r"\write", "<script"))
    assert any("&lt;script&gt;" in text for text in markdown)
    assert not any(word in text for text in markdown for word in ("<script", "|[a](", " `x`"))


# Spreadsheets calculate what begins like a formula.

FORMULAS = ["=1+1", "+A1", "-2+3", "@SUM(1)", "\t=1", "\r=1", "\n=1", "＝1", "'=1", "''=1", "=", "-", "+", "-.", "-e5"]
PLAIN = ["", "V-Net", "a=1", " = ", "'", "'quoted'", "−5", "-5", "+0.5", "-1e-05", "-.5", "1e3"]


@pytest.mark.parametrize("text", FORMULAS + PLAIN)
def test_a_formula_is_neutral_in_a_csv_and_comes_back_as_it_was(text):
    written = spreadsheets.neutral(text)
    assert written == ("'" + text if text in FORMULAS else text)
    assert spreadsheets.original(written) == text


def fields_of(path):
    with path.open(encoding="utf-8", newline="") as file:
        return [field for line in csv.reader(file) for field in line]


@pytest.mark.slow
@pytest.mark.parametrize("nasty", ['=HYPERLINK("http://evil")', "+1+cmd|' C'!A0", "-2+3", "@SUM(1+9)", "'=1"])
def test_names_are_no_formulas_in_the_csv_files_of_a_report(tmp_path, nasty):
    tables = write_tables_of(nasty_folder(tmp_path, nasty))
    fields = {field for path in tables.rglob("*.csv") for field in fields_of(path)}
    assert "'" + nasty in fields
    numbers = re.compile(r"[+-]?[\d.]+(e[+-]?\d+)?")
    assert not [field for field in fields if field[:1] in "=+-@\t\r" and field and not numbers.fullmatch(field)]


def test_names_are_no_formulas_in_a_record(tmp_path):
    """Cases are named by their files, and losses by plug-ins."""
    row = dict(zip(COLUMNS, ("last", "none", 1, "=A1", "dice", "", -0.5), strict=True)) | {"=loss": 1.0}
    text = csv_text([row])
    assert ",'=A1," in text and "'=loss" in text and ",-0.5," in text
    rows = case_rows(["=A1", "'=A1", "-b", "c"])
    (tmp_path / "cases.csv").write_text(csv_text(rows), encoding="utf-8")
    read = read_case_values(tmp_path / "cases.csv", 4, 1)
    assert {value.case for value in read} == {"=A1", "'=A1", "-b", "c"}


# Where things are written.


def files_beside(folder):
    return sorted(path for path in folder.parent.rglob("*") if not path.is_relative_to(folder))


@pytest.mark.parametrize("name", ["../../x", "/tmp/x", "..", ".", "a/b", "a\\b", "a\0b", "a\nb", ""])
def test_an_experiment_is_written_nowhere_else(command, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    path = tiny.write_experiment(tmp_path, name=name)
    assert "key 'name': names a folder" in one_line_error(command("run", path))
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["../x", "/x", "a/b", "..", ".", "", "a\0b", "a\\b"])
def test_a_case_is_written_nowhere_else(tmp_path, monkeypatch, name):
    original = phantom.PhantomSource.__init__

    def renamed(self, settings):
        original(self, settings)
        self.test_ids = [name]

    monkeypatch.setattr(phantom.PhantomSource, "__init__", renamed)
    with pytest.raises(DataError, match="rename it"):
        prepare(tiny.experiment().data, tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("trial", ["../../x", "/tmp/x", "..", "a/b", ""])
def test_a_planned_trial_is_written_nowhere_else(command, folder, trial):
    planned = json.loads((folder / "plan.json").read_text())
    planned["cells"][0]["trial"] = trial
    (folder / "plan.json").write_text(json.dumps(planned))
    before = files_beside(folder)
    for name in ("status", "report", "evaluate"):
        assert "cells.0.trial: string should match pattern" in one_line_error(command(name, folder))
    assert files_beside(folder) == before and not (folder / "report").exists()


@pytest.mark.slow
@pytest.mark.parametrize("of_cell", [False, True])
def test_a_record_is_written_nowhere_else(command, folder, record, config, no_ray, of_cell):
    stored = yaml.safe_load((record / "trial.yaml").read_text())
    elsewhere = {"trial": "../../../x"}
    stored |= elsewhere | {"test": ["../../../x"]} | ({"cell": stored["cell"] | elsewhere} if of_cell else {})
    (record / "trial.yaml").write_text(yaml.safe_dump(stored))
    before = files_beside(folder)
    assert command("report", folder)[0] == 0
    said = "cell.trial: string should match pattern" if of_cell else "that of ../../../x"
    assert said in (folder / "report" / "tables" / "comparison.md").read_text().replace("\\", "")
    assert command("run", config, "--results", folder, "--set", "evaluation.empty=exclude")[0] == 0
    assert files_beside(folder) == before


def test_a_fetched_record_is_written_nowhere_else(tmp_path):
    store = fsspec.filesystem("memory")
    results = tiny.new_results(tmp_path / "results")
    try:
        for name in ("trial.yaml", "../../../marker"):
            store.store[f"/copy/records/t/{name}"] = type(store).open(store, "/made", "wb")
        with pytest.raises(ResultsError, match="leads out of the record: remove it there"):
            remote_copies.fetch(results, ["t"], "memory://copy")
    finally:
        store.store.clear()
    assert not list(tmp_path.rglob("marker")) and not results.record("t").exists()


@pytest.mark.slow
def test_a_figure_is_written_nowhere_else(command, tmp_path):
    folder = nasty_folder(tmp_path / "results" / "here", "../../../x")
    planned = json.loads((folder / "plan.json").read_text())
    planned["cells"] = [c | {"method_file": "../../../x"} for c in planned["cells"]]
    (folder / "plan.json").write_text(json.dumps(planned))
    before = files_beside(folder)
    assert command("report", folder)[0] == 0
    assert files_beside(folder) == before and list((folder / "report" / "figures").iterdir())


# The token of Ray's processes.


@pytest.fixture
def token(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("RAY_AUTH_MODE", *token_file.GIVEN):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / ".ray" / "auth_token"


def test_the_token_is_readable_for_its_owner_alone(token, monkeypatch):
    modes = []
    write = token_file.secrets.token_hex
    monkeypatch.setattr(token_file.secrets, "token_hex", lambda n: modes.append(token.stat().st_mode) or write(n))
    before = os.umask(0)
    try:
        token_file.make_private()
    finally:
        os.umask(before)
    assert stat.S_IMODE(token.stat().st_mode) == 0o600 and len(token.read_text()) == 64
    assert [stat.S_IMODE(mode) for mode in modes] == [0o600], "before anything is in it, too"


def test_a_token_that_others_could_read_is_closed_and_kept(token):
    token.parent.mkdir()
    token.write_text("mine")
    token.chmod(0o644)
    token_file.make_private()
    assert stat.S_IMODE(token.stat().st_mode) == 0o600 and token.read_text() == "mine"


@pytest.mark.parametrize("name", ["RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_AUTH_MODE"])
def test_no_token_is_made_where_ray_needs_none(token, monkeypatch, name):
    monkeypatch.setenv(name, "disabled")
    token_file.make_private()
    assert not token.exists()


def test_a_home_that_cannot_be_written_stops_nothing(token, tmp_path):
    (tmp_path / ".ray").write_text("a file")
    token_file.make_private()


def test_a_cluster_is_joined_after_the_token_is_private(monkeypatch):
    from benchmark.cluster import connection

    calls = []
    monkeypatch.setattr(token_file, "make_private", lambda: calls.append("private"))
    monkeypatch.setattr(connection.ray, "init", lambda **options: calls.append("init"))
    connection._join("auto", {})
    assert calls == ["private", "init"]


# The code. Ruff finds pickle, eval, exec and shells (pyproject.toml); loaders it knows less well.


def calls_in(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), {k.arg: ast.unparse(k.value) for k in node.keywords}, node


def test_every_loader_is_told_to_run_nothing():
    places = [path for name in ("methods", "benchmark", "data", "reports") for path in (ROOT / name).rglob("*.py")]
    needed = {"np.load": ("allow_pickle", "False"), "torch.load": ("weights_only", "True")}
    seen = set()
    for path in [*places, ROOT / "run_benchmark.py"]:
        for name, keywords, node in calls_in(path):
            where = f"{path}:{node.lineno}"
            if name in needed:
                key, value = needed[name]
                assert keywords.get(key) == value, where
            if name in ("yaml.load", "yaml.load_all"):
                assert ast.unparse(node.args[1]) in ("_SafeLoader", "yaml.SafeLoader"), where
                assert '_SafeLoader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)' in path.read_text(), where
            assert not name.startswith(("yaml.unsafe", "yaml.full", "pickle.", "marshal.", "shelve.")), where
            assert name not in ("eval", "exec", "os.system", "os.popen") and "shell" not in keywords, where
            seen.add(name)
    assert {*needed, "yaml.load"} <= seen, "this test should look at what there is"
