"""What a record says of all sessions of a trial, which may have been interrupted."""

import json
from contextlib import suppress

from benchmark.records.files import write_text
from benchmark.records.results_folder import ResultsFolder
from benchmark.trial.specification import Trial


class Sessions:
    """The most that any session of a trial had, of what its record has one number of: the trials that shared the
    machine, the memory. A session alone must not pass for a training that was packed for most of its time.

    `begun`: this session goes on from a checkpoint; else what an earlier one left says nothing of this training.
    """

    def __init__(self, results: ResultsFolder, trial: Trial, begun: bool):
        self._path = results.running(trial.id) / "sessions.json"
        self.most: dict[str, int | None] = {}
        if begun:
            with suppress(OSError, ValueError, TypeError, RecursionError):
                stored = dict(json.loads(self._path.read_text(encoding="utf-8")))
                self.most = {name: number for name, number in stored.items() if isinstance(number, int)}

    def note(self, name: str, value: int | None) -> None:
        self.most[name] = max((number for number in (self.most.get(name), value) if number is not None), default=None)
        write_text(self._path, json.dumps(self.most))
