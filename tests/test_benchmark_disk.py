"""A disk that is full or read-only, wherever it shows: one line, nothing lost, and the same command goes on.

Further: `test_records_folder.py` (a folder that cannot be made, a write that stops half-way, publishing that
stops at any rename), `test_bad_input.py` (plans and records that cannot be read).
"""

import errno
import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from filelock import FileLock
from helpers import clusters, tiny
from helpers.command_line import one_line_error

from benchmark.command_line import run_commands
from benchmark.planning.experiment_file import load_experiment
from benchmark.records.models import FORMAT, READABLE
from benchmark.trial.loggers import tensorboard

TWO = {"methods": ["vnet"], "baseline": None, "seeds": [7, 8],
       "execution": tiny.VALUES["execution"] | {"checkpoint_iterations": 1, "tensorboard": False}}  # fmt: skip


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """A results folder with both trials done."""
    folder = tmp_path_factory.mktemp("undisturbed")
    return tiny.finish(load_experiment(tiny.write_experiment(folder, **TWO)), folder / "results")


@pytest.fixture
def second(undisturbed):
    """The trial that runs last."""
    return json.loads((undisturbed / "plan.json").read_text())["cells"][1]["trial"]


@pytest.fixture
def no_report(monkeypatch):
    """Drawing takes seconds, and only one test is about it."""
    monkeypatch.setattr(run_commands, "show_report", lambda console, *folders, **options: None)


def failing(patch, owner, name, word, error):
    """From now on owner.name raises where one of its arguments has `word` in it."""
    original = getattr(owner, name)

    def call(*arguments, **options):
        if any(word in str(argument) for argument in arguments if isinstance(argument, str | Path)):
            raise error
        return original(*arguments, **options)

    patch.setattr(owner, name, call)


def torch_says(number):
    """What torch.save makes of it."""
    said = f"open file failed with strerror: {os.strerror(number)}" if number == errno.EROFS else "unexpected pos 576"
    return RuntimeError(f"[enforce fail at inline_container.cc:672] . {said}")


def the_system_says(number):
    return OSError(number, os.strerror(number))


# Where it shows: what raises, at which file (TRIAL: only of the trial that runs last), and how.
PLACES = {
    "the plan": (Path, "write_text", ".plan.json", the_system_says),
    "the experiment": (Path, "write_text", ".experiment.yaml", the_system_says),
    "a trial's folder": (Path, "mkdir", "running/TRIAL", the_system_says),
    "the first checkpoint": (torch, "save", "TRIAL/.checkpoint-00000001.pt", torch_says),
    "a later checkpoint": (torch, "save", "TRIAL/.checkpoint-00000003.pt", torch_says),
    "predictions": (np, "savez_compressed", "TRIAL/record/predictions/", the_system_says),
    "cases.csv": (Path, "write_text", "TRIAL/record/cases.csv", the_system_says),
    "weights": (torch, "save", "TRIAL/record/weights.pt", torch_says),
    "trial.yaml": (Path, "write_text", "TRIAL/record/.trial.yaml", the_system_says),
    "flushing a record": (os, "open", "TRIAL/record", the_system_says),
    "moving a record": (Path, "rename", "records/TRIAL", the_system_says),
}


READ_ONLY = ("the plan", "the first checkpoint", "moving a record")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("place", "number"),
    [*((place, errno.ENOSPC) for place in PLACES), *((place, errno.EROFS) for place in READ_ONLY)],
    ids=[*(f"{place}, full" for place in PLACES), *(f"{place}, read-only" for place in READ_ONLY)],
)
def test_a_run_stops_with_one_line_and_goes_on_to_the_same_records(
    command, tmp_path, no_ray, no_report, undisturbed, second, place, number
):
    run = ("run", tiny.write_experiment(tmp_path, **TWO), "--results", tmp_path / "results")
    owner, name, word, says = PLACES[place]
    with pytest.MonkeyPatch.context() as patch:
        failing(patch, owner, name, word.replace("TRIAL", second), says(number))
        message = one_line_error(command(*run))
    assert str(tmp_path / "results") in message and os.strerror(number) in message, message
    assert "make room or make it writable, then run the same command again" in message
    done = clusters.states(tmp_path / "results")
    assert second not in done, "no trial failed for it"
    if "TRIAL" in word:
        assert set(done.values()) == {"done"} and len(done) == 1, "what was done stays"
    status, out, _ = command(*run)
    assert status == 0, out
    assert clusters.differences(tmp_path / "results", undisturbed) == []
    if place in ("a later checkpoint", "predictions", "weights", "moving a record"):
        facts = json.loads((tmp_path / "results" / "records" / second / "provenance.json").read_text())
        assert facts["resumed_at_step"] >= 2 or place == "moving a record", "checkpoints stayed"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS], ids=["full", "read-only"])
def test_a_folder_that_cannot_be_made_is_one_line(command, tmp_path, monkeypatch, number):
    failing(monkeypatch, Path, "mkdir", "results/cases", the_system_says(number))
    path = tiny.write_experiment(tmp_path, **TWO)
    message = one_line_error(command("run", path, "--results", tmp_path / "results"))
    assert f"results folder {tmp_path / 'results'} cannot be written ({os.strerror(number)}): choose another" in message


def test_a_report_that_cannot_be_written_costs_no_record(command, tmp_path, undisturbed, monkeypatch):
    folder = shutil.copytree(undisturbed, tmp_path / "results")
    tiny.draw_nothing(monkeypatch)
    failing(monkeypatch, Path, "write_text", "report/", the_system_says(errno.ENOSPC))
    message = one_line_error(command("report", folder))
    assert f"{folder / 'report'} cannot be written" in message and "No space left on device" in message
    assert "records are complete. Make room" in message and clusters.differences(folder, undisturbed) == []


@pytest.mark.parametrize("broken", ["the folder", "a curve", "the end"])
def test_curves_and_heartbeats_that_cannot_be_written_cost_nothing(
    command, tmp_path, no_ray, no_report, undisturbed, monkeypatch, broken
):
    def full(*arguments, **options):
        raise the_system_says(errno.ENOSPC)

    place = {"the folder": "__init__", "a curve": "add_scalar", "the end": "close"}[broken]
    monkeypatch.setattr(tensorboard.SummaryWriter, place, full)
    failing(monkeypatch, Path, "write_text", "heartbeat.partial", the_system_says(errno.ENOSPC))
    execution = TWO["execution"] | {"tensorboard": True}
    path = tiny.write_experiment(tmp_path, **TWO | {"execution": execution})
    status, out, _ = command("run", path, "--results", tmp_path / "results")
    assert status == 0, out
    assert clusters.differences(tmp_path / "results", undisturbed) == []


@pytest.fixture
def small_disk(tmp_path):
    """(folder, grow): a file system of a megabyte, and what makes it larger."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    if mount is None or subprocess.run([mount, "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder]).returncode:
        pytest.skip("file systems may not be mounted here")
    yield folder, lambda: subprocess.run([mount, "-o", "remount,size=64m", folder], check=True)
    subprocess.run(["umount", "--lazy", folder], check=True)


def test_a_disk_that_is_really_full(command, tmp_path, no_ray, no_report, undisturbed, small_disk):
    folder, grow = small_disk
    run = ("run", tiny.write_experiment(tmp_path, **TWO), "--results", folder / "results")
    (folder / "fill").write_bytes(bytes(2**20 - 2**16))
    message = one_line_error(command(*run))
    assert "No space left on device" in message and "make room" in message
    assert not clusters.states(folder / "results")
    grow()
    status, out, _ = command(*run)
    assert status == 0, out
    assert clusters.differences(folder / "results", undisturbed) == []


def test_a_file_system_without_locks_is_one_line(command, tmp_path, monkeypatch):
    def acquire(lock):
        raise the_system_says(errno.ENOLCK)

    monkeypatch.setattr(FileLock, "_acquire", acquire)
    path = tiny.write_experiment(tmp_path, **TWO)
    message = one_line_error(command("run", path, "--results", tmp_path / "results"))
    assert f"{tmp_path / 'results'} cannot be locked (No locks available): choose a folder" in message


def test_what_a_process_killed_as_it_published_leaves_is_cleared(command, tmp_path, no_report, undisturbed, second):
    folder = shutil.copytree(undisturbed, tmp_path / "results")
    left = folder / "running" / second / "checkpoint-00000003.pt"
    left.parent.mkdir()
    left.write_bytes(b"much")
    status, out, _ = command("run", tiny.write_experiment(tmp_path, **TWO), "--results", folder)
    assert status == 0 and "2 done; 0 to run" in out
    assert not left.parent.exists() and clusters.differences(folder, undisturbed) == []


# Folders of other versions.


def of_format(number, folder, what):
    for path in [folder / "plan.json"] if what == "plan" else folder.glob("records/*/trial.yaml"):
        content = yaml.safe_load(path.read_text()) | {"format": number}
        path.write_text(json.dumps(content) if what == "plan" else yaml.safe_dump(content, sort_keys=False))


@pytest.mark.parametrize("number", [min(READABLE) - 1, FORMAT + 1], ids=["older", "newer"])
@pytest.mark.parametrize(
    ("what", "line"),
    # of a record, `report` and `status` say it in its row
    [*(("plan", line) for line in ("run", "dry-run", "evaluate", "report", "status")),
     *(("record", line) for line in ("run", "dry-run", "evaluate"))],
)  # fmt: skip
def test_a_folder_of_another_version_is_left_alone(command, tmp_path, undisturbed, no_ray, what, number, line):
    folder = shutil.copytree(undisturbed, tmp_path / "results")
    of_format(number, folder, what)
    before = contents(folder)
    run = ("run", tiny.write_experiment(tmp_path, **TWO), "--results", folder)
    arguments = {"run": run, "dry-run": (*run, "--dry-run")}.get(line, (line, folder))
    message = one_line_error(command(*arguments))
    assert (
        str(folder) in message and "of format" in message and "use the version of the harness that wrote it" in message
    )
    assert contents(folder) == before


def contents(folder):
    """All but locks, which come and go."""
    files = [path for path in folder.rglob("*") if path.is_file() and "running" not in path.parts]
    return {path: path.read_bytes() for path in files}
