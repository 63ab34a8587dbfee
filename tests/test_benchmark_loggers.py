"""Loggers get the stream of a trial in a process of their own, whose faults cost the trial nothing."""

import importlib.machinery
import importlib.util
import json
import os
import re
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from helpers import clusters, tiny
from helpers.command_line import one_line_error

from benchmark.trial.loggers import process
from benchmark.trial.loggers.process import LoggerProcess
from benchmark.trial.loggers.protocol import Run

# Writes what it hears. IN_START, IN_SCALARS: what fails.
LOGGER = """
import json
import pathlib
import time


class Logger:
    def start(self, run):
        self.file = pathlib.Path({to!r}).open("a")
        {in_start}
        self._say("start", run.trial, run.project, run.settings, run.first_step)

    def scalars(self, step, values):
        {in_scalars}
        self._say("scalars", step, values)

    def image(self, step, name, picture):
        self._say("image", step, name, [str(picture.dtype), *picture.shape])

    def end(self, step, results):
        self._say("end", step, results)

    def _say(self, *what):
        self.file.write(json.dumps(what) + "\\n")
        self.file.flush()
"""
SHORT = Run("trial", "tiny", "/nowhere")


def write_logger(folder, in_start="pass", in_scalars="pass", text=LOGGER):
    """A logger, and the file that it writes."""
    path, heard = folder / "mine.py", folder / "heard.jsonl"
    path.write_text(text.format(to=str(heard), in_start=in_start, in_scalars=in_scalars))
    return path, heard


def calls(heard):
    return [json.loads(line) for line in heard.read_text().splitlines()]


def trained(folder, **execution):
    trial, planned = tiny.one_trial("mean_teacher", execution=execution)
    results = tiny.new_results(folder)
    return trial, results, tiny.run(trial, results, planned)[-1]


def test_a_file_of_the_user_gets_the_whole_stream(tmp_path):
    path, heard = write_logger(tmp_path)
    trial, _, last = trained(tmp_path / "results", log_to=[str(path)])
    assert (last.stage, last.notes, last.process_changed) == ("done", [], False)
    first, *between, end = calls(heard)
    assert first[:3] == ["start", trial.id, "results"] and first[4] == 0
    assert first[3]["method"] == "Mean Teacher" and first[3]["ema_decay"] == 0.99
    steps = [call for call in between if call[0] == "scalars"]
    assert [step for _, step, _ in steps] == [0, 1, 2]
    assert steps[2][2].keys() >= {"total", "supervised", "learning_rate_factor", "logged/ema_decay"}
    images = [
        (step, name.partition("/")[0], kind) for call, step, name, kind in (c for c in between if c[0] == "image")
    ]
    training = "training, label orange, prediction blue"
    assert [(step, name) for step, name, _ in images[:-1]] == [(step, training) for step in (0, 1, 2, 3)]
    assert images[-1][:2] == (3, "truth orange, prediction blue")
    assert all(kind[0] == "uint8" and kind[3] == 3 and min(kind[1:3]) >= 256 for _, _, kind in images)
    assert end[:2] == ["end", 3] and end[2].keys() == {"test dice", "test jaccard"}
    order = [step for call, step, *_ in between]
    assert order == sorted(order), "Weights & Biases takes no earlier step afterwards"


FAULTS = {
    "raises": ({"in_scalars": "raise ConnectionError('no network')"}, "ConnectionError: no network"),
    "raises at its start": ({"in_start": "raise OSError('disk')"}, "OSError: disk"),
    "dies": ({"in_scalars": "__import__('os')._exit(7)"}, "its process ended with status 7"),
    "hangs": ({"in_start": "time.sleep(600)"}, "it did not end within 1 s, and what was on its way is lost"),
    "has no class": ({"text": "x = 1"}, "has no attribute 'Logger'"),
    "cannot be imported": ({"text": "import no_such_module"}, "No module named 'no_such_module'"),
}


@pytest.mark.slow
def test_faults_of_a_logger_cost_the_trial_nothing(tmp_path, monkeypatch):
    _, expected, _ = trained(tmp_path / "expected", tensorboard=False)
    for name, (how, reason) in FAULTS.items():
        monkeypatch.setattr(process, "SECONDS_TO_END", 1.0 if name == "hangs" else 120.0)
        folder = tmp_path / name
        folder.mkdir()
        path, _ = write_logger(folder, **how)
        _, results, last = trained(folder / "results", log_to=[str(path)])
        assert last.stage == "done" and not last.process_changed
        [note] = last.notes
        assert note.startswith(f"log_to {path}: ") and reason in note and note.endswith("; the trial is not affected")
        assert clusters.differences(results.folder, expected.folder) == []


def test_a_logger_that_is_too_slow_leaves_messages_out(tmp_path, monkeypatch):
    monkeypatch.setattr(process, "MOST_WAITING", 3)
    go = tmp_path / "go"
    path, heard = write_logger(tmp_path, in_start=f"while not pathlib.Path({str(go)!r}).exists(): time.sleep(0.01)")
    logger = LoggerProcess(str(path), seconds_to_end=60)
    logger.start(SHORT)
    picture = np.zeros((512, 512, 3), np.uint8)  # larger than a pipe
    for step in range(9):
        logger.image(step, "large", picture)
    go.touch()
    while not logger._messages.empty():
        time.sleep(0.01)
    logger.end(9, {})
    logger.wait()
    found = calls(heard)
    assert found[-1][0] == "end"
    assert f"it was too slow, so {9 - (len(found) - 2)} messages were left out" in logger.problem


def test_the_logger_of_the_guide_runs(tmp_path):
    guide = Path(__file__).parents[1] / "docs" / "guides" / "logging.md"
    path = tmp_path / "guide.py"
    path.write_text(re.search(r"```python\n(from pathlib .*?)```", guide.read_text(), re.DOTALL)[1])
    logger = LoggerProcess(str(path))
    logger.start(Run("trial", "tiny", str(tmp_path)))
    logger.scalars(0, {"learning_rate_factor": 1.0})
    logger.image(1, "picture", np.zeros((4, 4, 3), np.uint8))
    logger.end(1, {"test dice": 0.5})
    logger.wait()
    assert not logger.problem and (tmp_path / "trial.txt").read_text() == "0 1.0\n{'test dice': 0.5}\n"


def test_a_logger_whose_trial_is_killed_ends(tmp_path):
    path, heard = write_logger(tmp_path)
    logger = LoggerProcess(str(path))
    logger.start(SHORT)
    logger.scalars(4, {"total": 1.0})
    while not heard.exists() or len(calls(heard)) < 2:
        time.sleep(0.01)
    logger._process.stdin.close()
    assert logger._process.wait(60) == 0 and calls(heard)[-1] == ["end", 4, {}]


def test_only_a_training_opens_a_run(command, tmp_path, no_ray, no_drawing):
    path, heard = write_logger(tmp_path)
    experiment = tiny.write_experiment(tmp_path, methods=["vnet"], baseline=None, execution={"log_to": ["mine.py"]})
    run = ("run", experiment, "--results", tmp_path / "results")
    assert command(*run)[0] == 0 and [call[0] for call in calls(heard)].count("start") == 1
    assert command("evaluate", tmp_path / "results", "--set", "evaluation.stride=[8,8,8]", "--trust")[0] == 0
    assert command(*run)[0] == 0
    assert [call[0] for call in calls(heard)].count("start") == 1


@pytest.mark.parametrize("name", ["run", "evaluate"])
def test_a_logger_of_a_results_folder_runs_only_if_it_is_trusted(command, tmp_path, name):
    path, heard = write_logger(tmp_path)
    experiment = tiny.experiment(methods=["vnet"], baseline=None, execution={"log_to": [str(path)]})
    folder = tiny.finish(experiment.model_copy(update={"execution": tiny.experiment().execution}), tmp_path / "results")
    stored = yaml.safe_load((folder / "experiment.yaml").read_text())
    stored["execution"]["log_to"] = [str(path)]
    (folder / "experiment.yaml").write_text(yaml.safe_dump(stored))
    arguments = {
        "run": ("run", folder / "experiment.yaml", "--results", tmp_path / "other"),
        "evaluate": (name, folder),
    }
    message = one_line_error(command(*arguments[name]))
    assert f"asks to run {path} (execution.log_to)" in message and "--trust" in message and not heard.exists()


@pytest.mark.parametrize(
    ("log_to", "reason"),
    [
        (["wandb"], "execution.log_to: wandb is not installed: pip install '.[wandb]', or leave wandb out"),
        (["mlflow"], "execution.log_to: mlflow is not installed: pip install '.[mlflow]', or leave mlflow out"),
        (["absent.py"], "absent.py: give the path of a Python file"),
        (["comet"], "must be wandb, mlflow, or a Python file with a class Logger, got 'comet'"),
    ],
)
@pytest.mark.parametrize("option", [(), ("--dry-run",)])
def test_what_cannot_be_used_is_refused_in_the_plan(command, tmp_path, monkeypatch, log_to, reason, option):
    of_a_folder = importlib.machinery.ModuleSpec("wandb", None)  # a folder of that name, as wandb makes one
    found, find = {"wandb": of_a_folder, "mlflow": None}, importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: found.get(name, find(name, *more)))
    path = tiny.write_experiment(tmp_path, execution={"log_to": log_to})
    assert reason in one_line_error(command("run", path, "--results", tmp_path / "results", *option))
    assert not (tmp_path / "results").exists()


@pytest.mark.slow
def test_weights_and_biases_offline(tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    trial, results, last = trained(tmp_path / "results", log_to=["wandb"], tensorboard=False)
    assert (last.stage, last.notes, last.process_changed) == ("done", [], False)
    assert not [name for name in os.environ if name.startswith("WANDB_") and name != "WANDB_MODE"]
    [run] = (results.folder / "wandb").glob("offline-run-*/run-*.wandb")
    content = run.read_bytes()
    for text in (trial.id, "results", "logged/ema_decay", "test dice", "ema_decay"):
        assert text.encode() in content
    assert len(list(run.parent.rglob("*.png"))) == 5


@pytest.mark.slow
def test_mlflow_in_a_folder(tmp_path, monkeypatch):
    pytest.importorskip("mlflow")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    trial, results, last = trained(tmp_path / "results", log_to=["mlflow"], tensorboard=False)
    assert (last.stage, last.notes, last.process_changed) == ("done", [], False)
    [name] = (results.folder / "mlruns").glob("*/*/tags/mlflow.runName")
    run = name.parents[1]
    assert name.read_text() == trial.id
    assert [line.split()[2] for line in (run / "metrics" / "total").read_text().splitlines()] == ["0", "1", "2"]
    assert (run / "metrics" / "logged" / "ema_decay").exists() and (run / "params" / "ema_decay").read_text() == "0.99"
    assert (run / "metrics" / "test dice").read_text().split()[2] == "3"
    assert len(list((run / "artifacts" / "images").glob("*.png"))) == 5
