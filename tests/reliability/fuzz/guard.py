"""A process that judges inputs. Whatever happens to it, a crash, a hang or a flood of memory, is one more finding."""

import faulthandler
import multiprocessing
import os
import random
import resource
import shutil
import signal
import sys
import traceback
from contextlib import suppress
from pathlib import Path
from unittest import mock

from reliability.fuzz.inputs import Input, Target
from reliability.fuzz.judging import ACCEPTED, FINDING, Verdict, call, judge, place_of, replace_what_takes_long

SECONDS = 60  # that an input may take; most take a hundredth of one
PATIENCE = SECONDS + 30  # after which the process is ended; the stack is written before
MEMORY = 3 * 2**30  # bytes that an input may take besides what Python and torch take
FILE = 2**30  # bytes of the largest file that may be written


class Guard:
    """Judges the inputs of one target in a child process, and starts another child where that one is lost.

    Args:
        target: makes examples and inputs.
        name: of the target.
        seed: with the number of an input it decides the input.
        scratch: an empty folder. `scratch/input` holds the input that was judged last.
    """

    def __init__(self, target: Target, name: str, seed: int, scratch: Path):
        self._target, self._name, self._seed, self._scratch = target, name, seed, scratch
        self._child: multiprocessing.Process | None = None
        (scratch / "home").mkdir(parents=True)
        call(["methods"], scratch)  # what that imports every child begins with
        if made := self._ask("examples").cause:
            self.close()
            raise RuntimeError(f"the examples of {name} cannot be made: {made}")

    @property
    def input_folder(self) -> Path:
        return self._scratch / "input"

    def __enter__(self) -> "Guard":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def judge(self, number: int) -> Verdict:
        """How the input of this number fares."""
        return self._ask(number)

    def close(self) -> None:
        if self._child is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._child.pid, signal.SIGKILL)  # and its own children
            self._child.join()
            self._child = None

    def _ask(self, what: int | str) -> Verdict:
        if self._child is None:
            context = multiprocessing.get_context("fork")  # all is imported already
            self._pipe, theirs = context.Pipe()
            self._child = context.Process(target=self._work, args=(theirs,))
            self._child.start()
            theirs.close()
        try:
            self._pipe.send(what)
            if self._pipe.poll(PATIENCE if what != "examples" else None):
                return self._pipe.recv()
            how = f"hang of over {PATIENCE} s"
        except (EOFError, ConnectionError):
            self._child.join()
            code = self._child.exitcode
            how = f"crash ({signal.Signals(-code).name if code < 0 else f'exit status {code}'})"
        self.close()
        said = self._log.read_text(errors="replace")
        # The stack of the thread that was at work is the first one, its innermost line the first of it.
        stack = "\n".join(reversed([line for line in said.splitlines() if line.startswith("  File")]))
        return Verdict(FINDING, f"{how} in {place_of(stack)}", said)

    @property
    def _log(self) -> Path:
        return self._scratch / "output"

    def _work(self, pipe) -> None:
        self._pipe.close()  # the parent's end: with it closed, the end of the parent is noticed
        os.setsid()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        log = os.open(self._log, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        os.dup2(log, 1), os.dup2(log, 2)  # what libraries in C print
        for limit, size in (
            (resource.RLIMIT_AS, _virtual_memory() + MEMORY), (resource.RLIMIT_FSIZE, FILE), (resource.RLIMIT_CORE, 0),
        ):  # fmt: skip
            resource.setrlimit(limit, (size, size))  # of its own children, too
        faulthandler.enable(2)
        replace_what_takes_long()
        while True:
            try:
                what = pipe.recv()
            except EOFError:
                return
            os.truncate(self._log, 0)
            if what == "examples":
                pipe.send(self._make_examples())
                continue
            faulthandler.dump_traceback_later(SECONDS, exit=False, file=sys.__stderr__)
            given = make_input(self._target, self._name, self._seed, what, self._scratch)
            with environment(self._scratch):
                verdict = judge(given, self.input_folder)
            faulthandler.cancel_dump_traceback_later()
            pipe.send(Verdict(verdict.outcome, verdict.cause, f"{given.mutation}\n{verdict.detail}"))

    def _make_examples(self) -> Verdict:
        folder = self._scratch / "examples"
        folder.mkdir()
        try:
            with mock.patch.dict(os.environ, SEMISEG_CACHE=str(self._scratch / "examples-cache")):
                self._target.make_examples(folder)
        except Exception:
            return Verdict(FINDING, traceback.format_exc())
        return Verdict(ACCEPTED)


def make_input(target: Target, name: str, seed: int, number: int, scratch: Path) -> Input:
    """Make the input of this seed and number in the folder `scratch/input`."""
    folder = scratch / "input"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return target.make_input(random.Random(f"{seed} {name} {number}"), scratch / "examples", folder)


def environment(scratch: Path):
    """Variables of the environment that keep an input's traces in the scratch folder; the cache holds the examples."""
    cache = scratch / "cache"
    shutil.rmtree(cache, ignore_errors=True)
    if (scratch / "examples-cache").exists():
        shutil.copytree(scratch / "examples-cache", cache)
    return mock.patch.dict(os.environ, SEMISEG_CACHE=str(cache), HOME=str(scratch / "home"), TMPDIR=str(scratch))


def _virtual_memory() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
