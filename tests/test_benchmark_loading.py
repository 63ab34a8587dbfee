"""Data workers that lack shared memory, die or hang: the training never waits for ever, and its numbers stay."""

import json
import multiprocessing
import os
import signal
import time

import numpy as np
import pytest
import torch
from helpers import tiny
from test_benchmark_trial import assert_same, outcome

from benchmark.trial import loading
from benchmark.trial.loading import batches
from benchmark.trial.run import run_trial
from data.batches import PatchStream

STEPS = range(2, 12)
SMALL = 0.5  # seconds of silence that these tests wait for; nothing is measured


class Stream:
    """Batches of 4 KiB that say which step they are of; `before` is done first, in the process that prepares them."""

    labelled_patches, unlabelled_patches, patch = 1, 1, (8, 8, 8)

    def __init__(self, before=lambda step: None):
        self._before = before
        self._main = os.getpid()

    def __getitem__(self, step):
        if os.getpid() != self._main:
            self._before(step)
        return {"labelled_images": np.full((2, 1, 8, 8, 8), step, np.float32), "step": np.array(step)}


def steps_of(stream, workers, **more):
    """The steps that came, and what was said."""
    said = []
    found = [int(batch["step"]) for batch in batches(stream, STEPS, workers, False, said.append, **more)]
    return found, said


@pytest.fixture
def at_once(tmp_path):
    """at_once(name) is true the first time that any process asks."""

    def ask(name):
        try:
            (tmp_path / name).touch(exist_ok=False)
        except FileExistsError:
            return False
        return True

    return ask


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_batches_come_in_order_and_nothing_is_said(workers):
    assert steps_of(Stream(), workers) == (list(STEPS), [])


def test_a_batch_is_tensors_whoever_prepares_it():
    for workers in (0, 1):
        batch = next(iter(batches(Stream(), STEPS, workers, False, print)))
        assert batch["labelled_images"].dtype == torch.float32 and batch["labelled_images"].shape == (2, 1, 8, 8, 8)


# Shared memory.

BATCH = 2 * 512 * 4 + 8


@pytest.mark.parametrize(
    ("workers", "sharing", "free", "expected"),
    [
        (2, 1, 10 * BATCH, (2, 4)),
        (2, 1, 9 * BATCH, (2, 2)),
        (2, 1, 4 * BATCH, (2, 1)),
        (2, 1, 3 * BATCH, (1, 1)),
        (2, 1, 2 * BATCH, (0, 4)),
        (1, 1, 6 * BATCH, (1, 4)),
        (1, 2, 6 * BATCH, (1, 1)),
        (1, 4, 6 * BATCH, (0, 4)),
        (3, 1, 0, (0, 4)),
        (3, 1, None, (3, 4)),
        (0, 1, 0, (0, 4)),
    ],
)
def test_as_many_batches_are_prepared_ahead_as_shared_memory_holds(monkeypatch, workers, sharing, free, expected):
    monkeypatch.setattr(loading, "free_shared_memory", lambda: free)
    said = []
    assert loading._fitting(Stream(), STEPS, workers, sharing, said.append) == expected
    assert len(said) == (expected != (workers, 4)) and "\n" not in "".join(said)


def test_too_little_shared_memory_is_said_and_changes_no_batch(monkeypatch):
    monkeypatch.setattr(loading, "free_shared_memory", lambda: 2 * BATCH)
    found, [said] = steps_of(Stream(), 2)
    assert found == list(STEPS)
    assert said.startswith("/dev/shm has 0 MiB left, too little for batches of ") and "docker run --shm-size" in said


def test_where_shared_memory_is_plenty_no_batch_is_computed_to_measure_it(monkeypatch):
    class Unused(Stream):
        def __getitem__(self, step):
            raise AssertionError("computed")

    monkeypatch.setattr(loading, "free_shared_memory", lambda: 2**34)
    assert loading._fitting(Unused(), STEPS, 2, 1, print) == (2, 4)


def test_what_the_system_says_of_shared_memory(monkeypatch, tmp_path):
    assert loading.free_shared_memory() > 0
    monkeypatch.setattr(loading, "SHARED_MEMORY", str(tmp_path / "missing"))
    assert loading.free_shared_memory() == 0
    monkeypatch.setattr(loading.sys, "platform", "darwin")
    assert loading.free_shared_memory() is None


def test_without_processes_batches_are_prepared_here(monkeypatch):
    def no_process(*arguments, **options):
        raise OSError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(loading.DataLoader, "__iter__", no_process)
    found, [said] = steps_of(Stream(), 2)
    assert found == list(STEPS) and "no data worker can be started ([Errno 11]" in said


# Workers that die or hang.


def kill(step):
    os.kill(os.getpid(), signal.SIGKILL)


def bus_error(step):  # as where /dev/shm is full
    os.kill(os.getpid(), signal.SIGBUS)


def leave(step):
    os._exit(0)


def stop(step):
    os.kill(os.getpid(), signal.SIGSTOP)


def sleep(step):
    time.sleep(3600)


def ignore_the_end(step):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(3600)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("death", [kill, bus_error, leave])
def test_a_worker_that_dies_is_replaced(at_once, death, workers):
    found, said = steps_of(Stream(lambda step: step == 5 and at_once("death") and death(step)), workers, silence=60)
    assert found == list(STEPS)
    assert len(said) == 1 and "died, perhaps for lack of memory; new ones are started" in said[0], said
    assert "data worker" in said[0] and "(process " in said[0]


@pytest.mark.slow
@pytest.mark.parametrize("death", [kill, leave])
def test_workers_that_die_again_and_again_are_done_without(death):
    found, said = steps_of(Stream(lambda step: step >= 5 and death(step)), 1, silence=60)
    assert found == list(STEPS)
    assert ["new ones are started" in line for line in said] == [True] * loading.RESTARTS + [False]
    assert said[-1].endswith("batches are prepared in the training process from here on, which is slower")


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("hang", [sleep, stop, ignore_the_end])
def test_a_worker_that_hangs_is_named_and_ended(hang, workers):
    found, said = steps_of(Stream(lambda step: step == 5 and hang(step)), workers, silence=SMALL)
    assert found == list(STEPS)
    assert len(said) == 1 and said[0].startswith("step ") and f"gave no batch for {SMALL:g} s; batches are" in said[0]
    assert not multiprocessing.active_children()


def test_a_batch_that_is_late_is_waited_for(monkeypatch):
    monkeypatch.setattr(loading, "LOOK", SMALL / 5)
    stream = Stream(lambda step: step == 5 and time.sleep(3 * SMALL))
    assert steps_of(stream, 1, silence=100 * SMALL) == (list(STEPS), [])


def test_a_batch_that_is_lost_on_its_way_is_prepared_again():
    """A batch that cannot be shared is dropped by its worker, which goes on, as torch does where /dev/shm is full."""

    class Unsendable:
        def __reduce__(self):
            raise OSError(28, "No space left on device")

    class Losing(Stream):
        def __getitem__(self, step):
            lost = step == 5 and os.getpid() != self._main
            return super().__getitem__(step) | ({"lost": Unsendable()} if lost else {})

    found, said = steps_of(Losing(), 1, silence=SMALL)
    assert found == list(STEPS) and len(said) == 1 and "gave no batch" in said[0]


@pytest.mark.parametrize("error", [ValueError, OSError, RuntimeError, KeyError, ConnectionError])
def test_an_error_of_the_stream_is_no_lost_worker(error):
    def fail(step):
        if step == 5:
            raise error("mine")

    came = []
    with pytest.raises(error, match="mine"):
        for batch in batches(Stream(fail), STEPS, 1, False, came.append):
            came.append(int(batch["step"]))
    assert came == [2, 3, 4] and not multiprocessing.active_children()


def test_a_worker_that_dies_raises_nothing_in_the_middle_of_a_step(at_once):
    """torch's own handler raises wherever the training is."""
    before = signal.getsignal(signal.SIGCHLD)
    found = []
    for batch in batches(Stream(lambda step: step == 6 and at_once("death") and kill(step)), STEPS, 1, False, print):
        found.append(int(batch["step"]))
        time.sleep(0.05)  # the death falls into some step
    assert found == list(STEPS) and signal.getsignal(signal.SIGCHLD) == before


def test_a_training_that_is_closed_leaves_no_worker():
    prepared = batches(Stream(), STEPS, 2, False, print)
    next(prepared)
    assert multiprocessing.active_children()
    prepared.close()
    assert not multiprocessing.active_children()


# A whole trial.


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    trial, planned = tiny.one_trial("dtc", execution={"data_workers": 0})
    results = tiny.new_results(tmp_path_factory.mktemp("undisturbed"))
    tiny.run(trial, results, planned)
    return outcome(results, trial)


@pytest.mark.slow
@pytest.mark.parametrize("fault", [kill, sleep])
def test_a_trial_whose_data_workers_fail_ends_with_the_same_numbers(undisturbed, tmp_path, monkeypatch, at_once, fault):
    main, prepare = os.getpid(), PatchStream.__getitem__

    def failing(stream, step):
        if os.getpid() != main and step == 1 and at_once("fault"):
            fault(step)
        return prepare(stream, step)

    monkeypatch.setattr(PatchStream, "__getitem__", failing)
    monkeypatch.setattr(batches, "__defaults__", (1, 5 * SMALL))
    trial, planned = tiny.one_trial("dtc", execution={"data_workers": 1})
    results = tiny.new_results(tmp_path / "results")
    signs = tiny.run(trial, results, planned)
    assert_same(outcome(results, trial), undisturbed)
    [note] = [note for sign in signs for note in sign.notes]
    assert "data worker" in note
    assert json.loads((results.record(trial.id) / "provenance.json").read_text())["notes"] == [note]


def test_a_trial_with_little_shared_memory_ends_with_the_same_numbers(undisturbed, tmp_path, monkeypatch):
    monkeypatch.setattr(loading, "free_shared_memory", lambda: 1000)
    trial, planned = tiny.one_trial("dtc", execution={"data_workers": 1})
    results = tiny.new_results(tmp_path)
    [note] = [note for sign in tiny.run(trial, results, planned) for note in sign.notes]
    assert "/dev/shm has 0 MiB left" in note
    assert_same(outcome(results, trial), undisturbed)


def test_memory_is_shared_with_the_other_trials(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(
        loading, "_fitting", lambda stream, steps, workers, sharing, say: asked.append(sharing) or (0, 4)
    )
    trial, planned = tiny.one_trial("vnet", execution={"data_workers": 1})
    list(run_trial(trial, tiny.new_results(tmp_path), planned.execution, {"trials_sharing_the_machine": 3}))
    assert asked == [3]
