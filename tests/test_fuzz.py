"""A short fuzz run (`make fuzz` is a long one), and that the run notices what it looks for."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from reliability.fuzz import guard, lists, scans
from reliability.fuzz.inputs import Input
from reliability.fuzz.judging import ACCEPTED, FINDING, REFUSED, fault

from data.errors import UserError

TESTS = Path(__file__).parent


@pytest.mark.slow
def test_some_inputs_of_every_target(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "reliability.fuzz", "--inputs", "50", "--processes", "0", "--keep", tmp_path],
        env=os.environ | {"PYTHONPATH": f"{TESTS.parent}:{TESTS}"}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("| 50 |") == 5, done.stdout


class Made:
    """A target whose input is what the test says."""

    def __init__(self, *commands, check=None, unstoppable=()):
        self._commands, self._check, self._unstoppable = commands, check, unstoppable

    def make_examples(self, folder):
        (folder / "plan.json").write_text(json.dumps({"format": 2}))

    def make_input(self, chance, examples, folder):
        (folder / "plan.json").write_text((examples / "plan.json").read_text())
        further = [self._check] if self._check else []
        return Input("made", list(self._commands), ["plan.json"], self._unstoppable, further=further)


def raise_key_error():
    raise KeyError("no such key")


def refuse():
    raise UserError("one line")


def flood():
    bytearray(50 * 2**30)


def verdict(tmp_path, target, number=0):
    with guard.Guard(target, "made", 1, tmp_path / "scratch") as guarded:
        return guarded.judge(number)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("target", "outcome", "cause"),
    [
        (Made(["methods"]), ACCEPTED, ""),
        (Made(["status", "."]), REFUSED, ""),
        (Made(["status", "nowhere"]), FINDING, "the refusal says not where"),
        (Made(["status", "."], unstoppable=("status",)), FINDING, "stopped by damage that concerns one cell"),
        (Made(check=raise_key_error), FINDING, "KeyError in no code of the project"),
        (Made(check=refuse), ACCEPTED, ""),
        (Made(check=flood), FINDING, "MemoryError"),
        (Made(check=os.abort), FINDING, "crash (SIGABRT)"),
        (Made(check=lambda: os._exit(3)), FINDING, "crash (exit status 3)"),
        (Made(check=lambda: time.sleep(1000)), FINDING, "hang"),
    ],
)
def test_what_a_run_notices(tmp_path, monkeypatch, target, outcome, cause):
    monkeypatch.setattr(guard, "PATIENCE", 5 if cause == "hang" else guard.PATIENCE)
    found = verdict(tmp_path, target)
    assert found.outcome == outcome and cause in found.cause, found


@pytest.mark.parametrize(
    ("status", "out", "err", "cause"),
    [
        (0, "done\n", "", ""),
        (2, "", "error: plan.json is damaged\n", ""),
        (0, "\x1b[31mred\n", "", "control characters"),
        (2, "", "error: plan.json has the name \u202eabc\n", "control characters"),
        (0, "done\n", "RuntimeWarning: overflow\n", "said on stderr"),
        (1, "", "", "without a word"),
        (1, "", "Traceback (most recent call last):\n", "traceback"),
        (-11, "", "", "ended with status -11"),
        (2, "", "error: plan.json\nis damaged\n", "other than one line"),
        (2, "", "plan.json is damaged\n", "other than one line"),
        (2, "", f"error: plan.json {'x' * 5000}\n", "over 3000 characters"),
        (2, "", "error: it is damaged\n", "says not where"),
    ],
)
def test_what_is_held_against_a_command(status, out, err, cause):
    found = fault(["status"], status, out, err, Input("made", [], ["plan.json"]))
    assert cause in found if cause else found == ""


def test_a_lost_process_is_replaced(tmp_path):
    crash = Made(check=os.abort)
    with guard.Guard(crash, "made", 1, tmp_path / "scratch") as guarded:
        assert [guarded.judge(number).outcome for number in range(3)] == [FINDING] * 3


@pytest.mark.parametrize("target", [scans, lists])
def test_seed_and_number_decide_the_input(tmp_path, target):
    def made(seed, number):
        return guard.make_input(target, "name", seed, number, tmp_path).mutation

    assert [made(1, n) for n in range(5)] == [made(1, n) for n in range(5)]
    assert [made(1, n) for n in range(5)] != [made(2, n) for n in range(5)]
