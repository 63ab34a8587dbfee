"""The command line: what it does, what it says, how it exits and what it does not import."""

import csv
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from helpers import records, tiny
from helpers.command_line import one_line_error

from benchmark.contract import checks
from benchmark.planning.plan import make_plan, write_plan
from benchmark.records.files import csv_text
from benchmark.records.results_folder import ResultsFolder

ROOT = Path(__file__).parents[1]


def states(folder):
    return {path.parent.name: yaml.safe_load(path.read_text())["state"] for path in folder.glob("records/*/trial.yaml")}


# Imports.

SCRIPT = """
import json, sys
from benchmark.command_line.app import main

def heavy_after(*arguments):
    sys.argv = ["run_benchmark.py", *arguments]
    try:
        main()
    except SystemExit as stop:
        assert not stop.code, (arguments, stop.code)
    return sorted({"torch", "ray"} & set(sys.modules))

config, folder = sys.argv[1:]
light = [heavy_after("--help"), heavy_after("status", folder), heavy_after("report", folder)]
heavier = [heavy_after("methods"), heavy_after("run", config, "--dry-run", "--results", folder)]
import benchmark.contract.checks  # all that `check` needs
heavier.append(heavy_after("--help"))
print(json.dumps([light, heavier]))
"""


@pytest.mark.slow
def test_what_commands_import(tmp_path):
    config = tiny.write_experiment(tmp_path)
    planned = tiny.experiment()
    results = tiny.new_results(tmp_path / "results")
    write_plan(make_plan(planned, results))
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, config, results.folder], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    light, heavier = json.loads(done.stdout.splitlines()[-1])
    assert light == [[], [], []]
    assert heavier == [["torch"]] * 3


# What a user can mend.


def test_help_names_the_commands(command):
    status, out, _ = command("--help")
    assert status == 0
    commands = ("run", "evaluate", "add-masks", "predict", "report", "status", "methods", "check", "new-method")
    assert all(name in out for name in commands)


@pytest.mark.parametrize("arguments", [(), ("masks", "--name", "Theirs", "--results", "results", "--labelled", "2")])
def test_the_old_name_of_a_command_is_answered_with_the_new_one(command, arguments):
    message = one_line_error(command("score", *arguments))
    assert message == "error: the command 'score' is now called 'add-masks'; see --help\n"


def test_the_old_name_of_a_key_is_answered_with_the_new_one(command, tmp_path):
    path = tiny.write_experiment(tmp_path, tuning={"draws": 3, "validation": 1})
    message = one_line_error(command("run", path, "--dry-run"))
    assert message == f"error: {path}: 'tuning.draws' is now called 'tuning.settings_per_method'\n"
    path = tiny.write_experiment(tmp_path)
    message = one_line_error(command("run", path, "--set", "tuning={draws: 3, validation: 1}"))
    assert "'tuning.draws' is now called 'tuning.settings_per_method'" in message


@pytest.mark.usefixtures("no_drawing")
def test_a_report_over_several_folders_lies_in_the_first(command, tmp_path):
    planned = tiny.experiment()
    one, two = (tiny.new_results(tmp_path / name) for name in ("one", "two"))
    for results in (one, two):
        write_plan(make_plan(planned, results))
    status, out, _ = command("report", one.folder, two.folder)
    assert status == 0 and str(one.folder / "report") in out
    assert (one.folder / "report" / "tables" / "comparison.md").exists() and not (two.folder / "report").exists()
    missing = tmp_path / "missing"
    assert str(missing) in one_line_error(command("report", one.folder, missing))


# What the commands do.


def test_methods_lists_them_and_their_settings(command):
    status, out, _ = command("methods")
    assert status == 0 and all(name in out for name in ("vnet", "dtml", "ua_mt", "sass"))
    status, out, _ = command("methods", "dtml")
    assert status == 0 and "consistency_weight" in out and "1.0" in out
    assert "0.1 to 3.0" in out and "mask, dis," in out  # what may be set


def test_a_files_methods_are_shown_too(command, tmp_path, own_registry):
    status, out, _ = command("methods", tiny.write_plugin(tmp_path, "mine"))
    assert status == 0 and out.startswith("Plugin (tests), adapted") and "A method of the tests." in out


def test_what_is_printed_to_go_on_with_can_be_typed_anywhere(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    out = command("new-method", "my_idea")[1]
    script, config = out.split("python ")[2].split(" run ")[0], out.split(" run ")[1].split()[0]
    assert (tmp_path / script).is_file() and (tmp_path / config).is_file()


@pytest.mark.slow
@pytest.mark.usefixtures("no_drawing")
def test_a_method_joins_a_finished_comparison(command, tmp_path, no_ray):
    config = tiny.write_experiment(tmp_path, methods=["vnet"], baseline=None, training={"iterations": 1})
    plugin, folder = tiny.write_plugin(tmp_path, "mine"), tmp_path / "results"
    assert command("run", config, "--results", folder)[0] == 0
    joining = ("run", config, "--results", folder, "--plugin", plugin, "--set")
    status, out, _ = command(*joining, "methods+=[mine]")
    assert status == 0 and "2 cells: 1 done, 1 not run; 1 to run" in out and "are not of this experiment" not in out
    assert "| V-Net |" in (table := (folder / "report/tables/comparison.md").read_text()) and "| Plugin |" in table
    out = command(*joining, "methods=[mine]")[1]
    assert "1 trials of this folder are not of this experiment: their records stay" in out
    assert len(list((folder / "records").iterdir())) == 2


def test_a_starting_file_is_written_and_said_how_to_go_on(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, out, _ = command("new-method", "my_idea")
    assert status == 0 and "teacher" not in (tmp_path / "my_idea.py").read_text()
    assert command("new-method", "other", "--teacher")[0] == 0 and "make_teacher" in (tmp_path / "other.py").read_text()
    assert "run_benchmark.py check my_idea.py" in out and "--plugin my_idea.py" in out


@pytest.fixture
def two_checks(monkeypatch):
    """The contract is only what is quick to find."""
    monkeypatch.setattr(checks, "CHECKS", dict(list(checks.CHECKS.items())[:2]))
    monkeypatch.setattr(checks, "SETTINGS", {})


def test_a_method_that_keeps_the_contract(command, two_checks):
    status, out, _ = command("check", "vnet")
    assert status == 0 and out.splitlines() == [
        "vnet",
        "  ok              describes itself and its settings",
        "  ok              never sees labels of unlabelled cases",
        "2 of 2 checks ok",
    ]


def test_a_check_that_does_not_apply_is_no_failure(command, monkeypatch):
    monkeypatch.setattr(checks, "SETTINGS", {})
    monkeypatch.setattr(checks, "CHECKS", {"learns": lambda subject: "gets [no] unlabelled patches"})
    status, out, _ = command("check", "vnet")
    assert status == 0 and "does not apply  learns: gets [no] unlabelled patches\n" in out
    assert "0 of 1 checks ok, 1 does not apply" in out


def test_a_file_whose_method_breaks_the_contract(command, tmp_path, two_checks):
    plugin = tiny.write_plugin(tmp_path, "broken", in_step="raise KeyError('[/b]\\n')")
    line = 1 + plugin.read_text()[: plugin.read_text().index("raise")].count("\n")
    status, out, _ = command("check", plugin)
    assert status == 1 and out.splitlines() == [
        "broken",
        "  ok              describes itself and its settings",
        f"  broken          never sees labels of unlabelled cases: KeyError: '[/b]\\n' ({plugin}:{line})",
        "1 of 2 checks ok, 1 broken",
    ]


def test_one_fault_that_breaks_several_checks_is_told_once(command, tmp_path, monkeypatch):
    titles = ["never sees labels of unlabelled cases", "learns from unlabelled images", "trains every parameter"]
    monkeypatch.setattr(checks, "SETTINGS", {})
    monkeypatch.setattr(checks, "CHECKS", {title: checks.CHECKS[title] for title in titles})
    status, out, _ = command("check", tiny.write_plugin(tmp_path, "broken", in_step="raise KeyError('no')"))
    broken = [line for line in out.splitlines() if line.startswith("  broken")]
    assert status == 1 and len(broken) == 3 and out.count("KeyError") == 1
    assert all(line.endswith(f": as “{titles[0]}”") for line in broken[1:])


def test_all_methods_of_a_file_are_checked(command, tmp_path, two_checks):
    plugin = tiny.write_plugin(tmp_path, "one")
    plugin.write_text(plugin.read_text() + plugin.read_text().replace('"one"', '"two"'))
    status, out, _ = command("check", plugin)
    assert status == 1 and out.startswith("one\n") and "\ntwo\n" in out and "2 of 4 checks ok, 2 broken" in out


def test_a_dry_run_tells_all_cells_and_leaves_nothing(command, tmp_path):
    path = tiny.write_experiment(tmp_path, labelled=[1, 2])
    status, out, _ = command("run", path, "--results", tmp_path / "results", "--dry-run")
    assert status == 0
    assert "5 cells: 5 not run; 5 to run" in out and "about" in out
    assert all(trial.id in out for trial in tiny.trials(tiny.experiment(labelled=[1, 2])))
    assert not (tmp_path / "results").exists()


def cells_told(out):
    """{trial: state} of the table of `status` or of a dry run, and {state: reason} of the lines below it."""
    table = re.split(r"─\s*\n", out)[1]
    rows = [re.split(r"\s{2,}", line.strip()) for line in table.splitlines() if line.startswith(" ") and line.strip()]
    reasons = re.findall(r"^([a-z ]+) \([\w -]+\): (.+)$", out, re.MULTILINE)
    return {trial: state for trial, _, state, *_ in rows}, dict(reasons)


def test_status_and_a_dry_run_tell_the_same_of_every_cell(command, tmp_path):
    labelled = [1, 2, 3]
    path = tiny.write_experiment(tmp_path, methods=["dtml", "ua_mt"], labelled=labelled)
    planned = tiny.experiment(methods=["dtml", "ua_mt"], labelled=labelled)
    results = tiny.new_results(tmp_path / "results")
    plan = make_plan(planned, results)
    write_plan(plan)
    cells = iter(results.read_plan().cells)

    def record(**changes):
        cell = next(cells)
        folder = records.write_record(results, results.read_plan(), cell)
        text = csv_text(records.case_rows(["test-000"]))
        (folder / "cases.csv").write_text(text)
        records.change_record(results, cell.trial, **changes)
        return folder

    def heartbeat(**sign):
        trial = next(cells).trial
        results.running(trial).mkdir(parents=True)
        results.write_heartbeat(trial, {"step": 2, "iterations": 3} | sign)

    record()
    record(state="failed", reason="ValueError: [/b] two\nlines")
    record(state="diverged", reason="loss is nan")
    record(numerics={"method": 0})
    record(evaluation={"empty": "exclude"})
    record(data={"fingerprint": "another"})
    (record() / "cases.csv").unlink()
    (record() / "trial.yaml").write_text("a: [")
    heartbeat(stage="training")
    heartbeat(stage="interrupted")

    status, out, _ = command("status", results.folder)
    assert status == 0 and "1 of 10 cells done" in out
    assert max(len(line) for line in out.splitlines() if line.startswith(" ")) <= 80 and " 50.00 " in out  # Dice
    by_status, reasons = cells_told(out)
    status, out, _ = command("run", path, "--results", results.folder, "--dry-run")
    assert status == 0 and cells_told(out) == (by_status, reasons)
    assert [by_status[planned.trial.id] for planned in plan.trials] == [
        "done", "failed", "diverged", "stale", "rescore", "other protocol", "rescore", "unreadable", "running",
        "interrupted",
    ]  # fmt: skip
    assert reasons["failed"] == "ValueError: [/b] two lines"
    assert reasons["stale"].startswith("numerics of method: version 0, now version ")


@pytest.mark.slow
def test_a_run_leaves_records_and_a_report_and_is_not_repeated(command, tmp_path, no_ray):
    path, folder = tiny.write_experiment(tmp_path), tmp_path / "results"
    status, out, _ = command("run", path, "--results", folder)
    assert status == 0 and "3 cells: 3 not run; 3 to run" in out
    assert list(states(folder).values()) == ["done"] * 3
    assert any((folder / "report").iterdir())
    status, out, _ = command("run", path, "--results", folder)
    assert status == 0 and "3 cells: 3 done; 0 to run" in out
    status, out, _ = command("status", folder)
    assert status == 0 and "3 of 3 cells done" in out


def test_a_smoke_test_runs_every_kind_of_cell_and_leaves_nothing(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tiny.write_experiment(tmp_path, methods=["dtml", "ua_mt"], seeds=[1, 2])
    status, out, _ = command("run", path, "--smoke")
    assert status == 0 and "all 4 kinds of cell run" in out  # floor, two methods, ceiling
    assert not (tmp_path / "results").exists()


def test_a_smoke_test_of_a_single_iteration(command, tmp_path):
    assert command("run", tiny.write_experiment(tmp_path, training={"iterations": 1}), "--smoke")[0] == 0


def test_a_smoke_test_that_fails_names_the_cell(command, tmp_path):
    plugin = tiny.write_plugin(tmp_path, "broken", in_step="raise ValueError('two\\nlines')")
    path = tiny.write_experiment(tmp_path, methods=["broken"])
    message = one_line_error(command("run", path, "--smoke", "--plugin", plugin))
    assert "Plugin with 2 labelled" in message and "ValueError: two lines" in message


@pytest.mark.slow
@pytest.mark.usefixtures("no_drawing")
def test_a_failed_trial_ends_in_exit_status_1_and_stays_until_it_is_rerun(command, tmp_path, no_ray):
    plugin = tiny.write_plugin(tmp_path, "broken", in_step="raise ValueError('two\\nlines')")
    path, folder = tiny.write_experiment(tmp_path, methods=["broken", "dtml"]), tmp_path / "results"
    run = ("run", path, "--results", folder, "--plugin", plugin)
    status, out, _ = command(*run)
    assert status == 1 and "failed: Plugin, 2 labelled, seed 7: ValueError: two lines" in out
    assert sorted(states(folder).values()) == ["done", "done", "done", "failed"], "one failure stops no other trial"
    assert any((folder / "report").iterdir())

    status, out, _ = command(*run)
    assert status == 0 and "0 to run" in out and "1 failed cells stay as they are" in out
    status, out, _ = command(*run, "--rerun", "stale")
    assert "0 to run" in out
    status, out, _ = command(*run, "--retry-failed")
    assert status == 1 and "1 to run" in out
    tiny.write_plugin(tmp_path, "broken")
    status, out, _ = command(*run, "--retry-failed")
    assert status == 0 and list(states(folder).values()) == ["done"] * 4


def test_a_diverged_trial_ends_in_exit_status_1(command, tmp_path, no_ray):
    plugin = tiny.write_plugin(tmp_path, "broken", in_step="total = total * float('nan')")
    path, folder = tiny.write_experiment(tmp_path, methods=["broken"], baseline=None), tmp_path / "results"
    status, out, _ = command("run", path, "--results", folder, "--plugin", plugin)
    assert status == 1 and "loss total is nan at step 0" in out
    assert list(states(folder).values()) == ["diverged"]
    status, out, _ = command("status", folder)
    assert status == 0 and "loss total is nan at step 0" in out and "0 of 1 cells done" in out


@pytest.mark.slow
@pytest.mark.usefixtures("no_drawing")
def test_a_stale_record_stays_until_it_is_rerun(command, tmp_path, no_ray):
    plugin = tiny.write_plugin(tmp_path, "changing")
    path, folder = tiny.write_experiment(tmp_path, methods=["changing"], baseline=None), tmp_path / "results"
    run = ("run", path, "--results", folder, "--plugin", plugin)
    command(*run)
    [weights] = folder.glob("records/*/weights.pt")
    before = weights.read_bytes()
    tiny.write_plugin(tmp_path, "changing", in_step="total = 3 * total")
    status, out, _ = command(*run)
    assert status == 0 and "1 stale" in out and "0 to run" in out and "source of the plug-in: changing.py" in out
    assert weights.read_bytes() == before
    status, out, _ = command(*run, "--rerun", "stale")
    assert status == 0 and "1 to run" in out and weights.read_bytes() != before
    assert "1 done; 0 to run" in command(*run)[1]


@pytest.mark.parametrize("name", ["status", "dry run"])
def test_brackets_in_reasons_and_names_are_text(command, tmp_path, no_ray, name):
    plugin = tiny.write_plugin(tmp_path, "broken", in_step="raise KeyError('[/b]')")
    method = {"name": "broken", "display": "Broken [red]"}
    path = tiny.write_experiment(tmp_path, methods=[method], baseline=None)
    run = ("run", path, "--results", tmp_path / "results", "--plugin", plugin)
    assert command(*run)[0] == 1
    status, out, _ = command("status", tmp_path / "results") if name == "status" else command(*run, "--dry-run")
    assert status == 0 and "[/b]" in out and "Broken [red]" in out


# Scoring again.

COUNTING = "open({path!r}, 'a').write('x')"
NOTHING = "return images * 0"
# Where a window begins decides what is predicted, so the stride does.
RAMP = "return images * 0 + __import__('torch').linspace(0, 1, images.shape[2]).view(1, 1, -1, 1, 1) ** 0.8"


def plug(folder, in_predict):
    """An experiment of one method that counts its steps in a file."""
    steps = folder / "steps"
    plugin = tiny.write_plugin(folder, "counting", COUNTING.format(path=str(steps)), in_predict)
    path = tiny.write_experiment(
        folder, methods=["counting"], baseline=None, plugins=[str(plugin)], data={"size": [24, 16, 16]}
    )
    return path, folder / "results", steps


def rows(folder, metric):
    [table] = folder.glob("records/*/cases.csv")
    with table.open() as file:
        return {row["value"] for row in csv.DictReader(file) if row["metric"] == metric and row["unit"] != "mm"}


@pytest.mark.slow
@pytest.mark.usefixtures("no_drawing")
def test_evaluate_scores_stored_weights_under_another_policy(command, tmp_path, no_ray):
    path, folder, steps = plug(tmp_path, NOTHING)
    command("run", path, "--results", folder)
    assert rows(folder, "dice") == {"0.0"} and rows(folder, "predicted") == {"0.0"}
    [worst] = rows(folder, "asd")
    assert float(worst) > 20
    [weights] = folder.glob("records/*/weights.pt")
    before = torch.load(weights, weights_only=True)
    history = weights.with_name("history.csv").read_text()
    trained = steps.read_text()
    assert len(trained) == tiny.VALUES["training"]["iterations"]

    status, out, _ = command("evaluate", folder, "--set", "evaluation.empty=exclude", "--trust")
    assert status == 0 and "1 of 1 cells to score again, none to train" in out
    assert rows(folder, "asd") == {""} and rows(folder, "dice") == {"0.0"}
    after = torch.load(weights, weights_only=True)
    assert before.keys() == after.keys() and all(torch.equal(before[key], after[key]) for key in before)
    assert weights.with_name("history.csv").read_text() == history
    assert steps.read_text() == trained, "nothing is trained"
    [record] = folder.glob("records/*/trial.yaml")
    assert yaml.safe_load(record.read_text())["evaluation"]["empty"] == "exclude"
    assert ResultsFolder(folder).read_plan().evaluation.empty == "exclude"
    assert "0 of 1 cells to score again" in command("evaluate", folder, "--trust")[1], (
        "the folder keeps its new evaluation"
    )
    status, out, _ = command("evaluate", folder, "--set", "evaluation.diverged=exclude", "--trust")
    assert status == 0 and "0 of 1 cells to score again" in out, "only the report chooses how diverged runs count"
    assert ResultsFolder(folder).read_plan().evaluation.diverged == "exclude"


@pytest.mark.slow
@pytest.mark.usefixtures("no_drawing")
def test_evaluate_follows_the_stride(command, tmp_path, no_ray):
    path, folder, steps = plug(tmp_path, RAMP)
    command("run", path, "--results", folder)
    before = rows(folder, "predicted")  # with and without the largest component alone
    assert command("evaluate", folder, "--set", "evaluation.stride=[4, 16, 16]", "--trust")[0] == 0
    assert "0.0" not in before and rows(folder, "predicted") != before
    assert command("evaluate", folder, "--set", "evaluation.stride=[16, 16, 16]", "--trust")[0] == 0
    assert rows(folder, "predicted") == before
    assert len(steps.read_text()) == tiny.VALUES["training"]["iterations"]


@pytest.mark.slow
@pytest.mark.usefixtures("no_drawing")
def test_running_under_another_evaluation_scores_again_without_training(command, tmp_path, no_ray):
    path, folder, steps = plug(tmp_path, NOTHING)
    command("run", path, "--results", folder)
    status, out, _ = command("run", path, "--results", folder, "--set", "evaluation.empty=exclude")
    assert status == 0 and "1 rescore; 1 to run" in out and rows(folder, "asd") == {""}
    assert len(steps.read_text()) == tiny.VALUES["training"]["iterations"]


@pytest.mark.slow
@pytest.mark.usefixtures("no_drawing")
@pytest.mark.parametrize("override", ["training.iterations=9", "evaluation={}", "seeds=[1]"])
def test_evaluate_refuses_what_would_need_training(command, tmp_path, no_ray, override):
    path, folder, _ = plug(tmp_path, NOTHING)
    command("run", path, "--results", folder)
    plan = (folder / "plan.json").read_text()
    message = one_line_error(command("evaluate", folder, "--set", override))
    assert f"--set {override}" in message and "evaluation." in message
    assert (folder / "plan.json").read_text() == plan


@pytest.mark.usefixtures("no_drawing")
def test_evaluate_refuses_a_wrong_value_before_it_touches_anything(command, tmp_path, no_ray):
    path, folder, _ = plug(tmp_path, NOTHING)
    command("run", path, "--results", folder)
    plan = (folder / "plan.json").read_text()
    assert "'evaluation.strid'" in one_line_error(command("evaluate", folder, "--set", "evaluation.strid=[4, 4, 4]"))
    assert "windows would leave gaps" in one_line_error(command("evaluate", folder, "--set", "evaluation.stride.0=17"))
    assert (folder / "plan.json").read_text() == plan
