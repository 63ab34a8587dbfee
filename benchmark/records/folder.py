"""What a trial leaves on disk. Everything is written beside its place and renamed: half a record does not exist.

A results folder holds `plan.json`, `experiment.yaml`, `cases/`, `running/<trial>/` (checkpoints, heartbeat) and
`records/<trial>/`. This module imports neither torch nor ray, so that status and reports stay quick.
"""

import csv
import json
import re
import shutil
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import yaml

from benchmark.records.files import ResultsError, flush_to_disk, write_text

FORMAT = 1
STATES = ("done", "failed", "diverged")  # of a record


TUNED = "tuned"  # below a results folder whose experiment was tuned


class ResultsFolder:
    """The paths of a results folder, absolute, and what lies there."""

    def __init__(self, folder: str | Path):
        self.folder = Path(folder).absolute()

    @property
    def plan_file(self) -> Path:
        return self.folder / "plan.json"

    @property
    def experiment_file(self) -> Path:
        return self.folder / "experiment.yaml"

    def parts(self) -> list["ResultsFolder"]:
        """The folder, and that of its tuned settings where there is one."""
        tuned = ResultsFolder(self.folder / TUNED)
        return [self, tuned] if tuned.plan_file.exists() else [self]

    def running(self, trial: str) -> Path:
        return self.folder / "running" / trial

    def record(self, trial: str) -> Path:
        return self.folder / "records" / trial

    def trace(self, trial: str) -> Path:
        return self.folder / "traces" / f"{trial}.json.gz"

    def tensorboard(self, trial: str) -> Path:
        return self.folder / "tensorboard" / trial

    def create(self) -> None:
        """Make the folder. Raises ResultsError where it cannot be written."""
        try:
            for name in ("cases", "running", "records"):
                (self.folder / name).mkdir(parents=True, exist_ok=True)
            write_text(self.folder / "running" / ".writable", "")
        except OSError as error:
            raise ResultsError(
                f"results folder {self.folder} cannot be written ({error.strerror}): choose another with "
                "--results or free it"
            ) from error

    def read_plan(self) -> dict:
        """plan.json. Raises ResultsError where there is none, or of another format."""
        try:
            plan = json.loads(self.plan_file.read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError) as error:
            raise ResultsError(f"{self.folder} is no results folder: it has no plan.json; `run` makes one") from error
        except (OSError, ValueError, RecursionError) as error:
            raise ResultsError(
                f"{self.plan_file} cannot be read ({error}): `run` the experiment again, which rewrites it "
                "and keeps all records"
            ) from error
        if not isinstance(plan, dict) or plan.get("format") != FORMAT:
            raise ResultsError(
                f"{self.plan_file} is not of format {FORMAT}: use the version of the harness that wrote it"
            )
        if wrong := _wrong_in(plan):
            raise ResultsError(
                f"{self.plan_file} {wrong}: `run` the experiment again, which rewrites it and keeps all records"
            )
        return plan

    def check_format(self) -> None:
        """Raises ResultsError where the plan or a record is of another format: it is not to be written over."""
        found = {}
        with suppress(OSError, ValueError, RecursionError):
            plan = json.loads(self.plan_file.read_text(encoding="utf-8"))
            found[self.plan_file] = plan.get("format", FORMAT) if isinstance(plan, dict) else FORMAT
        for path in self.folder.glob("records/*/trial.yaml"):
            with suppress(OSError, ValueError), path.open(encoding="utf-8") as file:
                number = re.fullmatch(r"format: (\d+)\s*", file.readline(100))  # stands first in every version
                found[path] = int(number[1]) if number else FORMAT
        for path, number in found.items():
            if number != FORMAT:
                raise ResultsError(
                    f"{path} is of format {number}, not {FORMAT}: use the version of the harness that wrote it, or "
                    "another folder"
                )

    def read_record(self, trial: str) -> dict | None:
        """trial.yaml of a record, or None where there is no whole record."""
        try:
            record = yaml.load((self.record(trial) / "trial.yaml").read_text(encoding="utf-8"), _SafeLoader)
        except (OSError, ValueError, RecursionError, yaml.YAMLError):
            return None
        whole = isinstance(record, dict) and record.get("format") == FORMAT and record.get("state") in STATES
        if whole and record["state"] == "done":
            whole = all(isinstance(record.get(key), dict) for key in ("code", "evaluation"))
        return record if whole else None

    def has_scores(self, trial: str) -> bool:
        """Whether cases.csv of a record can be read and holds as much of each case."""
        try:
            with (self.record(trial) / "cases.csv").open(encoding="utf-8", newline="") as file:
                header, *rows = csv.reader(file, strict=True)
            case, postprocessing, value = (header.index(name) for name in ("case", "postprocessing", "value"))
            for row in rows:
                float(row[value] or "nan")
            counts = Counter((row[case], row[postprocessing]) for row in rows)
        except (OSError, ValueError, IndexError, csv.Error):
            return False
        parts = [len({key[place] for key in counts}) for place in (0, 1)]
        return len(set(counts.values())) == 1 and len(counts) == parts[0] * parts[1]

    def heartbeat(self, trial: str) -> dict | None:
        """The last sign of life of a running trial: step, iterations, stage, loss, time in unix seconds."""
        try:
            beat = json.loads((self.running(trial) / "heartbeat.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        whole = isinstance(beat, dict) and beat.keys() >= {"stage", "step", "iterations", "time"}
        return beat if whole and isinstance(beat["time"], int | float) else None

    # A record is put together in running/<trial>/record and moved in one go.

    def unpublished(self, trial: str) -> Path:
        """An empty folder in which to put a record together."""
        folder = self.running(trial) / "record"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return folder

    def publish(self, trial: str) -> bool:
        """Move a finished record to its place, over an older one; False if there is none to move.

        A record is finished when its trial.yaml is there. Called again after a stop in between, it goes on. The
        working files of a failed trial stay: a retry goes on from its checkpoint.
        """
        finished = self.running(trial) / "record"
        if not (finished / "trial.yaml").exists():
            return False
        flush_to_disk(finished)
        replaced = self.running(trial) / "replaced"
        shutil.rmtree(replaced, ignore_errors=True)
        if self.record(trial).exists():
            self.record(trial).rename(replaced)
        finished.rename(self.record(trial))
        flush_to_disk(self.record(trial).parent, recursive=False)
        record = self.read_record(trial)
        if record is not None and record["state"] == "done":
            self.clear(trial)
        return True

    def clear(self, trial: str) -> None:
        """Remove the working files of a trial that is done; one killed as it published may have left them."""
        shutil.rmtree(self.running(trial), ignore_errors=True)


def _wrong_in(plan: dict) -> str:
    """What makes a plan of the right format unusable, or "". A trial's id names folders: it may lead nowhere else."""
    cells = plan.get("cells")
    if not isinstance(cells, list) or (cells and not isinstance(plan.get("evaluation"), dict)):
        return "has no cells or no evaluation block"
    for number, cell in enumerate(cells, start=1):
        keys = cell.keys() if isinstance(cell, dict) else ()
        if missing := [
            key for key in ("trial", "method_file", "display", "labelled", "draw", "seed") if key not in keys
        ]:
            return f"lacks {missing[0]!r} in cell {number}"
        if odd := [key for key in ("trial", "method_file", "display") if not isinstance(cell[key], str)]:
            return f"has no text for {odd[0]!r} in cell {number}"
        if not re.fullmatch(r"\w[\w.-]*", cell["trial"]):
            return f"has the trial {cell['trial']!r}, which is no folder's name, in cell {number}"
    return ""


_SafeLoader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def write_heartbeat(results: ResultsFolder, trial: str, state: dict) -> None:
    """Not flushed to disk, and nothing to stop for: it is news, not a result."""
    path = results.running(trial) / "heartbeat.json"
    partial = path.with_suffix(".partial")
    with suppress(OSError):
        partial.write_text(json.dumps(state | {"time": time.time()}), encoding="utf-8")
        partial.replace(path)
