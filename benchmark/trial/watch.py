"""Says where a trial stands when it makes no progress, and of which trials the run has heard nothing."""

import sys
import threading
import time
import traceback
from collections.abc import Generator, Iterator
from functools import partial
from pathlib import Path
from types import FrameType

from benchmark.cluster import plugin_files
from benchmark.records.files import ResultsError
from benchmark.records.results_folder import ResultsFolder
from benchmark.records.source_code import path_of
from benchmark.trial.specification import Progress, Trial

PATIENCE = 60.0  # seconds without progress after which that is said; a step of published size takes seconds
PATIENCE_OF_RUN = 80.0  # a little more, so that the trial's own watch can say it: it knows where
LOOKS = 4  # in the time of patience


class Watch:
    """Watches a trial while it works on its next sign of life, from a thread of its own. Where the trial makes no
    progress, its heartbeat says where it stands.

    Args:
        results: where the heartbeat lies.
        trial: what is watched.
        patience: seconds without progress; PATIENCE where left out.

    Attributes:
        place: `place_of` for the method of the trial.
    """

    def __init__(self, results: ResultsFolder, trial: Trial, patience: float | None = None):
        self._results, self._patience = results, PATIENCE if patience is None else patience
        shown_file = trial.cell.method_file
        absolute = Path(shown_file).is_absolute()  # a plug-in's, of which a copy is run
        method_file = plugin_files.location(shown_file) if absolute else path_of(shown_file)
        self.place = partial(place_of, method_file=method_file, shown_file=shown_file)
        self._last = Progress(trial=trial.id, stage="starting", step=0, iterations=trial.training.iterations)
        self._step = 0
        self._progress = 0  # counts; it stands still where the trial does
        self._thread: int | None = None  # that works on the trial; None while nobody asks for its next sign

    def alive(self, step: int | None = None) -> None:
        """Something was done, too little for a sign of life: a window, or a step."""
        self._progress += 1
        self._step = self._last.step if step is None else step

    def watched(self, signs: Generator[Progress, None, Progress]) -> Generator[Progress, None, Progress]:
        """The same signs of life, watched."""
        over = threading.Event()
        threading.Thread(target=self._look_on, args=(over,), daemon=True, name="watch").start()
        try:
            while True:
                self._thread = threading.get_ident()
                try:
                    sign = next(signs)
                except StopIteration as end:
                    return end.value
                finally:
                    self._thread = None
                self._last = sign
                self.alive()
                yield sign
        finally:
            over.set()
            signs.close()

    def _look_on(self, over: threading.Event) -> None:
        seen, looks = None, 0  # without progress
        while not over.wait(self._patience / LOOKS):
            looks = looks + 1 if self._progress == seen else 0
            seen = self._progress
            frame = sys._current_frames().get(self._thread)
            if looks >= LOOKS and frame is not None:
                stands = f"no progress for over {self._patience:g} s: it stands at {self.place(frame)}"
                news = {"stage": f"{self._last.stage}: {stands}", "step": self._step, "stands": stands}
                self._results.write_heartbeat(self._last.trial, self._last.model_dump() | news)


def place_of(frame: FrameType, method_file: Path, shown_file: str) -> str:
    """Where a thread is, and the line of the method that led there, in the file as the user knows it."""
    stack = traceback.extract_stack(frame)
    innermost = stack[-1]
    place = f"{innermost.filename}:{innermost.lineno} ({innermost.name})"
    for call in reversed(stack):
        if Path(call.filename).resolve() == method_file.resolve():
            of_method = f"{shown_file}:{call.lineno} ({call.name})"
            return of_method if call is innermost else f"{of_method}, in {place}"
    return place


class SilentTrials:
    """What a run says of its trials that it has not heard of for long.

    Args:
        results: where trials leave signs of life, too.
        patience: seconds without a sign of life.
    """

    def __init__(self, results: ResultsFolder, patience: float = PATIENCE_OF_RUN):
        self._results, self._patience = results, patience
        self._heard: dict[str, float] = {}
        self._said: dict[str, str] = {}
        self._looked = float("-inf")

    def heard(self, trial: str) -> None:
        self._heard[trial] = time.monotonic()
        self._said.pop(trial, None)

    def ended(self, trial: str) -> None:
        self._heard.pop(trial, None)

    def news(self) -> Iterator[Progress]:
        """What a silent trial's process says of itself, or that it is silent; once for each silence."""
        now = time.monotonic()
        if now - self._looked < self._patience / 6:
            return
        self._looked = now
        for trial, heard in list(self._heard.items()):
            if now - heard > self._patience and (sign := self._silent(trial)).notes[0] != self._said.get(trial):
                self._said[trial] = sign.notes[0]
                yield sign

    def _silent(self, trial: str) -> Progress:
        note = f"no sign of life for over {self._patience:g} s"
        try:
            beat = self._results.heartbeat(trial)
        except ResultsError:
            beat = None
        if beat is None:
            return Progress(trial=trial, stage="starting", step=0, iterations=0, notes=[note])
        stands = getattr(beat, "stands", None)  # written by the trial's own watch
        return Progress(
            trial=trial, stage=beat.stage.partition(":")[0], step=beat.step, iterations=beat.iterations,
            notes=[f"step {beat.step} of {beat.iterations}: {stands or note}"],
        )  # fmt: skip
