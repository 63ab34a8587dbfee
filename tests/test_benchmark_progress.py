"""What a person sees while a run goes on, and right after it."""

import io
import sys
import threading
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
from helpers import tiny
from rich.console import Console

from benchmark.command_line import plan_steps, reporting, run_commands
from benchmark.command_line import progress as module
from benchmark.command_line.progress import ProgressView
from benchmark.planning import estimate
from benchmark.planning.plan import PlannedTrial
from benchmark.records.results_folder import ResultsFolder
from benchmark.trial.specification import Progress
from data.progress import announced, follow


@pytest.fixture
def clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


def view_of(trials, terminal=False):
    console = Console(file=io.StringIO(), width=80, height=40, force_terminal=terminal, color_system=None)
    return ProgressView([PlannedTrial(trial, "not run", "") for trial in trials], console), console


def sign(trial, stage, step, **more):
    return Progress(trial=trial.id, stage=stage, step=step, iterations=100, **more)


def test_what_is_left_is_estimated_from_the_work_of_this_run(clock):
    first, second = tiny.trials(tiny.experiment(methods=["vnet"], seeds=[1, 2], baseline=None))
    view, _ = view_of([first, second])
    assert view.overall() == "0 of 2 trials done, 0.0 s elapsed"
    view(sign(first, "training", 40))  # from a checkpoint: 60 steps are left of it, 100 of the second
    clock[0] = 40
    view(sign(first, "training", 80))
    assert view.overall() == "0 of 2 trials done, 25 % of the work, 40.0 s elapsed, at least 2 min left"
    clock[0] = 60
    view(sign(first, "done", 100))
    view(sign(second, "training", 0))
    assert view.overall() == "1 of 2 trials done, 37 % of the work, 1 min elapsed, about 2 min left"
    view(sign(second, "failed", 0))
    assert view.overall() == "1 of 2 trials done, 1 min elapsed"


def test_a_finished_trial_tells_how_long_the_others_take_with_testing_and_the_load_of_the_machine(clock):
    trials = tiny.trials(tiny.experiment(methods=["vnet"], seeds=[1, 2, 3, 4], baseline=None))
    view, _ = view_of(trials)
    view(sign(trials[0], "training", 0))
    clock[0] = 10
    view(sign(trials[0], "training", 100))
    assert view.overall().endswith("at least 30.0 s left"), "nothing is known of testing"
    clock[0] = 50
    view(sign(trials[0], "done", 100))
    assert view.overall().endswith("2 min left"), "three trials of 50 seconds"
    for trial in trials[1:3]:
        view(sign(trial, "training", 0))
    clock[0] = 70
    assert view.overall().endswith("about 55.0 s left"), "30, 30 and 50 seconds, two at a time"


def folder_with(facts):
    """A plan's trials, the first ones finished with these facts in their provenance."""
    trials = tiny.trials(tiny.experiment(methods=["vnet"], seeds=[1, 2, 3, 4], baseline=None))
    planned = [
        PlannedTrial(trial, "done" if place < len(facts) else "not run", "") for place, trial in enumerate(trials)
    ]
    known = dict(zip((trial.id for trial in trials), facts, strict=False))
    folder = SimpleNamespace(read_provenance=known.get)
    return SimpleNamespace(trials=planned, folder=folder, experiment=SimpleNamespace(execution=None)), trials[-1:]


@pytest.mark.parametrize(
    "facts, seconds, basis",
    [
        ([(60, 1), (90, 2), (90, 2)], 60, "1 finished trial of this folder"),
        ([(80, 2), (90, 2)], 85, "2 finished trials of this folder that ran side by side"),
        ([], 30, "one step of V-Net just now, with a load of 1.5 on "),
    ],
)
def test_an_estimate_says_what_was_timed_and_prefers_trials_that_ran_alone(monkeypatch, facts, seconds, basis):
    plan, left = folder_with([{"seconds_training": s, "trials_sharing_the_machine": n} for s, n in facts])
    monkeypatch.setattr(estimate, "smoke_test", lambda trial, execution: 30 / trial.training.iterations)
    monkeypatch.setattr(estimate.os, "getloadavg", lambda: (1.5, 0, 0))
    found = estimate.estimate_training(plan, left)
    assert found.seconds == pytest.approx(seconds) and found.basis.startswith(basis)


def test_plain_lines_have_the_dice_of_a_finished_trial(clock):
    (trial,) = tiny.trials(tiny.experiment(methods=["vnet"], baseline=None))
    view, console = view_of([trial])
    view(sign(trial, "training", 1, loss=0.5))
    view(sign(trial, "done", 100, dice=0.7123))
    lines = console.file.getvalue().splitlines()
    assert (
        lines[0] == "V-Net, 2 labelled, seed 7: training, step 1/100, loss 0.5000 (0 of 1 trials done, 0.0 s elapsed)"
    )
    assert lines[1].startswith("V-Net, 2 labelled, seed 7: done, step 100/100, Dice 71.23 (1 of 1 trials done")


def test_the_live_table_fits_into_80_columns_and_shows_dice(clock):
    trials = tiny.trials(tiny.experiment(methods=["vnet", "double_uncertainty"], seeds=[1, 1234], baseline=None))
    view, console = view_of(trials, terminal=True)
    for trial, stage in zip(trials, ("training", "testing 12/12", "done", "failed"), strict=True):
        view(sign(trial, stage, 100, loss=0.1234, dice=0.5 if stage == "done" else None, reason="x" * 200))
    console.print(view._table())
    shown = console.file.getvalue()
    assert max(map(len, shown.splitlines())) <= 80
    assert "0.1234" in shown and "50.00" in shown and "testing 12/12" in shown and "xx" not in shown


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_loop_shows_a_bar_on_a_terminal_and_nothing_elsewhere(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    for out, shown in ((io.StringIO(), False), (Terminal(), True)):
        monkeypatch.setattr(sys, "stdout", out)
        found = [(a, b) for a in follow([1, 2], "outer loop") for b in follow(iter([3]), "inner loop", total=1)]
        assert found == [(1, 3), (2, 3)]
        assert ("outer loop" in out.getvalue()) == shown and "inner loop" not in out.getvalue()


@pytest.mark.parametrize("waits, shown", [(True, "planning ...\n"), (False, "")])
def test_work_that_takes_two_seconds_is_named_also_outside_a_terminal(monkeypatch, waits, shown):
    class Timer(threading.Thread):
        def __init__(self, seconds, say):
            assert seconds == 2
            super().__init__(target=say if waits else lambda: None)
            self.cancel = lambda: None

    monkeypatch.setattr(threading, "Timer", Timer)
    out = io.StringIO()
    with announced("planning", Console(file=out)):
        for thread in threading.enumerate():
            if isinstance(thread, Timer):
                thread.join()
    assert out.getvalue() == shown


def test_a_run_names_each_part_of_its_preparation(monkeypatch, tmp_path):
    named = []

    @contextmanager
    def noted(what, console):
        named.append(what)
        yield

    for place in (run_commands, plan_steps, reporting):
        monkeypatch.setattr(place, "announced", noted)
    # The module itself would import Ray, and other tests of this process must decide its authentication first.
    monkeypatch.setitem(sys.modules, "benchmark.cluster.scheduler", SimpleNamespace(run_trials=lambda *args: True))
    experiment = tiny.experiment(methods=["vnet"], baseline=None)
    run_commands.run(experiment, ResultsFolder(tmp_path / "r"), set(), "local", Console(file=io.StringIO()))
    assert [what.split()[0] for what in named] == ["preparing", "loading", "scoring", "loading", "writing"]


def test_the_bar_of_a_loop_that_raises_goes_away(monkeypatch):
    monkeypatch.setattr(sys, "stdout", Terminal())
    for _ in range(2):
        with pytest.raises(ValueError, match="no"):
            for _ in follow([1], "a loop"):
                raise ValueError("no")
    assert list(follow([1], "another")) == [1]
