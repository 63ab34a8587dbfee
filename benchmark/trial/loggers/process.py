"""A logger in a process of its own.

There its library can wait for a network, change the environment or crash, and the trial neither notices nor waits.
"""

import queue
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import numpy as np

from benchmark.trial.loggers.protocol import Run
from data.errors import one_line
from data.reader import ROOT, send

START = (
    f"import sys; sys.path.insert(0, {str(ROOT)!r}); from benchmark.trial.loggers.serve import serve; serve({{path!r}})"
)
BUILT_IN = {name: Path(__file__).with_name(f"{name}.py") for name in ("wandb", "mlflow")}
MOST_WAITING = 10_000  # messages; further ones are left out
SECONDS_TO_END = 30.0  # that a trial waits at its end for what is on its way


class LoggerProcess:
    """Sends everything to a logger in another process.

    Args:
        name: wandb, mlflow, or a Python file with a class `Logger`.
        seconds_to_end: from `end` on, after which the process is given up; SECONDS_TO_END where left out.

    Attributes:
        problem: after `wait`, what went wrong, in one line; "" if nothing did.
    """

    def __init__(self, name: str, seconds_to_end: float | None = None):
        self.problem = ""
        self._name, self._seconds = name, SECONDS_TO_END if seconds_to_end is None else seconds_to_end
        self._left_out = 0
        self._messages: queue.Queue[tuple[dict, np.ndarray | None]] = queue.Queue(MOST_WAITING)
        self._process: subprocess.Popen | None = None

    def start(self, run: Run) -> None:
        code = START.format(path=str(BUILT_IN.get(self._name, self._name)))
        try:
            self._errors = tempfile.TemporaryFile()  # noqa: SIM115
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", code], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                stderr=self._errors,
            )  # fmt: skip
        except OSError as error:
            self.problem = self._said(f"its process cannot start ({error})")
            return
        threading.Thread(target=self._send, daemon=True, name="logger").start()
        self._put({"call": "start", "run": asdict(run)})

    def scalars(self, step: int, values: dict[str, float]) -> None:
        self._put({"call": "scalars", "step": step, "values": values})

    def image(self, step: int, name: str, picture: np.ndarray) -> None:
        self._put({"call": "image", "step": step, "name": name}, picture)

    def end(self, step: int, results: dict[str, float]) -> None:
        self._deadline = time.monotonic() + self._seconds
        self._put({"call": "end", "step": step, "values": results})

    def wait(self) -> None:
        """Wait after `end` until everything is sent, but not for long."""
        if self._process is None:
            return
        try:
            status = self._process.wait(max(self._deadline - time.monotonic(), 0))
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            self.problem = self._said(f"it did not end within {self._seconds:g} s, and what was on its way is lost")
        else:
            if status:
                self.problem = self._said(self._last_error() or f"its process ended with status {status}")
            elif self._left_out:
                self.problem = self._said(f"it was too slow, so {self._left_out} messages were left out")
        self._errors.close()
        with suppress(OSError):
            self._process.stdin.close()

    def _put(self, message: dict, picture: np.ndarray | None = None) -> None:
        try:
            self._messages.put_nowait((message, picture))
        except queue.Full:
            self._left_out += 1

    def _send(self) -> None:
        with suppress(OSError):  # it has ended
            while True:
                message, picture = self._messages.get()
                send(self._process.stdin, message, picture)
                if message["call"] == "end":
                    return

    def _last_error(self) -> str:
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else ""

    def _said(self, reason: str) -> str:
        return f"log_to {self._name}: {one_line(reason)}; the trial is not affected"
