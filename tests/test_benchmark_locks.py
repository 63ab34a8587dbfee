"""Who may work on a results folder, and on a trial."""

import json
import os
import socket
import threading
import time

import pytest
from helpers import tiny

from benchmark.records.files import ResultsError
from benchmark.records.locks import SILENCE, run_lock, trial_lock
from benchmark.records.results_folder import ResultsFolder


def leave_sign(results, host, silence):
    """What a run that was killed, or works where locks do not reach, leaves behind."""
    now = time.time()
    sign = {"host": host, "process": 4711, "start": now - 7200, "time": now - silence}
    (results.folder / "running" / ".run.json").write_text(json.dumps(sign))


def test_one_run_at_a_time_works_on_a_folder_and_the_second_hears_of_the_first(tmp_path):
    results = tiny.new_results(tmp_path)
    with run_lock(results):
        while not (tmp_path / "running" / ".run.json").exists():
            time.sleep(0.01)
        with pytest.raises(ResultsError) as caught, run_lock(ResultsFolder(tmp_path)):
            pass
    message = str(caught.value)
    assert (
        f"another run (process {os.getpid()} on {socket.gethostname()}, for 0 s, last sign of life 0 s ago)" in message
    )
    assert str(tmp_path) in message and "choose another folder with --results" in message
    with run_lock(ResultsFolder(tmp_path)):  # it is free again
        pass
    assert not (tmp_path / "running" / ".run.json").exists()


def test_a_run_on_another_machine_holds_the_folder_while_it_gives_signs_of_life(tmp_path):
    results = tiny.new_results(tmp_path)
    leave_sign(results, "elsewhere", SILENCE - 10)
    with trial_lock(results, "t"):
        with pytest.raises(ResultsError) as caught, run_lock(results):
            pass
        assert (tmp_path / "running" / ".trials" / "t.lock").exists(), "the trials' locks are the other run's"
    assert "process 4711 on elsewhere, for 7200 s, last sign of life 110 s ago" in str(caught.value)
    leave_sign(results, "elsewhere", SILENCE + 1)
    with run_lock(results):
        pass


@pytest.mark.parametrize("text", ["", "{", "[]", '{"host": "elsewhere"}', '{"host": 1, "process": "x"}'])
def test_a_sign_of_life_that_cannot_be_read_holds_nobody_up(tmp_path, text):
    results = tiny.new_results(tmp_path)
    (tmp_path / "running" / ".run.json").write_text(text)
    with run_lock(results):
        pass


def test_a_dead_run_of_this_machine_is_taken_over_at_once(tmp_path):
    results = tiny.new_results(tmp_path)
    leave_sign(results, socket.gethostname(), silence=1)
    with run_lock(results):
        pass


def test_a_trial_waits_for_the_process_that_works_on_it(tmp_path):
    results, order = tiny.new_results(tmp_path), []

    def second():
        with trial_lock(results, "t"):
            order.append("second")

    with trial_lock(results, "t"):
        thread = threading.Thread(target=second)
        thread.start()
        with trial_lock(results, "another"):  # is not waited for
            order.append("first")
    thread.join(timeout=30)
    assert order == ["first", "second"]
