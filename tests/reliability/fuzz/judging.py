"""Runs command lines in this process, and judges what they said and how they ended."""

import io
import os
import re
import sys
import traceback
import types
from collections.abc import Iterator
from contextlib import chdir, contextmanager, nullcontext, redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from unittest import mock

from helpers.tiny import trials_in_this_process
from reliability.fuzz.inputs import Input

from benchmark.command_line import app
from benchmark.planning import estimate
from data import reader
from data.errors import UserError

for _module in ("planning.tuning", "records.remote_copies", "trial.medpy_check", "trial.new_scans", "trial.smoke"):
    import_module(f"benchmark.{_module}")  # what commands import late: children begin with it

ACCEPTED, REFUSED, FINDING = "accepted", "refused", "finding"
LONGEST = 3000  # characters of a line that is still clear
CODE = ("benchmark", "data", "methods", "reports")
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e]")  # can fool a terminal


@dataclass(frozen=True)
class Verdict:
    """How an input fared; of a finding its cause, by which findings are grouped, and all that is known of it."""

    outcome: str
    cause: str = ""
    detail: str = ""


def judge(given: Input, folder: Path) -> Verdict:
    """Run everything that an input asks for, up to the first finding; refused if any command refused it."""
    outcome = ACCEPTED
    for arguments in given.commands:
        try:
            status, out, err = call(arguments, folder, given.draws)
        except Exception as error:
            return _raised(error, f"run_benchmark.py {' '.join(arguments)}")
        if cause := fault(arguments, status, out, err, given):
            return Verdict(FINDING, cause, f"run_benchmark.py {' '.join(arguments)}\n{err}\n{out}")
        outcome = REFUSED if status else outcome
    for check in given.further:
        try:
            with suppress(UserError), chdir(folder):
                check()
        except Exception as error:
            return _raised(error, check.__doc__ or check.__name__)
    return Verdict(outcome)


def fault(arguments: list[str], status: int, out: str, err: str, given: Input) -> str:
    """What is wrong with the way in which a command line ended; "" if nothing is."""
    command = arguments[0]
    if "Traceback" in err:
        return f"{command}: a traceback on stderr"
    if status not in (0, 1, 2):
        return f"{command}: ended with status {status}"
    if CONTROL.search(err + out):
        return f"{command}: control characters reach the terminal"
    if status != 2:
        if err.strip():
            return f"{command}: ended with {status} and said on stderr: {_shortened(err)}"
        if status == 1 and not out.strip():
            return f"{command}: ended with 1 without a word"
        return ""
    if not err.startswith("error: ") or err.count("\n") != 1:
        return f"{command}: refused with other than one line: {_shortened(err)}"
    if len(err) > LONGEST:
        return f"{command}: refused with a line of over {LONGEST} characters"
    if " ".join(arguments).startswith(given.unstoppable):
        return f"{command}: stopped by damage that concerns one cell: {_shortened(err)}"
    if not any(name in err for name in given.names):
        return f"{command}: the refusal says not where: {_shortened(err)}"
    return ""


def call(arguments: list[str], folder: Path, draws: bool = False) -> tuple[int, str, str]:
    """Call the command line in this process, without Ray and mostly without drawing.

    Returns:
        The exit status, and what was written to stdout and to stderr.
    """
    out, err = (
        io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors=errors, write_through=True)
        for errors in ("strict", "backslashreplace")  # as Python has them in a terminal
    )
    with (
        chdir(folder), redirect_stdout(out), redirect_stderr(err),
        mock.patch.object(sys, "argv", ["run_benchmark.py", *arguments]),
        mock.patch.dict(os.environ, COLUMNS="1000"),
        nullcontext() if draws else _undrawn(),
    ):  # fmt: skip
        try:
            app.main()
            status = 0
        except SystemExit as stop:
            status = stop.code or 0
    return status, *(stream.buffer.getvalue().decode() for stream in (out, err))


def replace_what_takes_long() -> None:
    """From now on this process starts no Ray and measures no speed."""
    scheduler = types.ModuleType("benchmark.cluster.scheduler")
    scheduler.run_trials = trials_in_this_process
    sys.modules["benchmark.cluster.scheduler"] = scheduler
    app.console.width = 1000  # no line is broken
    stop = reader.stop

    def stop_what_is_broken() -> int:
        """One process reads the scans of many inputs; its start takes as long as a hundred of them."""
        return 0 if isinstance(sys.exc_info()[1], UserError | None) else stop()

    reader.stop = stop_what_is_broken
    estimate.smoke_test = lambda *_: 0.1


@contextmanager
def _undrawn() -> Iterator[None]:
    """No figures and no picture of the data: they take a hundred times as long as all the rest."""
    with (
        mock.patch("reports.report.draw_all", lambda *_: ([], [])),
        mock.patch("benchmark.command_line.data_info.write_preview", lambda *_: None),
    ):
        yield


def _raised(error: Exception, during: str) -> Verdict:
    text = "".join(traceback.format_exception(error))
    return Verdict(FINDING, f"{type(error).__name__} in {place_of(text)}", f"{during}\n{text}")


def place_of(stack: str) -> str:
    """The innermost line of the project's own code in a traceback, as `file:function`."""
    frames = re.findall(r'File "([^"]+)", line \d+,? in (\S+)', stack)
    own = [f"{'/'.join(Path(file).parts[-2:])}:{function}" for file, function in frames
           if set(CODE) & set(Path(file).parts) and "site-packages" not in file]  # fmt: skip
    return own[-1] if own else "no code of the project"


def _shortened(text: str) -> str:
    """The first line of a text without its numbers and names, for grouping."""
    line = (text.strip().splitlines() or [""])[0]
    return re.sub(r"/\S+|\d+|'[^']*'", "…", line)[:150]
