"""A run that is ended by a signal saves its checkpoints, says so in a line, and leaves no process."""

import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from helpers import clusters, tiny
from helpers.command_line import one_line_error

from benchmark.cluster import stop_signals

ENTRY = Path(__file__).parents[1] / "run_benchmark.py"
PATIENCE = 240


def start(folder, **options):
    """A run that trains for ever, once it trains, and its processes."""
    config = tiny.write_experiment(folder, methods=["vnet_sdm"], baseline=None, training={"iterations": 10**6})
    with (folder / "log").open("w") as log:
        options = {"stdout": log, "stderr": subprocess.STDOUT, "start_new_session": True} | options
        process = subprocess.Popen(
            [sys.executable, ENTRY, "run", config, "--results", folder / "results"], cwd=folder,
            env={**os.environ, "OMP_NUM_THREADS": "1"}, **options,
        )  # fmt: skip
    end = time.monotonic() + PATIENCE
    while not any("training" in beat.read_text() for beat in folder.glob("results/running/*/heartbeat.json")):
        assert process.poll() is None and time.monotonic() < end, (folder / "log").read_text()
        time.sleep(0.2)
    return process, [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]


def ended(process, tree, folder):
    """The exit status, and what was printed; no process is left."""
    status = process.wait(PATIENCE)
    _, left = psutil.wait_procs(tree, timeout=PATIENCE)
    assert left == []
    return status, (folder / "log").read_text()


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.parametrize(("number", "to_all"), [("SIGTERM", False), ("SIGTERM", True), ("SIGHUP", False)])
def test_a_signal_saves_checkpoints(tmp_path, number, to_all):
    process, tree = start(tmp_path)
    listening = [(one.name(), connection.laddr.ip) for one in tree for connection in one.net_connections()
                 if connection.status == psutil.CONN_LISTEN]  # fmt: skip
    assert listening and not [pair for pair in listening if "127.0.0.1" not in pair[1]], "others reach these"
    number = getattr(signal, number)
    (os.killpg if to_all else os.kill)(process.pid, number)
    status, said = ended(process, tree, tmp_path)
    assert status == 128 + number, said
    assert said.rstrip().endswith(f"error: ended by {number.name}; run the same command again to go on")
    assert "Traceback" not in said and "report:" not in said
    assert list(tmp_path.glob("results/running/*/checkpoint-*.pt")) and clusters.states(tmp_path / "results") == {}


@pytest.mark.ray
@pytest.mark.slow
def test_a_terminal_that_is_closed_ends_the_run_gently(tmp_path):
    ours, theirs = pty.openpty()

    def take_terminal():
        os.setsid()
        import fcntl
        import termios

        fcntl.ioctl(theirs, termios.TIOCSCTTY, 0)

    process, tree = start(
        tmp_path, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=False, preexec_fn=take_terminal
    )
    os.close(theirs)
    os.close(ours)  # which hangs up
    status, _ = ended(process, tree, tmp_path)
    assert status == 128 + signal.SIGHUP
    assert list(tmp_path.glob("results/running/*/checkpoint-*.pt"))


@pytest.mark.ray
@pytest.mark.slow
def test_a_run_whose_ray_dies_says_so_in_one_line(tmp_path):
    process, tree = start(tmp_path)
    next(one for one in tree if one.name() == "raylet").kill()
    status, said = ended(process, tree, tmp_path)
    assert status == 2
    preparing = ("trials done", " ...", "starting workers")
    first, *others = [line for line in said.splitlines() if not any(words in line for words in preparing)]
    log = tmp_path / "results" / "running" / "ray.log"
    assert first.startswith("1 cells:") and len(others) == 1, said
    assert others[0].startswith("error: Ray has died (its raylet has ended)") and str(log) in others[0]
    assert log.stat().st_size > 0


@pytest.fixture
def handlers():
    """The test's own handlers; the process's are put back."""
    numbers = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1]
    before = {number: signal.getsignal(number) for number in numbers}
    for number in numbers:  # nohup and a shell's background ignore some
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    yield
    stop_signals._received.clear()
    for number, handler in before.items():
        signal.signal(number, handler)


def test_a_ctrl_c_during_the_report_counts(tmp_path, command, no_ray, monkeypatch, handlers):
    """Tune leaves its own handler of Ctrl-C behind, which would swallow it."""

    def report(*folders):
        signal.raise_signal(signal.SIGINT)
        return "nowhere"

    def like_tune(run_trials):
        def run(*arguments):
            with stop_signals.given_back():
                signal.signal(signal.SIGINT, lambda number, frame: None)
                return run_trials(*arguments)

        return run

    scheduler = sys.modules["benchmark.cluster.scheduler"]
    monkeypatch.setattr(scheduler, "run_trials", like_tune(scheduler.run_trials))
    monkeypatch.setattr("benchmark.command_line.run_commands.show_report", report)
    config = tiny.write_experiment(tmp_path, methods=["vnet"], baseline=None)
    assert "interrupted; run the same command again" in one_line_error(
        command("run", config, "--results", tmp_path / "results")
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_outside_of_training_ends_the_command(tmp_path, command, no_ray, monkeypatch, handlers, number):
    monkeypatch.setattr(
        "benchmark.command_line.run_commands.show_report", lambda *arguments: signal.raise_signal(number)
    )
    monkeypatch.setattr(stop_signals, "leave_terminal", lambda: None)
    config = tiny.write_experiment(tmp_path, methods=["vnet"], baseline=None)
    status, _, stderr = command("run", config, "--results", tmp_path / "results")
    assert (status, stderr) == (
        128 + number,
        f"error: ended by {number.name}; run the same command again to go on\n",
    )


def test_what_was_ignored_stays_ignored(handlers):
    """As SIGHUP is under nohup."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    stop_signals.install()
    signal.raise_signal(signal.SIGHUP)
    assert stop_signals.received() is None


def test_a_second_signal_does_not_disturb_the_saving(handlers):
    stop_signals.install()
    calls = []
    signal.signal(signal.SIGINT, lambda number, frame: calls.append(number))
    for number in (signal.SIGTERM, signal.SIGTERM):
        signal.raise_signal(number)
    assert calls == [signal.SIGINT] and stop_signals.received() == signal.SIGTERM


def test_a_signal_where_ctrl_c_is_ignored_still_ends(handlers):
    """As in a shell's background job."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    stop_signals.install()
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGTERM)


@pytest.mark.parametrize(("stopped", "expected"), [(True, True), (False, False)])
def test_handlers_are_given_back_and_tell_whether_the_run_was_stopped(handlers, stopped, expected):
    """`signal.SIGINT` is what Tune replaces, and puts back when it comes."""
    before = signal.getsignal(signal.SIGINT)
    with stop_signals.given_back() as interrupted:
        signal.signal(signal.SIGINT, lambda number, frame: signal.signal(signal.SIGINT, before))
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        if stopped:
            signal.raise_signal(signal.SIGINT)
    assert any(interrupted) == expected
    assert signal.getsignal(signal.SIGINT) is before and signal.getsignal(signal.SIGUSR1) is not signal.SIG_IGN
