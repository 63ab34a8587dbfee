"""A trial that makes no progress is named, with where it stands; so is one that the run hears nothing of."""

import sys
import threading
import time
import types
from unittest.mock import Mock

import pytest
from helpers import tiny

from benchmark.records.states import cell_state
from benchmark.trial import watch as module
from benchmark.trial.specification import Progress
from benchmark.trial.watch import SilentTrials, Watch
from methods.shared import registry

SHORT = 0.05  # seconds of patience; nothing is measured
WAITING = "__import__('tests_of_watch').released.wait()"


@pytest.fixture
def released(monkeypatch):
    """A method hangs until this event is set, and it is set when the trial's own heartbeat names the place."""
    fake = types.ModuleType("tests_of_watch")
    fake.released = threading.Event()
    monkeypatch.setitem(sys.modules, "tests_of_watch", fake)
    yield fake.released
    fake.released.set()


def release_when_said(results, trial, released, found):
    """Looks at the heartbeat, as `status` would, until it says where the trial stands; then the trial may go on."""
    while not released.is_set():
        beat = results.heartbeat(trial.id) if (results.running(trial.id) / "heartbeat.json").exists() else None
        if beat is not None and "threading.py" in getattr(beat, "stands", ""):  # not in a step that is only slow
            found += [beat, cell_state(results, trial.id, trial.wanted)]
            released.set()
        time.sleep(SHORT / 5)


@pytest.mark.parametrize(
    ("faults", "stage", "step", "function"),
    [
        ({"in_step": f"{WAITING} if step == 2 else None"}, "training", 2, "training_step"),
        ({"in_predict": f"{WAITING}; return self.network(images).logits.sigmoid()"}, "testing 1/1", 3, "predict"),
    ],
)
def test_a_method_that_hangs_is_named_with_its_line(
    own_registry, tmp_path, monkeypatch, released, faults, stage, step, function
):
    monkeypatch.setattr(module, "PATIENCE", SHORT)
    monkeypatch.setattr("benchmark.trial.run.REPORT_SECONDS", 0.0)
    path = tiny.write_plugin(tmp_path, "hanging", **faults)
    registry.load_plugin(path)
    # Without TensorBoard, for whose pictures the method predicts before the first step.
    trial, planned = tiny.one_trial("hanging", plugins=[str(path)], baseline=None, execution={"tensorboard": False})
    results, found = tiny.new_results(tmp_path / "results"), []
    looking = threading.Thread(target=release_when_said, args=(results, trial, released, found))
    looking.start()
    try:
        assert tiny.run(trial, results, planned)[-1].stage == "done"
    finally:
        released.set()
        looking.join()
    beat, state = found
    text = path.read_text()
    line = 1 + text[: text.index(WAITING)].count("\n")
    assert beat.step == step and beat.stands.startswith(f"no progress for over {SHORT:g} s: it stands at ")
    assert f"{path}:{line} ({function}), in " in beat.stands and "threading.py" in beat.stands
    assert state.state == "running" and state.reason.startswith(f"{stage}: no progress for over")


def one(tmp_path):
    trial, _ = tiny.one_trial("vnet")
    return trial, tiny.new_results(tmp_path)


def sign(trial, step):
    return Progress(trial=trial.id, stage="training", step=step, iterations=9)


def test_a_trial_that_nobody_asks_for_the_next_step_does_not_hang(tmp_path, monkeypatch):
    trial, results = one(tmp_path)
    said = threading.Event()
    monkeypatch.setattr(type(results), "write_heartbeat", lambda *arguments: said.set())

    def signs():
        yield sign(trial, 1)
        return sign(trial, 2)

    watched = Watch(results, trial, SHORT).watched(signs())
    next(watched)
    assert not said.wait(10 * SHORT)
    watched.close()


def test_small_progress_is_progress(tmp_path, monkeypatch):
    trial, results = one(tmp_path)
    said = []
    monkeypatch.setattr(type(results), "write_heartbeat", lambda *arguments: said.append(arguments))
    watch = Watch(results, trial, 20 * SHORT)

    def signs():
        for _ in range(100):
            time.sleep(SHORT / 2)
            watch.alive()
        yield sign(trial, 1)
        return sign(trial, 2)

    assert [found.step for found in watch.watched(signs())] == [1] and not said


def test_a_watched_trial_ends_as_one_that_nobody_watches(tmp_path):
    trial, results = one(tmp_path)
    closed = []

    def signs(error=None):
        try:
            yield sign(trial, 1)
            if error:
                raise error
            return sign(trial, 2)
        finally:
            closed.append(True)

    def last_of(watched):
        def outer():
            found.append((yield from watched))

        return list(outer())

    found = []
    assert [s.step for s in last_of(Watch(results, trial, SHORT).watched(signs()))] == [1] and found[0].step == 2
    with pytest.raises(OSError, match="disk"):
        last_of(Watch(results, trial, SHORT).watched(signs(OSError("disk"))))
    watched = Watch(results, trial, SHORT).watched(signs())
    next(watched)
    watched.close()
    assert closed == [True] * 3
    names = [thread.name for thread in threading.enumerate()]
    for thread in threading.enumerate():
        if thread.name == "watch":
            thread.join(10)
    assert "watch" not in [thread.name for thread in threading.enumerate()], names


# What the run says.


@pytest.fixture
def silent(tmp_path, monkeypatch):
    """(trial, results, what is silent, a clock that the test sets)."""
    trial, results = one(tmp_path)
    clock = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: clock[0])
    trials = SilentTrials(results, patience=60)
    trials.heard(trial.id)
    return trial, results, trials, clock


def notes(trials):
    return [note for progress in trials.news() for note in progress.notes]


def test_a_silent_trial_is_named_once(silent):
    trial, results, trials, clock = silent
    assert notes(trials) == []
    clock[0] = 59
    assert notes(trials) == []
    clock[0] = 71
    assert notes(trials) == ["no sign of life for over 60 s"]
    clock[0] = 1000
    assert notes(trials) == []
    trials.heard(trial.id)
    clock[0] = 2000
    assert notes(trials) == ["no sign of life for over 60 s"]


def test_what_the_silent_trial_says_of_itself_is_passed_on(silent):
    trial, results, trials, clock = silent
    results.running(trial.id).mkdir(parents=True)
    results.write_heartbeat(trial.id, sign(trial, 5).model_dump())
    clock[0] = 71
    assert notes(trials) == ["step 5 of 9: no sign of life for over 60 s"]
    stands = {"stage": "training: it stands at mine.py:3", "stands": "it stands at mine.py:3"}
    results.write_heartbeat(trial.id, sign(trial, 5).model_dump() | stands)
    clock[0] = 90
    [progress] = trials.news()
    assert (progress.stage, progress.notes) == ("training", ["step 5 of 9: it stands at mine.py:3"])


def test_a_trial_that_has_ended_is_not_silent(silent):
    trial, results, trials, clock = silent
    trials.ended(trial.id)
    clock[0] = 1000
    assert notes(trials) == []


def test_a_damaged_heartbeat_is_no_news(silent):
    trial, results, trials, clock = silent
    results.running(trial.id).mkdir(parents=True)
    (results.running(trial.id) / "heartbeat.json").write_text("{")
    clock[0] = 71
    assert notes(trials) == ["no sign of life for over 60 s"]


def test_the_run_prints_it(silent, capsys):
    from rich.console import Console

    from benchmark.cluster import scheduler
    from benchmark.command_line.progress import ProgressView
    from benchmark.planning.plan import PlannedTrial

    trial, results, _, clock = silent
    view = ProgressView([PlannedTrial(trial, "not run", "")], Console(width=1000))
    run = Mock(on_progress=view, silent=module.SilentTrials(results))
    scheduler._Run.on_trial_start(run, 1, [], type("Started", (), {"config": {"trial": trial.id}})())
    clock[0] = 100
    scheduler._Run.on_step_end(run, 1, [])
    assert "2 labelled, seed 7: no sign of life for over 80 s\n" in capsys.readouterr().out


def test_a_plug_in_is_named_by_the_file_that_the_user_knows(tmp_path):
    copy = tmp_path / "copy.py"
    copy.write_text("import sys\ndef step():\n    return sys._getframe()\n")
    names = {}
    exec(compile(copy.read_text(), copy, "exec"), names)  # noqa: S102
    place = module.place_of(names["step"](), copy, "/home/me/mine.py")
    assert place == "/home/me/mine.py:3 (step)"
